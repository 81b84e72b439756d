//! What the writers of all APIs share: the list of what they leave out, what the config overrides,
//! and pieces of JSON that vendors took over from one another.

use super::Target;
use crate::base::JsonStr;
use crate::ir::CacheHint;
use crate::wire::json::Writer;

/// Paths listed as dropped at most: they go into one header.
const DROPPED_MAX: usize = 64;

/// Paths of what is left out, each once.
#[derive(Debug, Default)]
pub(super) struct Dropped(Vec<String>);

impl Dropped {
    /// Lists `path`.
    pub(super) fn add(&mut self, path: &str) {
        if self.0.len() < DROPPED_MAX && !self.0.iter().any(|known| known == path) {
            self.0.push(path.to_owned());
        }
    }

    /// The list.
    pub(super) fn into_paths(self) -> Vec<String> {
        self.0
    }
}

impl Target<'_> {
    /// Whether the config's extra parameters set this member, whatever the client said.
    pub(super) fn sets(&self, name: &str) -> bool {
        self.extra.iter().any(|(own, _)| own.is(name))
    }

    /// Writes the config's extra parameters.
    pub(super) fn write_extra(&self, json: &mut Writer<'_>) {
        for (name, value) in self.extra {
            json.key_str(name);
            json.raw(value);
        }
    }
}

/// Writes the value of a `cache_control`, which vendors of Chat take as Messages has it.
pub(super) fn write_cache_control(hint: &CacheHint, json: &mut Writer<'_>) {
    json.begin_object();
    json.key("type");
    json.text("ephemeral");
    if let Some(ttl) = &hint.ttl {
        json.key("ttl");
        json.str(ttl);
    }
    json.end_object();
}

/// Writes the members of a JSON Schema that allows objects without properties alone.
pub(super) fn write_no_properties(json: &mut Writer<'_>) {
    json.key("type");
    json.text("object");
    json.key("properties");
    json.begin_object();
    json.end_object();
}

/// Writes an answer's id: the upstream's, or ours with the prefix of the API.
pub(super) fn write_id(
    told: Option<&JsonStr>,
    prefix: &'static str,
    own: &JsonStr,
    json: &mut Writer<'_>,
) {
    match told.filter(|id| !id.is_empty()) {
        Some(id) => json.str(id),
        None => {
            json.begin_string();
            json.append_text(prefix);
            json.append(own);
            json.end_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_paths_are_listed_once() {
        let mut dropped = Dropped::default();
        dropped.add("top_k");
        dropped.add("top_k");
        assert_eq!(dropped.into_paths(), ["top_k"]);
    }
}
