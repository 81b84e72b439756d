//! One choice of a streamed answer: which block is open, and what a delta adds.

use super::calls::Calls;
use crate::base::JsonStr;
use crate::dialect::BrokenEvent;
use crate::dialect::failure::calls_nothing;
use crate::dialect::openai_chat::answer::{self, Detail, detail, google_signature, thinking_text};
use crate::ir::{
    BlockId, BlockKind, Class, Delta, Failure, Finish, FinishReason, Origin, Part, PartKind, Piece,
    Signature,
};
use crate::wire::json::{Kind, Value};

/// Numbers blocks and passes deltas on, for one choice.
pub(super) struct Blocks<'a> {
    pub(super) out: &'a mut Vec<Delta>,
    pub(super) next: &'a mut u32,
    pub(super) choice: u32,
    pub(super) answer_id: Option<&'a JsonStr>,
    pub(super) held_bytes_max: usize,
}

impl Blocks<'_> {
    /// Begins a block.
    pub(super) fn open(&mut self, kind: BlockKind) -> BlockId {
        let block = BlockId(*self.next);
        *self.next = self.next.wrapping_add(1);
        let choice = self.choice;
        self.out.push(Delta::BlockStart {
            block,
            choice,
            kind,
        });
        block
    }

    /// Passes a delta on.
    pub(super) fn push(&mut self, delta: Delta) {
        self.out.push(delta);
    }
}

/// Which kind of words an open block holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Words {
    Refusal,
    Text,
    Thinking,
}

/// The state of one choice.
#[derive(Debug)]
pub(super) struct Choice {
    /// Its number.
    pub(super) index: u32,
    open: Option<(BlockId, Words)>,
    calls: Calls,
    /// Whether any block was begun.
    pub(super) said: bool,
    /// Why it ends, as the vendor says. More may come all the same: some vendors say `stop` in each
    /// chunk, and so the choice ends with the stream.
    pub(super) told: Option<FinishReason>,
    /// Whether reasoning ended without a signature: one that comes later signs nobody knows what.
    unsigned: bool,
}

/// The members of a delta that mean something.
#[derive(Default)]
struct Fields<'t> {
    content: Option<Value<'t>>,
    refusal: Option<Value<'t>>,
    words: Option<JsonStr>,
    details: Option<Value<'t>>,
    annotations: Option<Value<'t>>,
    images: Option<Value<'t>>,
    tool_calls: Option<Value<'t>>,
    function_call: Option<Value<'t>>,
    extra_content: Option<Value<'t>>,
}

impl Choice {
    /// A choice of which nothing came yet.
    pub(super) fn new(index: u32) -> Choice {
        Choice {
            index,
            open: None,
            calls: Calls::default(),
            said: false,
            told: None,
            unsigned: false,
        }
    }

    /// Whether a tool is called.
    pub(super) const fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Takes a `delta`.
    pub(super) fn delta(
        &mut self,
        delta: Value<'_>,
        blocks: &mut Blocks<'_>,
    ) -> Result<(), BrokenEvent> {
        let before = *blocks.next;
        let fields = Fields::read(delta);
        self.reasoning(fields.words, fields.details, blocks);
        if let Some(content) = fields.content {
            self.content(content, blocks);
        }
        if let Some(text) = fields.refusal.and_then(Value::as_str) {
            self.say(Words::Refusal, text, blocks);
        }
        if let Some(annotations) = fields.annotations {
            self.annotations(annotations, blocks);
        }
        for image in fields.images.iter().flat_map(|images| images.elements()) {
            if let Some(Part { kind, .. }) = answer::picture(image) {
                self.whole(kind, blocks);
            }
        }
        if fields.tool_calls.is_some() || fields.function_call.is_some() {
            self.close(blocks);
        }
        if let Some(calls) = fields.tool_calls {
            self.calls.take(calls, blocks)?;
        }
        if let Some(call) = fields.function_call {
            self.calls.take_function_call(call, blocks)?;
        }
        if let Some(signature) = fields.extra_content.and_then(google_signature) {
            self.calls.sign(signature);
        }
        self.said |= before != *blocks.next;
        Ok(())
    }

    /// Ends the choice. An error is an end that cannot be.
    pub(super) fn finish(&mut self, blocks: &mut Blocks<'_>) -> Result<(), Box<Failure>> {
        let broken = |message| Err(Box::new(Failure::new(Class::BadGateway, message)));
        let told = self.told.take();
        if told.is_none() && !self.calls.look_whole() {
            return broken("the stream ended within a tool call");
        }
        self.close(blocks);
        if !self.calls.finish(blocks) {
            return broken("the upstream's tool call has no name");
        }
        let has_calls = !self.calls.is_empty();
        let Finish { mut reason, .. } = answer::finish(told, has_calls);
        if reason == FinishReason::ToolCalls && !has_calls {
            if !self.said {
                return Err(Box::new(calls_nothing()));
            }
            reason = FinishReason::Stop;
        }
        blocks.push(Delta::Finish {
            choice: self.index,
            finish: Finish {
                reason,
                ..Finish::default()
            },
        });
        Ok(())
    }

