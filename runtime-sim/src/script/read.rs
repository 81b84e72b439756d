//! [`take_request`]: what an upstream is asked, read as strictly as a server may.

use serde_json::Value;
use tollgate_core::dialect::Dialect;

/// A request as it came.
pub(super) struct Request {
    pub(super) marker: String,
    /// The key that it came with.
    pub(super) key: Option<String>,
    pub(super) content: String,
    /// How the answer is to begin: what the model is taken to have said already.
    pub(super) prefill: Option<String>,
    pub(super) stream: bool,
    pub(super) with_usage: bool,
}

/// Takes one request out of `input`, once it is whole. It must be one that a strict server takes.
pub(super) fn take_request(
    input: &mut Vec<u8>,
    dialect: Dialect,
) -> Result<Option<Request>, String> {
    let Some(end) = input.windows(4).position(|at| at == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = core::str::from_utf8(&input[..end]).map_err(|_| "a head that is not text")?;
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default();
    let path = match dialect {
        Dialect::Anthropic => "/v1/messages",
        Dialect::OpenAiChat => "/v1/chat/completions",
    };
    if start != format!("POST {path} HTTP/1.1") {
        return Err(format!("the request line {start:?}"));
    }
    let mut length = None;
    let mut hosts = 0;
    let mut key = None;
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else {
            return Err(format!("the field line {line:?}"));
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" if length.is_none() => length = value.parse::<usize>().ok(),
            "content-length" | "transfer-encoding" => return Err(format!("framing: {head:?}")),
            "host" => hosts += 1,
            "authorization" | "x-api-key" if key.is_none() => {
                let value = value.strip_prefix("Bearer ").unwrap_or(value);
                key = Some(value.to_owned());
            }
            "authorization" | "x-api-key" => return Err(format!("two keys: {head:?}")),
            _ => {}
        }
    }
    let Some(length) = length.filter(|_| hosts == 1) else {
        return Err(format!("no length, or not one host: {head:?}"));
    };
    let begin = end + 4;
    if input.len() < begin + length {
        return Ok(None);
    }
    let body: Value = serde_json::from_slice(&input[begin..begin + length])
        .map_err(|error| format!("the body: {error}"))?;
    input.drain(..begin + length);
    let (content, prefill) = content_of(&body).ok_or_else(|| format!("no content in {body}"))?;
    let (marker, _) = content.split_once(' ').ok_or("no marker")?;
    let marker = marker.to_owned();
    let stream = body["stream"].as_bool().unwrap_or(false);
    let with_usage = body["stream_options"]["include_usage"]
        .as_bool()
        .unwrap_or(false);
    Ok(Some(Request {
        marker,
        key,
        content,
        prefill,
        stream,
        with_usage,
    }))
}

/// What the user says, and behind it perhaps the model.
fn content_of(body: &Value) -> Option<(String, Option<String>)> {
    let messages = body["messages"].as_array()?;
    let text = |message: &Value| {
        let content = &message["content"];
        let text = content.as_str().or_else(|| content[0]["text"].as_str())?;
        Some(text.to_owned())
    };
    match messages.as_slice() {
        [.., user, model] if model["role"] == "assistant" => {
            Some((text(user)?, Some(text(model)?)))
        }
        [.., user] => Some((text(user)?, None)),
        [] => None,
    }
}
