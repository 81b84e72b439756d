//! Content of every kind in its own block, and content that is empty, null or odd.

use serde_json::{Value as Json, json};
use tollgate_core::dialect::Dialect;

use super::fixtures::{block, chunk, fault, hi, request, stream_of};
use super::support::asked;
use super::support::config;
use super::support::events::Cuts;
use super::support::talk;
use super::tools::read;

#[test]
fn case_05_a_change_of_type_begins_a_block_and_loses_nothing() {
    let piece = |text: &str| {
        json!([{"index": 0, "id": "a", "type": "function",
            "function": {"name": "one", "arguments": text}}])
    };
    let chunks = [
        chunk(
            json!({"role": "assistant", "reasoning_content": "Hm"}),
            None,
        ),
        chunk(
            json!({"reasoning_content": "m.", "content": "First "}),
            None,
        ),
        chunk(json!({"content": "text."}), None),
        chunk(
            json!({"content": " More.", "tool_calls": piece("{\"x\"")}),
            None,
        ),
        chunk(
            json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
            None,
        ),
        chunk(json!({"content": " After."}), None),
    ];
    let stream = stream_of(Dialect::OpenAiChat, &chunks, "tool_calls");
    let answer = read(Dialect::Anthropic, Dialect::OpenAiChat, &stream);
    let said = answer.said();
    assert_eq!(said.thinking, "Hmm.");
    assert_eq!(said.text, "First text. More. After.");
    assert_eq!(said.calls.len(), 1);
    assert_eq!(said.calls[0].arguments, "{\"x\":1}");
}

#[test]
fn case_05_blocks_of_messages_become_the_members_of_chat() {
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    let text = |text: &str| json!({"type": "text_delta", "text": text});
    let events = [
        block(
            0,
            thinking,
            &[
                json!({"type": "thinking_delta", "thinking": "Hm"}),
                json!({"type": "thinking_delta", "thinking": "m."}),
                json!({"type": "signature_delta", "signature": "sig"}),
            ],
        ),
        block(
            1,
            json!({"type": "text", "text": ""}),
            &[text("One. "), text("Two. ")],
        ),
        block(2, json!({"type": "text", "text": ""}), &[text("Three.")]),
    ];
    let stream = stream_of(Dialect::Anthropic, &events.concat(), "end_turn");
    let answer = read(Dialect::OpenAiChat, Dialect::Anthropic, &stream);
    let said = answer.said();
    assert_eq!(
        (said.thinking.as_str(), said.text.as_str()),
        ("Hmm.", "One. Two. Three.")
    );
    assert_eq!(said.signatures, ["sig"]);
}

/// What an upstream is asked for a client's request, or the client's error.
pub(crate) fn asked(client: Dialect, upstream: Dialect, body: &Json) -> Result<Json, String> {
    let request = talk::request(client, &[], body);
    let talk = talk::send(config::one(upstream), request, &hi(upstream), Cuts::Whole);
    match talk.asked {
        Some(asked) => Ok(asked.json()),
        None => {
            assert_eq!(talk.answer.status(), 400, "{}", talk.answer.text());
            Err(fault(client, &talk.answer).message)
        }
    }
}

#[test]
fn case_22_empty_text_is_dropped_toward_messages() {
    let mut body = request(Dialect::OpenAiChat, false);
    body["messages"] = json!([
        {"role": "system", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "There"},
    ]);
    let asked = asked(Dialect::OpenAiChat, Dialect::Anthropic, &body).unwrap();
    let text = asked.to_string();
    assert!(
        !text.contains("\"text\":\"\"") && !text.contains("\"content\":\"\""),
        "{text}"
    );
    assert!(!text.contains("\"content\":[]"), "{text}");
    assert!(text.contains("Hi") && text.contains("There"), "{text}");
}

#[test]
fn case_22_calls_without_content_and_arguments_are_valid() {
    for content in [Json::Null, json!(""), json!([])] {
        for arguments in ["", "{}", " "] {
            let mut body = request(Dialect::OpenAiChat, false);
            let call = json!({"id": "a", "type": "function",
                "function": {"name": "one", "arguments": arguments}});
            body["tools"] = json!([{"type": "function", "function": {"name": "one"}}]);
            body["messages"] = json!([
                {"role": "user", "content": "Go"},
                {"role": "assistant", "content": content, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "a", "content": ""},
            ]);
            let asked = asked(Dialect::OpenAiChat, Dialect::Anthropic, &body).unwrap();
            let block = &asked["messages"][1]["content"][0];
            assert_eq!(block["type"], "tool_use", "{asked}");
            assert_eq!(block["input"], json!({}), "{asked}");
            let result = &asked["messages"][2]["content"][0];
            assert_eq!(result["type"], "tool_result", "{asked}");
            assert_eq!(result["tool_use_id"], "a", "{asked}");
            let schema = &asked["tools"][0]["input_schema"];
            assert_eq!(schema["type"], "object", "{asked}");
        }
    }
}

