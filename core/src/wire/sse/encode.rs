//! The encoder: functions that append to an [`OutBuf`].

use crate::base::OutBuf;

/// Begins an event of one `data:` line, which the caller writes next; it must hold no line break
/// ([`Writer::one_line`](crate::wire::json::Writer::one_line) sees to that). Then follows
/// [`end_event`].
///
/// ```
/// use tollgate_core::base::OutBuf;
/// use tollgate_core::wire::{json::Writer, sse};
///
/// let mut out = OutBuf::new();
/// sse::begin_event(Some("ping"), &mut out);
/// let mut json = Writer::one_line(&mut out);
/// json.begin_object();
/// json.end_object();
/// sse::end_event(&mut out);
/// assert_eq!(out.take_all().as_ref(), b"event: ping\ndata: {}\n\n");
/// ```
pub fn begin_event(name: Option<&str>, out: &mut OutBuf) {
    if let Some(name) = name {
        put_name(name, out);
    }
    out.put(b"data: ");
}

/// Ends an event.
pub fn end_event(out: &mut OutBuf) {
    out.put(b"\n\n");
}

/// Appends a whole event. Data of several lines becomes several `data:` lines; a reader joins them
/// by LF, whatever ended them here.
pub fn event(name: Option<&str>, data: &[u8], out: &mut OutBuf) {
    if let Some(name) = name {
        put_name(name, out);
    }
    put_lines(b"data: ", data, out);
    out.put(b"\n");
}

/// Appends a comment block, which readers pass over; for keeping a connection alive.
pub fn comment(text: &str, out: &mut OutBuf) {
    put_lines(b": ", text.as_bytes(), out);
    out.put(b"\n");
}

/// A name ends at its first line break: what follows must not become a field.
fn put_name(name: &str, out: &mut OutBuf) {
    out.put(b"event: ");
    out.put(
        name.split(['\n', '\r'])
            .next()
            .unwrap_or_default()
            .as_bytes(),
    );
    out.put(b"\n");
}

fn put_lines(prefix: &[u8], text: &[u8], out: &mut OutBuf) {
    let mut rest = text;
    loop {
        out.put(prefix);
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        out.put(line);
        out.put(b"\n");
        rest = match after {
            [] => return,
            [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind_become_lines() {
        let mut out = OutBuf::new();
        event(Some("a\ndata: b"), b"1\n2\r\n3\r", &mut out);
        comment("alive\nstill", &mut out);
        event(None, b"", &mut out);
        let expected = "event: a\ndata: 1\ndata: 2\ndata: 3\ndata: \n\n\
             : alive\n: still\n\ndata: \n\n";
        assert_eq!(out.take_all().as_ref(), expected.as_bytes());
    }
}
