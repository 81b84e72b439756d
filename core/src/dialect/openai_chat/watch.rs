//! Looks on while an answer passes through untouched, because both sides speak this API: usage, why
//! it ends, whether it failed, which model answered.
//!
//! An ordinary event costs three searches for a key and nothing more. It is parsed while the model
//! is not known, until the first content, and when it tells something that is not null under
//! `usage`, `error` or `finish_reason`. Within content such a key cannot be mistaken for one: its
//! quotes would be escaped there.

use bytes::Bytes;
use memchr::memmem;

use super::{answer, failure, response, usage};
use crate::base::JsonStr;
use crate::base::limits::JsonLimits;
use crate::dialect::Seen;
use crate::ir::{Class, Failure, FinishReason, Usage};
use crate::wire::json::{Kind, Tape, Value};

/// The observer of one stream.
#[derive(Debug)]
pub struct Watch {
    usage_wanted: bool,
    tape: Tape,
    limits: JsonLimits,
    keys: [memmem::Finder<'static>; 3],
    usage: Usage,
    finish: Option<FinishReason>,
    model: Option<JsonStr>,
    committed: bool,
    has_calls: bool,
    /// After `[DONE]` or a failure.
    ended: bool,
}

impl Watch {
    /// For one stream. `stream_usage_wanted`: whether the client itself asked for the usage chunk.
    pub fn new(stream_usage_wanted: bool) -> Watch {
        Watch {
            usage_wanted: stream_usage_wanted,
            tape: Tape::new(),
            limits: JsonLimits::default(),
            keys: [
                memmem::Finder::new("\"usage\""),
                memmem::Finder::new("\"finish_reason\""),
                memmem::Finder::new("\"error\""),
            ],
            usage: Usage::default(),
            finish: None,
            model: None,
            committed: false,
            has_calls: false,
            ended: false,
        }
    }

    /// Looks at an event.
    pub fn event(&mut self, name: &[u8], data: &[u8]) -> Seen {
        if data.first() != Some(&b'{') && data.trim_ascii() == b"[DONE]" {
            self.ended = true;
            let is_answer = self.committed || self.finish.is_some();
            let failure = (!is_answer).then(|| {
                let message = "the upstream's stream ended without an answer";
                Box::new(Failure::new(Class::BadGateway, message))
            });
            return Seen {
                terminal: is_answer,
                failure,
                ..Seen::default()
            };
        }
        let plain = self.committed && name != b"error" && !self.tells(data);
        if plain {
            return Seen {
                content: true,
                ..Seen::default()
            };
        }
        let text = Bytes::copy_from_slice(data);
        let mut tape = core::mem::take(&mut self.tape);
        let seen = match tape.parse(&text, &self.limits) {
            Ok(root) => self.look(name, root),
            // Not ours to judge: the client gets what the upstream sent.
            Err(_) => Seen::default(),
        };
        self.tape = tape;
        seen
    }

    /// The counts so far.
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Why the answer ended, if it told.
    pub const fn finish(&self) -> Option<&FinishReason> {
        self.finish.as_ref()
    }

    /// The model that answers, as the provider names it.
    pub const fn model(&self) -> Option<&JsonStr> {
        self.model.as_ref()
    }

    /// The body has ended: the failure that it was cut off, if it was.
    pub fn end_of_body(&self) -> Option<Failure> {
        if self.ended || self.finish.is_some() {
            return None;
        }
        let message = "the upstream's stream ended before it was complete";
        Some(Failure::new(Class::BadGateway, message))
    }

    /// Whether one of the keys is there with a value other than null.
    fn tells(&self, data: &[u8]) -> bool {
        self.keys.iter().any(|key| {
            key.find_iter(data).any(|at| {
                let behind = data.get(at + key.needle().len()..).unwrap_or_default();
                let behind = behind.trim_ascii_start();
                let value = behind.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
                value.is_some_and(|value| !value.starts_with(b"null"))
            })
        })
    }

    fn look(&mut self, name: &[u8], root: Value<'_>) -> Seen {
        let mut seen = Seen::default();
        if failed(name, root) {
            self.ended = true;
            seen.failure = Some(Box::new(failure::from_value(None, root)));
            return seen;
        }
        if self.model.is_none() {
            let model = root.get("model").and_then(Value::as_str);
            self.model = model.filter(|it| !it.is_empty()).map(|it| it.detach());
        }
        let mut empty = true;
        for choice in root.get("choices").iter().flat_map(|it| it.elements()) {
            empty = false;
            let delta = choice.get("delta").or_else(|| choice.get("message"));
            seen.content |= delta.is_some_and(|delta| self.says(delta));
            let reason = choice.get("finish_reason").and_then(answer::finish_reason);
            if let Some(reason) = reason {
                let finish = answer::finish(Some(reason), self.has_calls);
                self.finish = Some(finish.reason);
            }
        }
        self.committed |= seen.content;
        let told = root.get("usage").and_then(usage::decode);
        if let Some(told) = told {
            self.usage.update(&told);
            seen.hidden = empty && !self.usage_wanted;
        } else if let Some(groq) = root.get("x_groq").and_then(|groq| groq.get("usage")) {
            self.usage.update(&usage::decode(groq).unwrap_or_default());
        }
        seen
    }

    fn says(&mut self, delta: Value<'_>) -> bool {
        let mut says = false;
        for (key, value) in delta.members() {
            let filled = match value.kind() {
                Kind::String => !value.is(""),
                Kind::Array | Kind::Object => !value.is_empty(),
                _ => false,
            };
            let is_call = matches!(key.escaped(), b"tool_calls" | b"function_call");
            self.has_calls |= filled && is_call;
            // Groq says in `channel` what kind of content would follow.
            says |= filled && !matches!(key.escaped(), b"role" | b"channel");
        }
        says
    }
}

/// What a whole answer that passes through tells: usage, model, why it ends.
pub fn watch_response(body: Value<'_>) -> (Usage, Option<JsonStr>, Option<FinishReason>) {
    let usage = body
        .get("usage")
        .and_then(usage::decode)
        .unwrap_or_default();
    let model = body
        .get("model")
        .and_then(Value::as_str)
        .map(|it| it.detach());
    let first = body.get("choices").and_then(|it| it.elements().next());
    let finish = first.and_then(|choice| {
        let reason = choice.get("finish_reason").and_then(answer::finish_reason);
        let message = choice.get("message");
        let calls = message.and_then(|message| message.get("tool_calls"));
        let has_calls = calls.is_some_and(|calls| !calls.is_empty());
        reason.map(|reason| answer::finish(Some(reason), has_calls).reason)
    });
    (usage, model, finish)
}

fn failed(name: &[u8], root: Value<'_>) -> bool {
    let error = root.get("error").filter(|it| !it.is_null());
    error.is_some_and(|error| !response::is_blank(error))
        || (name == b"error" && root.get("choices").is_none())
}
