//! Which paths there are, what may be done with them, and which API a caller of them speaks.

use http::Method;

use crate::dialect::Dialect;
use crate::wire::http1::RequestHead;

/// What a request is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Endpoint {
    /// Generate, in the API of this dialect.
    Generate(Dialect),
    /// `GET /health`: the process is alive.
    Health,
    /// `GET /metrics`: how all is, in numbers.
    Metrics,
    /// `GET /v1/models/{id}`.
    Model(String),
    /// `GET /v1/models`.
    Models,
    /// `GET /ready`: requests are welcome.
    Ready,
    /// `HEAD /` and `GET /`: somebody looks whether anything is here (Claude Code does).
    Root,
}

/// Why a request is for nothing that there is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum NoEndpoint {
    /// 404.
    Unknown,
    /// 405, and what is allowed.
    Method(&'static str),
}

/// Finds what `head` is for. The query says nothing about that (`/v1/messages?beta=true`).
pub(super) fn find(head: &RequestHead) -> Result<Endpoint, NoEndpoint> {
    let path = head.path();
    let (endpoint, is_post) = match path {
        "/v1/messages" => (Endpoint::Generate(Dialect::Anthropic), true),
        "/v1/chat/completions" | "/chat/completions" => {
            (Endpoint::Generate(Dialect::OpenAiChat), true)
        }
        "/v1/models" | "/models" => (Endpoint::Models, false),
        "/health" => (Endpoint::Health, false),
        "/metrics" => (Endpoint::Metrics, false),
        "/ready" => (Endpoint::Ready, false),
        "/" => (Endpoint::Root, false),
        _ => match path.strip_prefix("/v1/models/") {
            Some(id) if !id.is_empty() => (Endpoint::Model(percent_decode(id)), false),
            _ => return Err(NoEndpoint::Unknown),
        },
    };
    let is_get = head.method == Method::GET || head.method == Method::HEAD;
    match (is_post, is_get) {
        (true, _) if head.method == Method::POST => Ok(endpoint),
        (true, _) => Err(NoEndpoint::Method("POST")),
        (false, true) => Ok(endpoint),
        (false, false) => Err(NoEndpoint::Method("GET, HEAD")),
    }
}

/// The API in whose form the caller expects errors and lists, also for a path that there is not.
pub(super) fn dialect(head: &RequestHead) -> Dialect {
    dialect_of(head.path(), || head.fields.contains(MESSAGES_FIELD))
}

/// What is guessed of a request whose head cannot be understood, or has not come whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glimpse {
    /// In whose form errors are told.
    pub(super) dialect: Dialect,
    /// The answer to it has no body (RFC 9110 §9.3.2).
    pub(super) is_head: bool,
}

impl Glimpse {
    /// Heads are looked at no further.
    const BYTES_MAX: usize = 4096;

    /// Looks at the bytes of a head, as far as they are there.
    pub(super) fn of(head: &[u8]) -> Glimpse {
        let head = head.get(..Glimpse::BYTES_MAX).unwrap_or(head);
        Glimpse {
            dialect: dialect_of_bytes(head),
            is_head: is_start(head.trim_ascii_start(), b"HEAD "),
        }
    }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn is_start(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(one, other)| one == other)
}

fn dialect_of_bytes(head: &[u8]) -> Dialect {
    let mut lines = head.split(|&byte| byte == b'\n');
    let start = lines.next().unwrap_or_default();
    let target = start.split(|&byte| byte == b' ').nth(1);
    let path = core::str::from_utf8(target.unwrap_or_default()).unwrap_or_default();
    dialect_of(path, || {
        lines.any(|line| {
            let name = line.split(|&byte| byte == b':').next();
            name.is_some_and(|name| name.eq_ignore_ascii_case(MESSAGES_FIELD.as_bytes()))
        })
    })
}

/// Clients of Messages send it, and no others do.
const MESSAGES_FIELD: &str = "anthropic-version";

fn dialect_of(path: &str, has_messages_field: impl FnOnce() -> bool) -> Dialect {
    if path.starts_with("/v1/messages") || path.starts_with("/v1/complete") {
        return Dialect::Anthropic;
    }
    if path.contains("/chat/") {
        return Dialect::OpenAiChat;
    }
    if has_messages_field() {
        Dialect::Anthropic
    } else {
        Dialect::OpenAiChat
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1); what is not well-formed stays as it is.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| core::str::from_utf8(hex).ok());
        match digits.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(
            percent_decode("openrouter%2Fmeta%2fllama"),
            "openrouter/meta/llama"
        );
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz"), "%zz");
    }
}
