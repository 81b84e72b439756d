//! Whole answers: each oddity of the vendors by a fixture.

use serde_json::{Value as Json, json};
use tollgate_core::ir::*;

use super::support::*;

#[allow(clippy::needless_pass_by_value)]
fn read(message: Json, finish: &str) -> Choice {
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    let body = json!({"id": "r-1", "choices": [choice]});
    let mut response = decode_response(&body.to_string()).unwrap();
    response.choices.remove(0)
}

fn written(choice: &Choice) -> Json {
    let response = Response {
        choices: vec![choice.clone()],
        ..Response::default()
    };
    serde_json::from_slice(&encode_response(&response)).unwrap()
}

#[test]
fn calls_in_all_their_forms() {
    let choice = read(
        json!({"content": null, "tool_calls": [
            {"id": "a", "function": {"name": "f"}},
            {"id": "", "index": 1, "type": "function", "function": {"name": "g",
                "arguments": {"x": 1}}},
            {"id": "c", "type": "custom", "custom": {"name": "h", "input": "free"}},
            {"id": "d", "function": {"name": "f", "arguments": "{}"}, "custom": {"name": "",
                "input": ""}}]}),
        "stop",
    );
    assert_eq!(choice.finish.reason, FinishReason::ToolCalls);
    let told = choice.parts.iter().map(|part| match &part.kind {
        PartKind::ToolCall(call) => (call.id.to_string(), call.arguments.clone()),
        other => panic!("{other:?}"),
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told[0], ("a".to_owned(), Arguments::Text("{}".into())));
    assert_eq!(told[1].0, "call_r1_1");
    assert_eq!(told[2].1, Arguments::Free("free".into()));
    let body = written(&choice);
    let message = &body["choices"][0]["message"];
    assert_eq!(message["content"], Json::Null);
    assert_eq!(
        message["tool_calls"][1]["function"]["arguments"],
        r#"{"x":1}"#
    );
    assert_eq!(message["tool_calls"][2]["custom"]["input"], "free");
    assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
    let old = json!({"content": null, "function_call": {"name": "f", "arguments": "{}"}});
    assert_eq!(
        read(old, "function_call").finish.reason,
        FinishReason::ToolCalls
    );
}

#[test]
fn content_of_all_types() {
    assert!(
        read(json!({"content": null, "tool_calls": []}), "stop")
            .parts
            .is_empty()
    );
    assert!(read(json!({"tool_calls": null}), "").parts.is_empty());
    let choice = read(
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            "annotations": [{"type": "url_citation"}]}),
        "stop",
    );
    assert_eq!(choice.parts.len(), 3);
    let body = written(&choice);
    let message = &body["choices"][0]["message"];
    assert_eq!(message["content"], "ab");
    assert_eq!(message["reasoning_content"], "hm");
    assert_eq!(message["annotations"], json!([{"type": "url_citation"}]));
    assert!(message.get("reasoning_details").is_none());
    let refused = read(json!({"content": null, "refusal": "no"}), "stop");
    let body = written(&refused);
    assert_eq!(body["choices"][0]["message"]["refusal"], "no");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
}

#[test]
fn signatures_travel_in_the_details() {
    let thinking = PartKind::Thinking(Thinking {
        text: "hm".into(),
        signature: Some(Signature {
            value: "sig".into(),
            origin: Origin::Anthropic,
        }),
    });
    let choice = Choice {
        parts: vec![Part::new(thinking), Part::text("x".into())],
        ..Choice::default()
    };
    let body = written(&choice);
    assert_eq!(
        body["choices"][0]["message"]["reasoning_details"],
        json!([{"type": "reasoning.text", "text": "hm", "signature": "sig",
            "format": "anthropic-claude-v1", "index": 0}])
    );
    let again = decode_response(&body.to_string()).unwrap();
    assert_eq!(again.choices[0].parts, choice.parts);
    assert_eq!(body["id"], "chatcmpl-r1");
    assert_eq!(body["created"], 1_700_000_000);
    assert_eq!(body["usage"]["total_tokens"], 0);
}

#[test]
fn usage_in_the_vendors_ways() {
    let usage = |usage: Json| {
        let body = json!({"choices": [{"message": {"content": "x"}}], "usage": usage});
        decode_response(&body.to_string()).unwrap().usage.unwrap()
    };
    let xai = usage(
        json!({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 112,
        "completion_tokens_details": {"reasoning_tokens": 100}}),
    );
    assert_eq!((xai.output, xai.reasoning), (Some(102), Some(100)));
    let deepseek = usage(json!({"prompt_tokens": 10, "completion_tokens": 2,
        "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}));
    assert_eq!(deepseek.cache_read, Some(4));
    let voxtral = usage(
        json!({"prompt_tokens": 9, "completion_tokens": 248, "total_tokens": 632,
        "prompt_tokens_details": {"audio_tokens": 375}}),
    );
    assert_eq!((voxtral.input, voxtral.output), (Some(384), Some(248)));
    let odd = usage(json!({"prompt_tokens": 5, "completion_tokens": null, "total_tokens": "x"}));
    assert_eq!((odd.input, odd.output), (Some(5), None));
}

#[test]
fn what_is_no_completion_is_a_failure() {
    for (body, class) in [
        (json!([]), Class::BadGateway),
        (json!({"hello": 1}), Class::BadGateway),
        (json!({"choices": []}), Class::BadGateway),
        (json!({"choices": "x"}), Class::BadGateway),
        (json!({"choices": [5]}), Class::BadGateway),
        (
            json!({"choices": [{"finish_reason": "stop"}]}),
            Class::BadGateway,
        ),
        (
            json!({"choices": [{"message": {"content": 5}}]}),
            Class::BadGateway,
        ),
        (
            json!({"choices": [{"message": {"tool_calls": [{"id": "a"}]}}]}),
            Class::BadGateway,
        ),
        (
            json!({"choices": [{"message": {"content": ""}, "finish_reason": "tool_calls"}]}),
            Class::BadGateway,
        ),
        (
            json!({"error": {"message": "m", "code": 429}}),
            Class::RateLimit,
        ),
        (
            json!({"error": "quota", "code": "insufficient_quota"}),
            Class::Billing,
        ),
        (
            json!({"message": "m", "code": "content_filter"}),
            Class::ContentFilter,
        ),
        (
            json!({"choices": [{"error": {"message": "m", "code": 502}}]}),
            Class::BadGateway,
        ),
    ] {
        let failure = decode_response(&body.to_string()).unwrap_err();
        assert_eq!(failure.class, class, "{body}");
        assert_ne!(failure.blame, Blame::Gateway);
    }
    let filtered = json!({"choices": [{"finish_reason": "content_filter"}], "error": null});
    let response = decode_response(&filtered.to_string()).unwrap();
    assert_eq!(
        response.choices[0].finish.reason,
        FinishReason::ContentFilter
    );
}

#[test]
fn reasons_of_other_apis_are_written_as_chats() {
    for (reason, told) in [
        (FinishReason::Stop, "stop"),
        (FinishReason::StopSequence, "stop"),
        (FinishReason::Length, "length"),
        (FinishReason::ContextWindow, "length"),
        (FinishReason::Pause, "length"),
        (FinishReason::ContentFilter, "content_filter"),
        (FinishReason::Refusal, "content_filter"),
    ] {
        let choice = Choice {
            parts: vec![Part::text("x".into())],
            finish: Finish {
                reason,
                ..Finish::default()
            },
            logprobs: None,
        };
        assert_eq!(written(&choice)["choices"][0]["finish_reason"], told);
    }
}
