//! The characters and small grammars of RFC 9110 §5.6 and RFC 3986 that both directions check.

use http::Method;

use super::fields::list;

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const HOST: u8 = 4;
const VALUE: u8 = 8;

/// What each byte may be part of.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let is_alphanumeric = (byte as u8).is_ascii_alphanumeric();
        if is_alphanumeric {
            classes[byte] |= TOKEN | TARGET | HOST;
        }
        // RFC 9110 §5.5: field values are visible characters, SP, HTAB and obs-text.
        if byte == 0x09 || (byte >= 0x20 && byte != 0x7F) {
            classes[byte] |= VALUE;
        }
        byte += 1;
    }
    mark(&mut classes, b"!#$%&'*+-.^_`|~", TOKEN);
    // RFC 3986 §2: unreserved, sub-delims, gen-delims but `#`, and the `%` of an escape.
    mark(&mut classes, b"-._~!$&'()*+,;=:/?[]@%", TARGET);
    // RFC 3986 §3.2.2: reg-name.
    mark(&mut classes, b"-._~!$&'()*+,;=%", HOST);
    classes
}

const fn mark(classes: &mut [u8; 256], bytes: &[u8], class: u8) {
    let mut at = 0;
    while at < bytes.len() {
        classes[bytes[at] as usize] |= class;
        at += 1;
    }
}

fn all(bytes: &[u8], class: u8) -> bool {
    // Without an early exit the loop has no branch on data, and invalid bytes are rare.
    bytes
        .iter()
        .fold(class, |seen, byte| seen & CLASSES[usize::from(*byte)])
        == class
}

/// Whether `byte` may be in a token (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// Whether `bytes` is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Whether `bytes` is a field value (RFC 9110 §5.5): no control characters but HTAB.
pub(super) fn is_field_value(bytes: &[u8]) -> bool {
    all(bytes, VALUE)
}

/// Whether `byte` may be in a field value.
pub(super) fn is_value_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & VALUE != 0
}

/// `bytes` without the SP and HTAB around it.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether the comma-separated list `value` has the element `token`, without case.
pub(super) fn has_token(value: &[u8], token: &[u8]) -> bool {
    list(value).any(|item| item.eq_ignore_ascii_case(token))
}

/// A decimal number of digits only, as Content-Length has it (RFC 9110 §8.6).
pub(super) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// Whether `host` is a non-empty `uri-host [":" port]` (RFC 9112 §3.2). RFC 3986 lets the host be
/// empty, RFC 9110 §4.2.1 does not for http. Userinfo has no place here (RFC 9110 §4.2.4).
pub(super) fn is_host(host: &[u8]) -> bool {
    let (is_name_valid, rest) = if let [b'[', inside @ ..] = host {
        let Some(end) = memchr::memchr(b']', inside) else {
            return false;
        };
        let (address, rest) = inside.split_at(end);
        let is_address = |byte: &u8| byte.is_ascii_alphanumeric() || b":.-_~%".contains(byte);
        (
            address.contains(&b':') && address.iter().all(is_address),
            rest.get(1..).unwrap_or_default(),
        )
    } else {
        let end = memchr::memchr(b':', host).unwrap_or(host.len());
        let (name, rest) = host.split_at(end);
        (!name.is_empty() && all(name, HOST), rest)
    };
    let is_port_valid = match rest {
        [] => true,
        [b':', port @ ..] => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_name_valid && is_port_valid
}

/// Where the parts of a request target lie in it, as (start, end).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct TargetParts {
    /// Host and port of the absolute form and of the authority form.
    pub(super) authority: (u32, u32),
    pub(super) path: (u32, u32),
    pub(super) query: Option<(u32, u32)>,
}

