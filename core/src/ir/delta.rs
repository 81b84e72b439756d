//! An answer in pieces.

use super::failure::Failure;
use super::finish::Finish;
use super::message::{Origin, PartKind};
use super::usage::Usage;
use crate::base::{JsonStr, RawJson};

/// A piece of a streamed answer.
///
/// Decoders keep this order: one `Start` first; for each block `BlockStart`, `Append`s,
/// `BlockStop`; per choice one `Finish` after its last block; `Usage` anywhere, cumulative; last
/// either `End` or `Failure`. Blocks of parallel tool calls may overlap: encoders of APIs where
/// they may not hold the later ones back.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The answer begins.
    Start(Start),
    /// A block begins.
    BlockStart {
        /// Its number.
        block: BlockId,
        /// The choice it belongs to.
        choice: u32,
        /// What it is.
        kind: BlockKind,
    },
    /// More of an open block.
    Append {
        /// Which block.
        block: BlockId,
        /// What is added.
        piece: Piece,
    },
    /// A block is whole.
    BlockStop {
        /// Which block.
        block: BlockId,
    },
    /// A choice is whole.
    Finish {
        /// Which choice.
        choice: u32,
        /// Why it ends.
        finish: Finish,
    },
    /// Probabilities of tokens, in the form of Chat's `logprobs`.
    Logprobs {
        /// Of which choice.
        choice: u32,
        /// The object.
        json: RawJson,
    },
    /// Counts so far.
    Usage(Usage),
    /// The answer is broken off.
    Failure(Box<Failure>),
    /// The provider is alive and has nothing to say.
    Ping,
    /// The stream ended as it should.
    End,
}

/// How an answer begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// The provider's id for it.
    pub id: Option<JsonStr>,
    /// The model that answers, as the provider names it.
    pub model: Option<JsonStr>,
    /// Seconds since 1970.
    pub created: Option<u64>,
    /// The price class that is used.
    pub service_tier: Option<JsonStr>,
    /// Identifies the provider's configuration (Chat `system_fingerprint`).
    pub fingerprint: Option<JsonStr>,
}

/// The number of a block in its stream, counted by the decoder from 0.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BlockId(pub u32);

/// What a block is.
#[derive(Clone, Debug, PartialEq)]
pub enum BlockKind {
    /// The model declines; `Append`s are [`Piece::Text`].
    Refusal,
    /// Text; `Append`s are [`Piece::Text`] and [`Piece::Citation`].
    Text,
    /// Reasoning; `Append`s are [`Piece::Text`] and at most one [`Piece::Signature`], last.
    Thinking,
    /// A call; `Append`s are [`Piece::Text`]: its arguments, as JSON text (or free text for a
    /// custom tool).
    ToolCall {
        /// By which the result will refer to it.
        id: JsonStr,
        /// Which tool.
        name: JsonStr,
        /// Whether the arguments are free text.
        free: bool,
    },
    /// A part that comes whole, without `Append`s: redacted thinking, media, opaque parts.
    Whole(PartKind),
}

impl BlockKind {
    /// Bytes of what comes with the block's beginning.
    pub fn bytes(&self) -> usize {
        match self {
            BlockKind::Refusal | BlockKind::Text | BlockKind::Thinking => 0,
            BlockKind::ToolCall { id, name, .. } => id.len() + name.len(),
            BlockKind::Whole(part) => part.bytes(),
        }
    }

    /// Copied out of the read buffer, where it is small and would pin that.
    #[must_use]
    pub fn detach(self) -> BlockKind {
        match self {
            BlockKind::ToolCall { id, name, free } => BlockKind::ToolCall {
                id: id.detach(),
                name: name.detach(),
                free,
            },
            kind => kind,
        }
    }
}

/// What is added to a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// A source of the text so far, in the form of the vendor named.
    Citation(Origin, RawJson),
    /// The signature of the reasoning, or of the call.
    Signature(JsonStr, Origin),
    /// More of the text, the reasoning, the arguments.
    Text(JsonStr),
}

impl Piece {
    /// Bytes of its text.
    pub fn bytes(&self) -> usize {
        match self {
            Piece::Citation(_, json) => json.len(),
            Piece::Signature(text, _) | Piece::Text(text) => text.len(),
        }
    }

    /// Copied out of the read buffer.
    #[must_use]
    pub fn detach(self) -> Piece {
        match self {
            Piece::Citation(origin, json) => Piece::Citation(origin, json.detach()),
            Piece::Signature(value, origin) => Piece::Signature(value.detach(), origin),
            Piece::Text(text) => Piece::Text(text.detach()),
        }
    }
}
