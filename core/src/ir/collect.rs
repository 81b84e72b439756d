//! Between pieces and whole: [`Collector`] makes a [`Response`] of [`Delta`]s, [`replay`] the
//! reverse. For a client that wants it the other way than the upstream answers.

use bytes::{Bytes, BytesMut};

use super::delta::{BlockId, BlockKind, Delta, Piece, Start};
use super::failure::{Class, Failure};
use super::message::{Origin, Part, PartKind, Signature, Thinking};
use super::request::CHOICES_MAX;
use super::response::{Choice, Response};
use super::tool::{Arguments, ToolCall};
use super::usage::Usage;
use crate::base::{JsonStr, RawJson};

/// Puts a streamed answer together.
#[derive(Debug)]
pub struct Collector {
    response: Response,
    open: Vec<Open>,
    logprobs: Vec<RawJson>,
    bytes: usize,
    bytes_max: usize,
    ended: bool,
}

#[derive(Debug)]
struct Open {
    block: BlockId,
    choice: u32,
    /// Where in the choice's parts it belongs.
    place: usize,
    kind: BlockKind,
    text: BytesMut,
    signature: Option<Signature>,
    citations: Vec<(Origin, RawJson)>,
}

impl Collector {
    /// Collects up to `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Collector {
        Collector {
            response: Response::default(),
            open: Vec::new(),
            logprobs: Vec::new(),
            bytes: 0,
            bytes_max,
            ended: false,
        }
    }

    /// Bytes held, each block and piece counted with what it takes beside its text.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The failure that the stream tells of, or that the answer is too long to be held.
    pub fn push(&mut self, delta: Delta) -> Result<(), Box<Failure>> {
        if let Delta::BlockStart { choice, .. }
        | Delta::Finish { choice, .. }
        | Delta::Logprobs { choice, .. } = &delta
            && *choice >= CHOICES_MAX
        {
            let message = format!("the answer has more than {CHOICES_MAX} choices");
            return Err(Box::new(Failure::new(Class::BadGateway, message)));
        }
        match delta {
            Delta::Start(start) => self.start(start),
            Delta::BlockStart {
                block,
                choice,
                kind,
            } => self.block_start(block, choice, kind),
            Delta::Append { block, piece } => self.append(block, piece)?,
            Delta::BlockStop { block } => self.block_stop(block),
            Delta::Finish { choice, finish } => self.choice(choice).finish = finish,
            Delta::Logprobs { choice, json } => {
                self.bytes += json.len() + size_of::<RawJson>();
                self.logprobs.push(json.detach());
                let _ = self.choice(choice);
            }
            Delta::Usage(usage) => {
                self.response
                    .usage
                    .get_or_insert_with(Usage::default)
                    .update(&usage);
            }
            Delta::Failure(failure) => return Err(failure),
            Delta::Ping => {}
            Delta::End => self.ended = true,
        }
        if self.bytes > self.bytes_max {
            let message = format!("the answer is longer than {} bytes", self.bytes_max);
            return Err(Box::new(Failure::new(Class::BadGateway, message)));
        }
        Ok(())
    }

    /// The whole answer; `None` if the stream has not ended.
    pub fn finish(mut self) -> Option<Response> {
        if !self.ended {
            return None;
        }
        let open: Vec<BlockId> = self.open.iter().map(|open| open.block).collect();
        for block in open {
            self.block_stop(block);
        }
        if let [choice] = self.response.choices.as_mut_slice() {
            choice.logprobs = join_logprobs(&self.logprobs);
        }
        Some(self.response)
    }

    fn start(&mut self, start: Start) {
        self.response.id = start.id;
        self.response.model = start.model;
        self.response.created = start.created;
        self.response.service_tier = start.service_tier;
        self.response.fingerprint = start.fingerprint;
    }

    fn choice(&mut self, choice: u32) -> &mut Choice {
        let choice = choice as usize;
        if self.response.choices.len() <= choice {
            self.response
                .choices
                .resize_with(choice + 1, Choice::default);
        }
        &mut self.response.choices[choice]
    }

    fn block_start(&mut self, block: BlockId, choice: u32, kind: BlockKind) {
        self.bytes += kind.bytes() + size_of::<Part>();
        let parts = &mut self.choice(choice).parts;
        let place = parts.len();
        // Keeps the place: blocks may end in another order than they began.
        parts.push(Part::text(JsonStr::EMPTY));
        self.open.push(Open {
            block,
            choice,
            place,
            kind: kind.detach(),
            text: BytesMut::new(),
            signature: None,
            citations: Vec::new(),
        });
    }

    fn append(&mut self, block: BlockId, piece: Piece) -> Result<(), Box<Failure>> {
        let Some(open) = self.open.iter_mut().find(|open| open.block == block) else {
            return Err(Box::new(Failure::new(
                Class::BadGateway,
                "a delta of an unknown block",
            )));
        };
        self.bytes += piece.bytes();
        match piece {
            Piece::Text(text) => open.text.extend_from_slice(text.escaped()),
            Piece::Signature(value, origin) => {
                let value = value.detach();
                open.signature = Some(Signature { value, origin });
            }
            Piece::Citation(origin, json) => {
                self.bytes += size_of::<(Origin, RawJson)>();
                open.citations.push((origin, json.detach()));
            }
        }
        Ok(())
    }

    fn block_stop(&mut self, block: BlockId) {
        let Some(at) = self.open.iter().position(|open| open.block == block) else {
            return;
        };
        let open = self.open.remove(at);
        let (choice, place) = (open.choice, open.place);
        let part = Part::new(open.into_part());
        if let Some(kept) = self.choice(choice).parts.get_mut(place) {
            *kept = part;
        }
    }
}

