//! [`Body`]: what of a request's body the gateway looks at itself, whatever becomes of the rest.

use crate::base::JsonStr;
use crate::ir::{Class, Failure};
use crate::policy::balance::Session;
use crate::wire::json::{Kind, Value};

/// System messages that may come before the user's first words, and these.
const MESSAGES_MAX: usize = 4;
/// As much of each of a prompt's first parts tells conversations apart.
const PREFIX_BYTES: usize = 256;

/// Members of a body, in any API, found in one pass: bodies have many, and requests are many.
#[derive(Clone, Copy, Default)]
pub(super) struct Body<'t> {
    model: Option<Value<'t>>,
    stream: Option<Value<'t>>,
    stream_options: Option<Value<'t>>,
    pub(super) messages: Option<Value<'t>>,
    system: Option<Value<'t>>,
    pub(super) tools: Option<Value<'t>>,
    max_tokens: Option<Value<'t>>,
    max_completion_tokens: Option<Value<'t>>,
    metadata: Option<Value<'t>>,
    prompt_cache_key: Option<Value<'t>>,
    user: Option<Value<'t>>,
    thinking: Option<Value<'t>>,
    reasoning: Option<Value<'t>>,
    reasoning_effort: Option<Value<'t>>,
}

impl<'t> Body<'t> {
    /// Of several members of one name the last counts, as for [`Value::get`].
    pub(super) fn of(root: Value<'t>) -> Body<'t> {
        let mut body = Body::default();
        for (key, value) in root.members() {
            let name = key.escaped();
            let place = match name.contains(&b'\\') {
                false => body.place(name),
                true => body.place(key.text().as_bytes()),
            };
            if let Some(place) = place {
                *place = Some(value);
            }
        }
        body
    }

    fn place(&mut self, name: &[u8]) -> Option<&mut Option<Value<'t>>> {
        Some(match name {
            b"model" => &mut self.model,
            b"stream" => &mut self.stream,
            b"stream_options" => &mut self.stream_options,
            b"messages" => &mut self.messages,
            b"system" => &mut self.system,
            b"tools" => &mut self.tools,
            b"max_tokens" => &mut self.max_tokens,
            b"max_completion_tokens" => &mut self.max_completion_tokens,
            b"metadata" => &mut self.metadata,
            b"prompt_cache_key" => &mut self.prompt_cache_key,
            b"user" => &mut self.user,
            b"thinking" => &mut self.thinking,
            b"reasoning" => &mut self.reasoning,
            b"reasoning_effort" => &mut self.reasoning_effort,
            _ => return None,
        })
    }

    /// The model that is asked for.
    ///
    /// # Errors
    /// When `root`, of which this is the body, names none.
    pub(super) fn model(&self, root: Value<'_>) -> Result<JsonStr, Box<Failure>> {
        if root.kind() != Kind::Object {
            let message = format!(
                "the request body must be a JSON object, not {}",
                root.kind()
            );
            return Err(Box::new(Failure::new(Class::InvalidRequest, message)));
        }
        let invalid = |message: &str| Err(Box::new(Failure::invalid("model", message)));
        let Some(model) = self.model else {
            return invalid("this field is required");
        };
        match model.as_str() {
            Some(name) if !name.is_empty() => Ok(name.detach()),
            Some(_) => invalid("must not be empty"),
            None => invalid(&format!("must be a string, not {}", model.kind())),
        }
    }

    /// Whether the answer is to be a stream.
    pub(super) fn is_stream(&self) -> bool {
        self.stream.and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether a Chat client asked for the usage chunk.
    pub(super) fn stream_usage(&self) -> bool {
        let usage = self.stream_options.and_then(|it| it.get("include_usage"));
        usage.and_then(Value::as_bool).unwrap_or(false)
    }

    /// Tokens that the answer may have, as far as the client says.
    pub(super) fn answer_tokens(&self) -> Option<u64> {
        let asked = [self.max_completion_tokens, self.max_tokens];
        asked.into_iter().flatten().find_map(Value::as_u64)
    }

    /// Whether the model is told to think before it answers, in the words of either API.
    pub(super) fn asks_reasoning(&self) -> bool {
        let is_on = |value: Option<Value<'_>>, offs: &[&str]| {
            let text = value.and_then(Value::as_str);
            text.is_some_and(|text| !offs.contains(&&*text.unescape()))
        };
        let thinking = self.thinking.and_then(|it| it.get("type"));
        let effort = self.reasoning.and_then(|it| it.get("effort"));
        let effort = self.reasoning_effort.or(effort);
        is_on(thinking, &["disabled"]) || is_on(effort, &["none", "minimal"])
    }

    /// The conversation that the request belongs to: by the name that its client gives it, else by
    /// how its prompt begins, which stays the same from turn to turn.
    pub(super) fn session(&self) -> Session {
        let named = [
            self.metadata.and_then(|it| it.get("user_id")),
            self.prompt_cache_key,
            self.user,
        ];
        let named = named.into_iter().flatten().find_map(Value::as_str);
        if let Some(name) = named.filter(|name| !name.is_empty()) {
            return Session::of(name.unescape().as_bytes());
        }
        let mut session = beginning(self.system);
        let messages = self.messages.into_iter().flat_map(Value::elements);
        // Up to the user's first words: whatever follows them is not there in the first turn.
        for message in messages.take(MESSAGES_MAX) {
            session = session.and(beginning(message.get("content")));
            let role = message.get("role");
            if !role.is_some_and(|role| role.is("system") || role.is("developer")) {
                break;
            }
        }
        session
    }
}

/// How a text begins, or the first of several: not what stands around it, for marks of what is to
/// be cached move from turn to turn.
fn beginning(content: Option<Value<'_>>) -> Session {
    let first = content.and_then(|it| it.elements().next());
    let text = first.map_or(content, |first| first.get("text").or(Some(first)));
    let text = text.map(Value::raw_text).unwrap_or_default();
    Session::of(text.get(..PREFIX_BYTES).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::JsonLimits;
    use crate::wire::json::Tape;

    #[test]
    fn members_are_found_however_they_are_written_and_the_last_one_counts() {
        let text = r#"{"model":"a","x":{"stream":false},"m\u006fdel":"b","str\u0065am":true}"#;
        let text = bytes::Bytes::from_static(text.as_bytes());
        let mut tape = Tape::new();
        let root = tape.parse(&text, &JsonLimits::default()).unwrap();
        let body = Body::of(root);
        assert_eq!(body.model(root).unwrap().unescape(), "b");
        assert!(body.is_stream() && !body.stream_usage());
    }
}
