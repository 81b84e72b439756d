//! Tool calls in pieces: which piece belongs to which call, in the vendors' many ways to say it.
//!
//! The rule is the `index`; but a new id with a name under an index that is taken is a new call
//! (Ollama gives all calls index 0), and pieces without an index go by their id, or to the last
//! call.

use bytes::BytesMut;

use super::choice::Blocks;
use crate::base::JsonStr;
use crate::dialect::BrokenEvent;
use crate::dialect::openai_chat::answer::{NO_ARGUMENTS, call_id, filled, google_signature};
use crate::ir::{BlockId, BlockKind, Delta, Origin, Piece, Signature};
use crate::wire::json::{Kind, Value, embed};

/// Calls in one choice at most.
const CALLS_MAX: usize = 1024;

/// The calls of one choice.
#[derive(Debug, Default)]
pub(super) struct Calls {
    list: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    id: JsonStr,
    name: JsonStr,
    free: bool,
    /// None until the name is known.
    block: Option<BlockId>,
    /// Arguments that came before the name.
    held: BytesMut,
    /// Whether any argument was passed on.
    begun: bool,
    /// Whether the arguments so far end like an object.
    closed: bool,
    signature: Option<Signature>,
}

/// One piece of a call.
#[derive(Default)]
struct Fragment {
    index: Option<u64>,
    id: JsonStr,
    name: JsonStr,
    arguments: JsonStr,
    free: bool,
    signature: Option<Signature>,
}

impl Calls {
    /// Whether no call was made.
    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes the elements of `tool_calls`.
    pub(super) fn take(
        &mut self,
        calls: Value<'_>,
        blocks: &mut Blocks<'_>,
    ) -> Result<(), BrokenEvent> {
        for call in calls.elements() {
            let fragment = Fragment::read(call)?;
            self.fragment(fragment, blocks)?;
        }
        Ok(())
    }

    /// Takes the older `function_call`, of which there is one.
    pub(super) fn take_function_call(
        &mut self,
        call: Value<'_>,
        blocks: &mut Blocks<'_>,
    ) -> Result<(), BrokenEvent> {
        let mut fragment = Fragment {
            index: Some(u64::MAX),
            ..Fragment::default()
        };
        fragment.read_body(call, false);
        self.fragment(fragment, blocks)
    }

    /// Signs the first call with what was told for the whole message.
    pub(super) fn sign(&mut self, signature: Signature) {
        if let Some(first) = self.list.first_mut() {
            first.sign(Some(signature));
        }
    }

    /// Whether the calls may be run: each has a name and arguments that are not cut off. The check
    /// is for streams that end without saying why.
    pub(super) fn look_whole(&self) -> bool {
        let whole = |call: &Call| call.block.is_some() && (call.free || !call.begun || call.closed);
        self.list.iter().all(whole)
    }

    /// Ends all calls. False where one never got a name.
    pub(super) fn finish(&mut self, blocks: &mut Blocks<'_>) -> bool {
        let mut named = true;
        for call in &mut self.list {
            let Some(block) = call.block else {
                named &= call.held.is_empty();
                continue;
            };
            if !call.begun && !call.free {
                let piece = Piece::Text(NO_ARGUMENTS);
                blocks.push(Delta::Append { block, piece });
            }
            if let Some(Signature { value, origin }) = call.signature.take() {
                let piece = Piece::Signature(value, origin);
                blocks.push(Delta::Append { block, piece });
            }
            blocks.push(Delta::BlockStop { block });
        }
        // A call of which nothing but an index came is none.
        self.list.retain(|call| call.block.is_some());
        named
    }

    fn fragment(&mut self, piece: Fragment, blocks: &mut Blocks<'_>) -> Result<(), BrokenEvent> {
        let at = match self.find(&piece) {
            Some(at) => at,
            None if self.list.len() >= CALLS_MAX => {
                let reason = "too many tool calls in one answer".to_owned();
                return Err(BrokenEvent { reason });
            }
            None => {
                self.list.push(Call::new(&piece, self.list.len(), blocks));
                self.list.len() - 1
            }
        };
        if let Some(call) = self.list.get_mut(at) {
            call.add(piece, blocks)?;
        }
        Ok(())
    }