impl Open {
    fn into_part(self) -> PartKind {
        let text = JsonStr::from_checked(self.text.freeze());
        match self.kind {
            BlockKind::Refusal => PartKind::Refusal { text },
            BlockKind::Text => PartKind::Text {
                text,
                citations: self.citations,
            },
            BlockKind::Thinking => PartKind::Thinking(Thinking {
                text,
                signature: self.signature,
            }),
            BlockKind::ToolCall { id, name, free } => {
                let arguments = if free {
                    Arguments::Free(text)
                } else {
                    Arguments::Text(text)
                };
                PartKind::ToolCall(ToolCall {
                    id,
                    name,
                    arguments,
                    signature: self.signature,
                })
            }
            BlockKind::Whole(kind) => kind,
        }
    }
}

/// Joins the `content` arrays of Chat's `logprobs` objects, one of which comes with each delta.
fn join_logprobs(pieces: &[RawJson]) -> Option<RawJson> {
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Logprobs<'a> {
        #[serde(borrow, default)]
        content: Option<Vec<&'a serde_json::value::RawValue>>,
        #[serde(borrow, default)]
        refusal: Option<Vec<&'a serde_json::value::RawValue>>,
    }
    let mut whole: Option<Logprobs<'_>> = None;
    for piece in pieces {
        let Ok(piece) = serde_json::from_slice::<Logprobs<'_>>(piece.text()) else {
            continue;
        };
        let Some(whole) = &mut whole else {
            whole = Some(piece);
            continue;
        };
        for (joined, more) in [
            (&mut whole.content, piece.content),
            (&mut whole.refusal, piece.refusal),
        ] {
            if let Some(more) = more {
                joined.get_or_insert_default().extend(more);
            }
        }
    }
    let text = serde_json::to_vec(&whole?).ok()?;
    Some(RawJson::from_checked(Bytes::from(text)))
}

/// Tells a whole answer as a stream would have: the deltas in order, [`Delta::End`] last.
pub fn replay(response: Response, out: &mut Vec<Delta>) {
    out.push(Delta::Start(Start {
        id: response.id,
        model: response.model,
        created: response.created,
        service_tier: response.service_tier,
        fingerprint: response.fingerprint,
    }));
    let mut next = 0;
    for (choice, answer) in (0u32..).zip(response.choices) {
        for part in answer.parts {
            let block = BlockId(next);
            next += 1;
            replay_part(part, block, choice, out);
        }
        if let Some(json) = answer.logprobs {
            out.push(Delta::Logprobs { choice, json });
        }
        out.push(Delta::Finish {
            choice,
            finish: answer.finish,
        });
    }
    if let Some(usage) = response.usage {
        out.push(Delta::Usage(usage));
    }
    out.push(Delta::End);
}

