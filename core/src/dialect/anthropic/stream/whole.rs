//! Blocks that are handed on whole: what an upstream says of them in pieces is put together first.

use bytes::{Bytes, BytesMut};

use crate::base::limits::JsonLimits;
use crate::base::{JsonStr, OutBuf, RawJson};
use crate::wire::json::{Edit, Tape, Value, embed};

/// A block as it began, and what came since.
#[derive(Debug)]
pub(super) struct Whole {
    name: JsonStr,
    block: Bytes,
    /// Pieces of `input`: JSON text, still escaped.
    input: BytesMut,
    /// Members that a delta set.
    members: Vec<(JsonStr, RawJson)>,
    members_bytes: usize,
}

impl Whole {
    /// Begins with the block of a `content_block_start`. Copied: it outlives the read buffer.
    pub(super) fn new(name: &JsonStr, block: Value<'_>) -> Whole {
        Whole {
            name: name.detach(),
            block: Bytes::copy_from_slice(block.raw_text()),
            input: BytesMut::new(),
            members: Vec::new(),
            members_bytes: 0,
        }
    }

    /// Takes an `input_json_delta`, or another one, whose members but its type belong to the block
    /// (as those of `compaction_delta` do).
    pub(super) fn delta(&mut self, delta: Value<'_>) {
        if let Some(piece) = delta.get("partial_json").and_then(Value::escaped) {
            self.input.extend_from_slice(piece);
            return;
        }
        for (key, value) in delta.members().filter(|(key, _)| !key.is("type")) {
            let value = value.raw().detach();
            let key = key.to_json_str().detach();
            self.members_bytes += key.len() + value.len() + size_of::<(JsonStr, RawJson)>();
            self.members.push((key, value));
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.block.len() + self.input.len() + self.members_bytes
    }

    /// The block's name and the whole of it.
    pub(super) fn finish(self, limits: &JsonLimits) -> (JsonStr, RawJson) {
        let plain = self.input.is_empty() && self.members.is_empty();
        let mut tape = Tape::new();
        let root = match tape.parse(&self.block, limits) {
            Ok(root) if !plain => root,
            _ => return (self.name, RawJson::from_checked(self.block)),
        };
        let mut edit = Edit::new(root);
        for (key, value) in self.members {
            edit.set(root, &key.unescape(), value);
        }
        let input = JsonStr::from_checked(self.input.freeze());
        if let Ok(Some(input)) = embed::extract(&input, &mut Tape::new(), limits) {
            edit.set(root, "input", input);
        }
        let mut out = OutBuf::new();
        edit.apply(&mut out);
        (self.name, RawJson::from_checked(out.take_all()))
    }
}
