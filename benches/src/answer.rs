//! What the mock upstream answers: bodies and streams in the shape and size of each API, rendered
//! once with their HTTP framing, so that serving them costs one write.

use crate::requests::{Api, compact};

/// A whole response as bytes, with the places where a paced upstream pauses.
#[derive(Clone, Debug)]
pub struct Answer {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
}

impl Answer {
    /// The complete answer to a request without `stream`, about 1 KB. Its two pieces are the head
    /// with half of the body, and the rest.
    pub fn plain(api: Api) -> Answer {
        let text = "A gateway stands between clients and the services that answer them. ".repeat(6);
        let text = text.trim_end();
        let body = match api {
            Api::Messages => format!(
                r#"{{"model":"claude-mock","id":"{MESSAGE_ID}","type":"message",
                  "role":"assistant","content":[{{"type":"text","text":"{text}"}}],
                  "stop_reason":"end_turn","stop_sequence":null,"usage":{MESSAGES_USAGE}}}"#
            ),
            Api::Chat => format!(
                r#"{{"id":"{CHAT_ID}","object":"chat.completion","created":1782321936,
                  "model":"gpt-mock","choices":[{{"index":0,"message":{{"role":"assistant",
                  "content":"{text}","refusal":null,"annotations":[]}},"logprobs":null,
                  "finish_reason":"stop"}}],"usage":{CHAT_USAGE},"service_tier":"default",
                  "system_fingerprint":"fp_0123456789"}}"#
            ),
        };
        Answer::fixed(api, 200, &body)
    }

    /// An error with `status`, in the API's own shape.
    pub fn failure(api: Api, status: u16) -> Answer {
        let body = match api {
            Api::Messages => format!(
                r#"{{"type":"error","error":{{"type":"api_error",
                  "message":"mock status {status}"}},"request_id":"req_mock"}}"#
            ),
            Api::Chat => format!(
                r#"{{"error":{{"message":"mock status {status}","type":"server_error",
                  "param":null,"code":null}}}}"#
            ),
        };
        Answer::fixed(api, status, &body)
    }

    /// A stream with `content_events` pieces of text between the API's opening and closing events,
    /// in chunked transfer coding with one chunk per event. Chat ends with a usage chunk where
    /// `usage`.
    pub fn stream(api: Api, content_events: usize, usage: bool) -> Answer {
        let events = match api {
            Api::Messages => messages_events(content_events),
            Api::Chat => chat_events(content_events, usage),
        };
        let mut answer = Answer {
            bytes: head(api, 200, "text/event-stream; charset=utf-8"),
            cuts: vec![],
        };
        answer
            .bytes
            .extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        for event in &events {
            let size = format!("{:x}\r\n", event.len());
            for part in [size.as_bytes(), event.as_bytes(), b"\r\n"] {
                answer.bytes.extend_from_slice(part);
            }
            answer.cuts.push(answer.bytes.len());
        }
        answer.bytes.extend_from_slice(b"0\r\n\r\n");
        if let Some(last) = answer.cuts.last_mut() {
            *last = answer.bytes.len();
        }
        answer
    }

    fn fixed(api: Api, status: u16, body: &str) -> Answer {
        let body = compact(body);
        let mut bytes = head(api, status, "application/json");
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        let middle = bytes.len() + body.len() / 2;
        bytes.extend_from_slice(body.as_bytes());
        Answer {
            cuts: vec![middle, bytes.len()],
            bytes,
        }
    }

    /// The whole response, head and framing included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each piece ends in [`bytes`](Answer::bytes), ascending. Of a stream a piece is an
    /// event, the first together with the head, the last with the end of the body.
    pub fn cuts(&self) -> &[usize] {
        &self.cuts
    }
}

const MESSAGE_ID: &str = "msg_01ApaK754YQvujSfdPXzsdyD";
const CHAT_ID: &str = "chatcmpl-DuLdwG9dovOoGcPewSoHPH2zgGXdJ";
const MESSAGES_USAGE: &str = r#"{"input_tokens":424,"cache_creation_input_tokens":0,
  "cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,
  "ephemeral_1h_input_tokens":0},"output_tokens":84,"service_tier":"standard"}"#;
const CHAT_USAGE: &str = r#"{"prompt_tokens":194,"completion_tokens":84,"total_tokens":278,
  "prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},
  "completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,
  "accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#;

/// The pieces of text in a stream, in turn: tokens as models cut them, some beyond ASCII or
/// escaped.
const TOKENS: [&str; 10] = [
    " The",
    " gateway",
    " answers",
    " each",
    " request",
    ",",
    " naïvely",
    " \\\"so\\\"",
    ".\\n\\n",
    " →",
];