    /// The call that a piece belongs to; none if it begins a new one.
    fn find(&self, piece: &Fragment) -> Option<usize> {
        let Some(index) = piece.index else {
            if !piece.id.is_empty() {
                return self.list.iter().rposition(|call| call.id == piece.id);
            }
            return match piece.name.is_empty() {
                true => self.list.len().checked_sub(1),
                false => None,
            };
        };
        let at = self
            .list
            .iter()
            .rposition(|call| call.index == Some(index))?;
        let call = self.list.get(at)?;
        if piece.name.is_empty() || call.name.is_empty() {
            return Some(at);
        }
        let other_id = !piece.id.is_empty() && piece.id != call.id;
        let again =
            piece.id.is_empty() && call.closed && piece.arguments.escaped().starts_with(b"{");
        let other_name = piece.id.is_empty() && piece.name != call.name;
        (!other_id && !again && !other_name).then_some(at)
    }
}

impl Fragment {
    fn read(call: Value<'_>) -> Result<Fragment, BrokenEvent> {
        if call.kind() != Kind::Object {
            let reason = format!("{} is no tool call", call.path());
            return Err(BrokenEvent { reason });
        }
        let mut fragment = Fragment::default();
        for (key, value) in call.members() {
            match key.escaped() {
                // Below zero is none.
                b"index" => fragment.index = value.as_u64(),
                b"id" => fragment.id = value.as_str().unwrap_or_default(),
                b"function" => fragment.read_body(value, false),
                b"custom" => fragment.read_body(value, true),
                b"extra_content" => fragment.signature = google_signature(value),
                _ => {}
            }
        }
        Ok(fragment)
    }

    fn read_body(&mut self, body: Value<'_>, free: bool) {
        if filled(body).is_none() {
            return;
        }
        self.free |= free;
        for (key, value) in body.members() {
            match key.escaped() {
                b"name" => self.name = value.as_str().unwrap_or_default(),
                b"arguments" | b"input" => {
                    self.arguments = match value.kind() {
                        Kind::Object => embed::embed(&value.raw()),
                        _ => value.as_str().unwrap_or_default(),
                    };
                }
                _ => {}
            }
        }
    }
}

impl Call {
    fn new(piece: &Fragment, nth: usize, blocks: &Blocks<'_>) -> Call {
        let id = match piece.id.is_empty() {
            true => call_id(blocks.answer_id, nth),
            false => piece.id.detach(),
        };
        Call {
            index: piece.index,
            id,
            name: JsonStr::EMPTY,
            free: piece.free,
            block: None,
            held: BytesMut::new(),
            begun: false,
            closed: false,
            signature: None,
        }
    }

    fn add(&mut self, piece: Fragment, blocks: &mut Blocks<'_>) -> Result<(), BrokenEvent> {
        if self.name.is_empty() && !piece.name.is_empty() {
            self.name = piece.name.detach();
            self.free |= piece.free;
            let kind = BlockKind::ToolCall {
                id: self.id.clone(),
                name: piece.name,
                free: self.free,
            };
            self.block = Some(blocks.open(kind));
            let held = core::mem::take(&mut self.held).freeze();
            self.append(JsonStr::from_checked(held), blocks);
        }
        if self.block.is_some() {
            self.append(piece.arguments, blocks);
        } else {
            if self.held.len() + piece.arguments.len() > blocks.held_bytes_max {
                let reason = "a tool call with long arguments and no name".to_owned();
                return Err(BrokenEvent { reason });
            }
            self.held.extend_from_slice(piece.arguments.escaped());
        }
        self.sign(piece.signature);
        Ok(())
    }

    fn append(&mut self, text: JsonStr, blocks: &mut Blocks<'_>) {
        let Some(block) = self.block.filter(|_| !text.is_empty()) else {
            return;
        };
        self.begun = true;
        self.closed = text.escaped().ends_with(b"}")
            || (self.closed && text.escaped().iter().all(u8::is_ascii_whitespace));
        let piece = Piece::Text(text);
        blocks.push(Delta::Append { block, piece });
    }

    fn sign(&mut self, signature: Option<Signature>) {
        if let Some(Signature { value, origin }) = signature {
            debug_assert_eq!(origin, Origin::Gemini);
            let value = value.detach();
            self.signature.get_or_insert(Signature { value, origin });
        }
    }
}
