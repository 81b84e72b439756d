//! Streams: each oddity of the vendors by a fixture, and what the writer does with every legal
//! delta.

use bytes::Bytes;
use serde_json::Value as Json;
use tollgate_core::base::{JsonStr, Limits, OutBuf, RawJson};
use tollgate_core::dialect::Seen;
use tollgate_core::dialect::openai_chat::stream::{Decoder, Encoder};
use tollgate_core::dialect::openai_chat::watch::{Watch, watch_response};
use tollgate_core::ir::*;
use tollgate_core::wire::json::Tape;

use super::grammar::{self, End};
use super::support::*;

const STOP: &str = "\"stop\"";
const CALLS: &str = "\"tool_calls\"";

fn answer(deltas: &[&str], finish: &str) -> Response {
    let (deltas, broken) = decode_stream(&chunks(deltas, finish));
    assert_eq!(broken, 0);
    collect(&deltas).unwrap()
}

fn texts(response: &Response) -> Vec<(&'static str, String)> {
    let parts = response.choices[0].parts.iter();
    let told = parts.map(|part| match &part.kind {
        PartKind::Text { text, .. } => ("text", text.to_string()),
        PartKind::Thinking(thinking) => ("thinking", thinking.text.to_string()),
        PartKind::Refusal { text } => ("refusal", text.to_string()),
        PartKind::RedactedThinking { data, .. } => ("redacted", data.to_string()),
        PartKind::ToolCall(call) => ("call", call.id.to_string()),
        other => panic!("{other:?}"),
    });
    told.collect()
}

fn calls(response: &Response) -> Vec<(String, String, String)> {
    let parts = response.choices[0].parts.iter();
    let calls = parts.filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) => Some(call),
        _ => None,
    });
    let told = calls.map(|call| match &call.arguments {
        Arguments::Text(text) | Arguments::Free(text) => {
            (call.id.to_string(), call.name.to_string(), text.to_string())
        }
        Arguments::Json(json) => panic!("{json:?}"),
    });
    told.collect()
}

fn failure(events: &[Bytes]) -> Failure {
    let (deltas, _) = decode_stream(events);
    match deltas.last() {
        Some(Delta::Failure(failure)) => (**failure).clone(),
        other => panic!("{other:?}"),
    }
}

/// Wire case 6: nothing opens no block.
#[test]
fn empty_text_and_empty_lists_open_no_block() {
    let response = answer(
        &[
            r#"{"role":"assistant","content":""}"#,
            r#"{"role":"assistant","content":null,"tool_calls":[],"reasoning_content":""}"#,
            r#"{"content":"","tool_calls":null,"refusal":"","annotations":[],"reasoning":null}"#,
            r#"{"content":"hi","reasoning_details":[]}"#,
        ],
        STOP,
    );
    assert_eq!(texts(&response), [("text", "hi".to_owned())]);
}

/// Wire case 5: no word of either is lost.
#[test]
fn reasoning_and_content_in_one_chunk_are_two_blocks() {
    let response = answer(
        &[
            r#"{"reasoning_content":"a"}"#,
            r#"{"reasoning_content":"b","content":"c"}"#,
            r#"{"content":"d"}"#,
        ],
        STOP,
    );
    let expected = [("thinking", "ab".to_owned()), ("text", "cd".to_owned())];
    assert_eq!(texts(&response), expected);
}

