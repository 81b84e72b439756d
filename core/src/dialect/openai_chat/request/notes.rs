//! The list of fields that this model has no place for: what becomes a request's extensions.

use crate::dialect::fields::{Checked, fault};
use crate::ir::{Extension, Loss, Origin};
use crate::wire::json::{Kind, Value};

/// Fields listed at most. Each costs far more memory than the bytes that name it.
const NOTES_MAX: usize = 256;

/// Collects extensions. A field of messages, parts or tools is noted once, however often it comes.
#[derive(Default)]
pub(super) struct Notes {
    list: Vec<Extension>,
    /// Scope and name of what is in the list.
    seen: Vec<(&'static str, Vec<u8>)>,
}

impl Notes {
    /// Notes the member `key`, found at `path` within things of one `scope`.
    ///
    /// # Errors
    /// When there are too many of them.
    pub(super) fn note(
        &mut self,
        scope: &'static str,
        key: &[u8],
        value: Value<'_>,
    ) -> Checked<()> {
        let known = |(at, name): &(&str, Vec<u8>)| *at == scope && name == key;
        if value.is_null() || self.seen.iter().any(known) {
            return Ok(());
        }
        if self.list.len() >= NOTES_MAX {
            return Err(fault(value, "is one unknown field too many"));
        }
        self.seen.push((scope, key.to_vec()));
        let path = value.path();
        let loss = if scope.is_empty() {
            loss(key, value)
        } else {
            Loss::Harmless
        };
        self.list.push(Extension {
            path,
            origin: Origin::OpenAiChat,
            value: value.raw(),
            loss,
        });
        Ok(())
    }

    /// What was noted.
    pub(super) fn into_extensions(self) -> Vec<Extension> {
        self.list
    }
}

/// What it means to leave out a top-level field of Chat or of a compatible vendor.
fn loss(key: &[u8], value: Value<'_>) -> Loss {
    let empty = value.is_empty() && matches!(value.kind(), Kind::Array | Kind::Object);
    let off = value.as_bool() == Some(false);
    match key {
        b"modalities" if value.elements().any(|it| !it.is("text")) => {
            Loss::Meaningful("the target's API has no answers of sound or pictures")
        }
        b"web_search_options" | b"search_settings" | b"web_search" if !off => {
            Loss::Meaningful("the target would answer without the web search asked for")
        }
        b"search_parameters" if !value.get("mode").is_some_and(|mode| mode.is("off")) => {
            Loss::Meaningful("the target would answer without the search asked for")
        }
        b"enable_search" if value.as_bool() == Some(true) => {
            Loss::Meaningful("the target would answer without the search asked for")
        }
        b"plugins" if !empty => Loss::Meaningful("the target's API has no plugins"),
        b"guided_json"
        | b"guided_regex"
        | b"guided_choice"
        | b"guided_grammar"
        | b"structured_outputs"
        | b"grammar"
        | b"json_schema"
        | b"regex" => Loss::Meaningful("the target's API cannot hold the answer to this form"),
        b"moderation" if !off && !empty => {
            Loss::Meaningful("the target's API does not report moderation")
        }
        _ => Loss::Harmless,
    }
}
