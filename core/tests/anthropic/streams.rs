//! Streams, rule by rule.

use bytes::Bytes;
use serde_json::json;
use tollgate_core::base::{Limits, OutBuf};
use tollgate_core::dialect::anthropic::stream::{Decoder, Encoder};
use tollgate_core::ir::{
    BlockId, BlockKind, Class, Delta, Failure, Finish, FinishReason, Origin, PartKind, Piece,
    Start, Usage,
};

use super::grammar;
use super::support::{collect, deltas, encode_stream, js, meta, raw, stream_of, text_of};

const MESSAGE_START: &str = r#"{"type":"message_start","message":{"id":"msg_1","model":"m",
    "usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1}}}"#;
const TEXT_START: &str =
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
const TOOL_START: &str = r#"{"type":"content_block_start","index":0,
    "content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#;
const STOP: &str = r#"{"type":"content_block_stop","index":0}"#;
const MESSAGE_STOP: &str = r#"{"type":"message_stop"}"#;

fn text_delta(text: &str) -> String {
    json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":text}})
        .to_string()
}

fn json_delta(text: &str) -> String {
    let delta = json!({"type":"input_json_delta","partial_json":text});
    json!({"type":"content_block_delta","index":0,"delta":delta}).to_string()
}

fn message_delta(reason: &str) -> String {
    let delta = json!({"stop_reason":reason,"stop_sequence":null});
    json!({"type":"message_delta","delta":delta,"usage":{"output_tokens":7}}).to_string()
}

fn lines(text: &str) -> String {
    text.replace("\n    ", "")
}

fn told(events: &[&str]) -> Vec<Delta> {
    let events: Vec<String> = events.iter().map(|event| lines(event)).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    deltas(&stream_of(&events))
}

fn start(block: u32, kind: BlockKind) -> Delta {
    Delta::BlockStart {
        block: BlockId(block),
        choice: 0,
        kind,
    }
}

fn call(block: u32) -> Delta {
    let kind = BlockKind::ToolCall {
        id: js(&format!("c{block}")),
        name: js("f"),
        free: false,
    };
    start(block, kind)
}

fn text(block: u32, text: &str) -> Delta {
    Delta::Append {
        block: BlockId(block),
        piece: Piece::Text(js(text)),
    }
}

fn stop(block: u32) -> Delta {
    Delta::BlockStop {
        block: BlockId(block),
    }
}

fn finish(reason: FinishReason) -> Delta {
    Delta::Finish {
        choice: 0,
        finish: Finish {
            reason,
            ..Finish::default()
        },
    }
}

fn begin() -> Delta {
    Delta::Start(Start::default())
}

