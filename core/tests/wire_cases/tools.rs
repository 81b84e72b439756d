//! Calls of tools in streams: which call a piece belongs to, and what it means for the end.

use serde_json::{Value as Json, json};
use tollgate_core::dialect::Dialect;

use super::fixtures::{
    Live, ask_once, block, chunk, chunk_of, request, stream, stream_of, usage_chunk, whole,
};
use super::support::events::Cuts;
use super::support::said::{Answer, Finish};
use super::support::talk::{self, Reply};
use super::support::{DIALECTS, config, pairs};

/// What a client of `client` reads of an upstream's stream; the same for every cutting.
pub(crate) fn read(client: Dialect, upstream: Dialect, stream: &str) -> Answer {
    let reply = Reply::stream(stream);
    let mut first = None;
    for cuts in [Cuts::Whole, Cuts::Bytes, Cuts::Seeded(5), Cuts::Seeded(6)] {
        let talk = ask_once(client, upstream, true, &reply, cuts);
        let same = first.get_or_insert_with(|| talk.answer.clone());
        assert_eq!(same.start, talk.answer.start, "{cuts:?}");
        assert_eq!(same.text(), talk.answer.text(), "{cuts:?}");
    }
    talk::read(client, &first.unwrap(), false)
}

/// A chunk with pieces of calls.
fn calls(pieces: Json) -> String {
    chunk(json!({"tool_calls": pieces}), None)
}

fn chat_stream(chunks: &[String], finish: &str) -> String {
    stream_of(Dialect::OpenAiChat, chunks, finish)
}

/// Id, name and arguments of each call.
fn made(answer: &Answer) -> Vec<(String, String, String)> {
    let calls = answer.said().calls.iter();
    calls
        .map(|call| (call.id.clone(), call.name.clone(), call.arguments.clone()))
        .collect()
}

fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.to_owned(), name.to_owned(), arguments.to_owned())
}

#[test]
fn case_03_interleaved_calls_are_kept_apart() {
    let role = chunk(json!({"role": "assistant", "content": null}), None);
    let stream = chat_stream(
        &[
            role,
            calls(json!([{"index": 0, "id": "a", "type": "function",
                "function": {"name": "one", "arguments": ""}}])),
            calls(json!([{"index": 1, "id": "b", "type": "function",
                "function": {"name": "two", "arguments": "{\"y\""}}])),
            calls(json!([{"index": 0, "function": {"arguments": "{\"x\": "}}])),
            calls(json!([{"index": 1, "function": {"arguments": ": 2}"}},
                {"index": 0, "function": {"arguments": "1}"}}])),
        ],
        "tool_calls",
    );
    for client in DIALECTS {
        let answer = read(client, Dialect::OpenAiChat, &stream);
        let expected = [
            call("a", "one", "{\"x\": 1}"),
            call("b", "two", "{\"y\": 2}"),
        ];
        assert_eq!(made(&answer), expected, "{client:?}");
        assert_eq!(answer.said().finish, Some(Finish::Calls));
    }
}

#[test]
fn case_03_every_vendors_way_of_telling_a_call_is_understood() {
    let whole = |index: usize, id: Json, name: &str, arguments: &str| {
        json!({"index": index, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}})
    };
    let client = Dialect::Anthropic;
    // Ollama: every call has index 0, and an id of its own.
    let same_index = chat_stream(
        &[
            calls(json!([whole(0, json!("a"), "one", "{\"x\":1}")])),
            calls(json!([whole(0, json!("b"), "two", "{\"y\":2}")])),
        ],
        "tool_calls",
    );
    let answer = read(client, Dialect::OpenAiChat, &same_index);
    let expected = [call("a", "one", "{\"x\":1}"), call("b", "two", "{\"y\":2}")];
    assert_eq!(made(&answer), expected);
    // No id at all: one is made up, and they differ.
    let no_id = chat_stream(
        &[
            calls(json!([whole(0, Json::Null, "one", "{\"x\":1}")])),
            calls(json!([whole(1, Json::Null, "two", "{\"y\":2}")])),
        ],
        "tool_calls",
    );
    let answer = read(client, Dialect::OpenAiChat, &no_id);
    let names: Vec<_> = made(&answer).into_iter().map(|it| (it.1, it.2)).collect();
    assert_eq!(names.len(), 2);
    assert_eq!(names[0], ("one".to_owned(), "{\"x\":1}".to_owned()));
    // Id and type repeated in every piece, an empty name later, several calls in one chunk.
    let repeated = chat_stream(
        &[
            calls(json!([
                whole(0, json!("a"), "one", "{\"x\""),
                whole(1, json!("b"), "two", "")
            ])),
            calls(json!([whole(0, json!("a"), "", ":1}")])),
            calls(json!([whole(1, json!("b"), "", "{\"y\":2}")])),
        ],
        "tool_calls",
    );
    let answer = read(client, Dialect::OpenAiChat, &repeated);
    assert_eq!(made(&answer), expected);
    // Arguments before the name is told, an index that begins at 1, no `type`.
    let split = chat_stream(
        &[
            calls(json!([{"index": 1, "id": "a", "function": {"name": "one"}}])),
            calls(json!([{"index": 1, "function": {"arguments": "{\"x\":1}"}}])),
        ],
        "tool_calls",
    );
    let answer = read(client, Dialect::OpenAiChat, &split);
    assert_eq!(made(&answer), [call("a", "one", "{\"x\":1}")]);
    // Index -1 and empty arguments.
    let odd = chat_stream(
        &[calls(json!([{"index": -1, "id": "a", "type": "function",
            "function": {"name": "one", "arguments": ""}}]))],
        "tool_calls",
    );
    let answer = read(client, Dialect::OpenAiChat, &odd);
    assert_eq!(made(&answer).len(), 1, "{answer:?}");
}

