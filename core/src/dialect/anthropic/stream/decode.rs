//! An upstream's events, as deltas.
//!
//! The JSON `type` says what an event is, not the line `event:`, which some senders leave out. What
//! is not known (events, deltas, blocks) is let pass. A second `message_start`, as proxies send it,
//! is ignored between blocks; in the middle of one it means that a proxy asked anew and spliced two
//! answers, and half a call must not be shown as whole: the answer fails. The reason why the answer
//! ends is told when the stream does, since only then all blocks are.

use bytes::Bytes;

use super::whole::Whole;
use crate::base::limits::JsonLimits;
use crate::base::{JsonStr, Limits};
use crate::dialect::BrokenEvent;
use crate::dialect::anthropic::usage::Counts;
use crate::dialect::anthropic::{failure, finish, response};
use crate::dialect::failure::truncated;
use crate::ir::{
    BlockId, BlockKind, Class, Delta, Failure, Finish, FinishReason, Origin, PartKind, Piece, Start,
};
use crate::wire::json::{Kind, Tape, Value, embed};

/// Blocks that may be open at once; the API opens one at a time.
const OPEN_MAX: usize = 64;

/// Reads a streamed answer event by event.
#[derive(Debug)]
pub struct Decoder {
    tape: Tape,
    limits: JsonLimits,
    held_bytes_max: usize,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    started: bool,
    ended: bool,
    next: u32,
    open: Vec<Open>,
    counts: Counts,
    finish: Option<Finish>,
    calls: bool,
}

#[derive(Debug)]
struct Open {
    index: u64,
    block: BlockId,
    kind: OpenKind,
}

#[derive(Debug)]
enum OpenKind {
    Text,
    Thinking {
        signature: Option<JsonStr>,
    },
    Tool {
        /// The input that the block began with, for when no pieces of it follow.
        input: Option<JsonStr>,
        empty: bool,
    },
    Whole(Whole),
    Redacted {
        data: JsonStr,
    },
}

impl Decoder {
    /// A decoder for one answer.
    pub fn new(limits: &Limits) -> Decoder {
        Decoder {
            tape: Tape::new(),
            limits: limits.json.clone(),
            held_bytes_max: limits.sse.event_bytes_max,
            state: State::default(),
        }
    }

    /// Reads one event.
    ///
    /// # Errors
    /// That the event is broken. It is skipped and the next one may be read, but not where a tool
    /// call is open: then the answer fails, for a call with a hole in its input must not be run.
    pub fn event(
        &mut self,
        name: &[u8],
        data: &Bytes,
        out: &mut Vec<Delta>,
    ) -> Result<(), BrokenEvent> {
        if self.state.ended || (data.is_empty() && name != b"ping") || data.as_ref() == b"[DONE]" {
            return Ok(());
        }
        if name == b"ping" {
            out.push(Delta::Ping);
            return Ok(());
        }
        let result = self.read(name, data, out);
        let is_call = |open: &Open| matches!(open.kind, OpenKind::Tool { .. });
        if result.is_err() && self.state.open.iter().any(is_call) {
            let message = "an event within a tool call cannot be read";
            self.state
                .fail(Failure::new(Class::BadGateway, message), out);
        }
        result
    }

    /// Whether it was told why the answer ends: `message_stop` is all that may follow, and
    /// [`end_of_body`](Decoder::end_of_body) will find the answer whole. For whoever will not wait.
    pub fn is_whole(&self) -> bool {
        self.state.finish.is_some()
    }

    /// The body has ended. An answer whose reason to end was told is whole, even if `message_stop`
    /// is missing; any other was cut off.
    pub fn end_of_body(&mut self, out: &mut Vec<Delta>) {
        if self.state.ended {
            return;
        }
        if self.state.finish.is_some() {
            self.state.end(&self.limits, out);
        } else {
            self.state.fail(truncated(), out);
        }
    }

    fn read(&mut self, name: &[u8], data: &Bytes, out: &mut Vec<Delta>) -> Result<(), BrokenEvent> {
        let root = self.tape.parse(data, &self.limits).map_err(|error| {
            let reason = format!("not JSON: {error}");
            BrokenEvent { reason }
        })?;
        let kind = root.get("type").and_then(Value::escaped).unwrap_or(name);
        let state = &mut self.state;
        match kind {
            b"content_block_delta" => state.block_delta(root, out)?,
            b"content_block_start" => state.block_start(root, out)?,
            b"content_block_stop" => state.block_stop(index(root)?, &self.limits, out),
            b"message_start" if !state.open.is_empty() => {
                state.fail(failure::spliced(), out);
            }
            b"message_start" => state.start(root.get("message"), out),
            b"message_delta" => state.message_delta(root, out),
            b"message_stop" => state.end(&self.limits, out),
            b"ping" => out.push(Delta::Ping),
            b"error" => {
                state.fail(failure::from_json(None, root), out);
            }
            _ if failure::is_untyped(root) => {
                state.fail(failure::from_json(None, root), out);
            }
            _ => {}
        }
        if state.held_bytes() > self.held_bytes_max && !state.ended {
            let message = "a block of the upstream's answer is too long to be held";
            state.fail(Failure::new(Class::BadGateway, message), out);
        }
        Ok(())
    }
}

