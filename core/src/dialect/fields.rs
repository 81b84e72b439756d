//! Reading typed values out of a document, with failures that name the place. `null` counts as left
//! out, as it does in the vendors' own APIs.

use crate::base::JsonStr;
use crate::ir::{Failure, Number};
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

/// An object without its member `key`; `message` is how its API says so.
pub(super) fn missing(object: Value<'_>, key: &str, message: &str) -> Box<Failure> {
    let around = object.path();
    let path = if around.is_empty() {
        key.to_owned()
    } else {
        format!("{around}.{key}")
    };
    Box::new(Failure::invalid(path, message))
}

/// A member that must be there.
pub(super) fn required<'t>(object: Value<'t>, key: &str) -> Checked<Value<'t>> {
    given(object, key).ok_or_else(|| missing(object, key, "is required"))
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
    const EXPECTED: &str = "an integer that is not negative";
    value.as_u64().ok_or_else(|| match value.kind() {
        Kind::Number => fault(value, &format!("must be {EXPECTED}")),
        _ => wrong(value, EXPECTED),
    })
}

/// A whole number not below zero as it is written, but for a form that not every API reads as one
/// (`1e3`, `16.0`).
pub(super) fn whole_number(value: Value<'_>) -> Checked<Number> {
    let count = count(value)?;
    let written = Number(value.raw());
    Ok(match written.as_u64() {
        Some(_) => written,
        None => Number::from(count),
    })
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
