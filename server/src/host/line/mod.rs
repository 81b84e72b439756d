//! One request as one line of the access log: for people ([`text`]), or as JSON ([`json`]).

mod json;
mod text;

use std::io::Write as _;

use tollgate_core::base::ShardId;
use tollgate_core::config::AccessLog;
use tollgate_core::ir::{Blame, Class, FinishReason};
use tollgate_core::record::Access;

/// Appends the line of a request.
pub(super) fn access(access: &Access, shard: ShardId, format: AccessLog, out: &mut Vec<u8>) {
    match format {
        AccessLog::Text => text::append(access, out),
        AccessLog::Json => json::append(access, shard, out),
        AccessLog::Off => {}
    }
}

/// Appends what is to be said about lines that were dropped.
pub(super) fn dropped(count: u64, format: AccessLog, out: &mut Vec<u8>) {
    // A `Vec` takes everything.
    let _ = match format {
        AccessLog::Json => writeln!(out, "{{\"dropped_lines\":{count}}}"),
        AccessLog::Text | AccessLog::Off => {
            writeln!(
                out,
                "warning: {count} access lines were dropped: stderr is too slow"
            )
        }
    };
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Authentication => "authentication",
        Class::BadGateway => "bad_gateway",
        Class::Billing => "billing",
        Class::ContentFilter => "content_filter",
        Class::ContextLength => "context_length",
        Class::Internal => "internal",
        Class::InvalidRequest => "invalid_request",
        Class::MethodNotAllowed => "method_not_allowed",
        Class::NotFound => "not_found",
        Class::Overloaded => "overloaded",
        Class::Permission => "permission",
        Class::RateLimit => "rate_limit",
        Class::RequestTimeout => "request_timeout",
        Class::RequestTooLarge => "request_too_large",
        Class::Timeout => "timeout",
        Class::ToolGeneration => "tool_generation",
        Class::Unavailable => "unavailable",
        Class::UnsupportedMediaType => "unsupported_media_type",
    }
}

fn blame_name(blame: Blame) -> &'static str {
    match blame {
        Blame::Client => "client",
        Blame::Gateway => "gateway",
        Blame::Key => "key",
        Blame::Upstream => "upstream",
    }
}

fn finish_name(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::ContentFilter => "content_filter",
        FinishReason::ContextWindow => "context_window",
        FinishReason::Length => "length",
        FinishReason::Pause => "pause",
        FinishReason::Refusal => "refusal",
        FinishReason::Stop => "stop",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::ToolCalls => "tool_calls",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use core::time::Duration;

    use tollgate_core::base::{JsonStr, Peer, UnixMillis};
    use tollgate_core::ir::Usage;
    use tollgate_core::record::{Attempted, Ending, Outcome};

    use super::*;

    /// A request that went well.
    pub(in crate::host) fn access() -> Access {
        Access {
            request_id: "req_1".into(),
            time: UnixMillis(1_795_318_643_123),
            peer: Peer::Tcp(([127, 0, 0, 1], 50412).into()),
            caller: Some("ci".into()),
            method: "POST".parse().unwrap_or_default(),
            path: "/v1/messages".to_owned(),
            api: Some("anthropic"),
            model: Some(JsonStr::escape("fast")),
            provider: Some("groq".into()),
            answered_by: Some(JsonStr::escape("llama-3.3-70b")),
            stream: true,
            status: Some(200),
            outcome: Outcome::Complete,
            finish: Some(FinishReason::Stop),
            usage: Usage {
                input: Some(12),
                output: Some(345),
                ..Usage::default()
            },
            duration: Duration::from_micros(1_240_567),
            first_content: Some(Duration::from_micros(312_400)),
            request_bytes: 100,
            response_bytes: 2000,
            attempts: vec![Attempted {
                provider: "groq".into(),
                model: None,
                key: Some("0a1b2c3d".into()),
                duration: Duration::from_micros(1_240_000),
                waited: Duration::ZERO,
                ending: Ending::Answered,
                usage: Usage::default(),
            }],
            broken_events: 0,
            dropped: vec!["top_k".to_owned()],
            waited: Duration::from_micros(80_500),
            shared_with: None,
        }
    }
}
