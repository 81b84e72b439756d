//! Reading members by name in one pass, and the faults that a client is told of.

use crate::base::JsonStr;
use crate::ir::{Extension, Failure, Loss, Number, Origin};
use crate::wire::json::{Kind, Value};

/// Unknown members of one request that are told of; each costs a walk through the document.
const NOTED_MAX: usize = 32;

/// What is read: an outcome, or the failure to tell the client.
pub(super) type Read<T> = Result<T, Box<Failure>>;

/// Notes what a document holds that this dialect does not know.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) extensions: Vec<Extension>,
}

impl Notes {
    /// A member that has no place in the model.
    pub(super) fn add(&mut self, path: String, value: Value<'_>, loss: Loss) {
        // Said again, it says nothing new.
        let known = |it: &Extension| it.loss == loss && it.path == path;
        if loss == Loss::Harmless && self.extensions.len() >= NOTED_MAX {
            return;
        }
        if self.extensions.iter().any(known) {
            return;
        }
        self.extensions.push(Extension {
            path,
            origin: Origin::Anthropic,
            value: value.raw(),
            loss,
        });
    }

    /// A member that nobody needs to understand the rest.
    pub(super) fn unknown(&mut self, value: Value<'_>) {
        if self.extensions.len() < NOTED_MAX && !value.is_null() {
            self.add(value.path(), value, Loss::Harmless);
        }
    }
}

/// The members of `object` of these names, in one pass; `null` counts as left out, as the API has
/// it. Other members are noted.
pub(super) fn fields<'t, const N: usize>(
    object: Value<'t>,
    names: [&str; N],
    notes: &mut Notes,
) -> [Option<Value<'t>>; N] {
    let mut found = [None; N];
    for (key, value) in object.members() {
        let place = names.iter().position(|name| key.is(name));
        match place.and_then(|place| found.get_mut(place)) {
            Some(slot) => *slot = (!value.is_null()).then_some(value),
            None => notes.unknown(value),
        }
    }
    found
}

/// The failure that `value` is not what it must be.
pub(super) fn wrong(value: Value<'_>, expected: &str) -> Box<Failure> {
    let message = format!("must be {expected}, not {}", value.kind());
    Box::new(Failure::invalid(value.path(), message))
}

/// The failure that `value` is none of those that there are.
pub(super) fn wrong_value(value: Value<'_>, expected: &str) -> Box<Failure> {
    Box::new(Failure::invalid(
        value.path(),
        format!("must be {expected}"),
    ))
}

/// The failure that `object` lacks a member.
pub(super) fn missing(object: Value<'_>, name: &str) -> Box<Failure> {
    let path = object.path();
    let path = if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    };
    Box::new(Failure::invalid(path, "field required"))
}

/// A failure at `value`.
pub(super) fn fault(value: Value<'_>, message: &str) -> Box<Failure> {
    Box::new(Failure::invalid(value.path(), message))
}

/// A member that must be there.
pub(super) fn required<'t>(
    object: Value<'t>,
    name: &str,
    found: Option<Value<'t>>,
) -> Read<Value<'t>> {
    found.ok_or_else(|| missing(object, name))
}

/// A string.
pub(super) fn string(value: Value<'_>) -> Read<JsonStr> {
    value.as_str().ok_or_else(|| wrong(value, "a string"))
}

/// A string that must be there.
pub(super) fn required_string(
    object: Value<'_>,
    name: &str,
    found: Option<Value<'_>>,
) -> Read<JsonStr> {
    string(required(object, name, found)?)
}

/// A string that may be missing.
pub(super) fn optional_string(found: Option<Value<'_>>) -> Read<Option<JsonStr>> {
    found.map(string).transpose()
}

/// A boolean that may be missing.
pub(super) fn optional_bool(found: Option<Value<'_>>) -> Read<Option<bool>> {
    let read = |value: Value<'_>| value.as_bool().ok_or_else(|| wrong(value, "a boolean"));
    found.map(read).transpose()
}

/// A number.
pub(super) fn number(value: Value<'_>) -> Read<Number> {
    if value.kind() != Kind::Number {
        return Err(wrong(value, "a number"));
    }
    Ok(Number(value.raw()))
}

/// An integer from 0.
pub(super) fn integer(value: Value<'_>) -> Read<Number> {
    if value.as_u64().is_none() {
        return Err(wrong(value, "an integer that is not negative"));
    }
    Ok(Number(value.raw()))
}

/// Refuses what is no object.
pub(super) fn object<'t>(value: Value<'t>) -> Read<Value<'t>> {
    match value.kind() {
        Kind::Object => Ok(value),
        _ => Err(wrong(value, "an object")),
    }
}

/// Refuses what is no array.
pub(super) fn array<'t>(value: Value<'t>) -> Read<Value<'t>> {
    match value.kind() {
        Kind::Array => Ok(value),
        _ => Err(wrong(value, "an array")),
    }
}
