//! Writes chunks.
//!
//! The API's grammar: a chunk with the role first, then deltas in any order (tool calls carry a
//! number, so they may overlap and nothing is held back), one chunk with `finish_reason` per
//! choice, the usage chunk if it was asked for, `[DONE]`. A failure is a chunk with `error`, and
//! the last one.

use crate::base::buf::SLICE_BYTES_MIN;
use crate::base::{JsonStr, OutBuf, RawJson};
use crate::dialect::ReplyMeta;
use crate::dialect::failure::{calls_nothing, truncated};
use crate::dialect::openai_chat::answer::{NO_ARGUMENTS, finish_name, format_of};
use crate::dialect::openai_chat::response::{Head, write_head, write_picture};
use crate::dialect::openai_chat::{failure, usage};
use crate::ir::{
    BlockId, BlockKind, Delta, Failure, Finish, FinishReason, Origin, PartKind, Piece, Start, Usage,
};
use crate::wire::json::Writer;

/// Turns deltas into chunks.
#[derive(Debug)]
pub struct Encoder {
    meta: ReplyMeta,
    /// What each chunk begins with, up to the bracket of `choices`; empty before the first.
    head: Vec<u8>,
    choices: Vec<Choice>,
    open: Vec<Open>,
    /// Blocks of reasoning so far.
    thoughts: u64,
    usage: Usage,
    ended: bool,
    failed: Option<Box<Failure>>,
}

#[derive(Debug)]
struct Choice {
    number: u32,
    calls: u64,
    refused: bool,
    finished: bool,
}

#[derive(Debug)]
struct Open {
    block: BlockId,
    choice: u32,
    kind: OpenKind,
}

#[derive(Clone, Copy, Debug)]
enum OpenKind {
    Call {
        number: u64,
        free: bool,
        begun: bool,
    },
    Refusal,
    Text,
    Thinking {
        number: u64,
    },
    Whole,
}

impl Encoder {
    /// For one answer.
    pub fn new(meta: ReplyMeta) -> Encoder {
        Encoder {
            meta,
            head: Vec::new(),
            choices: Vec::new(),
            open: Vec::new(),
            thoughts: 0,
            usage: Usage::default(),
            ended: false,
            failed: None,
        }
    }

    /// Writes what the delta becomes; after [`Delta::End`] and [`Delta::Failure`] nothing.
    pub fn delta(&mut self, delta: Delta, out: &mut OutBuf) {
        if self.ended {
            return;
        }
        match delta {
            Delta::Start(start) => self.start(&start, out),
            Delta::BlockStart {
                block,
                choice,
                kind,
            } => self.block_start(block, choice, kind, out),
            Delta::Append { block, piece } => self.append(block, piece, out),
            Delta::BlockStop { block } => self.block_stop(block, out),
            Delta::Finish { choice, finish } => self.finish(choice, &finish, out),
            Delta::Logprobs { choice, json } => {
                self.role(choice, out);
                self.chunk(choice, Some(&json), None, out, |_| {});
            }
            Delta::Usage(usage) => self.usage.update(&usage),
            Delta::Failure(failure) => self.fail(&failure, out),
            Delta::Ping => self.keep_alive(out),
            Delta::End => self.end(out),
        }
    }

    /// The failure that the answer was ended with: one that was told, or what this API has no way
    /// to say.
    pub fn failure(&self) -> Option<&Failure> {
        self.failed.as_deref()
    }

    /// Writes what ends every stream: for one that is complete but for it.
    pub fn end_mark(&self, out: &mut OutBuf) {
        out.put(b"data: [DONE]\n\n");
    }

    /// Writes what keeps the connection alive: a comment.
    pub fn keep_alive(&mut self, out: &mut OutBuf) {
        if !self.ended {
            out.put(b": keep-alive\n\n");
        }
    }

    fn start(&mut self, start: &Start, out: &mut OutBuf) {
        if !self.head.is_empty() {
            return;
        }
        let mut head = OutBuf::new();
        head.put(b"data: ");
        let mut json = Writer::one_line(&mut head);
        json.begin_object();
        let told = Head {
            id: start.id.as_ref(),
            model: start.model.as_ref(),
            created: start.created,
            service_tier: start.service_tier.as_ref(),
            fingerprint: start.fingerprint.as_ref(),
            object: "chat.completion.chunk",
        };
        write_head(&told, &self.meta, &mut json);
        json.key("choices");
        json.begin_array();
        self.head = head.take_all().to_vec();
        self.role(0, out);
    }

    /// The first chunk of a choice tells the role.
    fn role(&mut self, choice: u32, out: &mut OutBuf) {
        if self.head.is_empty() {
            self.start(&Start::default(), out);
        }
        if self.choices.iter().any(|known| known.number == choice) {
            return;
        }
        self.choices.push(Choice {
            number: choice,
            calls: 0,
            refused: false,
            finished: false,
        });
        self.chunk(choice, None, None, out, |out| {
            out.put(b"\"role\":\"assistant\",\"content\":\"\"");
        });
    }

