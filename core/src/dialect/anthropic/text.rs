//! Looks at escaped text without unescaping it.

use crate::base::JsonStr;

/// Whether there is nothing but white space. Messages refuses such text blocks.
pub(super) fn is_blank(text: &JsonStr) -> bool {
    let mut rest = text.escaped().as_ref();
    loop {
        rest = match rest {
            [] => return true,
            [b' ', after @ ..] | [b'\\', b'n' | b'r' | b't', after @ ..] => after,
            _ => return false,
        };
    }
}

/// The text without the white space at its end, which Messages refuses at the end of a begun
/// answer.
pub(super) fn trim_end(text: &JsonStr) -> JsonStr {
    let mut rest = text.escaped().as_ref();
    loop {
        rest = match rest {
            [before @ .., b' '] => before,
            [before @ .., b'\\', b'n' | b'r' | b't'] if !ends_in_open_escape(before) => before,
            _ => break,
        };
    }
    // The cut lies behind a whole character or escape.
    JsonStr::from_checked(text.escaped().slice_ref(rest))
}

/// Whether a backslash that comes next would be the second half of an escape.
fn ends_in_open_escape(text: &[u8]) -> bool {
    text.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// The text in base64 (RFC 4648 §4), if it is such and is UTF-8.
pub(super) fn from_base64(data: &JsonStr) -> Option<JsonStr> {
    let data = data.unescape();
    let digits = data.trim_end_matches('=').bytes();
    let mut bytes = Vec::with_capacity(data.len() / 4 * 3 + 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    Some(JsonStr::escape(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_seen_through_its_escapes() {
        for (text, blank, trimmed) in [
            ("", true, ""),
            (" \n\t\r", true, ""),
            ("a \n", false, "a"),
            ("a\\n", false, "a\\n"),
            ("a\\ ", false, "a\\"),
            ("\\", false, "\\"),
        ] {
            let escaped = JsonStr::escape(text);
            assert_eq!(is_blank(&escaped), blank, "{text:?}");
            assert_eq!(trim_end(&escaped).unescape(), trimmed, "{text:?}");
        }
    }

    #[test]
    fn text_comes_out_of_base64() {
        for (data, text) in [
            ("", Some("")),
            ("YQ==", Some("a")),
            ("YWI=", Some("ab")),
            ("YWJj", Some("abc")),
            ("w6kiCg==", Some("é\"\n")),
            ("/w==", None),
            ("Y Q=", None),
        ] {
            let read = from_base64(&JsonStr::escape(data));
            assert_eq!(read, text.map(JsonStr::escape), "{data}");
        }
    }
}
