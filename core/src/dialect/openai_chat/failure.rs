//! Failures: [`decode`] reads what an upstream answers instead of a completion, in the many forms
//! the vendors have; [`encode`] writes OpenAI's.

use bytes::Bytes;

use crate::base::{JsonStr, Limits, OutBuf, RawJson};
use crate::dialect::failure;
use crate::ir::{Class, Failure};
use crate::wire::json::{Kind, Tape, Value, Writer};

/// Reads the body that came with an error status, whatever it is. Never fails: a body that says
/// nothing leaves the status to speak.
pub fn decode(status: u16, body: &Bytes, limits: &Limits) -> Failure {
    let mut tape = Tape::new();
    match tape.parse(body, &limits.json) {
        Ok(value) => from_value(Some(status), value),
        Err(_) => from_text(status, body),
    }
}

/// Writes `{"error":{…}}`; returns the HTTP status. OpenAI tells the request's id in a header
/// alone.
pub fn encode(failure: &Failure, _request_id: &str, out: &mut OutBuf) -> u16 {
    let mut json = Writer::one_line(out);
    json.begin_object();
    json.key("error");
    write(failure, &mut json);
    json.end_object();
    failure.class.status()
}

/// Writes the inside of `error`.
pub(super) fn write(failure: &Failure, json: &mut Writer<'_>) {
    let (kind, code) = names(failure);
    json.begin_object();
    json.key("message");
    json.str(&failure.message);
    json.key("type");
    json.text(kind);
    json.key("param");
    match &failure.param {
        Some(param) => json.str(param),
        None => json.null(),
    }
    json.key("code");
    match code {
        Some(code) => json.text(code),
        None => json.null(),
    }
    json.end_object();
}

/// Reads an error document, or the error within a stream's event, which has no status.
pub(super) fn from_value(status: Option<u16>, document: Value<'_>) -> Failure {
    let document = match document.kind() {
        // Google's surface wraps it in a list.
        Kind::Array => document.elements().next().unwrap_or(document),
        _ => document,
    };
    let mut told = Told::default();
    let error = document.get("error").filter(|error| !error.is_null());
    match error {
        Some(error) if error.kind() == Kind::Object => told.read(error),
        Some(error) => told.message = error.as_str(),
        // Google's surface has been seen to send a bare string.
        None if document.kind() == Kind::String => told.message = document.as_str(),
        None => {}
    }
    told.read(document);
    told.join_raw();
    let class = classify(status.or_else(|| told.status()), &told);
    let message = told.message;
    let mut failure = Failure::new(class, "");
    failure.message = message.unwrap_or_else(|| JsonStr::escape(&failure::says_nothing(status)));
    failure.upstream_status = status;
    failure.kind = told.kind;
    failure.code = told.code;
    failure.param = told.param;
    failure
}

/// What an error document says, whatever it calls it.
#[derive(Default)]
struct Told {
    message: Option<JsonStr>,
    kind: Option<JsonStr>,
    code: Option<RawJson>,
    code_text: Option<JsonStr>,
    code_number: Option<u64>,
    inner_code: Option<JsonStr>,
    param: Option<JsonStr>,
    /// What a provider behind the vendor said (OpenRouter `metadata.raw`).
    raw: Option<JsonStr>,
}

impl Told {
    /// Takes what is not known yet.
    fn read(&mut self, object: Value<'_>) {
        for (key, value) in object.members() {
            let text = || value.as_str().filter(|text| !text.is_empty());
            match key.escaped() {
                _ if value.is_null() => {}
                b"message" | b"msg" => self.message = self.message.take().or_else(text),
                b"detail" | b"errors" | b"title" if self.message.is_none() => {
                    self.message = detail(value);
                }
                b"type" | b"status" => self.kind = self.kind.take().or_else(text),
                b"param" => self.param = self.param.take().or_else(text),
                b"code" if self.code.is_none() => {
                    self.code = Some(value.raw());
                    self.code_text = text();
                    self.code_number = value.as_u64();
                }
                b"innererror" => self.inner_code = value.get("code").and_then(Value::as_str),
                b"metadata" => self.raw = value.get("raw").and_then(Value::as_str),
                _ => {}
            }
        }
    }