    fn chunk(
        &self,
        choice: u32,
        logprobs: Option<&RawJson>,
        reason: Option<&str>,
        out: &mut OutBuf,
        delta: impl FnOnce(&mut OutBuf),
    ) {
        out.put(&self.head);
        if choice == 0 {
            out.put(b"{\"index\":0,\"delta\":{");
        } else {
            out.put(b"{\"index\":");
            out.put_u64(choice.into());
            out.put(b",\"delta\":{");
        }
        delta(out);
        if logprobs.is_none() && reason.is_none() {
            // Nearly all: one piece less to put together.
            out.put(if self.meta.stream_usage {
                b"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n".as_slice()
            } else {
                b"},\"logprobs\":null,\"finish_reason\":null}]}\n\n"
            });
            return;
        }
        out.put(b"},\"logprobs\":");
        match logprobs {
            None => out.put(b"null"),
            Some(json) => Writer::one_line(out).raw(json),
        }
        out.put(b",\"finish_reason\":");
        match reason {
            None => out.put(b"null"),
            Some(reason) => Writer::new(out).text(reason),
        }
        out.put(if self.meta.stream_usage {
            b"}],\"usage\":null}\n\n"
        } else {
            b"}]}\n\n"
        });
    }

    fn block_start(&mut self, block: BlockId, choice: u32, kind: BlockKind, out: &mut OutBuf) {
        self.role(choice, out);
        let Some(at) = self.choices.iter_mut().find(|it| it.number == choice) else {
            return;
        };
        let kind = match kind {
            BlockKind::Refusal => {
                at.refused = true;
                OpenKind::Refusal
            }
            BlockKind::Text => OpenKind::Text,
            BlockKind::Thinking => {
                let number = self.thoughts;
                self.thoughts += 1;
                OpenKind::Thinking { number }
            }
            BlockKind::ToolCall { id, name, free } => {
                let number = at.calls;
                at.calls += 1;
                self.chunk(choice, None, None, out, |out| {
                    put_call_start(number, &id, &name, free, out);
                });
                let begun = false;
                OpenKind::Call {
                    number,
                    free,
                    begun,
                }
            }
            BlockKind::Whole(part) => {
                self.whole(choice, &part, out);
                OpenKind::Whole
            }
        };
        self.open.push(Open {
            block,
            choice,
            kind,
        });
    }