impl Open {
    /// Bytes that wait for the block's end.
    fn held_bytes(&self) -> usize {
        match &self.kind {
            OpenKind::Text => 0,
            OpenKind::Thinking { signature } => signature.as_ref().map_or(0, JsonStr::len),
            OpenKind::Tool { input, .. } => input.as_ref().map_or(0, JsonStr::len),
            OpenKind::Whole(whole) => whole.bytes(),
            OpenKind::Redacted { data } => data.len(),
        }
    }
}

impl State {
    /// Bytes that wait for the end of a block.
    fn held_bytes(&self) -> usize {
        self.open.iter().map(Open::held_bytes).sum()
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<Delta>) {
        self.ended = true;
        out.push(Delta::Failure(Box::new(failure)));
    }

    fn start(&mut self, message: Option<Value<'_>>, out: &mut Vec<Delta>) {
        if self.started {
            return;
        }
        self.started = true;
        let text = |name| message.and_then(|it| it.get(name)).and_then(Value::as_str);
        let usage = message.and_then(|message| message.get("usage"));
        out.push(Delta::Start(Start {
            id: text("id"),
            model: text("model"),
            created: None,
            service_tier: usage.and_then(response::service_tier),
            fingerprint: None,
        }));
        if let Some(usage) = usage {
            self.counts.update(usage);
            out.push(Delta::Usage(self.counts.usage()));
        }
    }

    fn block_start(&mut self, root: Value<'_>, out: &mut Vec<Delta>) -> Result<(), BrokenEvent> {
        let index = index(root)?;
        let (Some(block), Some(name)) = (
            root.get("content_block"),
            root.get("content_block")
                .and_then(|block| block.get("type"))
                .and_then(Value::as_str),
        ) else {
            return Err(broken("a block without a type"));
        };
        if self.open.len() >= OPEN_MAX {
            return Err(broken("too many open blocks"));
        }
        self.start(None, out);
        if self.open.iter().any(|open| open.index == index) {
            self.fail(failure::spliced(), out);
            return Ok(());
        }
        let member = |name| block.get(name).and_then(Value::as_str);
        let some = |text: &JsonStr| !text.is_empty();
        match name.escaped().as_ref() {
            b"text" => {
                let block_id = self.open(index, OpenKind::Text, BlockKind::Text, out);
                append(block_id, member("text"), out);
                for citation in block.get("citations").into_iter().flat_map(Value::elements) {
                    push_citation(block_id, citation, out);
                }
            }
            b"thinking" => {
                let signature = member("signature").filter(some);
                let kind = OpenKind::Thinking {
                    signature: signature.map(|it| it.detach()),
                };
                let block_id = self.open(index, kind, BlockKind::Thinking, out);
                append(block_id, member("thinking"), out);
            }
            b"tool_use" => {
                let (Some(id), Some(tool)) = (member("id"), member("name")) else {
                    return Err(broken("a tool call without id or name"));
                };
                let input = block.get("input").filter(|input| !input.is_empty());
                let kind = OpenKind::Tool {
                    input: input.map(|input| embed::embed(&input.raw()).detach()),
                    empty: true,
                };
                let call = BlockKind::ToolCall {
                    id,
                    name: tool,
                    free: false,
                };
                self.calls = true;
                self.open(index, kind, call, out);
            }
            b"redacted_thinking" => {
                let data = member("data").unwrap_or_default().detach();
                self.hold(index, OpenKind::Redacted { data });
            }
            _ => {
                self.hold(index, OpenKind::Whole(Whole::new(&name, block)));
            }
        }
        Ok(())
    }

    /// Opens a block that is told as it comes.
    fn open(
        &mut self,
        index: u64,
        open: OpenKind,
        kind: BlockKind,
        out: &mut Vec<Delta>,
    ) -> BlockId {
        let block = self.hold(index, open);
        out.push(Delta::BlockStart {
            block,
            choice: 0,
            kind,
        });
        block
    }

    fn hold(&mut self, index: u64, kind: OpenKind) -> BlockId {
        let block = BlockId(self.next);
        self.next = self.next.wrapping_add(1);
        self.open.push(Open { index, block, kind });
        block
    }