#[test]
fn signatures_end_their_reasoning_and_are_never_cross_wired() {
    let detail = |text: &str| {
        format!(
            r#"{{"reasoning":"{text}","reasoning_details":[{{"type":"reasoning.text",
                "text":"{text}","format":"anthropic-claude-v1","index":0}}]}}"#
        )
    };
    let signature = r#"{"content":"","reasoning_details":[{"type":"reasoning.text",
        "signature":"sig","format":"anthropic-claude-v1","index":0}]}"#;
    let response = answer(
        &[&detail("a"), &detail("b"), signature, r#"{"content":"c"}"#],
        STOP,
    );
    let PartKind::Thinking(thinking) = &response.choices[0].parts[0].kind else {
        panic!();
    };
    assert!(thinking.text.is("ab"));
    let signed = thinking.signature.as_ref().unwrap();
    assert!(signed.value.is("sig") && signed.origin == Origin::Anthropic);
    // One that comes behind the text signs nobody knows what.
    let response = answer(&[&detail("a"), r#"{"content":"c"}"#, signature], STOP);
    let expected = [("thinking", "a".to_owned()), ("text", "c".to_owned())];
    assert_eq!(texts(&response), expected);
    // One without any words stands for reasoning that is not shown.
    let response = answer(&[signature, r#"{"content":"c"}"#], STOP);
    assert_eq!(texts(&response)[0], ("thinking", String::new()));
}

#[test]
fn reasoning_details_alone_are_read() {
    let response = answer(
        &[
            r#"{"reasoning_details":[{"type":"reasoning.summary","summary":"s"},
                {"type":"reasoning.encrypted","data":"d","format":"openai-responses-v1"}]}"#,
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"m"}]},
                {"type":"text","text":"t"}]}"#,
        ],
        STOP,
    );
    let told: Vec<String> = texts(&response).into_iter().map(|(_, text)| text).collect();
    assert_eq!(told, ["s", "d", "m", "t"]);
}

/// A delta with one piece of a call.
fn call(members: &str, body: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"tool_calls":[{{{members}{comma}"function":{body}}}]}}"#)
}

