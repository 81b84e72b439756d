//! The vendors' APIs: each folder reads one API into [`ir`](crate::ir) and writes it from there, as
//! what a client speaks and as what an upstream speaks. Folders hold the same files (`request`,
//! `response`, `stream`, `failure`, `watch`) and never use one another.
//!
//! [`Dialect`] is the door to all of them.

use crate::base::{JsonStr, OutBuf, RawJson, UnixMillis};
use crate::ir::Failure;

pub mod anthropic;
mod data_url;
mod door;
mod encode;
mod failure;
mod fields;
pub mod openai_chat;
mod watched;

pub use door::{StreamDecoder, StreamEncoder, Watch};
pub use watched::Watched;

/// The APIs that tollgate speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Dialect {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Chat Completions, and all who imitate it.
    OpenAiChat,
}

impl Dialect {
    /// Its name in the config and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::Anthropic => "anthropic",
            Dialect::OpenAiChat => "openai-chat",
        }
    }

    /// The dialect called `name`.
    pub fn from_name(name: &str) -> Option<Dialect> {
        [Dialect::Anthropic, Dialect::OpenAiChat]
            .into_iter()
            .find(|dialect| dialect.name() == name)
    }
}

/// Marks a model's abilities and an endpoint's habits, as far as requests to it depend on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Traits {
    /// `max_tokens` of a Messages request whose client set none.
    pub output_tokens_default: u64,
    /// How a Messages model is told to think.
    pub thinking: ThinkingStyle,
    /// The name of the token limit at a Chat endpoint.
    pub token_limit_field: TokenLimitField,
    /// Whether a Chat endpoint takes `cache_control` on parts (OpenRouter and others in front of
    /// Anthropic's models).
    pub cache_control: bool,
    /// The field in which a Chat endpoint wants earlier reasoning back, if at all.
    pub reasoning_field: ReasoningField,
    /// Whether a Chat endpoint knows `stream_options`.
    pub stream_options: bool,
    /// Whether a Chat endpoint knows the role `developer`, and wants it instead of `system`.
    pub developer_role: bool,
    /// Whether a Messages model takes `temperature`, `top_p` and `top_k`; those after Claude Opus
    /// 4.6 do not.
    pub sampling: bool,
    /// Whether the model goes on from where the conversation's last message, its own, breaks off.
    pub prefill: bool,
    /// Tokens that a prompt may have; `None` where nobody told.
    pub context_window: Option<u64>,
    /// Whether prompts may have images.
    pub images: bool,
    /// Whether it can be given tools.
    pub tools: bool,
}

impl Default for Traits {
    fn default() -> Traits {
        Traits {
            output_tokens_default: 8192,
            thinking: ThinkingStyle::Budget,
            token_limit_field: TokenLimitField::MaxCompletionTokens,
            cache_control: false,
            reasoning_field: ReasoningField::None,
            stream_options: true,
            developer_role: false,
            sampling: true,
            prefill: false,
            context_window: None,
            images: true,
            tools: true,
        }
    }
}

/// How a Messages model is told to think.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ThinkingStyle {
    /// `thinking.type: adaptive` and `output_config.effort` (Claude 4.6 and later).
    Adaptive,
    /// `thinking.type: enabled` with `budget_tokens`.
    Budget,
    /// The model cannot think: the wish is dropped.
    None,
}

/// The name of the token limit at a Chat endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenLimitField {
    /// OpenAI's own since 2024; its reasoning models take no other.
    MaxCompletionTokens,
    /// What most compatible vendors know.
    MaxTokens,
}

/// The field in which a Chat endpoint takes earlier reasoning back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReasoningField {
    /// It takes none (OpenAI).
    None,
    /// `reasoning` (OpenRouter, Groq, Ollama, Cerebras).
    Reasoning,
    /// `reasoning_content` (DeepSeek, xAI, Z.ai, Alibaba, llama.cpp, vLLM).
    ReasoningContent,
    /// `reasoning_details` (OpenRouter, Vercel), which carries signatures.
    ReasoningDetails,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The model's name there.
    pub model: &'a JsonStr,
    /// What it can do.
    pub traits: &'a Traits,
    /// Members to set in the body, whatever the client said: the config's extra parameters.
    pub extra: &'a [(JsonStr, RawJson)],
}

/// A request in an upstream's API.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The JSON body.
    pub body: OutBuf,
    /// JSON paths (in the client's request) of what the target has no place for and does not need:
    /// for the header `x-tollgate-dropped`.
    pub dropped: Vec<String>,
}

/// What an answer's encoder must know besides the answer.
#[derive(Clone, Debug)]
pub struct ReplyMeta {
    /// Id to use where the upstream gave none, without the API's prefix (`msg_`, `chatcmpl-`).
    pub id: JsonStr,
    /// Model to name where the upstream named none.
    pub model: JsonStr,
    /// When the request came.
    pub created: UnixMillis,
    /// Whether a Chat client asked for the usage chunk.
    pub stream_usage: bool,
    /// Estimate of the prompt's tokens, for APIs that tell usage before the upstream did.
    pub input_tokens_estimate: u64,
    /// Bytes of deltas that may be held back while another block is open.
    pub held_bytes_max: usize,
}

/// An event that cannot be read: not JSON, or without what its type must have. Skipped and counted;
/// a number of them in a row ends the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokenEvent {
    /// What is wrong with it.
    pub reason: String,
}

/// What a passing event tells, where both sides speak the same API and its bytes go through
/// untouched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// It holds content: text, reasoning, a tool call, anything but the frame around it. With it
    /// the answer is committed.
    pub content: bool,
    /// It is not for the client's eyes: the usage chunk that it did not ask for.
    pub hidden: bool,
    /// After it the answer is complete, whatever follows (`message_stop`, `[DONE]`).
    pub terminal: bool,
    /// It says that the answer failed.
    pub failure: Option<Box<Failure>>,
    /// The failure is not told as the API tells them: a client would not know it for one.
    pub foreign: bool,
    /// Keeps the connection alive and says nothing.
    pub ping: bool,
}

/// A model that clients may ask for, as the models lists tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelEntry {
    /// By which it is asked for.
    pub id: JsonStr,
    /// Since when it exists, in seconds since 1970.
    pub created: u64,
    /// Its name for people.
    pub display_name: JsonStr,
    /// Who offers it.
    pub owner: JsonStr,
}
