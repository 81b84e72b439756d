//! Looks on while an answer passes through untouched, because both sides speak this API: usage, why
//! it ends, whether it failed, which model answered.
//!
//! Whoever passes an event on has parsed it, for one that is not JSON must not reach the client; so
//! an event costs one pass over its members and nothing more.

use super::{answer, failure, response, usage};
use crate::base::JsonStr;
use crate::dialect::failure::truncated;
use crate::dialect::{Seen, Watched};
use crate::ir::{Failure, FinishReason, Usage};
use crate::wire::json::{Kind, Value};

/// Choices that are told apart: the API allows as many (`n`).
const CHOICES_MAX: usize = 128;

/// The observer of one stream.
#[derive(Debug, Default)]
pub struct Watch {
    usage_wanted: bool,
    usage: Usage,
    finish: Option<FinishReason>,
    /// The choices by their numbers, and whether each has told why it ends.
    choices: Vec<(u64, bool)>,
    model: Option<JsonStr>,
    /// A reason was announced: chunks had the field, and nothing in it yet.
    awaits_reason: bool,
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
            ..Watch::default()
        }
    }

    /// Looks at an event; `root` is its data, where that is JSON.
    pub fn look(&mut self, name: &[u8], data: &[u8], root: Option<Value<'_>>) -> Seen {
        match root {
            Some(root) => self.chunk(name, root),
            None if data.trim_ascii() == b"[DONE]" => self.done(),
            // Not ours to judge: the client gets what the upstream sent.
            None => Seen::default(),
        }
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

    /// Whether each choice has told why it ends: `[DONE]` and perhaps usage are all that may
    /// follow.
    pub fn is_whole(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|&(_, is_told)| is_told)
    }

    /// The body has ended: the failure that it was cut off, if it was.
    pub fn end_of_body(&self) -> Option<Failure> {
        (!self.ended && !self.is_whole()).then(truncated)
    }

    fn done(&mut self) -> Seen {
        self.ended = true;
        let failure = if !self.committed && self.finish.is_none() {
            Some(failure::unanswered())
        } else if self.awaits_reason && !self.is_whole() && !self.has_calls {
            Some(truncated())
        } else {
            None
        };
        Seen {
            terminal: failure.is_none(),
            failure: failure.map(Box::new),
            ..Seen::default()
        }
    }

    fn chunk(&mut self, name: &[u8], root: Value<'_>) -> Seen {
        let mut seen = Seen::default();
        let (mut choices, mut told, mut groq, mut error) = (None, None, None, None);
        for (key, value) in root.members() {
            match key.escaped() {
                _ if value.is_null() => {}
                b"choices" => choices = Some(value),
                b"usage" => told = usage::decode(value),
                b"x_groq" => groq = value.get("usage"),
                b"error" => error = Some(value),
                b"model" if self.model.is_none() => {
                    let model = value.as_str().filter(|it| !it.is_empty());
                    self.model = model.map(|it| it.detach());
                }
                _ => {}
            }
        }
        let is_error = error.is_some_and(|error| !response::is_blank(error));
        if is_error || (name == b"error" && root.get("choices").is_none()) {
            self.ended = true;
            seen.failure = Some(Box::new(failure::from_value(None, root)));
            return seen;
        }
        let mut empty = true;
        for choice in choices.iter().flat_map(|it| it.elements()) {
            empty = false;
            seen.content |= self.choice(choice);
        }
        self.committed |= seen.content;
        if let Some(told) = told {
            self.usage.update(&told);
            seen.hidden = empty && !self.usage_wanted;
        } else if let Some(groq) = groq {
            self.usage.update(&usage::decode(groq).unwrap_or_default());
        }
        seen
    }

    /// Looks at one choice; says whether it holds content.
    fn choice(&mut self, choice: Value<'_>) -> bool {
        let (mut delta, mut message, mut reason, mut number) = (None, None, None, 0);
        for (key, value) in choice.members() {
            match key.escaped() {
                b"index" => number = value.as_u64().unwrap_or(0),
                b"delta" => delta = Some(value),
                b"message" => message = Some(value),
                b"finish_reason" => {
                    self.awaits_reason |= value.is_null();
                    reason = answer::finish_reason(value);
                }
                _ => {}
            }
        }
        let says = delta.or(message).is_some_and(|delta| self.says(delta));
        self.note(number, reason.is_some());
        if reason.is_some() {
            self.finish = Some(answer::finish(reason, self.has_calls).reason);
        }
        says
    }

    /// Takes note of a choice. What comes behind its finish does not open it again: filters report
    /// late.
    fn note(&mut self, number: u64, is_told: bool) {
        if let Some((_, was_told)) = self.choices.iter_mut().find(|(it, _)| *it == number) {
            *was_told |= is_told;
        } else if self.choices.len() < CHOICES_MAX {
            self.choices.push((number, is_told));
        }
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
pub fn watch_response(body: Value<'_>) -> Watched {
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
    Watched {
        usage,
        model,
        finish,
    }
}
