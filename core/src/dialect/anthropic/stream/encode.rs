//! Deltas, as the events that a Messages client expects.
//!
//! ```text
//! message_start
//! (content_block_start content_block_delta* content_block_stop)*
//! message_delta message_stop
//! ```
//! `ping` may stand anywhere between; an `error` ends the stream in any place, and nothing follows
//! it: no block that is open then is closed, for a client might run half a command.
//!
//! Blocks never overlap, so one that begins while another is open waits (within `held_bytes_max`).
//! No block and no delta is empty. `message_start` goes out with the first block, so that counts
//! which come before it are told in it, and `message_delta` at the very end, so that all counts
//! are.

use super::held::{Held, Waiting};
use crate::base::buf::SLICE_BYTES_MIN;
use crate::base::{JsonStr, OutBuf};
use crate::dialect::ReplyMeta;
use crate::dialect::anthropic::finish::{self, Made};
use crate::dialect::anthropic::response::write_head;
use crate::dialect::anthropic::{failure, usage};
use crate::dialect::failure::calls_nothing;
use crate::ir::{
    BlockId, BlockKind, Class, Delta, Failure, Finish, FinishReason, Origin, PartKind, Piece,
    Start, Usage,
};
use crate::wire::json::Writer;

const INPUT_JSON: &[u8] = b",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"";

const TEXT_DELTA: &[u8] = b",\"delta\":{\"type\":\"text_delta\",\"text\":\"";
const CITATIONS_DELTA: &[u8] = b",\"delta\":{\"type\":\"citations_delta\",\"citation\":";
const THINKING_DELTA: &[u8] = b",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"";
const SIGNATURE_DELTA: &[u8] = b",\"delta\":{\"type\":\"signature_delta\",\"signature\":\"";

/// Writes a streamed answer for a Messages client.
#[derive(Debug)]
pub struct Encoder {
    meta: ReplyMeta,
    start: Start,
    usage: Usage,
    finish: Option<Finish>,
    made: Made,
    begun: bool,
    ended: bool,
    failed: Option<Box<Failure>>,
    open: Option<Open>,
    held: Held,
    /// Index of the next block.
    next: u64,
}

#[derive(Debug)]
struct Open {
    block: BlockId,
    index: u64,
    kind: Form,
    /// Whether its `content_block_start` is written; text and thinking wait for their first words.
    written: bool,
}

/// What kind of deltas a block takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Text,
    Thinking,
    Tool {
        free: bool,
    },
    /// Has all it will have.
    Whole,
    /// Has no place in Messages.
    Hidden,
}

impl Encoder {
    /// An encoder for one answer.
    pub fn new(meta: ReplyMeta) -> Encoder {
        Encoder {
            meta,
            start: Start::default(),
            usage: Usage::default(),
            finish: None,
            made: Made::default(),
            begun: false,
            ended: false,
            failed: None,
            open: None,
            held: Held::default(),
            next: 0,
        }
    }

    /// Writes what the delta says, if it says anything yet.
    pub fn delta(&mut self, delta: Delta, out: &mut OutBuf) {
        if self.ended {
            return;
        }
        match delta {
            Delta::Append { block, piece } => self.append(block, &piece, out),
            Delta::BlockStart {
                block,
                choice: 0,
                kind,
            } => self.block_start(block, kind, out),
            Delta::BlockStop { block } => self.block_stop(block, out),
            Delta::Start(start) => self.start = detached(start),
            Delta::Usage(usage) => self.usage.update(&usage),
            Delta::Finish { choice: 0, finish } => self.finish = Some(finish),
            Delta::Ping => self.keep_alive(out),
            Delta::Failure(failure) => self.fail(&failure, out),
            Delta::End => self.end(out),
            // Messages gives one answer, and no probabilities.
            Delta::BlockStart { .. } | Delta::Finish { .. } | Delta::Logprobs { .. } => {}
        }
        if self.held.bytes() > self.meta.held_bytes_max {
            let message = "too much of the answer came while an earlier block was unfinished";
            self.fail(&Failure::new(Class::BadGateway, message), out);
        }
    }

    /// The failure that the answer was ended with: one that was told, or what this API has no way
    /// to say.
    pub fn failure(&self) -> Option<&Failure> {
        self.failed.as_deref()
    }

