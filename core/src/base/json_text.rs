//! JSON text that was checked once and is never printed anew: [`JsonStr`], the inside of a string,
//! and [`RawJson`], a whole value.
//!
//! A gateway moves text from one JSON document to another. A string that stays escaped on the way
//! costs one copy instead of an unescape and an escape, a number keeps its digits (`1.10`, 30-digit
//! integers), and half a surrogate pair, which JSON's grammar allows and `str` cannot hold,
//! survives.

use core::fmt;
use std::borrow::Cow;

use bytes::Bytes;

/// The characters between the quotes of a JSON string (RFC 8259 §7), escapes and all, as valid
/// UTF-8.
///
/// Two are equal when they mean the same characters, however they are escaped.
#[derive(Clone, Default)]
pub struct JsonStr(Bytes);

impl JsonStr {
    /// The empty string.
    pub const EMPTY: JsonStr = JsonStr(Bytes::new());

    /// Text that needs no escapes: printable ASCII without quote and backslash.
    ///
    /// # Panics
    /// If it does need escapes. Meant for constants.
    pub const fn from_static(text: &'static str) -> JsonStr {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            assert!(byte >= 0x20 && byte < 0x7F && byte != b'"' && byte != b'\\');
            at += 1;
        }
        JsonStr(Bytes::from_static(bytes))
    }

    /// Wraps the inside of a string that a JSON parser has checked: valid UTF-8, no bare quote or
    /// control character, only whole escapes. Text that is not so would break the documents it is
    /// written into, and so the callers are the parsers of [`wire::json`](crate::wire::json) alone.
    pub fn from_checked(escaped: Bytes) -> JsonStr {
        debug_assert!(core::str::from_utf8(&escaped).is_ok());
        JsonStr(escaped)
    }

    /// Escapes `text` as far as JSON demands.
    pub fn escape(text: &str) -> JsonStr {
        if !text.bytes().any(needs_escape) {
            return JsonStr(Bytes::copy_from_slice(text.as_bytes()));
        }
        let mut escaped = Vec::with_capacity(text.len() + 16);
        escape_into(text, &mut escaped);
        JsonStr(Bytes::from(escaped))
    }

    /// The escaped text.
    pub const fn escaped(&self) -> &Bytes {
        &self.0
    }

    /// Whether there is no character.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Length of the escaped text in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The characters. A lone surrogate, which only an escape can express, becomes U+FFFD.
    pub fn unescape(&self) -> Cow<'_, str> {
        match core::str::from_utf8(&self.0) {
            Ok(text) if !text.as_bytes().contains(&b'\\') => Cow::Borrowed(text),
            _ => Cow::Owned(unescape(&self.0)),
        }
    }

    /// Whether the characters are those of `text`.
    pub fn is(&self, text: &str) -> bool {
        self.0.as_ref() == text.as_bytes()
            || (memchr::memchr(b'\\', &self.0).is_some() && self.unescape() == text)
    }

    /// This text followed by `other`.
    pub fn concat(&self, other: &JsonStr) -> JsonStr {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        let mut joined = Vec::with_capacity(self.len() + other.len());
        joined.extend_from_slice(&self.0);
        joined.extend_from_slice(&other.0);
        JsonStr(Bytes::from(joined))
    }

    /// This text without the first half of a surrogate pair at its end, and that half, for who
    /// unescapes text that comes in pieces: the second half may begin the next one.
    pub fn split_half(&self) -> (JsonStr, JsonStr) {
        let at = self.0.len().saturating_sub(6);
        let (rest, end) = self.0.split_at(at);
        let is_high = |code: u32| (0xD800..0xDC00).contains(&code);
        let is_half = end.starts_with(b"\\u") && hex4(end.get(2..6)).is_some_and(is_high);
        // Behind a backslash that is not escaped itself, this one is no escape's begin.
        let before = rest.iter().rev().take_while(|&&byte| byte == b'\\');
        if is_half && before.count() % 2 == 0 {
            return (JsonStr(self.0.slice(..at)), JsonStr(self.0.slice(at..)));
        }
        (self.clone(), JsonStr::EMPTY)
    }

    /// Copies the text out of the buffer it lies in, which it would keep alive; for what is kept
    /// longer than one turn.
    pub fn detach(&self) -> JsonStr {
        JsonStr(Bytes::copy_from_slice(&self.0))
    }
}