    fn status(&self) -> Option<u16> {
        let number = self.code_number.or_else(|| {
            let text = self.code_text.as_ref()?.unescape();
            text.parse().ok()
        });
        let status = u16::try_from(number?).ok()?;
        (400..600).contains(&status).then_some(status)
    }

    /// The vendor in front says no more than that the one behind it failed.
    fn join_raw(&mut self) {
        let raw = self.raw.take().filter(|raw| !raw.is_empty());
        if let (Some(message), Some(raw)) = (&mut self.message, raw) {
            *message = message.concat(&JsonStr::from_static(": ")).concat(&raw);
        }
    }
}

/// FastAPI's `detail`: text, or a list of faults with `msg` and `loc`.
fn detail(value: Value<'_>) -> Option<JsonStr> {
    match value.kind() {
        Kind::String => value.as_str().filter(|text| !text.is_empty()),
        Kind::Array => value.elements().next().and_then(detail),
        Kind::Object => ["msg", "message", "detail"]
            .iter()
            .find_map(|key| value.get(key)?.as_str()),
        _ => None,
    }
}

/// Words of vendors' codes and types, in lower case, that tell the class by themselves.
fn class_of_word(word: &str) -> Option<Class> {
    Some(match word {
        "context_length_exceeded"
        | "context_window_exceeded"
        | "model_context_window_exceeded"
        | "max_context_length_exceeded"
        | "prompt_too_long"
        | "exceed_context_size_error" => Class::ContextLength,
        "content_filter"
        | "content_policy_violation"
        | "responsibleaipolicyviolation"
        | "data_inspection_failed"
        | "content_moderation"
        | "moderation_blocked"
        | "content_filter_error"
        | "new_api_sensitive_words"
        | "sensitive_words_detected" => Class::ContentFilter,
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "insufficient_balance"
        | "insufficient_credits"
        | "payment_required"
        | "quota_exceeded"
        | "billing_error"
        | "insufficient_user_quota" => Class::Billing,
        "rate_limit_exceeded"
        | "rate_limit_error"
        | "ratelimitreached"
        | "too_many_requests"
        | "resource_exhausted"
        | "rate_limited"
        | "toomanyrequests"
        | "rate_limit" => Class::RateLimit,
        "overloaded_error"
        | "overloaded"
        | "engine_overloaded"
        | "engine_overloaded_error"
        | "server_overloaded"
        | "capacity_exceeded"
        | "slow_down"
        | "service_tier_capacity_exceeded" => Class::Overloaded,
        "tool_use_failed" | "output_parse_failed" | "json_validate_failed" => Class::ToolGeneration,
        "invalid_api_key"
        | "authentication_error"
        | "unauthenticated"
        | "unauthorized"
        | "invalid_authentication_error"
        | "account_deactivated" => Class::Authentication,
        "permission_error" | "permission_denied" | "forbidden" | "request_forbidden" => {
            Class::Permission
        }
        "model_not_found" | "not_found_error" | "deploymentnotfound" | "not_found"
        | "unknown_model" | "notfounderror" => Class::NotFound,
        "request_too_large" => Class::RequestTooLarge,
        "timeout" | "timeout_error" | "deadline_exceeded" | "request_timeout" => Class::Timeout,
        _ => return None,
    })
}

/// What vendors' sentences say where their codes say nothing, in lower case.
const SENTENCES: &[(&str, Class)] = &[
    ("content management policy", Class::ContentFilter),
    ("usage policies", Class::ContentFilter),
    ("safety system", Class::ContentFilter),
    ("exceeded your current quota", Class::Billing),
    ("insufficient balance", Class::Billing),
    ("insufficient credits", Class::Billing),
    ("insufficient funds", Class::Billing),
    ("out of credits", Class::Billing),
    ("incorrect api key", Class::Authentication),
    ("invalid api key", Class::Authentication),
    ("api key not valid", Class::Authentication),
];