fn head(api: Api, status: u16, content_type: &str) -> Vec<u8> {
    let reason = if status == 200 { "OK" } else { "Mock" };
    let own = match api {
        Api::Messages => {
            "request-id: req_011CMockMockMockMockMock\r\nanthropic-organization-id: mock"
        }
        Api::Chat => "x-request-id: req_0123456789abcdef\r\nopenai-version: 2020-10-01",
    };
    format!(
        "HTTP/1.1 {status} {reason}\r\ndate: Sun, 22 Nov 2026 12:00:00 GMT\r\n\
         content-type: {content_type}\r\ncache-control: no-cache\r\n{own}\r\n"
    )
    .into_bytes()
}

fn messages_events(content_events: usize) -> Vec<String> {
    let mut events = vec![
        named(
            "message_start",
            &format!(
                r#""message":{{"model":"claude-mock","id":"{MESSAGE_ID}","type":"message",
                  "role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,
                  "usage":{MESSAGES_USAGE}}}"#
            ),
        ),
        named(
            "content_block_start",
            r#""index":0,"content_block":{"type":"text","text":""}"#,
        ),
        "event: ping\ndata: {\"type\": \"ping\"}\n\n".to_owned(),
    ];
    for token in TOKENS.iter().cycle().take(content_events) {
        let delta = format!(r#""index":0,"delta":{{"type":"text_delta","text":"{token}"}}"#);
        events.push(named("content_block_delta", &delta));
    }
    events.push(named("content_block_stop", r#""index":0"#));
    events.push(named(
        "message_delta",
        r#""delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":424,
          "cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":84}"#,
    ));
    events.push("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned());
    events
}

fn named(kind: &str, members: &str) -> String {
    let members = compact(members);
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{members}}}\n\n")
}

fn chat_events(content_events: usize, usage: bool) -> Vec<String> {
    let chunk = |delta: &str, finish: &str| {
        chat_chunk(&format!(
            r#"[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],
              "usage":null"#
        ))
    };
    let mut events = vec![chunk(
        r#"{"role":"assistant","content":"","refusal":null}"#,
        "null",
    )];
    for token in TOKENS.iter().cycle().take(content_events) {
        events.push(chunk(&format!(r#"{{"content":"{token}"}}"#), "null"));
    }
    events.push(chunk("{}", r#""stop""#));
    if usage {
        events.push(chat_chunk(&format!(r#"[],"usage":{CHAT_USAGE}"#)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn chat_chunk(choices_and_usage: &str) -> String {
    let chunk = compact(&format!(
        r#"{{"id":"{CHAT_ID}","object":"chat.completion.chunk","created":1782321945,
        "model":"gpt-mock","service_tier":"default","system_fingerprint":"fp_0123456789",
        "choices":{choices_and_usage},"obfuscation":"Hv7qlnu"}}"#
    ));
    format!("data: {chunk}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_count::EventCount;
    use crate::http::{Decoder, Part, Role};

    fn content(answer: &Answer) -> String {
        let mut decoder = Decoder::new(Role::Client);
        let mut input = answer.bytes();
        let mut content = Vec::new();
        let mut ended = false;
        while let Some(part) = decoder.next(&mut input).unwrap() {
            match part {
                Part::Head(_) => {}
                Part::Body(bytes) => content.extend_from_slice(bytes),
                Part::End => ended = true,
            }
        }
        assert!(ended && input.is_empty());
        String::from_utf8(content).unwrap()
    }

    #[test]
    fn plain_answers_are_json_of_about_a_kilobyte() {
        for api in Api::ALL {
            let text = content(&Answer::plain(api));
            assert!((750..1200).contains(&text.len()), "{}", text.len());
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            let text = content(&Answer::failure(api, 529));
            assert!(
                serde_json::from_str::<serde_json::Value>(&text).is_ok(),
                "{text}"
            );
        }
    }

    #[test]
    fn streams_are_well_formed_events_with_one_piece_each() {
        for (api, usage, around) in [
            (Api::Messages, false, 6),
            (Api::Chat, false, 3),
            (Api::Chat, true, 4),
        ] {
            let answer = Answer::stream(api, 100, usage);
            let text = content(&answer);
            let mut count = EventCount::default();
            count.feed(text.as_bytes());
            assert_eq!(count.events(), 100 + around);
            assert_eq!(answer.cuts().len() as u64, count.events());
            assert_eq!(answer.cuts().last(), Some(&answer.bytes().len()));
            assert!(text.trim_end().contains(api.stream_end()));
            for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                let json = serde_json::from_str::<serde_json::Value>(line);
                assert!(json.is_ok() || line == "[DONE]", "{line}");
            }
        }
    }
}