#[test]
fn case_03_parallel_calls_of_messages_are_numbered_from_zero_in_chat() {
    let text = json!({"type": "text_delta", "text": "Both."});
    let part = |json: &str| json!({"type": "input_json_delta", "partial_json": json});
    let tool = |id: &str| json!({"type": "tool_use", "id": id, "name": id, "input": {}});
    let events = [
        block(0, json!({"type": "text", "text": ""}), &[text]),
        block(1, tool("one"), &[part("{\"x\""), part(": 1}")]),
        block(2, tool("two"), &[part(""), part("{}")]),
        block(3, tool("three"), &[]),
    ];
    let stream = stream_of(Dialect::Anthropic, &events.concat(), "tool_use");
    let answer = read(Dialect::OpenAiChat, Dialect::Anthropic, &stream);
    let expected = [
        call("one", "one", "{\"x\": 1}"),
        call("two", "two", "{}"),
        call("three", "three", "{}"),
    ];
    assert_eq!(made(&answer), expected);
    assert_eq!(answer.said().text, "Both.");
}

#[test]
fn case_03_what_waits_for_another_call_to_end_is_bounded() {
    let mut limits = tollgate_core::base::Limits::default();
    limits.shard.held_delta_bytes_max = 16 * 1024;
    let begin = |index: usize, id: &str| {
        let function = json!({"name": id, "arguments": "["});
        calls(json!([{"index": index, "id": id, "type": "function", "function": function}]))
    };
    let more = |index: usize, len: usize| {
        let piece = "1,".repeat(len / 2);
        calls(json!([{"index": index, "function": {"arguments": piece}}]))
    };
    for (rounds, is_whole) in [(7, true), (100, false)] {
        let snapshot = config::with(Dialect::OpenAiChat, limits.clone());
        let mut live = Live::with(
            snapshot,
            Dialect::Anthropic,
            &request(Dialect::Anthropic, true),
        );
        live.head().feed(&begin(0, "one")).feed(&begin(1, "two"));
        for _ in 0..rounds {
            live.feed(&more(1, 2000)).feed(&more(0, 10));
            assert!(live.world.usage().buffered_bytes < 256 * 1024);
        }
        if is_whole {
            live.feed(&(chunk(json!({}), Some("tool_calls")) + "data: [DONE]\n\n"));
            live.end();
        }
        let (answer, _, _) = live.finish();
        assert_eq!(answer.is_complete, is_whole, "{rounds} rounds");
        assert_eq!(answer.error.is_none(), is_whole, "{rounds} rounds");
        if is_whole {
            let lens: Vec<_> = made(&answer).iter().map(|call| call.2.len()).collect();
            assert_eq!(lens, [1 + 10 * rounds, 1 + 2000 * rounds]);
        }
    }
}

#[test]
fn case_04_a_call_decides_the_stop_reason() {
    let piece = json!([{"index": 0, "id": "a", "type": "function",
        "function": {"name": "one", "arguments": "{}"}}]);
    for reason in ["stop", "tool_calls", "function_call", "end_turn", "STOP"] {
        let stream = chat_stream(&[calls(piece.clone())], reason);
        let answer = read(Dialect::Anthropic, Dialect::OpenAiChat, &stream);
        assert_eq!(answer.said().finish, Some(Finish::Calls), "{reason}");
    }
    let stream = chat_stream(&[calls(piece.clone())], "length");
    let answer = read(Dialect::Anthropic, Dialect::OpenAiChat, &stream);
    assert_eq!(answer.said().finish, Some(Finish::Length));
    // No reason at all.
    let stream = calls(piece) + &usage_chunk() + "data: [DONE]\n\n";
    let answer = read(Dialect::Anthropic, Dialect::OpenAiChat, &stream);
    assert_eq!(answer.said().finish, Some(Finish::Calls));
    // Messages upstream, Chat client.
    let tool = json!({"type": "tool_use", "id": "a", "name": "one", "input": {}});
    let part = json!({"type": "input_json_delta", "partial_json": "{}"});
    for (reason, expected) in [
        ("end_turn", Finish::Calls),
        ("tool_use", Finish::Calls),
        ("stop_sequence", Finish::Calls),
        ("max_tokens", Finish::Length),
    ] {
        let events = block(0, tool.clone(), std::slice::from_ref(&part));
        let stream = stream_of(Dialect::Anthropic, &events, reason);
        let answer = read(Dialect::OpenAiChat, Dialect::Anthropic, &stream);
        assert_eq!(answer.said().finish, Some(expected), "{reason}");
    }
}

