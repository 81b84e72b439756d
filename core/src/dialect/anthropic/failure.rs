//! Failures: [`decode`] what a Messages upstream answers when it fails, [`encode`] any failure for
//! a Messages client.

use bytes::Bytes;

use super::overflow;
use crate::base::{JsonStr, Limits, OutBuf};
use crate::dialect::failure;
use crate::ir::{Class, Failure};
use crate::wire::json::{Kind, Tape, Value, Writer};

/// Reads the body of an answer with an error status, whatever it is.
pub fn decode(status: u16, body: &Bytes, limits: &Limits) -> Failure {
    let mut tape = Tape::new();
    match tape.parse(body, &limits.json) {
        Ok(root) if matches!(root.kind(), Kind::Object | Kind::Array | Kind::String) => {
            from_json(Some(status), root)
        }
        _ => from_text(status, body),
    }
}

/// Whether an event that is none of the API's tells an error: it has one, and no type.
pub(super) fn is_untyped(root: Value<'_>) -> bool {
    let error = root.get("error").filter(|error| !error.is_null());
    error.is_some() && root.get("type").is_none()
}

/// Reads an error in JSON: a whole body, or the data of an `error` event, which has no status.
pub(super) fn from_json(status: Option<u16>, root: Value<'_>) -> Failure {
    let holder = root.elements().next().unwrap_or(root);
    let error = holder.get("error").filter(|error| !error.is_null());
    let inner = error.unwrap_or(holder);
    let text = |value: Option<Value<'_>>| {
        let text = value.and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let message = text(Some(inner))
        .or_else(|| text(inner.get("message")))
        .or_else(|| text(inner.get("Message")))
        .or_else(|| text(holder.get("message")))
        .or_else(|| text(holder.get("detail")))
        .or_else(|| inner.get("detail").map(show));
    let kind = text(inner.get("type")).filter(|kind| error.is_some() || !kind.is("error"));
    let code = inner.get("code").filter(|code| !code.is_null());
    let message = message.unwrap_or_else(|| JsonStr::escape(&failure::says_nothing(status)));
    let words = |value: Option<&JsonStr>| value.map(|it| it.unescape().into_owned());
    let class = class(
        status,
        words(kind.as_ref()).as_deref().unwrap_or_default(),
        code.and_then(Value::as_text).as_deref().unwrap_or_default(),
        &message.unescape(),
    );
    Failure {
        upstream_status: status,
        message: message.detach(),
        kind: kind.map(|kind| kind.detach()),
        code: code.map(|code| code.raw().detach()),
        param: text(inner.get("param")).map(|param| param.detach()),
        ..Failure::new(class, "")
    }
}

fn from_text(status: u16, body: &[u8]) -> Failure {
    let plain = failure::plain(status, body);
    let class = match plain.is_page {
        true => Class::from_status(status),
        false => class(Some(status), "", "", &plain.message),
    };
    Failure {
        upstream_status: Some(status),
        ..Failure::new(class, plain.message)
    }
}

/// A member that is no string, as it is written.
fn show(value: Value<'_>) -> JsonStr {
    JsonStr::escape(&failure::cut(&String::from_utf8_lossy(value.raw_text())))
}

/// What kind of failure it is: by its words where they say more than its type, then by its type,
/// then by the status.
fn class(status: Option<u16>, kind: &str, code: &str, message: &str) -> Class {
    let message = message.to_ascii_lowercase();
    if failure::is_overflow(&message) || code == "context_length_exceeded" {
        return Class::ContextLength;
    }
    let says = |words: &str| message.contains(words);
    let client_error = status.is_none_or(|status| (400..500).contains(&status));
    if client_error && (says("credit balance is too low") || code == "insufficient_quota") {
        return Class::Billing;
    }
    if says("content filtering policy") || code == "content_filter" {
        return Class::ContentFilter;
    }
    if code == "tool_use_failed" {
        return Class::ToolGeneration;
    }
    let by_kind = match kind {
        "authentication_error" => Class::Authentication,
        "billing_error" => Class::Billing,
        "invalid_request_error" => Class::InvalidRequest,
        "not_found_error" => Class::NotFound,
        "overloaded_error" => Class::Overloaded,
        "permission_error" => Class::Permission,
        "rate_limit_error" => Class::RateLimit,
        "request_too_large" => Class::RequestTooLarge,
        "timeout_error" => Class::Timeout,
        "api_error" if status.is_none_or(|status| status == 500) => Class::Internal,
        _ => return status.map_or(Class::Internal, Class::from_status),
    };
    match (by_kind, status) {
        // The type is the vaguer of the two: proxies use it for every refusal.
        (Class::InvalidRequest, Some(status)) if status != 400 => Class::from_status(status),
        (by_kind, _) => by_kind,
    }
}

/// Whether the request was refused because a signature of earlier reasoning is not this provider's
/// (`messages.1.content.0: Invalid `signature` in `thinking` block`): it came from another model or
/// key, or was changed on the way.
pub fn is_signature_refusal(failure: &Failure) -> bool {
    if failure.class != Class::InvalidRequest {
        return false;
    }
    let message = failure.message.unescape().to_ascii_lowercase();
    message.contains("signature") && message.contains("thinking")
}

/// Writes a failure as a Messages client expects it, and returns the HTTP status to send it with.
pub fn encode(failure: &Failure, request_id: &str, out: &mut OutBuf) -> u16 {
    let mut json = Writer::new(out);
    json.begin_object();
    write_members(failure, &mut json);
    json.key("request_id");
    json.text(request_id);
    json.end_object();
    status(failure.class)
}

/// Writes the members `type` and `error`, which the body of an answer and an `error` event share.
pub(super) fn write_members(failure: &Failure, json: &mut Writer<'_>) {
    json.key("type");
    json.text("error");
    json.key("error");
    json.begin_object();
    json.key("type");
    json.text(kind(failure.class));
    json.key("message");
    match failure.class {
        Class::ContextLength => json.text(&overflow::message(&failure.message.unescape())),
        _ => json.str(&failure.message),
    }
    json.end_object();
}

const fn status(class: Class) -> u16 {
    match class {
        Class::Overloaded => 529,
        class => class.status(),
    }
}

const fn kind(class: Class) -> &'static str {
    match class {
        Class::Authentication => "authentication_error",
        Class::Billing => "billing_error",
        Class::BadGateway | Class::Internal | Class::Unavailable => "api_error",
        Class::ContentFilter
        | Class::ContextLength
        | Class::InvalidRequest
        | Class::MethodNotAllowed
        | Class::ToolGeneration
        | Class::UnsupportedMediaType => "invalid_request_error",
        Class::NotFound => "not_found_error",
        Class::Overloaded => "overloaded_error",
        Class::Permission => "permission_error",
        Class::RateLimit => "rate_limit_error",
        Class::RequestTimeout | Class::Timeout => "timeout_error",
        Class::RequestTooLarge => "request_too_large",
    }
}

/// A second answer that begins in the middle of the first.
pub(super) fn spliced() -> Failure {
    let message = "the upstream's answer begins anew in its middle";
    Failure::new(Class::BadGateway, message)
}
