//! Writes JSON into an [`OutBuf`], value by value. Commas come by themselves; balance is the
//! caller's. Large strings and raw values are queued as the slices they are.

use crate::base::buf::SLICE_BYTES_MIN;
use crate::base::{JsonStr, OutBuf, RawJson};

use super::scan::plain_len;

/// Writes one JSON value, or many with whatever the caller puts between them.
///
/// ```
/// use tollgate_core::base::OutBuf;
/// use tollgate_core::wire::json::Writer;
///
/// let mut out = OutBuf::new();
/// let mut json = Writer::new(&mut out);
/// json.begin_object();
/// json.key("role");
/// json.text("user");
/// json.key("tokens");
/// json.begin_array();
/// json.u64(1);
/// json.null();
/// json.end_array();
/// json.end_object();
/// assert_eq!(out.take_all().as_ref(), br#"{"role":"user","tokens":[1,null]}"#);
/// ```
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut OutBuf,
    /// Whether a comma goes before the next key or element: something precedes it in its container,
    /// and it does not stand behind a key. That depends on the last token alone, not on nesting.
    comma: bool,
    one_line: bool,
}

impl<'o> Writer<'o> {
    /// A writer that begins a value at the end of `out`.
    pub fn new(out: &'o mut OutBuf) -> Writer<'o> {
        Writer {
            out,
            comma: false,
            one_line: false,
        }
    }

    /// A writer whose value has no line break anywhere, as a `data:` line of an event stream
    /// demands: those between the tokens of raw values become spaces. (Within strings JSON has
    /// none.)
    pub fn one_line(out: &'o mut OutBuf) -> Writer<'o> {
        Writer {
            out,
            comma: false,
            one_line: true,
        }
    }

    /// `{`
    pub fn begin_object(&mut self) {
        self.separate();
        self.out.put(b"{");
        self.comma = false;
    }

    /// `}`
    pub fn end_object(&mut self) {
        self.out.put(b"}");
        self.comma = true;
    }

    /// `[`
    pub fn begin_array(&mut self) {
        self.separate();
        self.out.put(b"[");
        self.comma = false;
    }

    /// `]`
    pub fn end_array(&mut self) {
        self.out.put(b"]");
        self.comma = true;
    }

    /// The key of the member whose value comes next; one that needs no escapes. For others there is
    /// [`key_str`](Writer::key_str).
    pub fn key(&mut self, name: &'static str) {
        debug_assert_eq!(
            plain_len(name.as_bytes()),
            name.len(),
            "{name:?} needs escapes"
        );
        self.out.put(if self.comma { b",\"" } else { b"\"" });
        self.out.put(name.as_bytes());
        self.out.put(b"\":");
        self.comma = false;
    }

    /// The key of the member whose value comes next, already escaped.
    pub fn key_str(&mut self, name: &JsonStr) {
        self.str(name);
        self.out.put(b":");
        self.comma = false;
    }

    /// A string, already escaped.
    pub fn str(&mut self, text: &JsonStr) {
        self.begin_string();
        self.append(text);
        self.end_string();
    }

    /// A string of these characters.
    pub fn text(&mut self, text: &str) {
        self.begin_string();
        self.append_text(text);
        self.end_string();
    }

    /// Starts a string made of parts; only `append…` may follow, and then
    /// [`end_string`](Writer::end_string).
    pub fn begin_string(&mut self) {
        self.out.put(if self.comma { b",\"" } else { b"\"" });
        self.comma = true;
    }

    /// Ends a string made of parts.
    pub fn end_string(&mut self) {
        self.out.put(b"\"");
    }

    /// Adds escaped text to a string made of parts.
    pub fn append(&mut self, text: &JsonStr) {
        if text.len() < SLICE_BYTES_MIN {
            self.out.put(text.escaped());
        } else {
            self.out.push(text.escaped().clone());
        }
    }

    /// Adds characters to a string made of parts.
    pub fn append_text(&mut self, text: &str) {
        escape(text.as_bytes(), &mut |part| self.out.put(part));
    }

    /// Adds the text of a JSON value to a string made of parts, as the `arguments` of a tool call
    /// are given.
    pub fn append_json(&mut self, value: &RawJson) {
        escape(value.text(), &mut |part| self.out.put(part));
    }

    /// A value, as it is.
    pub fn raw(&mut self, value: &RawJson) {
        self.separate();
        self.comma = true;
        let text = value.text();
        if self.one_line && memchr::memchr2(b'\n', b'\r', text).is_some() {
            let mut from = 0;
            for at in memchr::memchr2_iter(b'\n', b'\r', text) {
                self.out.put(text.get(from..at).unwrap_or_default());
                self.out.put(b" ");
                from = at + 1;
            }
            self.out.put(text.get(from..).unwrap_or_default());
        } else if text.len() < SLICE_BYTES_MIN {
            self.out.put(text);
        } else {
            self.out.push(text.clone());
        }
    }

    /// An integer.
    pub fn u64(&mut self, number: u64) {
        self.separate();
        self.out.put_u64(number);
        self.comma = true;
    }

    /// An integer.
    pub fn i64(&mut self, number: i64) {
        self.separate();
        if number < 0 {
            self.out.put(b"-");
        }
        self.out.put_u64(number.unsigned_abs());
        self.comma = true;
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) {
        self.separate();
        self.out.put(if value { b"true" } else { b"false" });
        self.comma = true;
    }

    /// `null`.
    pub fn null(&mut self) {
        self.separate();
        self.out.put(b"null");
        self.comma = true;
    }

    #[inline]
    fn separate(&mut self) {
        if self.comma {
            self.out.put(b",");
        }
    }
}

/// Hands `text`, escaped as far as JSON demands, to `put` piece by piece.
pub(super) fn escape(text: &[u8], put: &mut impl FnMut(&[u8])) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_len(rest));
        put(plain);
        let Some((&byte, after)) = special.split_first() else {
            return;
        };
        rest = after;
        match byte {
            b'"' => put(b"\\\""),
            b'\\' => put(b"\\\\"),
            b'\n' => put(b"\\n"),
            b'\r' => put(b"\\r"),
            b'\t' => put(b"\\t"),
            _ => {
                let high = HEX[usize::from(byte >> 4)];
                let low = HEX[usize::from(byte & 15)];
                put(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn commas_stand_between_and_nowhere_else() {
        let mut out = OutBuf::new();
        let mut json = Writer::new(&mut out);
        json.begin_array();
        json.begin_array();
        json.end_array();
        json.begin_object();
        json.key("a");
        json.begin_object();
        json.end_object();
        json.key_str(&JsonStr::escape("\"k\""));
        json.bool(true);
        json.key("c");
        json.raw(&RawJson::NULL);
        json.end_object();
        json.i64(-7);
        json.u64(7);
        json.text("t\n");
        json.bool(false);
        json.end_array();
        let expected = br#"[[],{"a":{},"\"k\"":true,"c":null},-7,7,"t\n",false]"#;
        assert_eq!(out.take_all().as_ref(), expected);
    }

    #[test]
    fn a_string_is_made_of_parts() {
        let mut out = OutBuf::new();
        let mut json = Writer::new(&mut out);
        json.begin_array();
        json.null();
        json.begin_string();
        json.append(&JsonStr::from_checked(Bytes::from_static(br"\u00e9")));
        json.append_text("\u{1}\\\"é");
        json.append_json(&RawJson::from_checked(Bytes::from_static(
            b"{\"a\":\n\"\\n\"}",
        )));
        json.end_string();
        json.end_array();
        let expected = r#"[null,"\u00e9\u0001\\\"é{\"a\":\n\"\\n\"}"]"#;
        assert_eq!(out.take_all().as_ref(), expected.as_bytes());
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let large = Bytes::from(vec![b'x'; SLICE_BYTES_MIN]);
        let mut out = OutBuf::new();
        Writer::new(&mut out).str(&JsonStr::from_checked(large.clone()));
        let parts: Vec<Bytes> = out.take_parts().collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn one_line_stays_one_line() {
        let raw = RawJson::from_checked(Bytes::from_static(b"{\r\n  \"a\": \"\\n\"\n}"));
        let mut out = OutBuf::new();
        Writer::one_line(&mut out).raw(&raw);
        assert_eq!(out.take_all().as_ref(), b"{    \"a\": \"\\n\" }");
    }
}
