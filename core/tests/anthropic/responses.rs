//! Whole answers, rule by rule.

use serde_json::{Value as Json, json};
use tollgate_core::ir::{
    Arguments, Choice, Class, Finish, FinishReason, Origin, Part, PartKind, Response, Signature,
    Thinking, ToolCall, Usage,
};

use super::support::{decode_response, encode_response, js, raw};

fn answer(parts: Vec<Part>, reason: FinishReason) -> Json {
    let response = Response {
        choices: vec![Choice {
            parts,
            finish: Finish {
                reason,
                ..Finish::default()
            },
            logprobs: None,
        }],
        ..Response::default()
    };
    serde_json::from_str(&encode_response(&response)).unwrap()
}

fn call(arguments: &str) -> Part {
    Part::new(PartKind::ToolCall(ToolCall {
        id: js("call_1"),
        name: js("f"),
        arguments: Arguments::Text(js(arguments)),
        signature: None,
    }))
}

#[test]
fn an_answer_of_another_api_becomes_a_message() {
    let thought = |origin| {
        Part::new(PartKind::Thinking(Thinking {
            text: js("hm"),
            signature: Some(Signature {
                value: js("c2ln"),
                origin,
            }),
        }))
    };
    let body = answer(
        vec![
            thought(Origin::Gemini),
            thought(Origin::Anthropic),
            Part::text(js("")),
            Part::text(js("a\"b")),
            call("{\"x\": 1.0}"),
            call("{\"x"),
            Part::new(PartKind::Opaque {
                origin: Origin::OpenAiResponses,
                name: js("web_search_call"),
                json: raw("{}"),
            }),
        ],
        FinishReason::Stop,
    );
    assert_eq!(
        body,
        json!({"id":"msg_0123","type":"message","role":"assistant","model":"asked-for",
            "content":[
                {"type":"thinking","thinking":"hm","signature":""},
                {"type":"thinking","thinking":"hm","signature":"c2ln"},
                {"type":"text","text":"a\"b"},
                {"type":"tool_use","id":"call_1","name":"f","input":{"x":1.0}},
                {"type":"tool_use","id":"call_1","name":"f","input":{"_raw":"{\"x"}},
            ],
            "stop_reason":"tool_use","stop_sequence":null,
            "usage":{"input_tokens":11,"cache_creation_input_tokens":0,
                "cache_read_input_tokens":0,"output_tokens":0}})
    );
}

#[test]
fn stop_reasons_and_sequences() {
    let text = || vec![Part::text(js("a"))];
    assert_eq!(
        answer(text(), FinishReason::Length)["stop_reason"],
        "max_tokens"
    );
    assert_eq!(
        answer(vec![call("{}")], FinishReason::Length)["stop_reason"],
        "max_tokens"
    );
    let refusal = vec![Part::new(PartKind::Refusal { text: js("no") })];
    let body = answer(refusal, FinishReason::Stop);
    assert_eq!(body["stop_reason"], "refusal");
    assert_eq!(body["content"], json!([{"type":"text","text":"no"}]));
    for (reason, expected) in [
        ("\"stop_sequence\"", FinishReason::StopSequence),
        ("\"something_new\"", FinishReason::Stop),
        ("null", FinishReason::Stop),
        ("\"pause_turn\"", FinishReason::Pause),
    ] {
        let body = format!(r#"{{"content":[],"stop_reason":{reason},"stop_sequence":"END"}}"#);
        let response = decode_response(&body).unwrap();
        assert_eq!(response.choices[0].finish.reason, expected);
    }
}

#[test]
fn cached_tokens_are_added() {
    let body = r#"{"id":"msg_1","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn",
        "usage":{"input_tokens":1,"cache_read_input_tokens":20,"cache_creation_input_tokens":300,
        "cache_creation":{"ephemeral_1h_input_tokens":100},"output_tokens":4,
        "output_tokens_details":{"thinking_tokens":3},"service_tier":"standard",
        "server_tool_use":{"web_search_requests":2}}}"#;
    let response = decode_response(body).unwrap();
    let expected = Usage {
        input: Some(321),
        cache_read: Some(20),
        cache_write: Some(300),
        cache_write_1h: Some(100),
        output: Some(4),
        reasoning: Some(3),
        web_searches: Some(2),
        ..Usage::default()
    };
    assert_eq!(response.usage, Some(expected));
    assert_eq!(response.service_tier, Some(js("standard")));
}

#[test]
fn what_is_no_answer_is_a_failure() {
    for (body, class) in [
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
            Class::Overloaded,
        ),
        (r#"{"error":"broken"}"#, Class::Internal),
        (r#"{"choices":[]}"#, Class::BadGateway),
        (r#"[]"#, Class::BadGateway),
        (r#"{"content":[{"type":"text"}]}"#, Class::BadGateway),
        (
            r#"{"content":[],"stop_reason":"tool_use"}"#,
            Class::BadGateway,
        ),
    ] {
        assert_eq!(decode_response(body).unwrap_err().class, class, "{body}");
    }
}
