//! One request as one line of the access log: for people, or as JSON.
//!
//! Much of it was chosen by clients and providers. No text of theirs may end a line, begin a field or
//! speak to a terminal.

use core::fmt::{self, Display, Write as _};
use core::time::Duration;
use std::borrow::Cow;
use std::io::Write as _;

use serde::Serialize;
use tollgate_core::base::ShardId;
use tollgate_core::config::AccessLog;
use tollgate_core::ir::{Blame, Class, FinishReason, Usage};
use tollgate_core::record::{Access, Outcome};

use super::time::Timestamp;

/// Appends the line for people: time, status, duration, time to the first content, request, model,
/// where it was answered and under which other name, tokens, and what else there is to say.
///
/// ```text
/// 2026-11-22T03:37:23.123Z 200    1.24s first    312ms POST /v1/messages fast
/// -> groq/llama-3.3-70b 12+345 tokens stream stop 127.0.0.1:50412 req_1
/// ```
pub(super) fn text(access: &Access, out: &mut Vec<u8>) {
    let mut line = String::with_capacity(256);
    // Writing to a `String` cannot fail.
    let _ = write_text(access, &mut line);
    line.push('\n');
    out.extend_from_slice(line.as_bytes());
}

/// Appends the line as a JSON object with all that the record holds.
pub(super) fn json(access: &Access, shard: ShardId, out: &mut Vec<u8>) {
    // Nothing in it can fail to be JSON, and a `Vec` takes everything.
    let _ = serde_json::to_writer(&mut *out, &Line::new(access, shard));
    out.push(b'\n');
}

/// Appends what is to be said about lines that were dropped.
pub(super) fn dropped(count: u64, format: AccessLog, out: &mut Vec<u8>) {
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

fn write_text(access: &Access, line: &mut String) -> fmt::Result {
    write!(line, "{} ", Timestamp(access.time))?;
    match access.status {
        Some(status) => write!(line, "{status:3}")?,
        None => line.push_str("---"),
    }
    write!(line, " {:>8}", Short(access.duration).to_string())?;
    match access.first_content {
        Some(time) => write!(line, " first {:>8}", Short(time).to_string())?,
        None => write!(line, " {:14}", "")?,
    }
    write!(line, " {} {}", access.method, Plain(&access.path))?;
    if let Some(model) = &access.model {
        write!(line, " {}", Plain(&model.unescape()))?;
    }
    if let Some(provider) = &access.provider {
        write!(line, " -> {}", Plain(provider))?;
        if let Some(model) = &access.answered_by
            && access.model.as_ref() != Some(model)
        {
            write!(line, "/{}", Plain(&model.unescape()))?;
        }
    }
    let Usage { input, output, .. } = access.usage;
    if input.is_some() || output.is_some() {
        let (input, output) = (input.unwrap_or(0), output.unwrap_or(0));
        write!(line, " {input}+{output} tokens")?;
    }
    if access.stream {
        line.push_str(" stream");
    }
    if let Some(reason) = &access.finish {
        write!(line, " {}", finish_name(reason))?;
    }
    if access.attempts > 1 {
        write!(line, " {} attempts", access.attempts)?;
    }
    if access.broken_events > 0 {
        write!(line, " {} broken events", access.broken_events)?;
    }
    if !access.dropped.is_empty() {
        write!(line, " dropped {}", Plain(&access.dropped.join(",")))?;
    }
    if let Some(caller) = &access.caller {
        write!(line, " by {}", Plain(caller))?;
    }
    let id = String::from_utf8_lossy(&access.request_id);
    write!(line, " {} {}", access.peer, Plain(&id))?;
    match &access.outcome {
        Outcome::Complete => Ok(()),
        Outcome::ClientGone => write!(line, " client gone"),
        Outcome::Failed {
            class,
            blame,
            message,
        } => {
            let (class, blame) = (class_name(*class), blame_name(*blame));
            write!(line, " {class} ({blame}): {}", Words(&message.unescape()))
        }
    }
}

/// A time in the unit that shows three digits of it.
struct Short(Duration);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            _ if seconds < 0.001 => write!(f, "{:.0}us", seconds * 1e6),
            _ if seconds < 0.01 => write!(f, "{:.2}ms", seconds * 1e3),
            _ if seconds < 0.1 => write!(f, "{:.1}ms", seconds * 1e3),
            _ if seconds < 1.0 => write!(f, "{:.0}ms", seconds * 1e3),
            _ if seconds < 10.0 => write!(f, "{seconds:.2}s"),
            _ => write!(f, "{seconds:.1}s"),
        }
    }
}

