//! Why an answer ends.

use crate::base::JsonStr;

/// Why an answer ends, with what the vendor says about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finish {
    /// The reason.
    pub reason: FinishReason,
    /// The stop sequence that was met (Messages `stop_sequence`).
    pub stop_sequence: Option<JsonStr>,
    /// More about it in words (Messages `stop_details.explanation`, Gemini `finishMessage`).
    pub message: Option<JsonStr>,
}

/// Why an answer ends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum FinishReason {
    /// A filter cut it off (Chat `content_filter`, Gemini `SAFETY`, Converse
    /// `guardrail_intervened`).
    ContentFilter,
    /// The context window is full (Messages `model_context_window_exceeded`).
    ContextWindow,
    /// The token limit was met.
    Length,
    /// The provider paused a long turn; send it back to go on (Messages `pause_turn`).
    Pause,
    /// The model declined (Messages `refusal`).
    Refusal,
    /// The model was done.
    #[default]
    Stop,
    /// A stop sequence was met.
    StopSequence,
    /// Tools are to be run.
    ToolCalls,
}
