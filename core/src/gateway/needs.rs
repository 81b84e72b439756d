//! [`Needs`]: what a request needs of the model that answers it, as far as targets differ in that.

use std::borrow::Cow;

use super::body::Body;
use crate::config::Upstream;
use crate::dialect::Traits;
use crate::wire::json::Value;

/// Bytes of a prompt per token, roughly, for the estimate that precedes the provider's own count.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens of an image, roughly: between a thumbnail and a full screen.
const IMAGE_TOKENS: u64 = 1_000;
/// Tokens that an answer needs in the window, at most: clients ask for far more than they use.
const ANSWER_TOKENS_MAX: u64 = 4_096;

/// What a request needs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Needs {
    /// Whether its prompt has images.
    pub(super) images: bool,
    /// Whether it gives the model tools.
    pub(super) tools: bool,
    /// Tokens of its prompt, rather too few than too many: a target that is passed over for nothing
    /// is worse than one that says itself that the prompt is too long.
    pub(super) prompt_tokens: u64,
    /// Tokens of the answer for which there must be room.
    answer_tokens: u64,
}

/// What a target has not got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lack {
    /// It takes no images.
    Images,
    /// It takes no tools.
    Tools,
    /// Its window is too small.
    Window(u64),
}

impl Needs {
    /// What a request with the body `root` needs, in any API.
    pub(super) fn of(root: Value<'_>, body: &Body<'_>) -> Needs {
        let mut count = Count::default();
        for message in body.messages.into_iter().flat_map(Value::elements) {
            count.content(message.get("content"), 0);
        }
        let bytes = (root.raw_text().len() as u64).saturating_sub(count.data_bytes);
        let asked = body.answer_tokens();
        let tools = body.tools.filter(|tools| !tools.is_empty());
        Needs {
            images: count.images > 0,
            tools: tools.is_some_and(|tools| tools.elements().next().is_some()),
            prompt_tokens: (bytes / BYTES_PER_TOKEN + count.images * IMAGE_TOKENS).max(1),
            answer_tokens: asked.unwrap_or(0).min(ANSWER_TOKENS_MAX),
        }
    }

    /// What a target with these traits has not got.
    pub(super) fn lacking(&self, traits: &Traits) -> Option<Lack> {
        if self.images && !traits.images {
            return Some(Lack::Images);
        }
        if self.tools && !traits.tools {
            return Some(Lack::Tools);
        }
        let window = traits.context_window?;
        let needed = self.prompt_tokens.saturating_add(self.answer_tokens);
        (needed > window).then_some(Lack::Window(window))
    }
}

/// The traits that `upstream` has for a request for the model called `name`.
pub(super) fn traits_at<'u>(upstream: &'u Upstream, name: &str) -> Cow<'u, Traits> {
    match upstream.model {
        Some(_) => Cow::Borrowed(&upstream.traits),
        None => Cow::Owned(upstream.traits_of(name)),
    }
}

/// What of a prompt is no text.
#[derive(Default)]
struct Count {
    images: u64,
    data_bytes: u64,
}

impl Count {
    /// Counts what is in a message's content, and in results of tools within it.
    fn content(&mut self, content: Option<Value<'_>>, depth: u32) {
        for part in content.into_iter().flat_map(Value::elements) {
            let Some(kind) = part.get("type") else {
                continue;
            };
            if kind.is("image") || kind.is("image_url") {
                self.images += 1;
                self.data_bytes += part.raw_text().len() as u64;
            } else if kind.is("document") || kind.is("file") || kind.is("input_audio") {
                self.data_bytes += part.raw_text().len() as u64;
            } else if kind.is("tool_result") && depth == 0 {
                self.content(part.get("content"), 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::JsonLimits;
    use crate::wire::json::Tape;

    fn needs(body: &str) -> Needs {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        let mut tape = Tape::new();
        let root = tape.parse(&body, &JsonLimits::default()).unwrap();
        Needs::of(root, &Body::of(root))
    }

    #[test]
    fn images_tools_and_length_are_seen() {
        let plain = r#"{"messages":[{"role":"user","content":"Hello"}],"tools":[]}"#;
        let told = needs(plain);
        assert!(!told.images && !told.tools);
        assert_eq!(told.prompt_tokens, plain.len() as u64 / 4);
        let data = "A".repeat(400_000);
        for part in [
            format!(r#"{{"type":"image","source":{{"type":"base64","data":"{data}"}}}}"#),
            format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;{data}"}}}}"#),
            format!(r#"{{"type":"tool_result","content":[{{"type":"image","data":"{data}"}}]}}"#),
        ] {
            let told = needs(&format!(
                r#"{{"messages":[{{"content":[{part}]}}],"max_tokens":9}}"#
            ));
            assert!(told.images);
            assert!(told.prompt_tokens < 1_100, "{told:?}");
            assert_eq!(told.answer_tokens, 9);
        }
        let file = format!(r#"{{"messages":[{{"content":[{{"type":"file","x":"{data}"}}]}}]}}"#);
        assert!(!needs(&file).images && needs(&file).prompt_tokens < 100);
        let told = needs(r#"{"messages":[],"tools":[{"name":"f"}],"max_completion_tokens":1e9}"#);
        assert!(told.tools);
        for odd in ["{}", "[]", "1", r#"{"messages":5,"tools":{"a":1}}"#] {
            assert!(!needs(odd).tools && !needs(odd).images, "{odd}");
        }
    }

    #[test]
    fn a_window_has_room_for_the_answer_too() {
        let traits = |window| Traits {
            context_window: window,
            ..Traits::default()
        };
        let needs = |asked| Needs {
            prompt_tokens: 1_000,
            answer_tokens: asked,
            ..Needs::default()
        };
        assert_eq!(needs(0).lacking(&traits(Some(1_000))), None);
        assert_eq!(
            needs(0).lacking(&traits(Some(999))),
            Some(Lack::Window(999))
        );
        assert_eq!(
            needs(1).lacking(&traits(Some(1_000))),
            Some(Lack::Window(1_000))
        );
        assert_eq!(needs(u64::MAX).lacking(&traits(None)), None);
    }
}