impl PartialEq for JsonStr {
    fn eq(&self, other: &JsonStr) -> bool {
        self.0 == other.0 || self.unescape() == other.unescape()
    }
}

impl Eq for JsonStr {}

impl From<&str> for JsonStr {
    fn from(text: &str) -> JsonStr {
        JsonStr::escape(text)
    }
}

impl fmt::Debug for JsonStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for JsonStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.unescape())
    }
}

/// A whole JSON value as text: checked by a parser, kept byte for byte.
#[derive(Clone, Eq, PartialEq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// The value `null`.
    pub const NULL: RawJson = RawJson(Bytes::from_static(b"null"));
    /// The value `{}`.
    pub const EMPTY_OBJECT: RawJson = RawJson(Bytes::from_static(b"{}"));

    /// Wraps the text of a value that a JSON parser has checked; see [`JsonStr::from_checked`].
    pub fn from_checked(text: Bytes) -> RawJson {
        debug_assert!(core::str::from_utf8(&text).is_ok());
        RawJson(text)
    }

    /// The text.
    pub const fn text(&self) -> &Bytes {
        &self.0
    }

    /// Length of the text in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a JSON value has at least one character. Here because `len` is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies the text out of the buffer it lies in; for what is kept longer than one turn.
    pub fn detach(&self) -> RawJson {
        RawJson(Bytes::copy_from_slice(&self.0))
    }

    /// Whether the value is `null`.
    pub fn is_null(&self) -> bool {
        self.0.as_ref() == b"null"
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends `text` to `out`, escaped as far as JSON demands (RFC 8259 §7).
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !needs_escape(byte) {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

fn unescape(escaped: &[u8]) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (character, used) = unescape_one(&rest[at..]);
        let mut utf8 = [0; 4];
        out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
        rest = &rest[at + used..];
    }
    out.extend_from_slice(rest);
    match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Reads one escape at the start of `text`: the character, and how many bytes it took.
fn unescape_one(text: &[u8]) -> (char, usize) {
    let simple = match text.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let Some(high) = hex4(text.get(2..6)) else {
                return (char::REPLACEMENT_CHARACTER, text.len().min(2));
            };
            if !(0xD800..0xDC00).contains(&high) {
                return (
                    char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER),
                    6,
                );
            }
            let low = if text.get(6..8) == Some(b"\\u") {
                hex4(text.get(8..12))
            } else {
                None
            };
            return match low {
                Some(low) if (0xDC00..0xE000).contains(&low) => {
                    let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                    (
                        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                        12,
                    )
                }
                _ => (char::REPLACEMENT_CHARACTER, 6),
            };
        }
        Some(&byte) if byte.is_ascii() => char::from(byte),
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (simple, 2)
}

fn hex4(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |code, &digit| {
        Some(code << 4 | char::from(digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let text = JsonStr::from_checked(Bytes::from_static(
            br#"a\n\"\\\/\u00e9\ud83d\ude00\ud83d!\u0000\b\f\t\r"#,
        ));
        let plain = "a\n\"\\/é😀\u{FFFD}!\0\u{8}\u{c}\t\r";
        assert_eq!(text.unescape(), plain);
        assert!(text.is(plain));
        assert_eq!(
            JsonStr::escape("q\"\u{1}").escaped().as_ref(),
            br#"q\"\u0001"#
        );
    }

    #[test]
    fn half_a_pair_is_split_off_and_nothing_else_is() {
        for (text, half) in [
            (r"a\ud83d", r"\ud83d"),
            (r"\uDBFF", r"\uDBFF"),
            (r"\\\ud83d", r"\ud83d"),
            (r"\\ud83d", ""),
            (r"\ud83d\ude00", ""),
            (r"\ud83da", ""),
            (r"\u00e9", ""),
            ("ud83d", ""),
            ("", ""),
        ] {
            let whole = JsonStr::from_checked(Bytes::from_static(text.as_bytes()));
            let (rest, end) = whole.split_half();
            assert_eq!(end.escaped(), half, "{text}");
            assert_eq!(rest.concat(&end).escaped(), text);
        }
    }

    #[test]
    fn what_was_escaped_comes_back() {
        for text in ["", "plain", "\u{0}\u{1f}\u{7f}", "\"\\/", "é😀\u{2028}"] {
            assert_eq!(JsonStr::escape(text).unescape(), text);
            assert_eq!(JsonStr::escape(text), JsonStr::from(text));
        }
    }
}