fn classify(status: Option<u16>, told: &Told) -> Class {
    let words = [&told.code_text, &told.inner_code, &told.kind];
    for word in words.into_iter().flatten() {
        if let Some(class) = class_of_word(&word.unescape().to_ascii_lowercase()) {
            return class;
        }
    }
    let sentence = told
        .message
        .as_ref()
        .map(|it| it.unescape().to_ascii_lowercase());
    let sentence = sentence.unwrap_or_default();
    let by_client = status.is_none_or(|status| status < 500);
    if by_client {
        if failure::is_overflow(&sentence) {
            return Class::ContextLength;
        }
        let said = SENTENCES.iter().find(|(words, _)| sentence.contains(words));
        if let Some((_, class)) = said {
            return *class;
        }
    }
    let busy = sentence.contains("overloaded") || sentence.contains("at capacity");
    if busy && status.is_none_or(|status| status >= 500) {
        return Class::Overloaded;
    }
    match status {
        Some(status) => Class::from_status(status),
        None => match told.kind.as_ref().map(|kind| kind.unescape()).as_deref() {
            Some("server_error" | "api_error" | "internal_server_error" | "INTERNAL") => {
                Class::Internal
            }
            Some("invalid_request_error" | "BadRequestError" | "INVALID_ARGUMENT") => {
                Class::InvalidRequest
            }
            Some("service_unavailable" | "UNAVAILABLE") => Class::Unavailable,
            _ => Class::BadGateway,
        },
    }
}

fn from_text(status: u16, body: &[u8]) -> Failure {
    let plain = failure::plain(status, body);
    let class = match plain.is_page {
        true => Class::from_status(status),
        false => classify(
            Some(status),
            &Told {
                message: Some(JsonStr::escape(&plain.message)),
                ..Told::default()
            },
        ),
    };
    Failure {
        upstream_status: Some(status),
        ..Failure::new(class, plain.message)
    }
}

/// A stream that came to its end and said nothing.
pub(super) fn unanswered() -> Failure {
    let message = "the upstream's stream ended without an answer";
    Failure::new(Class::BadGateway, message)
}

/// OpenAI's `type` and `code` of a class.
fn names(failure: &Failure) -> (&'static str, Option<&'static str>) {
    const INVALID: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    match failure.class {
        Class::Authentication => (INVALID, Some("invalid_api_key")),
        Class::Billing => ("insufficient_quota", Some("insufficient_quota")),
        Class::ContentFilter => (INVALID, Some("content_filter")),
        Class::ContextLength => (INVALID, Some("context_length_exceeded")),
        Class::InvalidRequest => (INVALID, None),
        Class::MethodNotAllowed => (INVALID, Some("method_not_supported")),
        // A path that does not exist has no code.
        Class::NotFound => {
            let of_model = failure
                .param
                .as_ref()
                .is_some_and(|param| param.is("model"));
            let told = of_model || failure.upstream_status.is_some();
            (INVALID, told.then_some("model_not_found"))
        }
        Class::Permission => ("permission_error", Some("permission_denied")),
        Class::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        Class::RequestTimeout => (INVALID, Some("request_timeout")),
        Class::RequestTooLarge => (INVALID, Some("request_too_large")),
        Class::ToolGeneration => (INVALID, Some("tool_use_failed")),
        Class::UnsupportedMediaType => (INVALID, Some("unsupported_media_type")),
        Class::BadGateway => (SERVER, Some("bad_gateway")),
        Class::Internal => (SERVER, Some("internal_error")),
        Class::Overloaded => (SERVER, Some("overloaded")),
        Class::Timeout => (SERVER, Some("timeout")),
        Class::Unavailable => (SERVER, Some("service_unavailable")),
    }
}