fn failure_of(told: &[Delta]) -> &Failure {
    match told.last() {
        Some(Delta::Failure(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn case_1_a_truncated_stream_is_an_error() {
    let open = told(&[
        MESSAGE_START,
        TOOL_START,
        &json_delta("{\"command\":\"rm -r"),
    ]);
    assert_eq!(failure_of(&open).class, Class::BadGateway);
    let encoded = encode_stream(&open);
    let outcome = grammar::check(&encoded);
    assert_eq!(outcome.error.as_deref(), Some("api_error"));
    assert!(!encoded.contains("content_block_stop"));
    assert!(!encoded.contains("message_delta"));
    let empty = deltas("");
    assert_eq!(failure_of(&empty).class, Class::BadGateway);
    // All was said but `message_stop`.
    let whole = told(&[
        MESSAGE_START,
        TEXT_START,
        &text_delta("a"),
        STOP,
        &message_delta("end_turn"),
    ]);
    assert_eq!(whole.last(), Some(&Delta::End));
}

#[test]
fn case_2_an_error_in_the_stream_is_a_failure_and_ends_it() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let all = told(&[MESSAGE_START, error, TEXT_START, MESSAGE_STOP]);
    assert_eq!(failure_of(&all).class, Class::Overloaded);
    assert_eq!(failure_of(&all).message, js("Overloaded"));
    let outcome = grammar::check(&encode_stream(&all));
    assert_eq!(outcome.error.as_deref(), Some("overloaded_error"));
}

#[test]
fn case_3_parallel_calls_come_one_after_the_other() {
    let outcome = grammar::check(&encode_stream(&[
        begin(),
        call(0),
        call(1),
        text(1, "{\"b\":"),
        text(0, "{\"a\":"),
        call(2),
        text(1, "1}"),
        stop(1),
        text(0, "2}"),
        text(2, "{}"),
        stop(0),
        stop(2),
        finish(FinishReason::Stop),
        Delta::End,
    ]));
    let texts: Vec<&str> = outcome
        .blocks
        .iter()
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(texts, ["{\"a\":2}", "{\"b\":1}", "{}"]);
    assert_eq!(outcome.stop_reason.as_deref(), Some("tool_use"));
}

#[test]
fn what_waits_is_bounded() {
    let mut encoder = Encoder::new(meta());
    let mut out = OutBuf::new();
    encoder.delta(call(0), &mut out);
    encoder.delta(call(1), &mut out);
    let large = "x".repeat(64 * 1024);
    for _ in 0..40 {
        encoder.delta(text(1, &large), &mut out);
    }
    encoder.delta(stop(0), &mut out);
    let outcome = grammar::check(&text_of(&mut out));
    assert_eq!(outcome.error.as_deref(), Some("api_error"));
}

#[test]
fn case_4_the_stop_reason_fits_the_blocks() {
    for (made, reason, expected) in [
        (call(0), FinishReason::Stop, "tool_use"),
        (call(0), FinishReason::ToolCalls, "tool_use"),
        (call(0), FinishReason::StopSequence, "tool_use"),
        (call(0), FinishReason::Length, "max_tokens"),
        (start(0, BlockKind::Text), FinishReason::Stop, "end_turn"),
        (
            start(0, BlockKind::Text),
            FinishReason::ContentFilter,
            "refusal",
        ),
        (start(0, BlockKind::Text), FinishReason::Pause, "pause_turn"),
        (
            start(0, BlockKind::Text),
            FinishReason::ContextWindow,
            "model_context_window_exceeded",
        ),
        (start(0, BlockKind::Refusal), FinishReason::Stop, "refusal"),
    ] {
        let all = [
            begin(),
            made,
            text(0, "{}"),
            stop(0),
            finish(reason),
            Delta::End,
        ];
        let outcome = grammar::check(&encode_stream(&all));
        assert_eq!(outcome.stop_reason.as_deref(), Some(expected));
    }
    let none = [begin(), finish(FinishReason::ToolCalls), Delta::End];
    let outcome = grammar::check(&encode_stream(&none));
    assert_eq!(outcome.error.as_deref(), Some("api_error"));
    let cut = [
        begin(),
        call(0),
        text(0, "{\"a"),
        finish(FinishReason::Length),
        Delta::End,
    ];
    let outcome = grammar::check(&encode_stream(&cut));
    assert_eq!(outcome.stop_reason.as_deref(), Some("max_tokens"));
}

#[test]
fn case_6_nothing_empty_is_shown() {
    let outcome = grammar::check(&encode_stream(&[
        Delta::Ping,
        begin(),
        start(0, BlockKind::Text),
        text(0, ""),
        stop(0),
        start(1, BlockKind::Thinking),
        stop(1),
        start(
            2,
            BlockKind::Whole(PartKind::Opaque {
                origin: Origin::Gemini,
                name: js("executableCode"),
                json: raw("{}"),
            }),
        ),
        stop(2),
        call(3),
        text(3, ""),
        Delta::Ping,
        stop(3),
        finish(FinishReason::ToolCalls),
        Delta::End,
        Delta::Ping,
        Delta::End,
    ]));
    assert_eq!(outcome.blocks.len(), 1);
    assert_eq!(outcome.blocks[0].0["type"], "tool_use");
}

#[test]
fn case_7_signatures_come_last_and_are_never_made_up() {
    let signature = |origin| Delta::Append {
        block: BlockId(0),
        piece: Piece::Signature(js("c2ln"), origin),
    };
    for (origin, expected) in [(Origin::Anthropic, "c2ln"), (Origin::Gemini, "")] {
        let outcome = grammar::check(&encode_stream(&[
            begin(),
            start(0, BlockKind::Thinking),
            text(0, "hm"),
            signature(origin),
            stop(0),
            finish(FinishReason::Stop),
            Delta::End,
        ]));
        assert_eq!(outcome.blocks[0].0["signature"], expected);
    }
    // Thoughts that are not shown have a signature all the same.
    let outcome = grammar::check(&encode_stream(&[
        start(0, BlockKind::Thinking),
        signature(Origin::Anthropic),
        stop(0),
        Delta::End,
    ]));
    assert_eq!(outcome.blocks[0].0["signature"], "c2ln");
}

#[test]
fn case_12_usage_is_told_at_the_end_and_counts_the_cache_apart() {
    let usage = |output| {
        Delta::Usage(Usage {
            input: Some(100),
            cache_read: Some(40),
            cache_write: Some(50),
            output: Some(output),
            reasoning: Some(3),
            ..Usage::default()
        })
    };
    let outcome = grammar::check(&encode_stream(&[
        begin(),
        start(0, BlockKind::Text),
        text(0, "a"),
        stop(0),
        finish(FinishReason::Stop),
        usage(5),
        usage(9),
        Delta::End,
    ]));
    assert_eq!(outcome.input_tokens_at_start, 11);
    assert_eq!(
        outcome.usage,
        json!({"input_tokens":10,"cache_creation_input_tokens":50,"cache_read_input_tokens":40,
            "output_tokens":9,"output_tokens_details":{"thinking_tokens":3}})
    );
    let told = told(&[
        MESSAGE_START,
        TEXT_START,
        STOP,
        &message_delta("end_turn"),
        MESSAGE_STOP,
    ]);
    let usage = collect(&told).unwrap().usage.unwrap();
    assert_eq!(usage.input, Some(15));
    assert_eq!(usage.output, Some(7));
}

#[test]
fn a_prompt_of_no_tokens_is_estimated_until_its_length_is_told() {
    let usage = |input| {
        Delta::Usage(Usage {
            input: Some(input),
            output: Some(1),
            ..Usage::default()
        })
    };
    let outcome = grammar::check(&encode_stream(&[
        begin(),
        usage(0),
        start(0, BlockKind::Text),
        text(0, "a"),
        stop(0),
        finish(FinishReason::Stop),
        usage(9),
        Delta::End,
    ]));
    assert_eq!(outcome.input_tokens_at_start, 11);
    assert_eq!(outcome.usage["input_tokens"], 9);
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    for deltas in [vec![], vec![json_delta("")]] {
        let mut events = vec![MESSAGE_START, TOOL_START];
        events.extend(deltas.iter().map(String::as_str));
        let end = message_delta("tool_use");
        events.extend([STOP, end.as_str(), MESSAGE_STOP]);
        assert!(told(&events).contains(&text(0, "{}")));
    }
}

#[test]
fn input_that_comes_whole_is_kept() {
    let whole = TOOL_START.replace("{}", "{\"a\":\"b\\n\"}");
    let all = told(&[MESSAGE_START, &whole, STOP, MESSAGE_STOP]);
    assert!(all.contains(&text(0, "{\"a\":\"b\\n\"}")));
    assert!(all.contains(&finish(FinishReason::ToolCalls)));
}

#[test]
fn the_providers_own_tools_are_no_calls() {
    let server = TOOL_START.replace("tool_use", "server_tool_use");
    let all = told(&[
        MESSAGE_START,
        &server,
        &json_delta("{\"query\":"),
        &json_delta("\"x\"}"),
        STOP,
        &message_delta("end_turn"),
        MESSAGE_STOP,
    ]);
    let response = collect(&all).unwrap();
    let PartKind::Opaque { name, json, .. } = &response.choices[0].parts[0].kind else {
        panic!("{response:?}");
    };
    assert_eq!(*name, js("server_tool_use"));
    let block: serde_json::Value = serde_json::from_slice(json.text()).unwrap();
    assert_eq!(block["input"], json!({"query":"x"}));
    let outcome = grammar::check(&encode_stream(&all));
    assert_eq!(outcome.blocks[0].0, block);
    assert_eq!(outcome.stop_reason.as_deref(), Some("end_turn"));
}

#[test]
fn free_text_of_a_custom_tool_is_wrapped() {
    let kind = BlockKind::ToolCall {
        id: js("c"),
        name: js("f"),
        free: true,
    };
    let outcome = grammar::check(&encode_stream(&[
        start(0, kind),
        text(0, "say \"hi\"\n"),
        text(0, "\\é"),
        stop(0),
        Delta::End,
    ]));
    let input: serde_json::Value = serde_json::from_str(&outcome.blocks[0].1).unwrap();
    assert_eq!(input, json!({"input":"say \"hi\"\n\\é"}));
}

#[test]
fn other_choices_are_not_shown() {
    let outcome = grammar::check(&encode_stream(&[
        begin(),
        start(0, BlockKind::Text),
        Delta::BlockStart {
            block: BlockId(1),
            choice: 1,
            kind: BlockKind::Text,
        },
        text(1, "no"),
        text(0, "yes"),
        stop(1),
        stop(0),
        Delta::Finish {
            choice: 1,
            finish: Finish {
                reason: FinishReason::Length,
                ..Finish::default()
            },
        },
        finish(FinishReason::Stop),
        Delta::End,
    ]));
    assert_eq!(outcome.blocks.len(), 1);
    assert_eq!(outcome.blocks[0].1, "yes");
    assert_eq!(outcome.stop_reason.as_deref(), Some("end_turn"));
}

#[test]
fn case_31_broken_events_are_skipped() {
    let mut decoder = Decoder::new(&Limits::default());
    let mut out = Vec::new();
    let mut event = |name: &[u8], data: &str| {
        let data = Bytes::copy_from_slice(data.as_bytes());
        decoder.event(name, &data, &mut out).is_ok()
    };
    assert!(event(b"message_start", MESSAGE_START));
    assert!(event(b"", TEXT_START));
    assert!(!event(b"content_block_delta", "{\"type\":\"content_blo"));
    assert!(!event(
        b"content_block_delta",
        "{\"type\":\"content_block_delta\"}"
    ));
    assert!(!event(
        b"content_block_delta",
        &json_delta("x").replace("\"index\":0", "\"index\":9")
    ));
    assert!(event(b"wrong_name", &text_delta("a")));
    assert!(event(b"content_block_delta", &text_delta("b")));
    assert!(event(b"new_event", "{\"type\":\"new_event\"}"));
    assert!(event(b"ping", ""));
    assert!(event(b"", STOP));
    assert!(event(b"", &message_delta("end_turn")));
    assert!(event(b"", MESSAGE_STOP));
    assert!(event(b"", TEXT_START));
    decoder.end_of_body(&mut out);
    assert_eq!(out.iter().filter(|it| **it == Delta::End).count(), 1);
    let response = collect(&out).unwrap();
    let PartKind::Text { text, .. } = &response.choices[0].parts[0].kind else {
        panic!("{response:?}");
    };
    assert_eq!(*text, js("ab"));
}

#[test]
fn a_call_with_a_hole_in_its_input_fails() {
    let mut decoder = Decoder::new(&Limits::default());
    let mut out = Vec::new();
    let mut event = |data: &str| {
        let data = Bytes::copy_from_slice(data.as_bytes());
        decoder.event(b"", &data, &mut out).is_ok()
    };
    assert!(event(MESSAGE_START));
    assert!(event(TOOL_START));
    assert!(event(&json_delta("{")));
    assert!(!event("{\"type\":\"content_block_del"));
    assert!(event(&json_delta("}")));
    assert!(event(STOP));
    assert!(matches!(out.last(), Some(Delta::Failure(failure))
        if failure.class == Class::BadGateway));
}

#[test]
fn what_was_handed_on_is_no_longer_held() {
    let mut limits = Limits::default();
    limits.sse.event_bytes_max = 1000;
    let mut decoder = Decoder::new(&limits);
    let mut out = Vec::new();
    let found = |index: usize| {
        let text = "x".repeat(600);
        let block = format!("{{\"type\":\"web_search_tool_result\",\"content\":\"{text}\"}}");
        format!("{{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":{block}}}")
    };
    for index in 0..8 {
        let stop = STOP.replace("\"index\":0", &format!("\"index\":{index}"));
        for data in [found(index), stop] {
            decoder.event(b"", &Bytes::from(data), &mut out).unwrap();
        }
    }
    assert!(out.iter().all(|it| !matches!(it, Delta::Failure(_))));
    for index in 8..10 {
        let data = Bytes::from(found(index));
        decoder.event(b"", &data, &mut out).unwrap();
    }
    assert!(matches!(out.last(), Some(Delta::Failure(_))));
}

#[test]
fn the_text_of_a_delta_is_a_slice_of_its_event() {
    let mut decoder = Decoder::new(&Limits::default());
    let mut out = Vec::new();
    let start = Bytes::from_static(TEXT_START.as_bytes());
    decoder.event(b"", &start, &mut out).unwrap();
    let data = Bytes::from(text_delta(&"long ".repeat(1000)));
    decoder.event(b"", &data, &mut out).unwrap();
    let Some(Delta::Append {
        piece: Piece::Text(text),
        ..
    }) = out.last()
    else {
        panic!("{out:?}");
    };
    let range = data.as_ptr_range();
    assert!(range.contains(&text.escaped().as_ptr()));
}

#[test]
fn citations_of_anthropic_are_shown_on_one_line() {
    let cite = |origin| Delta::Append {
        block: BlockId(0),
        piece: Piece::Citation(origin, raw("{\"type\":\n\"page_location\"}")),
    };
    let encoded = encode_stream(&[
        begin(),
        start(0, BlockKind::Text),
        cite(Origin::OpenAiChat),
        cite(Origin::Anthropic),
        text(0, "a"),
        stop(0),
        Delta::End,
    ]);
    grammar::check(&encoded);
    assert_eq!(encoded.matches("citations_delta").count(), 1);
    let response = collect(&deltas(&encoded)).unwrap();
    let PartKind::Text { citations, .. } = &response.choices[0].parts[0].kind else {
        panic!("{response:?}");
    };
    assert_eq!(citations.len(), 1);
}
