//! The vendors' prompt caches: what is carried to them, and that nothing before the end changes.

use serde_json::{Value as Json, json};
use tollgate_core::dialect::Dialect;

use super::content::asked;
use super::fixtures::{hi, request};
use super::support::events::Cuts;
use super::support::talk;
use super::support::{config, http, pairs};

/// A conversation of `turns` turns, with tools, in a client's API.
fn conversation(client: Dialect, turns: usize) -> String {
    let mut messages = Vec::new();
    for turn in 0..turns {
        let (id, input) = (
            format!("call_{turn}"),
            format!("{{\"n\": {turn}.50, \"b\": 1}}"),
        );
        messages.push(json!({"role": "user", "content": format!("Turn {turn} \u{00e9}\u{1f980}")}));
        match client {
            Dialect::Anthropic => {
                let input: Json = serde_json::from_str(&input).unwrap();
                messages.push(json!({"role": "assistant", "content": [
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": id, "name": "look", "input": input},
                ]}));
                messages.push(json!({"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": id, "content": "Nothing."},
                ]}));
            }
            Dialect::OpenAiChat => {
                messages.push(json!({"role": "assistant", "content": "Let me look.",
                    "tool_calls": [{"id": id, "type": "function",
                        "function": {"name": "look", "arguments": input}}]}));
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": "Nothing."}));
            }
        }
        messages.push(json!({"role": "assistant", "content": "There is nothing."}));
    }
    messages.push(json!({"role": "user", "content": "And?"}));
    let mut body = request(client, true);
    let schema = json!({"type": "object", "properties": {"n": {"type": "number"}}});
    match client {
        Dialect::Anthropic => {
            body["system"] = json!([{"type": "text", "text": "Be brief."}]);
            body["tools"] = json!([{"name": "look", "description": "d", "input_schema": schema}]);
        }
        Dialect::OpenAiChat => {
            messages.insert(0, json!({"role": "system", "content": "Be brief."}));
            let function = json!({"name": "look", "description": "d", "parameters": schema});
            body["tools"] = json!([{"type": "function", "function": function}]);
        }
    }
    body["messages"] = messages.into();
    body.to_string()
}

#[test]
fn case_10_a_longer_conversation_begins_with_the_bytes_of_the_shorter() {
    for (client, upstream) in pairs() {
        let body = |turns: usize| {
            let reply = hi(upstream);
            let text = conversation(client, turns);
            let snapshot = config::one(upstream);
            let talk = talk::once(snapshot, client, text.as_bytes(), &reply, Cuts::Whole);
            talk.asked.unwrap().text().to_owned()
        };
        assert_eq!(
            body(3),
            body(3),
            "{client:?} {upstream:?}: not the same twice"
        );
        for turns in 1..5 {
            let (short, long) = (body(turns), body(turns + 1));
            let same = short
                .bytes()
                .zip(long.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            // All up to the last message, whose place another one takes.
            let end = short.find("And?").unwrap() - 60;
            assert!(same >= end, "{client:?} {upstream:?}: {}", &short[same..]);
        }
    }
}

#[test]
fn case_10_cache_control_is_carried_from_everywhere() {
    let mark = json!({"type": "ephemeral"});
    let long = json!({"type": "ephemeral", "ttl": "1h"});
    let mut body = request(Dialect::Anthropic, false);
    body["system"] = json!([{"type": "text", "text": "Be brief.", "cache_control": long}]);
    body["tools"] = json!([{"name": "look", "input_schema": {"type": "object"},
        "cache_control": mark}]);
    body["messages"] = json!([
        {"role": "user", "content": [{"type": "text", "text": "Go", "cache_control": mark}]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "a", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content":
            [{"type": "text", "text": "A", "cache_control": mark}]}]},
    ]);
    let same = asked(Dialect::Anthropic, Dialect::Anthropic, &body).unwrap();
    assert_eq!(same["messages"], body["messages"]);
    assert_eq!(
        (&same["system"], &same["tools"]),
        (&body["system"], &body["tools"])
    );
    // A Chat endpoint in front of such a model takes them on parts.
    let chat = asked(Dialect::Anthropic, Dialect::OpenAiChat, &body).unwrap();
    let count = |body: &Json| body.to_string().matches("\"cache_control\"").count();
    assert!(count(&chat["messages"]) >= 3, "{chat}");
    assert!(chat.to_string().contains("\"ttl\":\"1h\""), "{chat}");
    let back = asked(Dialect::OpenAiChat, Dialect::Anthropic, &chat).unwrap();
    assert!(count(&back) >= 3, "{back}");
    assert!(back.to_string().contains("\"ttl\":\"1h\""), "{back}");
}

