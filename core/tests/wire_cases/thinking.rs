//! Thinking and its signatures, from turn to turn.

use std::collections::BTreeSet;

use serde_json::json;
use tollgate_core::dialect::Dialect;

use super::content::asked;
use super::fixtures::{Live, block, error_body, request, start, stop};
use super::play::{CHAIN, FIRST, Play, well};
use super::support::talk::Reply;
use super::support::world::World;
use super::support::{DIALECTS, config, http, talk};

const SIGNATURE: &str = "ErUBCkYIBxgCKkAx+/=signature==";

const INVALID: &str = "messages.1.content.0: Invalid `signature` in `thinking` block";

/// What says so.
fn refusal() -> Reply {
    let error = error_body(Dialect::Anthropic, "invalid_request_error", INVALID);
    Reply::json(400, error.to_string())
}

/// A conversation with a Messages client in which the model has thought.
fn history() -> serde_json::Value {
    let mut body = request(Dialect::Anthropic, false);
    body["messages"] = json!([
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm \u{00e9}.", "signature": SIGNATURE},
            {"type": "redacted_thinking", "data": "c2VjcmV0"},
            {"type": "text", "text": "Well."},
            {"type": "tool_use", "id": "a", "name": "one", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": "A", "is_error": true},
        ]},
    ]);
    body["tools"] = json!([{"name": "one", "input_schema": {"type": "object"}}]);
    body
}

#[test]
fn case_07_thinking_goes_back_to_its_own_family_as_it_came() {
    let body = history();
    let got = asked(Dialect::Anthropic, Dialect::Anthropic, &body).unwrap();
    assert_eq!(got["messages"], body["messages"]);
}

#[test]
fn case_07_a_stream_is_signed_once_behind_its_thinking() {
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    let deltas = [
        json!({"type": "thinking_delta", "thinking": "Hm."}),
        json!({"type": "signature_delta", "signature": SIGNATURE}),
    ];
    let redacted = json!({"type": "redacted_thinking", "data": "c2VjcmV0"});
    let text = json!({"type": "text_delta", "text": "Well."});
    let events = [
        vec![start()],
        block(0, thinking, &deltas),
        block(1, redacted, &[]),
        block(2, json!({"type": "text", "text": ""}), &[text]),
        stop("end_turn"),
    ];
    for client in DIALECTS {
        let mut live = Live::new(client, Dialect::Anthropic, true);
        live.head().feed(&events.concat().concat()).end();
        let (answer, _, _) = live.finish();
        let said = answer.said();
        assert_eq!(said.signatures, [SIGNATURE], "{client:?}");
        assert_eq!(said.redacted, ["c2VjcmV0"], "{client:?}");
        assert_eq!(said.thinking, "Hm.", "{client:?}");
    }
}

#[test]
fn case_07_thinking_survives_a_chat_client_that_sends_it_back() {
    // What the client was told, it sends back as it is; the upstream gets its blocks again.
    let body = history();
    let chat = asked(Dialect::Anthropic, Dialect::OpenAiChat, &body).unwrap();
    let details = &chat["messages"][1]["reasoning_details"];
    assert!(details.to_string().contains(SIGNATURE), "{chat}");
    let back = asked(Dialect::OpenAiChat, Dialect::Anthropic, &chat).unwrap();
    let (got, told) = (
        &back["messages"][1]["content"],
        &body["messages"][1]["content"],
    );
    assert_eq!(got[0], told[0], "{back}");
    assert_eq!(got[1], told[1], "{back}");
}

#[test]
fn case_07_no_signature_is_invented_and_foreign_ones_are_not_shown() {
    let mut body = request(Dialect::OpenAiChat, false);
    let detail = |format: &str| {
        let kind = "reasoning.text";
        json!([{"type": kind, "text": "Hm.", "signature": "foreign", "format": format}])
    };
    let turns = [
        json!({"role": "assistant", "content": "Well.", "reasoning_content": "Hm."}),
        json!({"role": "assistant", "content": "Well.", "reasoning": "Hm."}),
        json!({"role": "assistant", "content": "Well.",
            "reasoning_details": detail("google-gemini-v1")}),
        json!({"role": "assistant", "content": "Well.",
            "reasoning_details": detail("openai-responses-v1")}),
    ];
    for turn in turns {
        body["messages"] = json!([
            {"role": "user", "content": "Go"}, turn, {"role": "user", "content": "On"},
        ]);
        let got = asked(Dialect::OpenAiChat, Dialect::Anthropic, &body)
            .unwrap()
            .to_string();
        assert!(
            !got.contains("signature") && !got.contains("foreign"),
            "{got}"
        );
        assert!(!got.contains("\"thinking\""), "{got}");
        assert!(got.contains("Well."), "{got}");
    }
}

#[test]
fn case_07_an_invalid_signature_is_stripped_and_tried_once_more() {
    let mut world = World::new(config::one(Dialect::Anthropic));
    let client = world.client();
    world.send(client, talk::request(Dialect::Anthropic, &[], &history()));
    let upstream = world.upstream();
    let refusal = refusal().bytes(0);
    world.send(upstream, refusal.clone());
    let last = *world.upstreams().last().unwrap();
    let sent = http::read(world.written(last));
    let again = sent.last().unwrap();
    let tries: usize = world
        .upstreams()
        .iter()
        .map(|&it| http::read(world.written(it)).len())
        .sum();
    assert_eq!(tries, 2, "one more try");
    assert!(!again.text().contains("\"thinking\""), "{}", again.text());
    assert!(again.text().contains("Well."), "{}", again.text());
    let result = &again.json()["messages"][2]["content"][0];
    assert_eq!(result["is_error"], true, "{result}");
    // A second refusal is the client's.
    world.send(last, refusal);
    let answer = http::only(world.written(client));
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains(INVALID), "{}", answer.text());
    world.finish();
}

#[test]
fn case_07_an_invalid_signature_is_no_fault_of_key_or_target() {
    let config = CHAIN.replace("key = \"key-1\"", "key = [\"key-1\", \"key-3\"]");
    let mut play = Play::new(&config);
    let mut keys = BTreeSet::new();
    for _ in 0..8 {
        let client = play.ask_body(Dialect::Anthropic, &history(), &[]);
        for reply in [refusal(), well(Dialect::Anthropic, false)] {
            let (conn, port, request) = play.asked();
            assert_eq!(port, FIRST, "the same target");
            keys.insert(request.field("x-api-key").unwrap().to_owned());
            play.send(conn, &reply);
        }
        assert_eq!(play.answer(client).status(), 200);
    }
    assert_eq!(keys.len(), 1, "the same key: {keys:?}");
}
