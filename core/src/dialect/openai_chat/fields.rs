//! Reading typed values out of a request, with errors that name the place. `null` counts as left
//! out, as it does at OpenAI.

use crate::base::JsonStr;
use crate::ir::{Failure, Number, Source};
use crate::wire::json::{Kind, Value};

/// What a reader gives, or what the client did wrong.
pub(super) type Checked<T> = Result<T, Box<Failure>>;

/// A request that is wrong at `value`.
pub(super) fn fault(value: Value<'_>, message: &str) -> Box<Failure> {
    Box::new(Failure::invalid(value.path(), message))
}

/// A value of the wrong type.
pub(super) fn wrong(value: Value<'_>, expected: &str) -> Box<Failure> {
    fault(value, &format!("must be {expected}, not {}", value.kind()))
}

/// A member that must be there.
pub(super) fn required<'t>(object: Value<'t>, key: &str) -> Checked<Value<'t>> {
    if let Some(value) = given(object, key) {
        return Ok(value);
    }
    let around = object.path();
    let path = if around.is_empty() {
        key.to_owned()
    } else {
        format!("{around}.{key}")
    };
    Err(Box::new(Failure::invalid(path, "is required")))
}

/// A member that is there and not null.
pub(super) fn given<'t>(object: Value<'t>, key: &str) -> Option<Value<'t>> {
    object.get(key).filter(|value| !value.is_null())
}

/// A string.
pub(super) fn string(value: Value<'_>) -> Checked<JsonStr> {
    value.as_str().ok_or_else(|| wrong(value, "a string"))
}

/// A string that names one of few things, to be matched on. Hardly ever escaped; and if it is, then
/// it is none of them.
pub(super) fn word(value: Value<'_>) -> Checked<&[u8]> {
    value.escaped().ok_or_else(|| wrong(value, "a string"))
}

/// A member of an object that is a string, if given.
pub(super) fn string_in(object: Value<'_>, key: &str) -> Checked<Option<JsonStr>> {
    given(object, key).map(string).transpose()
}

/// `true` or `false`.
pub(super) fn boolean(value: Value<'_>) -> Checked<bool> {
    value.as_bool().ok_or_else(|| wrong(value, "a boolean"))
}

/// Any number, as it is written.
pub(super) fn number(value: Value<'_>) -> Checked<Number> {
    match value.kind() {
        Kind::Number => Ok(Number(value.raw())),
        _ => Err(wrong(value, "a number")),
    }
}

/// A whole number not below zero.
pub(super) fn count(value: Value<'_>) -> Checked<u64> {
    value
        .as_u64()
        .ok_or_else(|| wrong_number(value, "a whole number not below 0"))
}

/// An object.
pub(super) fn object(value: Value<'_>) -> Checked<Value<'_>> {
    match value.kind() {
        Kind::Object => Ok(value),
        _ => Err(wrong(value, "an object")),
    }
}

/// An array.
pub(super) fn array(value: Value<'_>) -> Checked<Value<'_>> {
    match value.kind() {
        Kind::Array => Ok(value),
        _ => Err(wrong(value, "an array")),
    }
}

/// The source that an address names: the data itself where it is a `data:` URL (RFC 2397), as a
/// slice.
pub(super) fn source(url: JsonStr) -> Result<Source, &'static str> {
    let escaped = url.escaped();
    if !escaped.starts_with(b"data:") {
        return Ok(Source::Url {
            url,
            media_type: None,
        });
    }
    let Some(comma) = memchr::memchr(b',', escaped) else {
        return Err("is a data URL without a comma");
    };
    let head = JsonStr::from_checked(escaped.slice(5..comma));
    let data = JsonStr::from_checked(escaped.slice(comma + 1..));
    let text = head.unescape();
    let Some(described) = text.strip_suffix(";base64") else {
        return Err("must be base64 where it is a data URL");
    };
    let media_type = described.split(';').next().unwrap_or_default();
    let media_type = match media_type {
        "" => JsonStr::from_static("text/plain"),
        // The slice, where it is no other text than that.
        _ if head.escaped().starts_with(media_type.as_bytes()) => {
            JsonStr::from_checked(head.escaped().slice(..media_type.len()))
        }
        _ => JsonStr::escape(media_type),
    };
    Ok(Source::Base64 { media_type, data })
}

fn wrong_number(value: Value<'_>, expected: &str) -> Box<Failure> {
    match value.kind() {
        Kind::Number => fault(value, &format!("must be {expected}")),
        _ => wrong(value, expected),
    }
}