#[test]
fn case_04_a_call_decides_the_stop_reason_of_whole_answers() {
    let mut chat = whole(Dialect::OpenAiChat, "");
    chat["choices"][0]["message"] = json!({"role": "assistant", "content": null, "tool_calls":
        [{"id": "a", "type": "function", "function": {"name": "one", "arguments": "{}"}}]});
    let mut messages = whole(Dialect::Anthropic, "");
    messages["content"] = json!([{"type": "tool_use", "id": "a", "name": "one", "input": {}}]);
    for (client, upstream, body) in [
        (Dialect::Anthropic, Dialect::OpenAiChat, chat),
        (Dialect::OpenAiChat, Dialect::Anthropic, messages),
    ] {
        let reply = Reply::json(200, body.to_string());
        let talk = ask_once(client, upstream, false, &reply, Cuts::Whole);
        let answer = talk::read(client, &talk.answer, false);
        assert_eq!(answer.said().finish, Some(Finish::Calls), "{client:?}");
    }
}

#[test]
fn case_04_a_call_that_is_announced_and_does_not_come_is_an_error() {
    let chat = chat_stream(
        &[chunk(json!({"role": "assistant", "content": ""}), None)],
        "tool_calls",
    );
    let messages = stream_of(Dialect::Anthropic, &[], "tool_use");
    for (client, upstream, stream) in [
        (Dialect::Anthropic, Dialect::OpenAiChat, chat),
        (Dialect::OpenAiChat, Dialect::Anthropic, messages),
    ] {
        let answer = read(client, upstream, &stream);
        assert!(
            answer.error.is_some(),
            "{client:?}: an empty turn: {answer:?}"
        );
    }
}

#[test]
fn case_06_nothing_is_begun_that_says_nothing() {
    let upstream = Dialect::OpenAiChat;
    let piece = json!([{"index": 0, "id": "a", "type": "function",
        "function": {"name": "one", "arguments": "{}"}}]);
    let stream = chat_stream(
        &[
            chunk(
                json!({"role": "assistant", "content": "", "tool_calls": []}),
                None,
            ),
            chunk(json!({"content": null, "reasoning_content": ""}), None),
            chunk(json!({"content": "", "tool_calls": piece}), None),
            chunk(json!({"content": "", "tool_calls": []}), None),
        ],
        "tool_calls",
    );
    let reply = Reply::stream(stream);
    let talk = ask_once(Dialect::Anthropic, upstream, true, &reply, Cuts::Whole);
    let answer = talk::read(Dialect::Anthropic, &talk.answer, false);
    assert_eq!(answer.said().calls.len(), 1);
    let text = talk.answer.text();
    assert_eq!(
        text.matches("event: content_block_start").count(),
        1,
        "{text}"
    );
    assert_eq!(text.matches("event: message_start").count(), 1, "{text}");
    // Content and an empty list of calls.
    let stream = chat_stream(
        &[chunk(json!({"content": "Hi", "tool_calls": []}), None)],
        "stop",
    );
    let answer = read(Dialect::Anthropic, upstream, &stream);
    assert_eq!(
        (answer.said().text.as_str(), answer.said().calls.len()),
        ("Hi", 0)
    );
}

#[test]
fn case_06_pings_may_stand_anywhere() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        let ping = match upstream {
            Dialect::Anthropic => "event: ping\ndata: {\"type\": \"ping\"}\n\n",
            Dialect::OpenAiChat => ": ping\n\n",
        };
        live.head();
        let stream = stream(upstream, "Hello");
        for event in stream.split_inclusive("\n\n") {
            live.feed(ping).feed(event);
        }
        live.end();
        // Toward a client of the same API they pass, also before the first event.
        let (said, _, _) = live.finish();
        assert_eq!(said.said().text, "Hello", "{client:?} {upstream:?}");
    }
}

#[test]
fn case_06_usage_and_finish_in_odd_places_end_the_answer_once() {
    let upstream = Dialect::OpenAiChat;
    let usage = json!({"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17});
    let choice = json!({"index": 0, "delta": {"content": ""}, "finish_reason": "stop"});
    // OpenRouter: the finish repeated in a chunk with usage.
    let stream = chunk(json!({"role": "assistant", "content": "Hi"}), None)
        + &chunk(json!({}), Some("stop"))
        + &chunk_of(json!({"choices": [choice], "usage": usage}))
        + "data: [DONE]\n\n";
    let answer = read(Dialect::Anthropic, upstream, &stream);
    assert!(answer.is_complete);
    assert_eq!(answer.usage.unwrap().output, 5);
}