    fn block_delta(&mut self, root: Value<'_>, out: &mut Vec<Delta>) -> Result<(), BrokenEvent> {
        let index = index(root)?;
        let delta = root
            .get("delta")
            .ok_or_else(|| broken("no delta in content_block_delta"))?;
        let kind = delta.get("type").and_then(Value::escaped);
        let kind = kind.ok_or_else(|| broken("a delta without a type"))?;
        if !self.open.iter().any(|open| open.index == index) {
            self.start(None, out);
            match kind {
                b"text_delta" => {
                    self.open(index, OpenKind::Text, BlockKind::Text, out);
                }
                b"thinking_delta" => {
                    let kind = OpenKind::Thinking { signature: None };
                    self.open(index, kind, BlockKind::Thinking, out);
                }
                _ => return Err(broken("a delta of a block that never began")),
            }
        }
        let Some(open) = self.open.iter_mut().rev().find(|open| open.index == index) else {
            return Ok(());
        };
        let text = |name| delta.get(name).and_then(Value::as_str);
        match (&mut open.kind, kind) {
            (OpenKind::Text, b"text_delta") => append(open.block, text("text"), out),
            (OpenKind::Text, b"citations_delta") => {
                if let Some(citation) = delta.get("citation") {
                    push_citation(open.block, citation, out);
                }
            }
            (OpenKind::Thinking { .. }, b"thinking_delta") => {
                append(open.block, text("thinking"), out);
            }
            (OpenKind::Thinking { signature }, b"signature_delta") => {
                let told = text("signature").filter(|told| !told.is_empty());
                if let Some(told) = told {
                    *signature = Some(told.detach());
                }
            }
            (OpenKind::Tool { empty, .. }, b"input_json_delta") => {
                let piece = text("partial_json").filter(|piece| !piece.is_empty());
                *empty &= piece.is_none();
                append(open.block, piece, out);
            }
            (OpenKind::Whole(whole), _) => whole.delta(delta),
            _ => {}
        }
        Ok(())
    }

    fn block_stop(&mut self, index: u64, limits: &JsonLimits, out: &mut Vec<Delta>) {
        if let Some(at) = self.open.iter().position(|open| open.index == index) {
            let open = self.open.remove(at);
            self.close(open, limits, out);
        }
    }

    fn close(&mut self, open: Open, limits: &JsonLimits, out: &mut Vec<Delta>) {
        let block = open.block;
        let whole = |kind: PartKind| Delta::BlockStart {
            block,
            choice: 0,
            kind: BlockKind::Whole(kind),
        };
        let origin = Origin::Anthropic;
        match open.kind {
            OpenKind::Text => {}
            OpenKind::Thinking { signature } => {
                let piece = signature.map(|signature| Piece::Signature(signature, origin));
                out.extend(piece.map(|piece| Delta::Append { block, piece }));
            }
            OpenKind::Tool { input, empty } => {
                if empty {
                    let input = input.unwrap_or(JsonStr::from_static("{}"));
                    append(block, Some(input), out);
                }
            }
            OpenKind::Redacted { data } => {
                out.push(whole(PartKind::RedactedThinking { data, origin }));
            }
            OpenKind::Whole(held) => {
                let (name, json) = held.finish(limits);
                out.push(whole(PartKind::Opaque { origin, name, json }));
            }
        }
        out.push(Delta::BlockStop { block });
    }

    fn message_delta(&mut self, root: Value<'_>, out: &mut Vec<Delta>) {
        self.start(None, out);
        if let Some(usage) = root.get("usage").filter(|it| it.kind() == Kind::Object) {
            self.counts.update(usage);
            out.push(Delta::Usage(self.counts.usage()));
        }
        if let Some(finish) = root.get("delta").and_then(finish::read) {
            self.finish = Some(Finish {
                stop_sequence: finish.stop_sequence.map(|it| it.detach()),
                message: finish.message.map(|it| it.detach()),
                ..finish
            });
        }
    }

    fn end(&mut self, limits: &JsonLimits, out: &mut Vec<Delta>) {
        self.start(None, out);
        for open in core::mem::take(&mut self.open) {
            self.close(open, limits, out);
        }
        let finish = self.finish.take().unwrap_or_else(|| Finish {
            reason: if self.calls {
                FinishReason::ToolCalls
            } else {
                FinishReason::Stop
            },
            ..Finish::default()
        });
        out.push(Delta::Finish { choice: 0, finish });
        out.push(Delta::End);
        self.ended = true;
    }
}

fn append(block: BlockId, text: Option<JsonStr>, out: &mut Vec<Delta>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(Delta::Append {
            block,
            piece: Piece::Text(text),
        });
    }
}

fn push_citation(block: BlockId, citation: Value<'_>, out: &mut Vec<Delta>) {
    out.push(Delta::Append {
        block,
        piece: Piece::Citation(Origin::Anthropic, citation.raw()),
    });
}

fn index(root: Value<'_>) -> Result<u64, BrokenEvent> {
    root.get("index")
        .and_then(Value::as_u64)
        .ok_or_else(|| broken("an event of a block without its index"))
}

fn broken(reason: &str) -> BrokenEvent {
    BrokenEvent {
        reason: reason.to_owned(),
    }
}
