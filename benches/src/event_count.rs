//! Counts the events of a server-sent event stream without decoding them.

use memchr::memchr;

/// Counts complete events in de-framed stream bytes, however they are split. Comments do not count.
///
/// ```
/// let mut count = tollgate_benches::EventCount::default();
/// count.feed(b"event: a\ndata: 1\n\n: keep-alive\n\ndata:");
/// count.feed(b" 2\r\n\r\n");
/// assert_eq!(count.events(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventCount {
    events: u64,
    /// The first byte of the line that is being read, when it has one already.
    first: Option<u8>,
    /// A field line was seen since the last blank line.
    open: bool,
}

impl EventCount {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            match self.first.take().or(line.first().copied()) {
                None | Some(b'\r') => self.events += u64::from(std::mem::take(&mut self.open)),
                Some(b':') => {}
                Some(_) => self.open = true,
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        if self.first.is_none() {
            self.first = bytes.first().copied();
        }
    }

    /// How many events are complete.
    pub fn events(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_gives_the_same_count() {
        let stream =
            b": hi\n\nevent: a\ndata: {}\n\n\n\ndata: b\r\n\r\ndata: c\ndata: d\n\nid: 3\n";
        for at in 0..=stream.len() {
            let mut count = EventCount::default();
            let (a, b) = stream.split_at(at);
            count.feed(a);
            count.feed(b);
            assert_eq!(count.events(), 3, "cut at {at}");
        }
    }
}
