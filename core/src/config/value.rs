//! Texts with a meaning of their own: lengths of time, sizes, field names and values, patterns of
//! model names. Each reader answers with the value or a [`Fault`] that says what would be right.

use core::time::Duration;

/// The longest time that can be set; far below what the clock's nanoseconds can hold.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is wrong with a text, and what to write instead.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(message: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            help: Some(help.into()),
        }
    }
}

/// A length of time: numbers with `ms`, `s`, `m`, `h` or `d`, such as `10s`, `1m30s`, `0.5s`.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let wrong = || {
        Fault::help(
            format!("{text:?} is not a length of time"),
            "write a number and its unit, ms, s, m, h or d: \"500ms\", \"10s\", \"1m30s\"",
        )
    };
    let mut total = 0f64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(wrong)?;
        total += number
            * match unit {
                "ms" => 0.001,
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return Err(wrong()),
            };
        rest = after;
    }
    let limit = DURATION_MAX.as_secs_f64();
    if !(0.001..=limit).contains(&total) {
        return Err(Fault::new(format!(
            "{text:?} is out of range: from 1ms to 7d"
        )));
    }
    // Whole microseconds: the sum of the parts is not exact beyond.
    Ok(Duration::from_micros((total * 1e6).round() as u64))
}

/// A size in bytes: a number with `B`, `KiB`, `MiB`, `GiB` or `KB`, `MB`, `GB`.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let wrong = || {
        Fault::help(
            format!("{text:?} is not a size"),
            "write a number and its unit, B, KiB, MiB or GiB: \"64KiB\", \"32MiB\"",
        )
    };
    let (number, unit, after) = number_and_unit(text.trim()).ok_or_else(wrong)?;
    let scale: f64 = match unit.to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "kib" | "k" => 1024.0,
        "mib" | "m" => 1024.0 * 1024.0,
        "gib" | "g" => 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return Err(wrong()),
    };
    if !after.is_empty() {
        return Err(wrong());
    }
    // A cast from float to integer saturates; the range of each limit is checked by its reader.
    Ok((number * scale).round() as u64)
}

/// Takes `12.5` and the letters behind it off the front of `text`.
fn number_and_unit(text: &str) -> Option<(f64, &str, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start();
    let letters = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    Some((number.parse().ok()?, unit, rest.trim_start()))
}

/// A field name (RFC 9110 §5.1), in lower case.
pub(super) fn field_name(text: &str) -> Result<String, Fault> {
    if text.is_empty() || !text.bytes().all(is_token_byte) {
        return Err(Fault::new(format!("{text:?} is not a header name")));
    }
    Ok(text.to_ascii_lowercase())
}

/// A field name that may end in `*`, in lower case.
pub(super) fn field_pattern(text: &str) -> Result<String, Fault> {
    let name = text.strip_suffix('*').unwrap_or(text);
    if name.contains('*') {
        return Err(Fault::new(format!("{text:?} has a `*` before its end")));
    }
    // Without a name before it, `*` would pass what the client's network added as well.
    field_name(name).map_err(|_| Fault::new(format!("{text:?} is not a header name")))?;
    Ok(text.to_ascii_lowercase())
}

/// A field value (RFC 9110 §5.5) of visible ASCII characters, blanks and tabs.
pub(super) fn field_value(text: &str) -> Result<&str, Fault> {
    let trimmed = text.trim_matches([' ', '\t']);
    let allowed = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    if trimmed.len() != text.len() || !text.bytes().all(allowed) {
        return Err(Fault::new(
            "a header value holds visible ASCII characters, and blanks between them",
        ));
    }
    Ok(text)
}

/// A key as it can be sent in a field: visible ASCII characters without blanks.
pub(super) fn key(text: &str) -> Result<&str, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::new("the key is empty"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::new(
            "the key holds blanks or characters that no header can carry",
        ));
    }
    Ok(text)
}

/// A model name or a pattern of them.
pub(super) fn pattern(text: &str) -> Result<&str, Fault> {
    if text.is_empty() {
        return Err(Fault::new("a model name cannot be empty"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Fault::new(format!("{text:?} has a blank in it")));
    }
    if text.contains("**") || text.contains(['?', '{', '}']) {
        return Err(Fault::help(
            format!("{text:?} is not a pattern of model names"),
            "the only wildcard is a single `*`; it stands for any characters, also none",
        ));
    }
    Ok(text)
}

/// The fields that frame a message or belong to one hop: the gateway alone writes them.
pub(super) fn is_framing_field(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "accept-encoding"
            | "expect"
    )
}

/// The fields in which clients send their credentials.
pub(super) fn is_credential_field(name: &str) -> bool {
    matches!(
        name,
        "authorization" | "x-api-key" | "api-key" | "x-goog-api-key" | "cookie"
    )
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("0.5s", 500),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "", " ", "10", "s", "10x", "1.2.3s", "-5s", "8d", "0s", "1e9s", "10s,", "∞",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("64KiB", 65536),
            ("1.5 MiB", 1_572_864),
            ("1GiB", 1 << 30),
            ("10kb", 10_000),
            ("100B", 100),
            ("1m", 1 << 20),
            ("99999999999999GiB", u64::MAX),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "KiB", "64KiB2", "1 TiB", "-1B", "0x10B"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_and_values_of_fields_are_checked() {
        assert_eq!(field_name("X-Api-Key").as_deref(), Ok("x-api-key"));
        assert_eq!(field_pattern("X-Foo-*").as_deref(), Ok("x-foo-*"));
        for name in ["", "a b", "a:", "ü", "a\n"] {
            assert!(field_name(name).is_err(), "{name}");
        }
        for name in ["*", "a*b", "a**", "a b*"] {
            assert!(field_pattern(name).is_err(), "{name}");
        }
        assert!(field_value("a b, c").is_ok() && field_value("").is_ok());
        for value in [" a", "a\r\nb: c", "ü", "a\u{7f}"] {
            assert!(field_value(value).is_err(), "{value:?}");
        }
        assert_eq!(key(" sk-1\n"), Ok("sk-1"));
        for text in ["", " \n", "a b", "a\nb", "schlüssel"] {
            assert!(key(text).is_err(), "{text:?}");
        }
    }
}
