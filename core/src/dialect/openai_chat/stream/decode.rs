//! Reads chunks.
//!
//! The end is `[DONE]`, or the end of the body where every choice has a `finish_reason`; choices
//! end with it and not before, for content may follow a reason, and usage does. `[DONE]` without a
//! reason is an end too where no chunk has the field (Snowflake), unless it comes within the
//! arguments of a call. A body that ends without either was cut off, and so was a text whose reason
//! was `null` until `[DONE]`: gateways on the way write that behind whatever ended.

use bytes::Bytes;
use smallvec::SmallVec;

use super::choice::{Blocks, Choice};
use crate::base::limits::JsonLimits;
use crate::base::{JsonStr, Limits};
use crate::dialect::BrokenEvent;
use crate::dialect::failure::truncated;
use crate::dialect::openai_chat::{answer, failure, response, usage};
use crate::ir::{CHOICES_MAX, Class, Delta, Failure, Start, Usage};
use crate::wire::json::{Kind, Tape, Value};

/// Turns chunks into deltas.
#[derive(Debug)]
pub struct Decoder {
    tape: Tape,
    limits: JsonLimits,
    held_bytes_max: usize,
    started: bool,
    /// After `End` or `Failure`.
    ended: bool,
    answer_id: Option<JsonStr>,
    next_block: u32,
    choices: SmallVec<[Choice; 1]>,
    usage: Option<Usage>,
    /// A reason was announced: chunks had the field, and nothing in it yet.
    awaits_reason: bool,
}

/// The members of a chunk.
#[derive(Default)]
struct Chunk<'t> {
    choices: Option<Value<'t>>,
    usage: Option<Value<'t>>,
    groq: Option<Value<'t>>,
    error: Option<Value<'t>>,
    object: Option<Value<'t>>,
    start: Start,
}

impl Decoder {
    /// For one stream.
    pub fn new(limits: &Limits) -> Decoder {
        Decoder {
            tape: Tape::new(),
            limits: limits.json.clone(),
            held_bytes_max: limits.shard.held_delta_bytes_max,
            started: false,
            ended: false,
            answer_id: None,
            next_block: 0,
            choices: SmallVec::new(),
            usage: None,
            awaits_reason: false,
        }
    }

    /// Takes an event. `name` is hardly ever set in this API; `error` is understood.
    ///
    /// # Errors
    /// Where the event cannot be read. The stream may go on without it, but not where a tool call
    /// is open: then it fails, for a call with a hole in its arguments must not be run.
    pub fn event(
        &mut self,
        name: &[u8],
        data: &Bytes,
        out: &mut Vec<Delta>,
    ) -> Result<(), BrokenEvent> {
        if self.ended {
            return Ok(());
        }
        if data.first() != Some(&b'{') && data.trim_ascii() == b"[DONE]" {
            self.done(out);
            return Ok(());
        }
        let mut tape = core::mem::take(&mut self.tape);
        let result = match tape.parse(data, &self.limits) {
            Ok(root) => self.chunk(name, root, out),
            Err(error) => Err(BrokenEvent {
                reason: error.to_string(),
            }),
        };
        self.tape = tape;
        if result.is_err() && !self.ended && self.choices.iter().any(Choice::has_calls) {
            let message = "an event within a tool call cannot be read";
            self.fail(Failure::new(Class::BadGateway, message), out);
        }
        result
    }

