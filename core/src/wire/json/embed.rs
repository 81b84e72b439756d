//! JSON text inside of JSON strings, as tool calls have it: one vendor gives the arguments as an
//! object, another as a string that holds the object's text.

use bytes::Bytes;

use super::error::JsonError;
use super::scan::plain_len;
use super::tape::Tape;
use super::writer::escape;
use crate::base::limits::JsonLimits;
use crate::base::{JsonStr, RawJson};

/// The string that holds the text of `value`.
pub fn embed(value: &RawJson) -> JsonStr {
    let text = value.text();
    if plain_len(text) == text.len() {
        return JsonStr::from_checked(text.clone());
    }
    let mut escaped = Vec::with_capacity(text.len() + text.len() / 4 + 16);
    escape(text, &mut |part| escaped.extend_from_slice(part));
    JsonStr::from_checked(Bytes::from(escaped))
}

/// The value whose text the string holds, without the white space around it; `None` where there is
/// nothing else, which is how some vendors give empty arguments. `tape` is overwritten.
///
/// # Errors
/// Where the characters of `text` are not one JSON value; the offset counts in the unescaped text.
pub fn extract(
    text: &JsonStr,
    tape: &mut Tape,
    limits: &JsonLimits,
) -> Result<Option<RawJson>, JsonError> {
    let plain = if memchr::memchr(b'\\', text.escaped()).is_none() {
        text.escaped().clone()
    } else {
        Bytes::from(text.unescape().into_owned())
    };
    if plain.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    Ok(Some(tape.parse(&plain, limits)?.raw()))
}

/// The value that is the string of this text: the quotes put around it.
pub fn string(text: &JsonStr) -> RawJson {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(text.escaped());
    quoted.push(b'"');
    RawJson::from_checked(Bytes::from(quoted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extracted(text: &str) -> Result<Option<RawJson>, JsonError> {
        extract(
            &JsonStr::escape(text),
            &mut Tape::new(),
            &JsonLimits::default(),
        )
    }

    #[test]
    fn what_was_embedded_comes_out_the_same() {
        for text in [
            "{}",
            "1.10",
            "{\"a\": \"\\u00e9\\\\ \\\"é\",\n\t\"b\":[1e5]}",
            "null",
        ] {
            let value = RawJson::from_checked(Bytes::copy_from_slice(text.as_bytes()));
            let string = embed(&value);
            assert_eq!(string.unescape(), text);
            let back = extract(&string, &mut Tape::new(), &JsonLimits::default());
            assert_eq!(back.unwrap().unwrap(), value);
        }
    }

    #[test]
    fn nothing_is_no_value_and_rubbish_is_an_error() {
        assert_eq!(extracted("").unwrap(), None);
        assert_eq!(extracted(" \n").unwrap(), None);
        assert_eq!(extracted(" {} ").unwrap(), Some(RawJson::EMPTY_OBJECT));
        assert_eq!(extracted("{\"a\":").unwrap_err().offset, 5);
        assert!(extracted("{} {}").is_err());
    }

    #[test]
    fn a_string_gets_its_quotes() {
        assert_eq!(
            string(&JsonStr::escape("a\"b")).text().as_ref(),
            br#""a\"b""#
        );
    }
}
