//! The one conversation model. Every vendor's API is read into it and written from it, so that n
//! APIs need n translators and not n².
//!
//! It is the union of what the vendors' APIs can say (Anthropic Messages, OpenAI Chat Completions
//! and Responses, Gemini, Bedrock Converse), not their intersection: what one target cannot express
//! is for that target's encoder to refuse or to drop, and to say so. Text, schemas and base64 data
//! are slices of the received buffer ([`JsonStr`](crate::base::JsonStr),
//! [`RawJson`](crate::base::RawJson)).
//!
//! A [`Request`] holds [`Message`]s of [`Part`]s. An answer is a [`Response`] when it is whole, and
//! a series of [`Delta`]s when it streams; [`Collector`] and [`replay`] turn one into the other.

mod collect;
mod delta;
mod failure;
mod finish;
mod message;
mod request;
mod response;
mod tool;
mod usage;

pub use collect::{Collector, replay};
pub use delta::{BlockId, BlockKind, Delta, Piece, Start};
pub use failure::{Blame, Class, Failure};
pub use finish::{Finish, FinishReason};
pub use message::{
    CacheHint, Document, Media, Message, Origin, Part, PartKind, Role, Signature, Source, Thinking,
};
pub use request::{
    CHOICES_MAX, Effort, Extension, Loss, Number, OutputFormat, Reasoning, ReasoningMode, Request,
    Sampling,
};
pub use response::{Choice, Response};
pub use tool::{Arguments, FunctionTool, Tool, ToolCall, ToolChoice, ToolKind, ToolResult};
pub use usage::Usage;
