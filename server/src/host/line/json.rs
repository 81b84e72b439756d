//! The line as a JSON object.

use core::time::Duration;
use std::borrow::Cow;

use serde::Serialize;
use tollgate_core::base::ShardId;
use tollgate_core::ir::Usage;
use tollgate_core::record::{Access, Attempted, Ending, Outcome};

use super::super::time::Timestamp;
use super::{blame_name, class_name, finish_name};

/// Appends the line, with all that the record holds.
pub(super) fn append(access: &Access, shard: ShardId, out: &mut Vec<u8>) {
    // Nothing in it can fail to be JSON, and a `Vec` takes everything.
    let _ = serde_json::to_writer(&mut *out, &Line::new(access, shard));
    out.push(b'\n');
}

/// The JSON object.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: Cow<'a, str>,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_by: Option<Cow<'a, str>>,
    stream: bool,
    status: Option<u16>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blame: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish: Option<&'static str>,
    usage: Tokens,
    duration_ms: f64,
    first_content_ms: Option<f64>,
    request_bytes: u64,
    response_bytes: u64,
    attempts: Vec<Attempt<'a>>,
    broken_events: u32,
    dropped: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_with: Option<Cow<'a, str>>,
    shard: u16,
}

/// An upstream that was asked.
#[derive(Serialize)]
struct Attempt<'a> {
    provider: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waited_ms: Option<f64>,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'static str>,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    called_off: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Tokens>,
}

/// Token counts; those that were not told are left out.
#[derive(Serialize)]
struct Tokens {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_1h: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    web_searches: Option<u64>,
}

impl<'a> Line<'a> {
    /// Names every field of the record, so that none is forgotten.
    fn new(access: &'a Access, shard: ShardId) -> Line<'a> {
        let Access {
            request_id,
            time,
            peer,
            caller,
            method,
            path,
            api,
            model,
            provider,
            answered_by,
            stream,
            status,
            outcome,
            finish,
            usage,
            duration,
            first_content,
            request_bytes,
            response_bytes,
            attempts,
            broken_events,
            dropped,
            waited,
            shared_with,
        } = access;
        let (name, failure) = match outcome {
            Outcome::Complete => ("complete", None),
            Outcome::ClientGone => ("client_gone", None),
            Outcome::Failed {
                class,
                blame,
                message,
            } => {
                let (class, blame) = (class_name(*class), blame_name(*blame));
                ("failed", Some((class, blame, message.unescape())))
            }
        };
        Line {
            time: Timestamp(*time).to_string(),
            request_id: String::from_utf8_lossy(request_id),
            peer: peer.to_string(),
            caller: caller.as_deref(),
            method: method.as_str(),
            path,
            api: *api,
            model: model.as_ref().map(|model| model.unescape()),
            provider: provider.as_deref(),
            answered_by: answered_by.as_ref().map(|model| model.unescape()),
            stream: *stream,
            status: *status,
            outcome: name,
            class: failure.as_ref().map(|(class, ..)| *class),
            blame: failure.as_ref().map(|(_, blame, _)| *blame),
            message: failure.map(|(.., message)| message),
            finish: finish.as_ref().map(finish_name),
            usage: Tokens::new(usage),
            duration_ms: millis(*duration),
            first_content_ms: first_content.map(millis),
            request_bytes: *request_bytes,
            response_bytes: *response_bytes,
            attempts: attempts.iter().map(Attempt::new).collect(),
            broken_events: *broken_events,
            dropped,
            waited_ms: (!waited.is_zero()).then(|| millis(*waited)),
            shared_with: shared_with.as_deref().map(String::from_utf8_lossy),
            shard: shard.0,
        }
    }
}

impl<'a> Attempt<'a> {
    fn new(attempted: &'a Attempted) -> Attempt<'a> {
        let Attempted {
            provider,
            model,
            key,
            waited,
            duration,
            ending,
            usage,
        } = attempted;
        Attempt {
            provider,
            model: model.as_ref().map(|model| model.unescape()),
            key: key.as_deref(),
            waited_ms: (!waited.is_zero()).then(|| millis(*waited)),
            duration_ms: millis(*duration),
            failed: attempted.failed().map(class_name),
            called_off: *ending == Ending::CalledOff,
            usage: (*usage != Usage::default()).then(|| Tokens::new(usage)),
        }
    }
}

impl Tokens {
    fn new(usage: &Usage) -> Tokens {
        let &Usage {
            input,
            cache_read,
            cache_write,
            cache_write_1h,
            audio_input,
            output,
            reasoning,
            audio_output,
            web_searches,
        } = usage;
        Tokens {
            input,
            cache_read,
            cache_write,
            cache_write_1h,
            audio_input,
            output,
            reasoning,
            audio_output,
            web_searches,
        }
    }
}

/// Milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    let micros = u32::try_from(time.as_micros()).map_or(time.as_secs_f64() * 1e6, f64::from);
    micros.round() / 1e3
}

#[cfg(test)]
mod tests {
    use tollgate_core::base::JsonStr;
    use tollgate_core::ir::{Blame, Class};

    use super::super::tests::access;
    use super::*;

    #[test]
    fn json_holds_all() {
        let mut access = access();
        access.outcome = Outcome::Failed {
            class: Class::BadGateway,
            blame: Blame::Upstream,
            message: JsonStr::escape("no \"luck\""),
        };
        let mut out = Vec::new();
        append(&access, ShardId(3), &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"time\":\"2026-11-22T03:37:23.123Z\",\"request_id\":\"req_1\",\
             \"peer\":\"127.0.0.1:50412\",\"caller\":\"ci\",\"method\":\"POST\",\
             \"path\":\"/v1/messages\",\"api\":\"anthropic\",\"model\":\"fast\",\
             \"provider\":\"groq\",\"answered_by\":\"llama-3.3-70b\",\"stream\":true,\
             \"status\":200,\
             \"outcome\":\"failed\",\"class\":\"bad_gateway\",\"blame\":\"upstream\",\
             \"message\":\"no \\\"luck\\\"\",\"finish\":\"stop\",\"usage\":{\"input\":12,\
             \"output\":345},\"duration_ms\":1240.567,\"first_content_ms\":312.4,\
             \"request_bytes\":100,\"response_bytes\":2000,\
             \"attempts\":[{\"provider\":\"groq\",\"key\":\"0a1b2c3d\",\"duration_ms\":1240.0}],\
             \"broken_events\":0,\"dropped\":[\"top_k\"],\"waited_ms\":80.5,\"shard\":3}\n"
        );
    }
}