fn named(name: &str, arguments: &str) -> String {
    format!(r#"{{"name":"{name}","arguments":"{arguments}"}}"#)
}

fn more(arguments: &str) -> String {
    format!(r#"{{"arguments":"{arguments}"}}"#)
}

fn expect_calls(deltas: &[String], expected: &[(&str, &str, &str)]) {
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    let response = answer(&deltas, CALLS);
    let expected: Vec<_> = expected
        .iter()
        .map(|(id, name, text)| (id.to_string(), name.to_string(), text.to_string()))
        .collect();
    assert_eq!(calls(&response), expected);
    assert_eq!(response.choices[0].finish.reason, FinishReason::ToolCalls);
}

/// Wire case 3.
#[test]
fn pieces_of_calls_find_their_calls_by_index() {
    // Interleaved; the id missing, null, empty; the name empty.
    expect_calls(
        &[
            call(r#""index":0,"id":"a","type":"function""#, &named("f", "")),
            call(r#""index":1,"id":"b","type":"function""#, &named("g", "")),
            call(r#""index":0"#, &more("{1")),
            call(r#""index":1,"id":null"#, &more("{2")),
            call(r#""index":0"#, &more("}")),
            call(r#""index":1,"id":"","type":"function""#, &named("", "}")),
        ],
        &[("a", "f", "{1}"), ("b", "g", "{2}")],
    );
    // Ollama: whole calls, all of index 0.
    expect_calls(
        &[
            call(r#""index":0,"id":"a""#, &named("f", "{}")),
            call(r#""index":0,"id":"b""#, &named("f", "{}")),
        ],
        &[("a", "f", "{}"), ("b", "f", "{}")],
    );
    // The name after the arguments began; the id and the name in each piece.
    expect_calls(
        &[
            call(r#""index":0,"id":"a""#, &more("{1")),
            call(r#""index":0,"id":"a""#, &named("f", ",")),
            call(r#""index":0,"id":"a""#, &named("f", "2}")),
        ],
        &[("a", "f", "{1,2}")],
    );
}

/// Wire cases 3 and 22.
#[test]
fn pieces_of_calls_find_their_calls_without_an_index() {
    // No index, index below zero, gaps, no id, no arguments.
    expect_calls(
        &[
            call(r#""id":"a""#, &named("f", "{1")),
            call("", &more("}")),
            call(r#""index":-1,"id":"b""#, &named("g", "{}")),
            call(r#""index":7,"id":"c""#, &named("h", "")),
            call("", &named("i", "{3}")),
        ],
        &[
            ("a", "f", "{1}"),
            ("b", "g", "{}"),
            ("c", "h", "{}"),
            ("call_c1_3", "i", "{3}"),
        ],
    );
    // Arguments as an object, and the same function twice with neither index nor id.
    expect_calls(
        &[
            call("", r#"{"name":"f","arguments":{"a":1}}"#),
            call("", &named("f", "{}")),
        ],
        &[("call_c1_0", "f", "{\"a\":1}"), ("call_c1_1", "f", "{}")],
    );
}

#[test]
fn older_and_custom_calls() {
    let response = answer(
        &[
            r#"{"function_call":{"name":"f","arguments":""}}"#,
            r#"{"function_call":{"arguments":"{}"}}"#,
        ],
        "\"function_call\"",
    );
    assert_eq!(calls(&response)[0].1, "f");
    assert_eq!(response.choices[0].finish.reason, FinishReason::ToolCalls);
    let response = answer(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","type":"custom","custom":{"name":"g",
                "input":"x"}}]}"#,
            r#"{"tool_calls":[{"index":0,"custom":{"input":"y"}}]}"#,
        ],
        STOP,
    );
    assert_eq!(
        calls(&response),
        [("a".to_owned(), "g".to_owned(), "xy".to_owned())]
    );
}

/// Wire case 4.
#[test]
fn the_reason_is_decided_by_the_calls() {
    let call = r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}"#;
    let reason =
        |deltas: &[&str], finish: &str| answer(deltas, finish).choices[0].finish.reason.clone();
    assert_eq!(reason(&[call], STOP), FinishReason::ToolCalls);
    assert_eq!(reason(&[call], "\"length\""), FinishReason::Length);
    assert_eq!(reason(&[r#"{"content":"x"}"#], CALLS), FinishReason::Stop);
    for (told, expected) in [
        ("end_turn", FinishReason::Stop),
        ("completed", FinishReason::Stop),
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("content_filter", FinishReason::ContentFilter),
    ] {
        let told = format!("\"{told}\"");
        assert_eq!(reason(&[r#"{"content":"x"}"#], &told), expected);
    }
    let failure = failure(&chunks(&[], CALLS));
    assert_eq!(failure.class, Class::BadGateway);
}

/// Wire case 1.
#[test]
fn a_stream_that_stops_short_is_a_failure() {
    let text = chunks(&[r#"{"content":"x"}"#], STOP);
    assert_eq!(failure(&text[..1]).class, Class::BadGateway);
    assert_eq!(failure(&[]).class, Class::BadGateway);
    assert_eq!(failure(&text[2..]).class, Class::BadGateway);
    // `[DONE]` alone is missing.
    let (deltas, _) = decode_stream(&text[..2]);
    assert_eq!(
        texts(&collect(&deltas).unwrap()),
        [("text", "x".to_owned())]
    );
    // No reason, though one was announced, and `[DONE]`.
    assert_eq!(
        failure(&[text[0].clone(), text[2].clone()]).class,
        Class::BadGateway
    );
    // Never a word of a reason (Snowflake).
    let plain = Bytes::from_static(br#"{"choices":[{"index":0,"delta":{"content":"x"}}]}"#);
    let (deltas, _) = decode_stream(&[plain, text[2].clone()]);
    assert_eq!(
        collect(&deltas).unwrap().choices[0].finish.reason,
        FinishReason::Stop
    );
    // The same within a call's arguments.
    let call =
        r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"c\":"}}]}"#;
    let half = chunks(&[call], STOP);
    assert_eq!(
        failure(&[half[0].clone(), half[2].clone()]).class,
        Class::BadGateway
    );
}

#[test]
fn what_follows_a_reason_is_not_lost() {
    let mut events = chunks(&[r#"{"content":"a"}"#], STOP);
    let more = chunks(&[r#"{"content":"b"}"#], STOP);
    events.splice(2.., more);
    let (deltas, _) = decode_stream(&events);
    assert_eq!(
        texts(&collect(&deltas).unwrap()),
        [("text", "ab".to_owned())]
    );
}

/// Wire case 31, and its limit.
#[test]
fn a_broken_event_is_skipped_but_not_within_a_call() {
    let mut events = chunks(&[r#"{"content":"a"}"#, r#"{"content":"b"}"#], STOP);
    events.insert(1, Bytes::from_static(b"{\"choices\":[{"));
    let (deltas, broken) = decode_stream(&events);
    assert_eq!(broken, 1);
    assert_eq!(
        texts(&collect(&deltas).unwrap()),
        [("text", "ab".to_owned())]
    );
    let call = r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}"#;
    let mut events = chunks(&[call, r#"{"content":"b"}"#], CALLS);
    events.insert(1, Bytes::from_static(b"{\"choices\":[{"));
    assert_eq!(failure(&events).class, Class::BadGateway);
}

/// Wire case 12.
#[test]
fn usage_is_taken_wherever_it_stands() {
    let usage = |prompt: u64, completion: u64| {
        format!(r#""usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}"#)
    };
    let chunk =
        |choices: &str, rest: &str| Bytes::from(format!(r#"{{"choices":[{choices}],{rest}}}"#));
    let text = r#"{"index":0,"delta":{"content":"x"}}"#;
    let stop = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;
    let done = Bytes::from_static(b"[DONE]");
    let told = |events: &[Bytes]| {
        let (deltas, _) = decode_stream(events);
        let usage = collect(&deltas).unwrap().usage.unwrap();
        (usage.input, usage.output)
    };
    let two = (Some(1), Some(2));
    let groq = format!(r#""x_groq":{{{}}}"#, usage(1, 2));
    let last = chunk("", &usage(1, 2));
    assert_eq!(
        told(&[chunk(text, &usage(1, 1)), chunk(stop, &usage(1, 2))]),
        two
    );
    assert_eq!(
        told(&[
            chunk(text, "\"usage\":null"),
            chunk(stop, &groq),
            last.clone(),
            done.clone()
        ]),
        two
    );
    assert_eq!(
        told(&[chunk(text, "\"a\":0"), chunk(stop, "\"a\":0"), last, done]),
        two
    );
    assert_eq!(
        told(&[
            chunk(text, "\"a\":0"),
            chunk(stop, "\"a\":0"),
            chunk(stop, &usage(1, 2))
        ]),
        two
    );
}

#[test]
fn the_frame_is_taken_from_the_first_real_chunk() {
    let azure =
        r#"{"choices":[],"prompt_filter_results":[{}],"id":"","model":"","object":"","created":0}"#;
    let mut events = chunks(&[r#"{"content":"x"}"#], STOP);
    events.insert(0, Bytes::from_static(azure.as_bytes()));
    let (deltas, _) = decode_stream(&events);
    let response = collect(&deltas).unwrap();
    assert!(response.id.unwrap().is("c1") && response.model.unwrap().is("m"));
    assert_eq!(response.created, Some(1));
}

#[test]
fn a_full_message_beside_deltas_says_nothing_new() {
    let whole = r#"{"choices":[{"index":0,"message":{"content":"x"},"delta":{"content":""},
        "finish_reason":"stop"}]}"#;
    let alone = r#"{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}"#;
    let text = chunks(&[r#"{"content":"x"}"#], STOP);
    for events in [
        vec![text[0].clone(), Bytes::from_static(whole.as_bytes())],
        vec![text[0].clone(), Bytes::from_static(alone.as_bytes())],
        vec![Bytes::from_static(alone.as_bytes())],
    ] {
        let (deltas, _) = decode_stream(&events);
        assert_eq!(
            texts(&collect(&deltas).unwrap()),
            [("text", "x".to_owned())]
        );
    }
}

/// Wire case 2.
#[test]
fn errors_within_a_stream_are_failures() {
    let text = chunks(&[r#"{"content":"x"}"#], STOP);
    for (event, class) in [
        (r#"{"error":{"message":"m","code":429}}"#, Class::RateLimit),
        (
            r#"{"error":"m","choices":[{"index":0,"delta":{"content":"y"}}]}"#,
            Class::BadGateway,
        ),
        (
            r#"{"error":{"message":"m","type":"overloaded_error"}}"#,
            Class::Overloaded,
        ),
        (
            r#"{"object":"error","message":"m","type":"invalid_request_error"}"#,
            Class::InvalidRequest,
        ),
        (r#"{"detail":"m"}"#, Class::BadGateway),
        (
            r#"{"choices":[{"index":0,"delta":{},"error":{"message":"m","code":503}}]}"#,
            Class::Overloaded,
        ),
    ] {
        let events = [
            text[0].clone(),
            Bytes::from_static(event.as_bytes()),
            text[2].clone(),
        ];
        let failure = failure(&events);
        assert_eq!(
            (failure.class, failure.message.to_string()),
            (class, "m".to_owned())
        );
    }
}

#[test]
fn citations_and_logprobs_and_refusals() {
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":"x",
        "annotations":[{"type":"url_citation","url_citation":{"url":"u"}}]},
            "logprobs":{"content":[{"token":"x"}]},"finish_reason":"stop"}]}"#;
    let (deltas, _) = decode_stream(&[Bytes::from_static(chunk.as_bytes())]);
    let response = collect(&deltas).unwrap();
    let PartKind::Text { citations, .. } = &response.choices[0].parts[0].kind else {
        panic!();
    };
    assert_eq!(citations.len(), 1);
    assert!(response.choices[0].logprobs.is_some());
    let encoded = encode_stream(&deltas, false);
    assert!(encoded.contains("url_citation") && encoded.contains(r#""logprobs":{"content""#));
    let refused = answer(&[r#"{"refusal":"no"}"#], STOP);
    assert_eq!(texts(&refused), [("refusal", "no".to_owned())]);
}

#[test]
fn several_choices_stay_apart() {
    let chunk = |index: u64, text: &str, finish: &str| {
        Bytes::from(format!(
            r#"{{"choices":[{{"index":{index},"delta":{{"content":"{text}"}},
                "finish_reason":{finish}}}]}}"#
        ))
    };
    let four = [
        chunk(0, "a", "null"),
        chunk(1, "b", "null"),
        chunk(0, "c", "\"stop\""),
        chunk(1, "d", "\"length\""),
    ];
    let (deltas, _) = decode_stream(&four);
    let response = collect(&deltas).unwrap();
    assert_eq!(response.choices.len(), 2);
    assert_eq!(response.choices[1].finish.reason, FinishReason::Length);
    let written = events(&encode_stream(&deltas, false));
    assert_eq!(grammar::check(&written, false), Ok(End::Done));
    let (broken, _) = decode_stream(&[chunk(4_000_000_000, "a", "null")]);
    assert!(matches!(broken.last(), Some(Delta::Failure(_))));
}

#[test]
fn text_is_a_slice_of_the_event() {
    let long = "slice \\n me ".repeat(1000);
    let event = chunks(&[&format!("{{\"content\":\"{long}\"}}")], STOP)[0].clone();
    let mut out = Vec::new();
    let mut decoder = Decoder::new(&Limits::default());
    decoder.event(b"", &event, &mut out).unwrap();
    let text = out.iter().find_map(|delta| match delta {
        Delta::Append {
            piece: Piece::Text(text),
            ..
        } => Some(text.escaped().clone()),
        _ => None,
    });
    let text = text.unwrap();
    assert!(event.as_ptr_range().contains(&text.as_ptr()));
    assert!(!decoder.is_whole());
}

fn legal_deltas() -> Vec<Delta> {
    let start = |block, kind| Delta::BlockStart {
        block: BlockId(block),
        choice: 0,
        kind,
    };
    let piece = |block, piece| Delta::Append {
        block: BlockId(block),
        piece,
    };
    let text = |text: &str| Piece::Text(text.into());
    let stop = |block| Delta::BlockStop {
        block: BlockId(block),
    };
    let call = |id: &str| BlockKind::ToolCall {
        id: id.into(),
        name: "f".into(),
        free: false,
    };
    vec![
        Delta::Start(Start::default()),
        start(0, BlockKind::Thinking),
        piece(0, text("hm")),
        piece(0, Piece::Signature("sig".into(), Origin::Anthropic)),
        stop(0),
        start(
            1,
            BlockKind::Whole(PartKind::RedactedThinking {
                data: "red".into(),
                origin: Origin::Anthropic,
            }),
        ),
        stop(1),
        start(
            2,
            BlockKind::Whole(PartKind::Opaque {
                origin: Origin::Anthropic,
                name: "server_tool_use".into(),
                json: RawJson::EMPTY_OBJECT,
            }),
        ),
        stop(2),
        Delta::Ping,
        start(3, BlockKind::Text),
        piece(3, text("a\"\n")),
        stop(3),
        start(4, call("x")),
        start(5, call("y")),
        piece(5, text("{}")),
        stop(4),
        stop(5),
        Delta::Finish {
            choice: 0,
            finish: Finish::default(),
        },
        // Usage after the finish.
        Delta::Usage(Usage {
            input: Some(10),
            cache_read: Some(4),
            output: Some(5),
            reasoning: Some(2),
            ..Usage::default()
        }),
        Delta::End,
    ]
}

#[test]
fn every_legal_delta_is_written() {
    let text = encode_stream(&legal_deltas(), true);
    assert!(text.contains(": keep-alive\n\n") && text.ends_with("data: [DONE]\n\n"));
    let written = events(&text);
    assert_eq!(grammar::check(&written, true), Ok(End::Done));
    let first: Json = serde_json::from_slice(&written[0]).unwrap();
    assert_eq!(first["id"], "chatcmpl-r1");
    assert_eq!(
        first["choices"][0]["delta"],
        serde_json::json!({"role": "assistant", "content": ""})
    );
    let (deltas, _) = decode_stream(&written);
    let response = collect(&deltas).unwrap();
    let told: Vec<&str> = texts(&response).iter().map(|it| it.0).collect();
    assert_eq!(told, ["thinking", "redacted", "text", "call", "call"]);
    let expected = [("x", "{}"), ("y", "{}")]
        .map(|(id, text)| (id.to_owned(), "f".to_owned(), text.to_owned()));
    assert_eq!(calls(&response), expected);
    assert_eq!(response.choices[0].finish.reason, FinishReason::ToolCalls);
    let usage: Json = serde_json::from_slice(&written[written.len() - 2]).unwrap();
    assert_eq!(usage["choices"], serde_json::json!([]));
    assert_eq!(usage["usage"]["prompt_tokens"], 10);
    assert_eq!(usage["usage"]["total_tokens"], 15);
    assert_eq!(usage["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    assert_eq!(
        usage["usage"]["completion_tokens_details"]["reasoning_tokens"],
        2
    );
}

#[test]
fn a_failure_is_the_last_word() {
    let mut deltas = legal_deltas();
    deltas.truncate(12);
    let failure = Failure::new(Class::Overloaded, "busy \"now\"");
    deltas.push(Delta::Failure(Box::new(failure)));
    deltas.push(Delta::End);
    let text = encode_stream(&deltas, true);
    assert!(!text.contains("[DONE]") && !text.contains(r#""finish_reason":""#));
    let written = events(&text);
    assert_eq!(grammar::check(&written, true), Ok(End::Failed));
    // Nothing finished, or tools called that are none: no clean end.
    for deltas in [
        vec![Delta::Start(Start::default()), Delta::End],
        vec![Delta::Finish {
            choice: 0,
            finish: Finish {
                reason: FinishReason::ToolCalls,
                ..Finish::default()
            },
        }],
    ] {
        let written = events(&encode_stream(&deltas, false));
        assert_eq!(grammar::check(&written, false), Ok(End::Failed));
    }
    let mut out = OutBuf::new();
    let mut encoder = Encoder::new(meta(false));
    encoder.delta(
        Delta::Failure(Box::new(Failure::new(Class::Internal, "x"))),
        &mut out,
    );
    let before = out.len();
    encoder.keep_alive(&mut out);
    encoder.delta(Delta::Ping, &mut out);
    assert_eq!(out.len(), before);
}

fn look(watch: &mut Watch, data: &[u8]) -> Seen {
    let (mut tape, text) = (Tape::new(), Bytes::copy_from_slice(data));
    let root = tape.parse(&text, &Limits::default().json).ok();
    watch.look(b"", data, root)
}

#[test]
fn a_passing_stream_is_watched() {
    let mut watch = Watch::new(false);
    let head = br#"{"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},
        "finish_reason":null}]}"#;
    let seen = look(&mut watch, head);
    assert!(!seen.content && !seen.hidden && seen.failure.is_none());
    let text = br#"{"model":"m","choices":[{"index":0,"delta":{"content":"\"usage\":{"},
        "finish_reason":null}],"usage":null}"#;
    assert!(look(&mut watch, text).content);
    assert!(look(&mut watch, text).content);
    assert!(watch.end_of_body().is_some());
    let stop = br#"{"choices":[{"index":0,"delta":{},"finish_reason": "stop"}]}"#;
    assert!(!look(&mut watch, stop).content);
    assert_eq!(watch.finish(), Some(&FinishReason::Stop));
    assert!(watch.end_of_body().is_none());
    let usage = br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    assert!(look(&mut watch, usage).hidden);
    assert_eq!(watch.usage().total(), Some(7));
    assert!(watch.model().unwrap().is("m"));
    assert!(look(&mut watch, b"[DONE]").terminal);
    let mut watch = Watch::new(true);
    assert!(!look(&mut watch, usage).hidden);
    let error = look(&mut watch, br#"{"error":{"message":"m","code":503}}"#);
    assert_eq!(error.failure.unwrap().class, Class::Overloaded);
}

#[test]
fn a_passing_answer_is_watched() {
    let text = Bytes::from_static(
        br#"{"model":"m","choices":[{"message":{"tool_calls":[{}]},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":3}}"#,
    );
    let mut tape = Tape::new();
    let body = tape.parse(&text, &Limits::default().json).unwrap();
    let watched = watch_response(body);
    assert_eq!(watched.usage.input, Some(3));
    assert_eq!(watched.model, Some(JsonStr::from_static("m")));
    assert_eq!(watched.finish, Some(FinishReason::ToolCalls));
}

/// The observer agrees with the translator on every recording.
#[test]
fn the_watch_sees_what_the_decoder_sees() {
    let Some(all) = recordings() else { return };
    for Recording { id, json } in &all {
        let Some(text) = json["response"]["body"].as_str() else {
            continue;
        };
        let all = events(text);
        let mut watch = Watch::new(true);
        let failed = all
            .iter()
            .any(|event| look(&mut watch, event).failure.is_some());
        let (deltas, _) = decode_stream(&all);
        match collect(&deltas) {
            Ok(response) => {
                assert!(!failed && watch.end_of_body().is_none(), "{id}");
                assert_eq!(watch.usage(), response.usage.unwrap_or_default(), "{id}");
                assert_eq!(watch.model(), response.model.as_ref(), "{id}");
            }
            Err(_) => assert!(failed, "{id}"),
        }
    }
}