/// Foreign text as one word: blanks and control characters escaped.
struct Plain<'a>(&'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            ' ' => f.write_str("\\x20"),
            letter => escape(letter, f),
        })
    }
}

/// Foreign text in which blanks are harmless: the end of a line.
struct Words<'a>(&'a str);

impl Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| escape(letter, f))
    }
}

/// Escapes what is not a visible character: controls, other blanks and line ends, and marks that change
/// the direction of what follows.
fn escape(letter: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_hidden = letter.is_control()
        || (letter.is_whitespace() && letter != ' ')
        || matches!(letter, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    if is_hidden {
        write!(f, "{}", letter.escape_default())
    } else {
        f.write_char(letter)
    }
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
    attempts: u32,
    broken_events: u32,
    dropped: &'a [String],
    shard: u16,
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
            attempts: *attempts,
            broken_events: *broken_events,
            dropped,
            shard: shard.0,
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
    use super::*;
    use tollgate_core::base::{JsonStr, Peer, UnixMillis};

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
            attempts: 1,
            broken_events: 0,
            dropped: vec!["top_k".to_owned()],
        }
    }

    fn text_of(access: &Access) -> String {
        let mut out = Vec::new();
        text(access, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn people_read_one_line() {
        assert_eq!(
            text_of(&access()),
            "2026-11-22T03:37:23.123Z 200    1.24s first    312ms POST /v1/messages fast -> \
             groq/llama-3.3-70b 12+345 tokens stream stop dropped top_k by ci 127.0.0.1:50412 req_1\n"
        );
    }

    #[test]
    fn json_holds_all() {
        let mut access = access();
        access.outcome = Outcome::Failed {
            class: Class::BadGateway,
            blame: Blame::Upstream,
            message: JsonStr::escape("no \"luck\""),
        };
        let mut out = Vec::new();
        json(&access, ShardId(3), &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"time\":\"2026-11-22T03:37:23.123Z\",\"request_id\":\"req_1\",\
             \"peer\":\"127.0.0.1:50412\",\"caller\":\"ci\",\"method\":\"POST\",\
             \"path\":\"/v1/messages\",\"api\":\"anthropic\",\"model\":\"fast\",\
             \"provider\":\"groq\",\"answered_by\":\"llama-3.3-70b\",\"stream\":true,\"status\":200,\
             \"outcome\":\"failed\",\"class\":\"bad_gateway\",\"blame\":\"upstream\",\
             \"message\":\"no \\\"luck\\\"\",\"finish\":\"stop\",\"usage\":{\"input\":12,\
             \"output\":345},\"duration_ms\":1240.567,\"first_content_ms\":312.4,\
             \"request_bytes\":100,\"response_bytes\":2000,\"attempts\":1,\"broken_events\":0,\
             \"dropped\":[\"top_k\"],\"shard\":3}\n"
        );
    }

    #[test]
    fn nobody_writes_lines_of_their_own() {
        let mut access = access();
        access.path = "/a\n2026 200 b".to_owned();
        access.model = Some(JsonStr::escape("x\u{1b}[2J\u{202e}y z"));
        access.outcome = Outcome::Failed {
            class: Class::NotFound,
            blame: Blame::Client,
            message: JsonStr::escape("no\r\nsuch model"),
        };
        let line = text_of(&access);
        assert_eq!(line.lines().count(), 1);
        assert!(
            line.contains("/a\\n2026\\x20200\\x20b x\\u{1b}[2J\\u{202e}y\\x20z -> "),
            "{line}"
        );
        assert!(
            line.ends_with("req_1 not_found (client): no\\r\\nsuch model\n"),
            "{line}"
        );
    }

    #[test]
    fn times_show_three_digits() {
        let shown = |micros| Short(Duration::from_micros(micros)).to_string();
        assert_eq!(shown(7), "7us");
        assert_eq!(shown(1234), "1.23ms");
        assert_eq!(shown(12_345), "12.3ms");
        assert_eq!(shown(123_456), "123ms");
        assert_eq!(shown(61_000_000), "61.0s");
    }
}
