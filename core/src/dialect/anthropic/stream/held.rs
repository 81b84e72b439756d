//! Blocks that wait until the one before them is whole: Messages has one block open at a time.

use std::collections::VecDeque;

use crate::ir::{BlockId, BlockKind, PartKind, Piece};

/// A block that waits, with all of it that came.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) block: BlockId,
    pub(super) kind: BlockKind,
    pub(super) pieces: Vec<Piece>,
    pub(super) stopped: bool,
}

/// The blocks that wait, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Held {
    blocks: VecDeque<Waiting>,
    bytes: usize,
}

impl Held {
    /// Bytes held, each block and piece counted with what it takes beside its text.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A block begins and must wait.
    pub(super) fn start(&mut self, block: BlockId, kind: BlockKind) {
        let len = match &kind {
            BlockKind::ToolCall { id, name, .. } => id.len() + name.len(),
            BlockKind::Whole(PartKind::Opaque { json, .. }) => json.len(),
            BlockKind::Whole(PartKind::RedactedThinking { data, .. }) => data.len(),
            _ => 0,
        };
        self.bytes = self.bytes.saturating_add(len + size_of::<Waiting>());
        self.blocks.push_back(Waiting {
            block,
            kind,
            pieces: Vec::new(),
            stopped: false,
        });
    }

    /// More of a block; whether it is one that waits. What waits is copied out of the read buffer.
    pub(super) fn append(&mut self, block: BlockId, piece: &Piece) -> bool {
        let Some(waiting) = self.blocks.iter_mut().rfind(|it| it.block == block) else {
            return false;
        };
        let (copy, len) = match piece {
            Piece::Text(text) => (Piece::Text(text.detach()), text.len()),
            Piece::Signature(value, origin) => {
                (Piece::Signature(value.detach(), *origin), value.len())
            }
            Piece::Citation(..) => (piece.clone(), size_of::<Piece>()),
        };
        self.bytes = self.bytes.saturating_add(len + size_of::<Piece>());
        waiting.pieces.push(copy);
        true
    }

    /// A block is whole; whether it is one that waits.
    pub(super) fn stop(&mut self, block: BlockId) -> bool {
        let waiting = self.blocks.iter_mut().rfind(|it| it.block == block);
        waiting.map(|waiting| waiting.stopped = true).is_some()
    }

    /// The next one's turn.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let next = self.blocks.pop_front();
        if self.blocks.is_empty() {
            self.bytes = 0;
        }
        next
    }
}