    /// Writes what ends every stream: for one that is complete but for it.
    pub fn end_mark(&self, out: &mut OutBuf) {
        out.put(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    /// Shows that the answer is still being made.
    pub fn keep_alive(&mut self, out: &mut OutBuf) {
        if !self.ended {
            out.put(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
        }
    }

    fn begin(&mut self, out: &mut OutBuf) {
        if self.begun {
            return;
        }
        self.begun = true;
        out.put(b"event: message_start\ndata: ");
        let mut json = Writer::one_line(out);
        json.begin_object();
        json.key("type");
        json.text("message_start");
        json.key("message");
        json.begin_object();
        let (id, model) = (self.start.id.as_ref(), self.start.model.as_ref());
        write_head(id, model, &self.meta, &mut json);
        json.key("content");
        json.begin_array();
        json.end_array();
        json.key("stop_reason");
        json.null();
        json.key("stop_sequence");
        json.null();
        json.key("usage");
        let usage = Usage {
            // No prompt is empty: who tells zero at the start counts only at the end, and clients
            // take the size of their context from here.
            input: self.usage.input.filter(|&told| told > 0),
            ..self.usage
        };
        usage::write(&usage, self.meta.input_tokens_estimate, &mut json);
        json.end_object();
        json.end_object();
        out.put(b"\n\n");
    }

    fn block_start(&mut self, block: BlockId, kind: BlockKind, out: &mut OutBuf) {
        if self.open.is_some() {
            self.held.start(block, kind);
        } else {
            self.open_block(block, &kind, out);
        }
    }

    fn open_block(&mut self, block: BlockId, kind: &BlockKind, out: &mut OutBuf) {
        let (form, written) = match kind {
            BlockKind::Text => (Form::Text, false),
            BlockKind::Refusal => {
                self.made.refuses = true;
                (Form::Text, false)
            }
            BlockKind::Thinking => (Form::Thinking, false),
            BlockKind::ToolCall { id, name, free } => {
                self.made.calls = true;
                self.write_tool_start(id, name, out);
                if *free {
                    put_delta(out, self.next, INPUT_JSON);
                    out.put(b"{\\\"input\\\":\\\"\"}}\n\n");
                }
                (Form::Tool { free: *free }, true)
            }
            BlockKind::Whole(part) => {
                let shown = self.write_whole(part, out);
                (if shown { Form::Whole } else { Form::Hidden }, shown)
            }
        };
        self.open = Some(Open {
            block,
            index: self.next,
            kind: form,
            written,
        });
    }

    fn append(&mut self, block: BlockId, piece: &Piece, out: &mut OutBuf) {
        match &self.open {
            Some(open) if open.block == block => {
                let (index, kind, written) = (open.index, open.kind, open.written);
                self.write_piece(index, kind, written, piece, out);
            }
            // Those of other choices are unknown there.
            _ => self.held.append(block, piece),
        }
    }

    fn block_stop(&mut self, block: BlockId, out: &mut OutBuf) {
        if self.open.as_ref().is_none_or(|open| open.block != block) {
            self.held.stop(block);
            return;
        }
        self.close(out);
        self.advance(false, out);
    }

    /// Lets waiting blocks have their turn, until one that is not whole yet; or all of them.
    fn advance(&mut self, all: bool, out: &mut OutBuf) {
        while self.open.is_none() {
            let Some(Waiting {
                block,
                kind,
                pieces,
                stopped,
            }) = self.held.next()
            else {
                return;
            };
            self.open_block(block, &kind, out);
            for piece in &pieces {
                self.append(block, piece, out);
            }
            if stopped || all {
                self.close(out);
            }
        }
    }

    fn close(&mut self, out: &mut OutBuf) {
        let Some(open) = self.open.take() else {
            return;
        };
        if !open.written {
            return;
        }
        if open.kind == (Form::Tool { free: true }) {
            put_delta(out, open.index, INPUT_JSON);
            out.put(b"\\\"}\"}}\n\n");
        }
        out.put(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
        out.put_u64(open.index);
        out.put(b"}\n\n");
        self.next += 1;
    }

    fn write_piece(
        &mut self,
        index: u64,
        kind: Form,
        written: bool,
        piece: &Piece,
        out: &mut OutBuf,
    ) {
        match (kind, piece) {
            (Form::Text, Piece::Text(text)) if !text.is_empty() => {
                if !written {
                    self.write_start(b"\"text\",\"text\":\"\"}", out);
                }
                put_delta(out, index, TEXT_DELTA);
                end_delta(out, text);
            }
            (Form::Text, Piece::Citation(Origin::Anthropic, citation)) => {
                if !written {
                    self.write_start(b"\"text\",\"text\":\"\",\"citations\":[]}", out);
                }
                put_delta(out, index, CITATIONS_DELTA);
                Writer::one_line(out).raw(citation);
                out.put(b"}}\n\n");
            }
            (Form::Thinking, Piece::Text(text)) if !text.is_empty() => {
                if !written {
                    self.write_start(b"\"thinking\",\"thinking\":\"\",\"signature\":\"\"}", out);
                }
                put_delta(out, index, THINKING_DELTA);
                end_delta(out, text);
            }
            (Form::Thinking, Piece::Signature(value, Origin::Anthropic)) if !value.is_empty() => {
                if !written {
                    self.write_start(b"\"thinking\",\"thinking\":\"\",\"signature\":\"\"}", out);
                }
                put_delta(out, index, SIGNATURE_DELTA);
                end_delta(out, value);
            }
            (Form::Tool { free: false }, Piece::Text(text)) if !text.is_empty() => {
                put_delta(out, index, INPUT_JSON);
                end_delta(out, text);
            }
            (Form::Tool { free: true }, Piece::Text(text)) if !text.is_empty() => {
                // A string in a string: what is escaped once in the delta is so twice in the event.
                put_delta(out, index, INPUT_JSON);
                let inner = String::from_utf8_lossy(text.escaped());
                end_delta(out, &JsonStr::escape(&inner));
            }
            _ => {}
        }
    }

    fn write_start(&mut self, block: &[u8], out: &mut OutBuf) {
        self.begin(out);
        put_start(out, self.next);
        out.put(b"{\"type\":");
        out.put(block);
        out.put(b"}\n\n");
        if let Some(open) = &mut self.open {
            open.written = true;
        }
    }

    fn write_tool_start(&mut self, id: &JsonStr, name: &JsonStr, out: &mut OutBuf) {
        self.begin(out);
        put_start(out, self.next);
        out.put(b"{\"type\":\"tool_use\",\"id\":\"");
        out.push(id.escaped().clone());
        out.put(b"\",\"name\":\"");
        out.push(name.escaped().clone());
        out.put(b"\",\"input\":{}}}\n\n");
    }

    /// A block that comes whole; whether Messages has a place for it.
    fn write_whole(&mut self, part: &PartKind, out: &mut OutBuf) -> bool {
        match part {
            PartKind::RedactedThinking {
                data,
                origin: Origin::Anthropic,
            } => {
                self.begin(out);
                put_start(out, self.next);
                out.put(b"{\"type\":\"redacted_thinking\",\"data\":\"");
                out.push(data.escaped().clone());
                out.put(b"\"}}\n\n");
                true
            }
            PartKind::Opaque {
                origin: Origin::Anthropic,
                json,
                ..
            } => {
                self.begin(out);
                put_start(out, self.next);
                Writer::one_line(out).raw(json);
                out.put(b"}\n\n");
                true
            }
            _ => false,
        }
    }

    fn end(&mut self, out: &mut OutBuf) {
        self.close(out);
        self.advance(true, out);
        let finish = self.finish.take().unwrap_or_default();
        if finish.reason == FinishReason::ToolCalls && !self.made.calls {
            return self.fail(&calls_nothing(), out);
        }
        self.begin(out);
        out.put(b"event: message_delta\ndata: ");
        let mut json = Writer::one_line(out);
        json.begin_object();
        json.key("type");
        json.text("message_delta");
        json.key("delta");
        json.begin_object();
        finish::write(&finish, self.made, &mut json);
        json.end_object();
        json.key("usage");
        usage::write(&self.usage, self.meta.input_tokens_estimate, &mut json);
        json.end_object();
        out.put(b"\n\n");
        self.end_mark(out);
        self.ended = true;
    }

    fn fail(&mut self, failure: &Failure, out: &mut OutBuf) {
        self.ended = true;
        self.failed = Some(Box::new(failure.clone()));
        self.held = Held::default();
        out.put(b"event: error\ndata: ");
        let mut json = Writer::one_line(out);
        json.begin_object();
        failure::write_members(failure, &mut json);
        json.end_object();
        out.put(b"\n\n");
    }
}

/// Kept until the first block comes: out of the read buffer with it.
fn detached(start: Start) -> Start {
    Start {
        id: start.id.map(|id| id.detach()),
        model: start.model.map(|model| model.detach()),
        service_tier: None,
        fingerprint: None,
        ..start
    }
}

fn put_start(out: &mut OutBuf, index: u64) {
    out.put(b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":");
    out.put_u64(index);
    out.put(b",\"content_block\":");
}

/// Begins a delta; `kind` is all up to its value.
#[inline]
fn put_delta(out: &mut OutBuf, index: u64, kind: &[u8]) {
    out.put(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
    out.put_u64(index);
    out.put(kind);
}

#[inline]
fn end_delta(out: &mut OutBuf, text: &JsonStr) {
    if text.len() < SLICE_BYTES_MIN {
        out.put(text.escaped());
    } else {
        out.push(text.escaped().clone());
    }
    out.put(b"\"}}\n\n");
}