    /// Whether each choice has told why it ends: `[DONE]` and perhaps usage are all that may
    /// follow, and [`end_of_body`](Decoder::end_of_body) will find the answer whole. For whoever
    /// will not wait.
    pub fn is_whole(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice.told.is_some())
    }

    /// The body has ended: pushes what completes the stream, or the failure that it is cut off.
    pub fn end_of_body(&mut self, out: &mut Vec<Delta>) {
        if self.ended {
            return;
        }
        if self.is_whole() {
            self.finish(out);
        } else {
            self.fail(truncated(), out);
        }
    }

    fn done(&mut self, out: &mut Vec<Delta>) {
        let says = |choice: &Choice| choice.said || choice.told.is_some();
        // A call says for itself that it is whole.
        let is_open = |choice: &Choice| choice.told.is_none() && !choice.has_calls();
        if !self.choices.iter().any(says) {
            self.fail(failure::unanswered(), out);
        } else if self.awaits_reason && self.choices.iter().any(is_open) {
            self.fail(truncated(), out);
        } else {
            self.finish(out);
        }
    }

    fn finish(&mut self, out: &mut Vec<Delta>) {
        for choice in &mut self.choices {
            let mut blocks = Blocks {
                out,
                next: &mut self.next_block,
                choice: choice.index,
                answer_id: self.answer_id.as_ref(),
                held_bytes_max: self.held_bytes_max,
            };
            if let Err(failure) = choice.finish(&mut blocks) {
                return self.fail(*failure, out);
            }
        }
        self.ended = true;
        out.push(Delta::End);
    }

    fn chunk(
        &mut self,
        name: &[u8],
        root: Value<'_>,
        out: &mut Vec<Delta>,
    ) -> Result<(), BrokenEvent> {
        if root.kind() != Kind::Object {
            let reason = format!("a chunk must be an object, not {}", root.kind());
            return Err(BrokenEvent { reason });
        }
        let chunk = Chunk::read(root, !self.started);
        if self.is_failure(name, &chunk, root) {
            self.fail(failure::from_value(None, root), out);
            return Ok(());
        }
        let choices = chunk.choices.filter(|choices| !choices.is_empty());
        let told = chunk.usage.and_then(usage::decode).or_else(|| {
            let groq = chunk.groq.and_then(|groq| groq.get("usage"));
            groq.and_then(usage::decode)
        });
        let usage = told.filter(|told| self.usage.as_ref() != Some(told));
        if !self.started && (choices.is_some() || usage.is_some()) {
            self.start(chunk.start, out);
        }
        for choice in choices.iter().flat_map(|choices| choices.elements()) {
            self.choice(choice, out)?;
            if self.ended {
                return Ok(());
            }
        }
        if let Some(usage) = usage {
            self.usage = Some(usage);
            out.push(Delta::Usage(usage));
        }
        Ok(())
    }

    fn is_failure(&self, name: &[u8], chunk: &Chunk<'_>, root: Value<'_>) -> bool {
        if chunk.error.is_some_and(|error| !response::is_blank(error)) {
            return true;
        }
        if chunk.choices.is_some() {
            return false;
        }
        name == b"error"
            || chunk.object.is_some_and(|object| object.is("error"))
            || root.get("detail").is_some_and(|detail| !detail.is_null())
            || root
                .get("message")
                .is_some_and(|it| it.kind() == Kind::String)
    }

    fn start(&mut self, start: Start, out: &mut Vec<Delta>) {
        self.started = true;
        self.answer_id = start.id.as_ref().map(JsonStr::detach);
        out.push(Delta::Start(start));
    }

    fn choice(&mut self, value: Value<'_>, out: &mut Vec<Delta>) -> Result<(), BrokenEvent> {
        let (mut index, mut delta, mut message, mut reason) = (0, None, None, None);
        let (mut logprobs, mut error) = (None, None);
        for (key, value) in value.members() {
            match key.escaped() {
                b"finish_reason" if value.is_null() => self.awaits_reason = true,
                _ if value.is_null() => {}
                b"index" => index = value.as_u64().unwrap_or(0),
                b"delta" => delta = Some(value),
                b"message" => message = Some(value),
                b"finish_reason" => reason = Some(value),
                b"logprobs" => logprobs = Some(value),
                b"error" => error = Some(value),
                _ => {}
            }
        }
        let at = self.choice_at(index)?;
        let failed = reason.is_some_and(|reason| reason.is("error"));
        if failed || error.is_some_and(|error| error.kind() == Kind::Object && !error.is_empty()) {
            self.fail(failure::from_value(None, value), out);
            return Ok(());
        }
        let Some(choice) = self.choices.get_mut(at) else {
            return Ok(());
        };
        // A whole message beside or behind the deltas says nothing new (Perplexity).
        let delta = delta.or_else(|| message.filter(|_| !choice.said));
        if let Some(delta) = delta {
            let mut blocks = Blocks {
                out,
                next: &mut self.next_block,
                choice: choice.index,
                answer_id: self.answer_id.as_ref(),
                held_bytes_max: self.held_bytes_max,
            };
            choice.delta(delta, &mut blocks)?;
        }
        if let Some(json) = logprobs.filter(|it| response::has_logprobs(*it)) {
            out.push(Delta::Logprobs {
                choice: choice.index,
                json: json.raw(),
            });
        }
        choice.told = reason
            .and_then(answer::finish_reason)
            .or(choice.told.take());
        Ok(())
    }

    fn choice_at(&mut self, index: u64) -> Result<usize, BrokenEvent> {
        let number = u32::try_from(index).ok();
        let Some(number) = number.filter(|number| *number < CHOICES_MAX) else {
            let reason = format!("choice {index} of at most {CHOICES_MAX}");
            return Err(BrokenEvent { reason });
        };
        let known = self.choices.iter().position(|it| it.index == number);
        Ok(known.unwrap_or_else(|| {
            self.choices.push(Choice::new(number));
            self.choices.len() - 1
        }))
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<Delta>) {
        self.ended = true;
        out.push(Delta::Failure(Box::new(failure)));
    }
}

impl<'t> Chunk<'t> {
    fn read(root: Value<'t>, first: bool) -> Chunk<'t> {
        let mut chunk = Chunk::default();
        let text = |value: Value<'t>| value.as_str().filter(|text| !text.is_empty());
        for (key, value) in root.members() {
            match key.escaped() {
                _ if value.is_null() => {}
                b"choices" => chunk.choices = Some(value).filter(|it| it.kind() == Kind::Array),
                b"usage" => chunk.usage = Some(value),
                b"x_groq" => chunk.groq = Some(value),
                b"error" => chunk.error = Some(value),
                b"object" => chunk.object = Some(value),
                _ if !first => {}
                b"id" => chunk.start.id = text(value),
                b"model" => chunk.start.model = text(value),
                b"created" => chunk.start.created = value.as_u64().filter(|it| *it > 0),
                b"service_tier" => chunk.start.service_tier = text(value),
                b"system_fingerprint" => chunk.start.fingerprint = text(value),
                _ => {}
            }
        }
        chunk
    }
}
