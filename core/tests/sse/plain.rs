//! The standard, read word for word and without regard to speed (§9.2.6): the oracle.

use crate::Event;

/// The events of a whole stream as a strict reader sees them, the block that is left at the end as
/// one unterminated event, and the last `retry:`.
pub(crate) fn events(stream: &[u8]) -> (Vec<Event>, Option<Event>, Option<u64>) {
    let mut state = State::default();
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut rest = stream;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        state.line(&rest[..at]);
        let crlf = rest[at..].starts_with(b"\r\n");
        rest = &rest[at + 1 + usize::from(crlf)..];
    }
    let whole = std::mem::take(&mut state.events);
    if !rest.is_empty() {
        state.line(rest);
    }
    state.dispatch();
    let last = state.events.pop().map(|event| Event {
        unterminated: true,
        ..event
    });
    (whole, last, state.retry_ms)
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    data: Vec<u8>,
    name: Vec<u8>,
    id: Vec<u8>,
    retry_ms: Option<u64>,
}

impl State {
    fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match line.iter().position(|&byte| byte == b':') {
            Some(0) => return,
            Some(at) => {
                let value = &line[at + 1..];
                (&line[..at], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &[][..]),
        };
        match field {
            b"event" => self.name = value.to_vec(),
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"id" if !value.contains(&0) => self.id = value.to_vec(),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(value).unwrap();
                self.retry_ms = Some(digits.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_some() {
            let last_event_id = self.id.clone();
            self.events.push(Event {
                name,
                data,
                last_event_id,
                ..Event::default()
            });
        }
    }
}
