//! Looks at answers that pass untouched, because both sides speak Messages: what they used, why
//! they end, and whether they fail. Ordinary content events are told by their name alone.

use super::usage::Counts;
use super::{failure, finish};
use crate::base::JsonStr;
use crate::dialect::failure::truncated;
use crate::dialect::{Seen, Watched};
use crate::ir::{Failure, FinishReason, Usage};
use crate::wire::json::{Kind, Value};

/// Looks at the events of one streamed answer.
#[derive(Debug, Default)]
pub struct Watch {
    counts: Counts,
    model: Option<JsonStr>,
    finish: Option<FinishReason>,
    in_block: bool,
    /// Something has been said: deltas are not looked into any more.
    says: bool,
    ended: bool,
}

impl Watch {
    /// A watch over one answer. Whether the client wanted the usage does not matter in this API: it
    /// is always told.
    pub fn new(_stream_usage_wanted: bool) -> Watch {
        Watch::default()
    }

    /// Looks at an event; `root` is its data, where that is JSON.
    pub fn look(&mut self, name: &[u8], data: &[u8], root: Option<Value<'_>>) -> Seen {
        let kind = if name.is_empty() { kind(data) } else { name };
        match kind {
            b"content_block_delta" => {
                self.says = self.says || root.is_none_or(says);
                Seen {
                    content: self.says,
                    ..Seen::default()
                }
            }
            b"content_block_start" => {
                self.in_block = true;
                Seen {
                    content: root.is_some_and(has_content),
                    ..Seen::default()
                }
            }
            b"content_block_stop" => {
                self.in_block = false;
                Seen::default()
            }
            b"message_start" if self.in_block => {
                self.ended = true;
                Seen {
                    failure: Some(Box::new(failure::spliced())),
                    ..Seen::default()
                }
            }
            b"message_start" | b"message_delta" => {
                if let Some(root) = root {
                    self.frame(root);
                }
                Seen::default()
            }
            b"message_stop" => {
                self.ended = true;
                Seen {
                    terminal: true,
                    ..Seen::default()
                }
            }
            b"ping" => Seen {
                ping: true,
                ..Seen::default()
            },
            b"error" => {
                self.ended = true;
                let failure = root.map(|root| failure::from_json(None, root));
                Seen {
                    failure: Some(Box::new(failure.unwrap_or_else(truncated))),
                    ..Seen::default()
                }
            }
            // Servers between here and the model tell their own errors so.
            _ => match root.filter(|&root| failure::is_untyped(root)) {
                Some(root) => {
                    self.ended = true;
                    Seen {
                        failure: Some(Box::new(failure::from_json(None, root))),
                        foreign: true,
                        ..Seen::default()
                    }
                }
                None => Seen::default(),
            },
        }
    }

    /// What the answer used, as far as it was told.
    pub fn usage(&self) -> Usage {
        self.counts.usage()
    }

    /// Why the answer ends, once that was told.
    pub const fn finish(&self) -> Option<&FinishReason> {
        self.finish.as_ref()
    }

    /// The model that answers, once it was told.
    pub const fn model(&self) -> Option<&JsonStr> {
        self.model.as_ref()
    }

    /// The body has ended: the failure to tell the client if the answer had not.
    pub fn end_of_body(&self) -> Option<Failure> {
        (!self.ended && self.finish.is_none()).then(truncated)
    }

    fn frame(&mut self, root: Value<'_>) {
        let message = root.get("message");
        if let Some(usage) = message.unwrap_or(root).get("usage") {
            self.counts.update(usage);
        }
        let model = message.and_then(|message| message.get("model"));
        if let (None, Some(model)) = (&self.model, model.and_then(Value::as_str)) {
            self.model = Some(model.detach());
        }
        if let Some(finish) = root.get("delta").and_then(finish::read) {
            self.finish = Some(finish.reason);
        }
    }
}

/// Whether a delta holds something: some servers begin with empty text.
fn says(root: Value<'_>) -> bool {
    let delta = root.get("delta");
    let members = delta.into_iter().flat_map(Value::members);
    let mut held = members.filter(|(key, _)| !key.is("type"));
    held.any(|(_, value)| !value.is("") && !value.is_null())
}

