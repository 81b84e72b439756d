//! Stop reasons, both ways.

use crate::ir::{Finish, FinishReason};
use crate::wire::json::{Value, Writer};

/// Reads `stop_reason`, `stop_sequence` and `stop_details` of a message or of a `message_delta`;
/// `None` where no reason is given yet.
pub(super) fn read(holder: Value<'_>) -> Option<Finish> {
    let name = holder.get("stop_reason")?.as_text()?;
    let text = |value: Option<Value<'_>>| value.and_then(Value::as_str);
    let details = holder.get("stop_details");
    Some(Finish {
        reason: reason(&name),
        stop_sequence: text(holder.get("stop_sequence")),
        message: text(details.and_then(|details| details.get("explanation"))),
    })
}

/// The reason of that name. One that is not known ends the answer like any other: it came to an end
/// by the provider's own word.
fn reason(name: &str) -> FinishReason {
    match name {
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        "pause_turn" | "compaction" => FinishReason::Pause,
        "refusal" => FinishReason::Refusal,
        "stop_sequence" => FinishReason::StopSequence,
        "tool_use" => FinishReason::ToolCalls,
        _ => FinishReason::Stop,
    }
}

/// What an answer is made of, as far as its stop reason depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    /// It calls tools.
    pub(super) calls: bool,
    /// It declines.
    pub(super) refuses: bool,
}

/// The name of the reason: an answer that calls tools says so, whatever the upstream said, unless
/// it was cut off.
pub(super) fn name(reason: &FinishReason, made: Made) -> &'static str {
    match reason {
        FinishReason::Length => "max_tokens",
        FinishReason::ContextWindow => "model_context_window_exceeded",
        FinishReason::Pause => "pause_turn",
        FinishReason::Refusal | FinishReason::ContentFilter => "refusal",
        _ if made.calls => "tool_use",
        _ if made.refuses => "refusal",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Stop | FinishReason::ToolCalls => "end_turn",
    }
}

/// Writes the members `stop_reason`, `stop_sequence` and, where there is more to say,
/// `stop_details`.
pub(super) fn write(finish: &Finish, made: Made, json: &mut Writer<'_>) {
    let name = name(&finish.reason, made);
    json.key("stop_reason");
    json.text(name);
    json.key("stop_sequence");
    match &finish.stop_sequence {
        Some(sequence) if name == "stop_sequence" => json.str(sequence),
        _ => json.null(),
    }
    if let Some(message) = finish.message.as_ref().filter(|_| name == "refusal") {
        json.key("stop_details");
        json.begin_object();
        json.key("type");
        json.text("refusal");
        json.key("category");
        json.null();
        json.key("explanation");
        json.str(message);
        json.end_object();
    }
}
