//! Reading members by name in one pass, and noting those that are unknown.

use crate::base::JsonStr;
use crate::dialect::fields::{self, Checked, boolean, string};
use crate::ir::{Extension, Failure, Loss, Origin};
use crate::wire::json::Value;

/// Unknown members of one request that are told of; each costs a walk through the document.
const NOTED_MAX: usize = 32;

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
pub(super) fn members<'t, const N: usize>(
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

/// The failure that `object` lacks a member.
pub(super) fn missing(object: Value<'_>, name: &str) -> Box<Failure> {
    fields::missing(object, name, "field required")
}

/// A member that must be there.
pub(super) fn required<'t>(
    object: Value<'t>,
    name: &str,
    found: Option<Value<'t>>,
) -> Checked<Value<'t>> {
    found.ok_or_else(|| missing(object, name))
}

/// A string that must be there.
pub(super) fn required_string(
    object: Value<'_>,
    name: &str,
    found: Option<Value<'_>>,
) -> Checked<JsonStr> {
    string(required(object, name, found)?)
}

/// A string that may be missing.
pub(super) fn optional_string(found: Option<Value<'_>>) -> Checked<Option<JsonStr>> {
    found.map(string).transpose()
}

/// A boolean that may be missing.
pub(super) fn optional_bool(found: Option<Value<'_>>) -> Checked<Option<bool>> {
    found.map(boolean).transpose()
}
