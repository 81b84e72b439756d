//! A request: the conversation so far, and how to go on.

use super::message::{Message, Origin, Part};
use super::tool::{Tool, ToolChoice};
use crate::base::{JsonStr, RawJson};

/// Answers to one request at most: OpenAI's limit on `n`.
pub const CHOICES_MAX: u32 = 128;

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The model's name as the client wrote it.
    pub model: JsonStr,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a streaming client wants to be told the usage (Chat `stream_options.include_usage`;
    /// always so in the other APIs).
    pub stream_usage: bool,
    /// Instructions before the first turn.
    pub system: Vec<Part>,
    /// The turns.
    pub messages: Vec<Message>,
    /// Tools on offer, in order.
    pub tools: Vec<Tool>,
    /// Which of them to call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several calls may be made in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// The most tokens to generate, reasoning included.
    pub output_tokens_max: Option<Number>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Sequences at which to stop.
    pub stop: Vec<JsonStr>,
    /// How much to think.
    pub reasoning: Option<Reasoning>,
    /// What form the answer is to have.
    pub format: OutputFormat,
    /// How wordy the answer is to be (`low`, `medium`, `high`).
    pub verbosity: Option<JsonStr>,
    /// Number of answers wanted, if more than one (Chat `n`, Gemini `candidateCount`).
    pub choices: Option<u32>,
    /// How many alternatives of each token to report: `Some(0)` for the chosen ones only.
    pub logprobs: Option<u32>,
    /// Who the end user is: an opaque id (Messages `metadata.user_id`, Chat `user`,
    /// `safety_identifier`).
    pub user: Option<JsonStr>,
    /// Key that keeps requests with the same prefix on the same machine (OpenAI
    /// `prompt_cache_key`).
    pub cache_key: Option<JsonStr>,
    /// Price and priority class (`auto`, `standard_only`, `default`, `flex`, `priority`).
    pub service_tier: Option<JsonStr>,
    /// The whole prompt may be cached automatically (Messages' top-level `cache_control`).
    pub cache: Option<super::message::CacheHint>,
    /// Fields without a counterpart elsewhere.
    pub extensions: Vec<Extension>,
}

/// A number as it was written; never printed anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Number(pub RawJson);

impl Number {
    /// Its value, if a double can hold it.
    pub fn as_f64(&self) -> Option<f64> {
        core::str::from_utf8(self.0.text()).ok()?.parse().ok()
    }

    /// Its value, if it is a whole number not below zero.
    pub fn as_u64(&self) -> Option<u64> {
        core::str::from_utf8(self.0.text()).ok()?.parse().ok()
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        Number(RawJson::from_checked(number.to_string().into()))
    }
}

/// How tokens are drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Sharpness: 0 to 1 in Messages, 0 to 2 elsewhere.
    pub temperature: Option<Number>,
    /// Nucleus.
    pub top_p: Option<Number>,
    /// The k most probable.
    pub top_k: Option<Number>,
    /// Penalty on frequent tokens, -2 to 2.
    pub frequency_penalty: Option<Number>,
    /// Penalty on tokens that occurred, -2 to 2.
    pub presence_penalty: Option<Number>,
    /// For repeatable draws.
    pub seed: Option<Number>,
    /// Token ids to their bias (Chat).
    pub logit_bias: Option<RawJson>,
}

/// How much to think before answering.
#[derive(Clone, Debug, PartialEq)]
pub struct Reasoning {
    /// Whether at all.
    pub mode: ReasoningMode,
    /// In words (Chat `reasoning_effort`, Messages `output_config.effort`, Gemini `thinkingLevel`).
    pub effort: Option<Effort>,
    /// In tokens (Messages `budget_tokens`, Gemini `thinkingBudget`).
    pub budget_tokens: Option<Number>,
    /// Whether the reasoning is to be shown: Messages `display`, Responses `summary`, Gemini
    /// `includeThoughts`.
    pub visible: Option<bool>,
}

/// Whether to think.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReasoningMode {
    /// The model decides by itself (Messages `adaptive`), or nothing was said about it.
    Adaptive,
    /// Always (Messages `enabled`).
    On,
    /// Not at all (Messages `disabled`, effort `none`, budget 0).
    Off,
}

/// How hard to think.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Effort {
    /// OpenAI `none`.
    None,
    /// OpenAI and Gemini `minimal`.
    Minimal,
    /// `low`.
    Low,
    /// `medium`.
    Medium,
    /// `high`.
    High,
    /// OpenAI and Messages `xhigh`.
    XHigh,
    /// Messages `max`.
    Max,
}

impl Effort {
    /// The effort that a budget of thinking tokens stands for, where an API has words for budgets:
    /// below 4096 low, below 16384 medium, else high.
    pub const fn of_budget(tokens: u64) -> Effort {
        match tokens {
            0..4096 => Effort::Low,
            4096..16384 => Effort::Medium,
            _ => Effort::High,
        }
    }

    /// Reads the vendors' common spelling.
    pub fn from_name(name: &str) -> Option<Effort> {
        Some(match name {
            "none" => Effort::None,
            "minimal" => Effort::Minimal,
            "low" => Effort::Low,
            "medium" => Effort::Medium,
            "high" => Effort::High,
            "xhigh" => Effort::XHigh,
            "max" => Effort::Max,
            _ => return None,
        })
    }

    /// The vendors' common spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }
}

/// What form the answer is to have.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OutputFormat {
    /// Any JSON object (Chat `json_object`, Gemini `application/json` without a schema).
    JsonObject,
    /// JSON that obeys a schema.
    JsonSchema {
        /// Name of the schema, where the API wants one.
        name: Option<JsonStr>,
        /// What it is for.
        description: Option<JsonStr>,
        /// The schema.
        schema: RawJson,
        /// Whether the answer must obey it.
        strict: Option<bool>,
    },
    /// Text.
    #[default]
    Text,
}

/// A field that has no counterpart in other APIs, or none in this model.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// Its JSON path in the client's request.
    pub path: String,
    /// Whose.
    pub origin: Origin,
    /// Its value.
    pub value: RawJson,
    /// What it means to leave it out.
    pub loss: Loss,
}

impl Extension {
    /// Whether an API of `origin` takes the field back as it is: a field of its own, at the top of
    /// the request.
    pub fn is_own(&self, origin: Origin) -> bool {
        self.origin == origin && !self.path.contains(['.', '['])
    }
}

/// What it means to leave a field out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Loss {
    /// The answer means the same without it: dropped, and listed in `x-tollgate-dropped`.
    Harmless,
    /// The answer would not be what was asked for: refused, with this reason.
    Meaningful(&'static str),
}
