//! Blocks that wait until the one before them is whole: Messages has one block open at a time.

use std::collections::VecDeque;

use crate::ir::{BlockId, BlockKind, Piece};

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
        self.hold(kind.bytes() + size_of::<Waiting>());
        self.blocks.push_back(Waiting {
            block,
            kind: kind.detach(),
            pieces: Vec::new(),
            stopped: false,
        });
    }

    /// More of a block that waits; of any other nothing is kept.
    pub(super) fn append(&mut self, block: BlockId, piece: &Piece) {
        if let Some(waiting) = self.waiting(block) {
            waiting.pieces.push(piece.clone().detach());
            self.hold(piece.bytes() + size_of::<Piece>());
        }
    }

    /// A block that waits is whole.
    pub(super) fn stop(&mut self, block: BlockId) {
        if let Some(waiting) = self.waiting(block) {
            waiting.stopped = true;
        }
    }

    /// The next one's turn.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let next = self.blocks.pop_front();
        if self.blocks.is_empty() {
            self.bytes = 0;
        }
        next
    }

    fn waiting(&mut self, block: BlockId) -> Option<&mut Waiting> {
        self.blocks.iter_mut().rfind(|it| it.block == block)
    }

    fn hold(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}