fn replay_part(part: Part, block: BlockId, choice: u32, out: &mut Vec<Delta>) {
    let mut pieces = Vec::new();
    let kind = match part.kind {
        PartKind::Text { text, citations } => {
            pieces.push(Piece::Text(text));
            pieces.extend(
                citations
                    .into_iter()
                    .map(|(origin, json)| Piece::Citation(origin, json)),
            );
            BlockKind::Text
        }
        PartKind::Refusal { text } => {
            pieces.push(Piece::Text(text));
            BlockKind::Refusal
        }
        PartKind::Thinking(Thinking { text, signature }) => {
            pieces.push(Piece::Text(text));
            pieces.extend(signature.map(|it| Piece::Signature(it.value, it.origin)));
            BlockKind::Thinking
        }
        PartKind::ToolCall(ToolCall {
            id,
            name,
            arguments,
            signature,
        }) => {
            let (free, text) = match arguments {
                Arguments::Free(text) => (true, text),
                Arguments::Json(json) => (
                    false,
                    JsonStr::escape(&String::from_utf8_lossy(json.text())),
                ),
                Arguments::Text(text) => (false, text),
            };
            pieces.push(Piece::Text(text));
            pieces.extend(signature.map(|it| Piece::Signature(it.value, it.origin)));
            BlockKind::ToolCall { id, name, free }
        }
        whole => BlockKind::Whole(whole),
    };
    out.push(Delta::BlockStart {
        block,
        choice,
        kind,
    });
    for piece in pieces {
        let empty = matches!(&piece, Piece::Text(text) if text.is_empty());
        if !empty {
            out.push(Delta::Append { block, piece });
        }
    }
    out.push(Delta::BlockStop { block });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Finish, FinishReason};

    #[test]
    fn what_is_replayed_is_collected_again() {
        let call = ToolCall {
            id: JsonStr::from_static("c1"),
            name: JsonStr::from_static("f"),
            arguments: Arguments::Text(JsonStr::escape("{\"a\":1}")),
            signature: None,
        };
        let thinking = Thinking {
            text: JsonStr::from_static("hm"),
            signature: Some(Signature {
                value: JsonStr::from_static("c2ln"),
                origin: Origin::Anthropic,
            }),
        };
        let response = Response {
            id: Some(JsonStr::from_static("r1")),
            choices: vec![Choice {
                parts: vec![
                    Part::new(PartKind::Thinking(thinking)),
                    Part::text(JsonStr::from_static("hello")),
                    Part::new(PartKind::ToolCall(call)),
                ],
                finish: Finish {
                    reason: FinishReason::ToolCalls,
                    ..Finish::default()
                },
                logprobs: None,
            }],
            usage: Some(Usage {
                input: Some(3),
                output: Some(5),
                ..Usage::default()
            }),
            ..Response::default()
        };
        let mut deltas = Vec::new();
        replay(response.clone(), &mut deltas);
        let mut collector = Collector::new(1 << 20);
        for delta in deltas {
            collector.push(delta).unwrap();
        }
        assert_eq!(collector.finish(), Some(response));
    }

    #[test]
    fn blocks_without_text_are_bounded_too() {
        let mut collector = Collector::new(1 << 16);
        collector.push(Delta::Start(Start::default())).unwrap();
        let mut blocks = (0..).map(|block| Delta::BlockStart {
            block: BlockId(block),
            choice: 0,
            kind: BlockKind::Text,
        });
        let refused = blocks.by_ref().take(10_000).find_map(|delta| {
            let told = collector.push(delta);
            told.err()
        });
        assert_eq!(refused.map(|it| it.class), Some(Class::BadGateway));
    }

    #[test]
    fn a_stream_without_an_end_is_no_answer() {
        let mut collector = Collector::new(16);
        collector.push(Delta::Start(Start::default())).unwrap();
        assert_eq!(collector.finish(), None);
    }
}