#[test]
fn case_22_results_in_a_row_are_one_turn_of_the_user() {
    let function = json!({"name": "one", "arguments": "{}"});
    let call = |id: &str| json!({"id": id, "type": "function", "function": function});
    let mut body = request(Dialect::OpenAiChat, false);
    body["tools"] = json!([{"type": "function", "function": {"name": "one"}}]);
    body["messages"] = json!([
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "tool", "tool_call_id": "b", "content": "B"},
        {"role": "user", "content": "And now?"},
    ]);
    let got = asked(Dialect::OpenAiChat, Dialect::Anthropic, &body).unwrap();
    let messages = got["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3, "{got}");
    let last = messages[2]["content"].as_array().unwrap();
    let types: Vec<_> = last
        .iter()
        .map(|block| block["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["tool_result", "tool_result", "text"], "{got}");
    // And the other way: one turn becomes messages of the role tool, before what the user says.
    let back = asked_back(&got);
    let messages = back["messages"].as_array().unwrap();
    let roles: Vec<_> = messages
        .iter()
        .map(|it| it["role"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles,
        ["user", "assistant", "tool", "tool", "user"],
        "{back}"
    );
    assert_eq!(asked::chat(&back).results, asked::chat(&body).results);
}

fn asked_back(messages: &Json) -> Json {
    asked(Dialect::Anthropic, Dialect::OpenAiChat, messages).unwrap()
}

#[test]
fn case_22_every_call_is_answered_once_or_refused_clearly() {
    let call =
        json!({"id": "a", "type": "function", "function": {"name": "one", "arguments": "{}"}});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "A"});
    let user = json!({"role": "user", "content": "Go"});
    let turn = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let histories = [
        ("no result", json!([user, turn, user])),
        ("two results", json!([user, turn, result("a"), result("a")])),
        (
            "a result of nothing",
            json!([user, turn, result("a"), result("z")]),
        ),
        ("a result before its call", json!([user, result("a"), turn])),
    ];
    for (what, history) in histories {
        let mut body = request(Dialect::OpenAiChat, false);
        body["tools"] = json!([{"type": "function", "function": {"name": "one"}}]);
        body["messages"] = history;
        match asked(Dialect::OpenAiChat, Dialect::Anthropic, &body) {
            Err(message) => assert!(message.contains("messages"), "{what}: {message}"),
            Ok(got) => {
                let got = asked::messages(&got);
                for call in &got.calls {
                    let of = |it: &&(String, String)| it.0 == call.id;
                    assert_eq!(got.results.iter().filter(of).count(), 1, "{what}: {got:?}");
                }
                assert_eq!(got.calls.len(), got.results.len(), "{what}: {got:?}");
            }
        }
    }
}

#[test]
fn case_22_a_result_without_content_is_kept() {
    for content in [Json::Null, json!(""), json!([])] {
        let mut body = request(Dialect::Anthropic, false);
        let mut result = json!({"type": "tool_result", "tool_use_id": "a"});
        if !content.is_null() {
            result["content"] = content;
        }
        body["tools"] = json!([{"name": "one", "input_schema": {"type": "object"}}]);
        body["messages"] = json!([
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content":
                [{"type": "tool_use", "id": "a", "name": "one", "input": {}}]},
            {"role": "user", "content": [result]},
        ]);
        let got = asked(Dialect::Anthropic, Dialect::OpenAiChat, &body).unwrap();
        let last = &got["messages"][2];
        assert_eq!(
            (&last["role"], &last["tool_call_id"]),
            (&json!("tool"), &json!("a"))
        );
        assert!(
            last["content"].is_string() || last["content"].is_array(),
            "{got}"
        );
        let call = &got["messages"][1]["tool_calls"][0]["function"];
        assert_eq!(call["arguments"], "{}", "{got}");
    }
}