/// Whether a block begins with something: a call does, empty text does not.
fn has_content(root: Value<'_>) -> bool {
    let Some(block) = root.get("content_block") else {
        return false;
    };
    let said = |name| {
        let text = block.get(name).and_then(Value::escaped);
        text.is_some_and(|text| !text.is_empty())
    };
    match block.get("type").and_then(Value::escaped) {
        Some(b"text") => said("text"),
        Some(b"thinking") => said("thinking"),
        kind => kind.is_some(),
    }
}

/// The type of an event whose name is missing, where it stands first in the data, as it does in all
/// that is known.
fn kind(data: &[u8]) -> &[u8] {
    let data = data.trim_ascii_start();
    let after = data
        .strip_prefix(b"{\"type\":\"")
        .or_else(|| data.strip_prefix(b"{\"type\": \""))
        .or_else(|| data.strip_prefix(b"{ \"type\": \""));
    let Some(after) = after else {
        return b"";
    };
    let len = memchr::memchr(b'"', after).unwrap_or(0);
    after.get(..len).unwrap_or_default()
}

/// Looks at a whole answer: what it used, the model that gave it, why it ends.
pub fn watch_response(body: Value<'_>) -> Watched {
    let mut counts = Counts::default();
    if let Some(told) = body.get("usage").filter(|it| it.kind() == Kind::Object) {
        counts.update(told);
    }
    let model = body.get("model").and_then(Value::as_str);
    Watched {
        usage: counts.usage(),
        model: model.map(|model| model.detach()),
        finish: finish::read(body).map(|finish| finish.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::JsonLimits;
    use crate::wire::json::Tape;

    fn look(watch: &mut Watch, name: &[u8], data: &'static [u8]) -> Seen {
        let (mut tape, text) = (Tape::new(), bytes::Bytes::from_static(data));
        let root = tape.parse(&text, &JsonLimits::default()).ok();
        watch.look(name, data, root)
    }

    #[test]
    fn an_answer_is_followed_from_start_to_end() {
        let mut watch = Watch::new(false);
        let start = br#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":3,
            "cache_read_input_tokens":4,"output_tokens":1}}}"#;
        assert_eq!(look(&mut watch, b"message_start", start), Seen::default());
        assert!(watch.model().is_some_and(|model| model.is("m")));
        assert!(watch.end_of_body().is_some());
        let block = br#"{"type":"content_block_start","index":0,
            "content_block":{"type":"text","text":""}}"#;
        assert!(!look(&mut watch, b"", block).content);
        let block = br#"{"type":"content_block_start","index":0,
            "content_block":{"type":"tool_use","id":"a"}}"#;
        assert!(look(&mut watch, b"", block).content);
        let empty = br#"{"type":"content_block_delta","index":0,
            "delta":{"type":"text_delta","text":""}}"#;
        assert!(!look(&mut watch, b"content_block_delta", empty).content);
        let delta = br#"{"type":"content_block_delta","index":0,
            "delta":{"type":"text_delta","text":"x"}}"#;
        assert!(look(&mut watch, b"", delta).content);
        let end = br#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},
            "usage":{"output_tokens":9}}"#;
        look(&mut watch, b"message_delta", end);
        assert_eq!(watch.finish(), Some(&FinishReason::Stop));
        assert!(look(&mut watch, b"message_stop", b"").terminal);
        assert_eq!(watch.end_of_body(), None);
        let usage = watch.usage();
        assert_eq!((usage.input, usage.output), (Some(7), Some(9)));
    }

    #[test]
    fn an_error_is_a_failure() {
        let mut watch = Watch::new(false);
        let data =
            br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let seen = look(&mut watch, b"error", data);
        let failure = seen.failure.unwrap();
        assert_eq!(failure.class, crate::ir::Class::Overloaded);
        assert!(look(&mut watch, b"ping", b"").ping);
        assert_eq!(watch.end_of_body(), None);
    }
}