    fn content(&mut self, content: Value<'_>, blocks: &mut Blocks<'_>) {
        if let Some(text) = content.as_str() {
            return self.say(Words::Text, text, blocks);
        }
        for entry in content.elements() {
            if let Some(text) = entry.as_str() {
                self.say(Words::Text, text, blocks);
                continue;
            }
            let kind = entry.get("type").and_then(Value::escaped);
            match kind.unwrap_or_default() {
                b"thinking" => self.say(Words::Thinking, thinking_text(entry), blocks),
                b"image_url" => {
                    if let Some(Part { kind, .. }) = answer::picture(entry) {
                        self.whole(kind, blocks);
                    }
                }
                b"reference" => self.cite(entry, blocks),
                _ => {
                    if let Some(text) = entry.get("text").and_then(Value::as_str) {
                        self.say(Words::Text, text, blocks);
                    }
                }
            }
        }
    }

    /// Words told by themselves and words in `reasoning_details` are the same ones.
    fn reasoning(
        &mut self,
        words: Option<JsonStr>,
        details: Option<Value<'_>>,
        blocks: &mut Blocks<'_>,
    ) {
        let worded = words.is_some();
        if let Some(words) = words {
            self.say(Words::Thinking, words, blocks);
        }
        let Some(details) = details else {
            return;
        };
        for entry in details.elements() {
            match detail(entry) {
                None => {}
                Some(Detail::Text {
                    text, signature, ..
                }) => {
                    if !worded {
                        self.say(Words::Thinking, text, blocks);
                    }
                    if let Some(signature) = signature {
                        self.sign(signature, blocks);
                    }
                }
                Some(Detail::Encrypted { data, origin }) => {
                    self.whole(PartKind::RedactedThinking { data, origin }, blocks);
                }
            }
        }
    }

    fn sign(&mut self, signature: Signature, blocks: &mut Blocks<'_>) {
        let block = match self.open {
            Some((block, Words::Thinking)) => block,
            _ if self.unsigned => return,
            _ => {
                self.close(blocks);
                blocks.open(BlockKind::Thinking)
            }
        };
        let piece = Piece::Signature(signature.value, signature.origin);
        blocks.push(Delta::Append { block, piece });
        blocks.push(Delta::BlockStop { block });
        self.open = None;
    }

    fn annotations(&mut self, annotations: Value<'_>, blocks: &mut Blocks<'_>) {
        for annotation in annotations.elements() {
            self.cite(annotation, blocks);
        }
    }

    fn cite(&mut self, annotation: Value<'_>, blocks: &mut Blocks<'_>) {
        if annotation.kind() != Kind::Object {
            return;
        }
        let block = self.words(Words::Text, blocks);
        let piece = Piece::Citation(Origin::OpenAiChat, annotation.raw());
        blocks.push(Delta::Append { block, piece });
    }

    fn say(&mut self, words: Words, text: JsonStr, blocks: &mut Blocks<'_>) {
        if text.is_empty() {
            return;
        }
        let block = self.words(words, blocks);
        let piece = Piece::Text(text);
        blocks.push(Delta::Append { block, piece });
    }

    /// The open block of that kind; a new one, where another kind or none is open.
    fn words(&mut self, words: Words, blocks: &mut Blocks<'_>) -> BlockId {
        match self.open {
            Some((block, open)) if open == words => return block,
            _ => self.close(blocks),
        }
        let block = blocks.open(match words {
            Words::Refusal => BlockKind::Refusal,
            Words::Text => BlockKind::Text,
            Words::Thinking => BlockKind::Thinking,
        });
        self.open = Some((block, words));
        block
    }

    fn whole(&mut self, kind: PartKind, blocks: &mut Blocks<'_>) {
        self.close(blocks);
        let block = blocks.open(BlockKind::Whole(kind));
        blocks.push(Delta::BlockStop { block });
    }

    fn close(&mut self, blocks: &mut Blocks<'_>) {
        if let Some((block, words)) = self.open.take() {
            self.unsigned |= words == Words::Thinking;
            blocks.push(Delta::BlockStop { block });
        }
    }
}

impl<'t> Fields<'t> {
    fn read(delta: Value<'t>) -> Fields<'t> {
        let mut fields = Fields::default();
        for (key, value) in delta.members() {
            match key.escaped() {
                _ if value.is_null() => {}
                b"content" => fields.content = Some(value),
                b"reasoning_content" | b"reasoning" => {
                    let words = value.as_str().filter(|words| !words.is_empty());
                    fields.words = fields.words.or(words);
                }
                b"reasoning_details" => fields.details = Some(value),
                b"refusal" => fields.refusal = Some(value),
                b"tool_calls" => fields.tool_calls = Some(value).filter(|it| !it.is_empty()),
                b"function_call" => fields.function_call = answer::filled(value),
                b"annotations" => fields.annotations = Some(value),
                b"images" => fields.images = Some(value),
                b"extra_content" => fields.extra_content = Some(value),
                _ => {}
            }
        }
        fields
    }
}