#[test]
fn case_10_no_more_than_four_marks_reach_messages() {
    let mark = json!({"type": "ephemeral"});
    let mut body = request(Dialect::OpenAiChat, false);
    let text = |text: &str| json!([{"type": "text", "text": text, "cache_control": mark}]);
    body["messages"] = json!([
        {"role": "system", "content": text("one")},
        {"role": "user", "content": text("two")},
        {"role": "assistant", "content": text("three")},
        {"role": "user", "content": text("four")},
        {"role": "assistant", "content": text("five")},
        {"role": "user", "content": text("six")},
    ]);
    match asked(Dialect::OpenAiChat, Dialect::Anthropic, &body) {
        Ok(got) => {
            let count = got.to_string().matches("cache_control").count();
            assert!((1..=4).contains(&count), "{count} marks: {got}");
        }
        Err(message) => assert!(message.contains("cache_control"), "{message}"),
    }
}

#[test]
fn case_21_betas_and_unknown_fields_go_on_as_they_are() {
    let body = br#"{ "model":"asked" ,"max_tokens": 1e2,"a_new_field":{"x":[1.50, 2]},
        "messages":[{"role":"user","content":"Hi"}],"context_management":{"edits":[]}}"#;
    let fields = [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "one-2025-01-01,two-2025-02-02"),
        ("anthropic-beta", "three-2025-03-03"),
        ("x-claude-code-session-id", "s-1"),
        ("x-secret", "not for the upstream"),
        ("authorization", "Bearer the-clients-own"),
    ];
    let send = |upstream| {
        let request = http::request("/v1/messages?beta=true", &fields, body);
        talk::send(config::one(upstream), request, &hi(upstream), Cuts::Whole)
    };
    let talk = send(Dialect::Anthropic);
    let asked = talk.asked.unwrap();
    assert_eq!(asked.start, "POST /v1/messages?beta=true HTTP/1.1");
    let all = |name: &str| {
        let of = asked.fields.iter().filter(|it| it.0 == name);
        of.map(|it| it.1.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        all("anthropic-beta"),
        ["one-2025-01-01,two-2025-02-02", "three-2025-03-03"]
    );
    assert_eq!(all("anthropic-version"), ["2023-06-01"]);
    assert_eq!(all("x-claude-code-session-id"), ["s-1"]);
    assert_eq!(all("x-api-key"), ["sk-of-the-provider"]);
    assert_eq!((all("x-secret").len(), all("authorization").len()), (0, 0));
    let sent = core::str::from_utf8(body).unwrap();
    assert_eq!(
        asked.text(),
        sent.replace("\"asked\"", "\"upstream-model\"")
    );
    // Toward the other API neither the betas nor the fields that they allow.
    let talk = send(Dialect::OpenAiChat);
    if let Some(asked) = talk.asked {
        assert!(asked.field("anthropic-beta").is_none(), "{asked:?}");
        assert!(!asked.text().contains("a_new_field"), "{asked:?}");
        assert_eq!(asked.start, "POST /v1/chat/completions HTTP/1.1");
    } else {
        assert_eq!(talk.answer.status(), 400);
    }
}