    /// Parts of which Chat has an idea; the rest (what another vendor's server did) is not shown.
    fn whole(&mut self, choice: u32, part: &PartKind, out: &mut OutBuf) {
        match part {
            PartKind::RedactedThinking { data, origin } => {
                let number = self.thoughts;
                self.thoughts += 1;
                self.chunk(choice, None, None, out, |out| {
                    out.put(b"\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",");
                    put_member(b"\"data\":\"", data, out);
                    out.put(b",");
                    put_format(*origin, number, out);
                });
            }
            PartKind::Image(media) => self.chunk(choice, None, None, out, |out| {
                out.put(b"\"images\":[");
                write_picture(media, &mut Writer::new(out));
                out.put(b"]");
            }),
            _ => {}
        }
    }

    fn append(&mut self, block: BlockId, piece: Piece, out: &mut OutBuf) {
        let Some(at) = self.open.iter().position(|open| open.block == block) else {
            return;
        };
        let Some(Open { choice, kind, .. }) = self.open.get_mut(at) else {
            return;
        };
        if let (OpenKind::Call { begun, .. }, Piece::Text(_)) = (&mut *kind, &piece) {
            *begun = true;
        }
        let (choice, kind) = (*choice, *kind);
        match (kind, piece) {
            (OpenKind::Text, Piece::Text(text)) => self.chunk(choice, None, None, out, |out| {
                put_member(b"\"content\":\"", &text, out);
            }),
            (OpenKind::Refusal, Piece::Text(text)) => self.chunk(choice, None, None, out, |out| {
                put_member(b"\"refusal\":\"", &text, out);
            }),
            (OpenKind::Thinking { .. }, Piece::Text(text)) => {
                self.chunk(choice, None, None, out, |out| {
                    put_member(b"\"reasoning_content\":\"", &text, out);
                });
            }
            (OpenKind::Call { number, free, .. }, Piece::Text(text)) => {
                self.chunk(choice, None, None, out, |out| {
                    put_arguments(number, free, &text, out);
                });
            }
            (OpenKind::Thinking { number }, Piece::Signature(value, origin)) => {
                self.chunk(choice, None, None, out, |out| {
                    out.put(b"\"reasoning_details\":[{\"type\":\"reasoning.text\",");
                    put_member(b"\"signature\":\"", &value, out);
                    out.put(b",");
                    put_format(origin, number, out);
                });
            }
            (OpenKind::Call { number, .. }, Piece::Signature(value, Origin::Gemini)) => {
                self.chunk(choice, None, None, out, |out| {
                    out.put(b"\"tool_calls\":[{\"index\":");
                    out.put_u64(number);
                    out.put(b",\"extra_content\":{\"google\":{");
                    put_member(b"\"thought_signature\":\"", &value, out);
                    out.put(b"}}}]");
                });
            }
            (OpenKind::Text, Piece::Citation(Origin::OpenAiChat, json)) => {
                self.chunk(choice, None, None, out, |out| {
                    out.put(b"\"annotations\":[");
                    Writer::one_line(out).raw(&json);
                    out.put(b"]");
                });
            }
            // Sources in another vendor's form have no place here.
            _ => {}
        }
    }

    fn block_stop(&mut self, block: BlockId, out: &mut OutBuf) {
        let Some(at) = self.open.iter().position(|open| open.block == block) else {
            return;
        };
        let open = self.open.remove(at);
        if let OpenKind::Call {
            number,
            free: false,
            begun: false,
        } = open.kind
        {
            self.chunk(open.choice, None, None, out, |out| {
                put_arguments(number, false, &NO_ARGUMENTS, out);
            });
        }
    }

    fn finish(&mut self, choice: u32, finish: &Finish, out: &mut OutBuf) {
        self.role(choice, out);
        let Some(at) = self.choices.iter_mut().find(|it| it.number == choice) else {
            return;
        };
        if at.finished {
            return;
        }
        at.finished = true;
        let reason = match &finish.reason {
            FinishReason::Stop | FinishReason::StopSequence if at.calls > 0 => "tool_calls",
            FinishReason::ToolCalls if at.calls == 0 => {
                return self.fail(&calls_nothing(), out);
            }
            reason => finish_name(reason, at.refused),
        };
        self.chunk(choice, None, Some(reason), out, |_| {});
    }

    fn end(&mut self, out: &mut OutBuf) {
        if self.choices.is_empty() || self.choices.iter().any(|choice| !choice.finished) {
            return self.fail(&truncated(), out);
        }
        self.ended = true;
        if self.meta.stream_usage {
            // A provider that told nothing leaves the estimate.
            let estimate = Some(self.meta.input_tokens_estimate);
            self.usage.input = self.usage.input.or(estimate);
            out.put(&self.head);
            out.put(b"],\"usage\":");
            usage::encode(&self.usage, &mut Writer::new(out));
            out.put(b"}\n\n");
        }
        self.end_mark(out);
    }

    fn fail(&mut self, failure: &Failure, out: &mut OutBuf) {
        self.ended = true;
        self.failed = Some(Box::new(failure.clone()));
        out.put(b"data: {\"error\":");
        failure::write(failure, &mut Writer::one_line(out));
        out.put(b"}\n\n");
    }
}

/// A member whose value is `text`; `key` with all that stands before that, `"key":"`.
fn put_member(key: &[u8], text: &JsonStr, out: &mut OutBuf) {
    out.put(key);
    if text.len() < SLICE_BYTES_MIN {
        out.put(text.escaped());
    } else {
        out.push(text.escaped().clone());
    }
    out.put(b"\"");
}

/// The end of an entry of `reasoning_details`, and of the list.
fn put_format(origin: Origin, number: u64, out: &mut OutBuf) {
    out.put(b"\"format\":\"");
    out.put(format_of(origin).as_bytes());
    out.put(b"\",\"index\":");
    out.put_u64(number);
    out.put(b"}]");
}

fn put_call_start(number: u64, id: &JsonStr, name: &JsonStr, free: bool, out: &mut OutBuf) {
    out.put(b"\"tool_calls\":[{\"index\":");
    out.put_u64(number);
    out.put(b",");
    put_member(b"\"id\":\"", id, out);
    out.put(if free {
        b",\"type\":\"custom\",\"custom\":{".as_slice()
    } else {
        b",\"type\":\"function\",\"function\":{"
    });
    put_member(b"\"name\":\"", name, out);
    out.put(if free {
        b",\"input\":\"\"}}]".as_slice()
    } else {
        b",\"arguments\":\"\"}}]"
    });
}

fn put_arguments(number: u64, free: bool, text: &JsonStr, out: &mut OutBuf) {
    out.put(b"\"tool_calls\":[{\"index\":");
    out.put_u64(number);
    if free {
        out.put(b",\"custom\":{");
        put_member(b"\"input\":\"", text, out);
    } else {
        out.put(b",\"function\":{");
        put_member(b"\"arguments\":\"", text, out);
    }
    out.put(b"}}]");
}