/// Takes a request target apart; `None` if it has none of the forms that the method allows
/// (RFC 9112 §3.2).
pub(super) fn parse_target(method: &Method, target: &[u8]) -> Option<TargetParts> {
    let len = u32::try_from(target.len()).ok()?;
    if target.is_empty() || !all(target, TARGET) {
        return None;
    }
    // RFC 9112 §3.2.3: the authority form is only used for CONNECT, which has no other.
    if method == Method::CONNECT {
        let port = target.get(memchr::memrchr(b':', target)? + 1..)?;
        let is_port = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
        return (is_port && is_host(target)).then_some(TargetParts {
            authority: (0, len),
            ..TargetParts::default()
        });
    }
    // RFC 9112 §3.2.4: the asterisk form is only used for OPTIONS.
    if target == b"*" {
        return (method == Method::OPTIONS).then_some(TargetParts {
            path: (0, len),
            ..TargetParts::default()
        });
    }
    let (authority, path_at) = match target {
        [b'/', ..] => ((0, 0), 0),
        _ => absolute_authority(target)?,
    };
    let rest = target.get(path_at as usize..)?;
    let query_at = memchr::memchr(b'?', rest).and_then(|at| u32::try_from(at).ok());
    let (path_end, query) = match query_at {
        None => (len, None),
        Some(at) => (path_at + at, Some((path_at + at + 1, len))),
    };
    Some(TargetParts {
        authority,
        path: (path_at, path_end),
        query,
    })
}

/// The authority of an absolute-form target, and where its path begins (RFC 9112 §3.2.2).
fn absolute_authority(target: &[u8]) -> Option<((u32, u32), u32)> {
    let scheme_len = [&b"http://"[..], b"https://"]
        .iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })?
        .len();
    let rest = target.get(scheme_len..)?;
    let authority_len = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    if !is_host(rest.get(..authority_len)?) {
        return None;
    }
    let start = u32::try_from(scheme_len).ok()?;
    let end = u32::try_from(scheme_len + authority_len).ok()?;
    Some(((start, end), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_checked() {
        for host in [
            "a",
            "example.com",
            "example.com:80",
            "127.0.0.1:4180",
            "[::1]",
            "[::1]:80",
            "a_b:",
            "x%20",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a,b", "user@a", "a:b", "a:123456", "a:80:80", "[::1", "[]", "::1",
            "[::1]x", "a/b", "a?b", "a#b", "a\\b", "h\u{e4}",
        ] {
            // A comma is a sub-delim, and so part of a reg-name.
            assert_eq!(is_host(host.as_bytes()), host == "a,b", "{host}");
        }
    }

    #[test]
    fn targets_are_taken_apart() {
        let part =
            |target: &'static str, (start, end): (u32, u32)| &target[start as usize..end as usize];
        let cases = [
            ("/v1/messages", "", "/v1/messages", None),
            ("/a?b=c?d", "", "/a", Some("b=c?d")),
            ("//evil/x", "", "//evil/x", None),
            ("/?", "", "/", Some("")),
            ("http://h:1/p?q", "h:1", "/p", Some("q")),
            ("HTTPS://h", "h", "", None),
            ("http://h?q", "h", "", Some("q")),
        ];
        for (target, authority, path, query) in cases {
            let parts = parse_target(&Method::GET, target.as_bytes()).expect(target);
            assert_eq!(part(target, parts.authority), authority, "{target}");
            assert_eq!(part(target, parts.path), path, "{target}");
            assert_eq!(parts.query.map(|at| part(target, at)), query, "{target}");
        }
    }

    #[test]
    fn targets_without_a_form_are_refused() {
        for target in [
            "",
            "*",
            "a",
            "example.com:80",
            "http://",
            "http:///p",
            "ftp://h/",
            "http://u@h/",
            "/a#b",
            "/a b",
            "/\u{e4}",
            "/a\\b",
            "/<",
            "?a",
            "http://h\\/",
        ] {
            assert_eq!(
                parse_target(&Method::GET, target.as_bytes()),
                None,
                "{target}"
            );
        }
        assert!(parse_target(&Method::OPTIONS, b"*").is_some());
        assert!(parse_target(&Method::CONNECT, b"h:443").is_some());
        assert!(parse_target(&Method::CONNECT, b"[::1]:443").is_some());
        for target in ["h", "h:", "/", "http://h:443/", "[::1]"] {
            assert_eq!(
                parse_target(&Method::CONNECT, target.as_bytes()),
                None,
                "{target}"
            );
        }
    }

    #[test]
    fn decimals_are_digits_only_and_do_not_overflow() {
        assert_eq!(parse_decimal(b"0"), Some(0));
        assert_eq!(parse_decimal(b"00018446744073709551615"), Some(u64::MAX));
        for digits in ["", "+1", "-1", "1 ", "1,1", "0x1", "18446744073709551616"] {
            assert_eq!(parse_decimal(digits.as_bytes()), None, "{digits}");
        }
    }
}
