//! Usage: always asked for, found wherever it is told, counted as the client's API counts.

use serde_json::{Value as Json, json};
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Outcome;

use super::fixtures::{Live, ask_once, block, chunk, chunk_of, event, request, start, whole};
use super::support::events::Cuts;
use super::support::said::Usage;
use super::support::talk::{self, Reply};
use super::support::world::End;
use super::support::{DIALECTS, chat, config, events, http, messages, pairs};
use super::tools::read;

const TOLD: Usage = Usage {
    input: 100,
    output: 20,
    cache_read: 60,
    cache_write: 0,
    reasoning: 7,
};

fn chat_usage() -> Json {
    json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 7}})
}

#[test]
fn case_12_a_streaming_chat_upstream_is_always_asked_for_usage() {
    for client in DIALECTS {
        for stream in [true, false] {
            let mut live = Live::new(client, Dialect::OpenAiChat, stream);
            let asked = http::only(live.world.written(live.upstream)).json();
            let options = &asked["stream_options"]["include_usage"];
            match stream {
                true => assert_eq!(options, true, "{asked}"),
                false => assert!(options.is_null(), "{asked}"),
            }
            live.cut(End::Fin);
        }
    }
}

#[test]
fn case_12_usage_is_found_wherever_it_is_told() {
    let finish = |usage: Option<Json>| {
        let choice = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
        let mut members = json!({"choices": [choice]});
        if let Some(usage) = usage {
            members["usage"] = usage;
        }
        chunk_of(members)
    };
    let hello = chunk(json!({"role": "assistant", "content": "Hi"}), None);
    let text_with_usage = chunk_of(json!({"usage": chat_usage(), "choices": [
        {"index": 0, "delta": {"content": ""}, "finish_reason": null}]}));
    let growing = |output: u64| {
        let usage = json!({"prompt_tokens": 1, "completion_tokens": output});
        chunk_of(json!({"usage": usage, "choices": [
            {"index": 0, "delta": {"content": "x"}, "finish_reason": null}]}))
    };
    let last = chunk_of(json!({"choices": [], "usage": chat_usage()}));
    let groq = chunk_of(
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "x_groq": {"usage": chat_usage()}}),
    );
    let null = chunk_of(json!({"choices": [{"index": 0, "delta": {"content": "!"}}],
        "usage": null}));
    let done = "data: [DONE]\n\n".to_owned();
    let cases: Vec<(&str, String)> = vec![
        (
            "its own chunk",
            hello.clone() + &null + &finish(None) + &last + &done,
        ),
        (
            "with the finish",
            hello.clone() + &finish(Some(chat_usage())) + &done,
        ),
        (
            "with a choice, after the finish",
            hello.clone() + &finish(None) + &finish(Some(chat_usage())) + &done,
        ),
        (
            "before the finish",
            hello.clone() + &text_with_usage + &finish(None) + &done,
        ),
        (
            "growing",
            hello.clone() + &growing(1) + &growing(2) + &finish(Some(chat_usage())) + &done,
        ),
        ("twice", hello.clone() + &groq + &last + &done),
        ("Groq's own", hello.clone() + &groq + &done),
        (
            "after the finish, without [DONE]",
            hello + &finish(None) + &last,
        ),
    ];
    for (what, stream) in cases {
        let answer = read(Dialect::Anthropic, Dialect::OpenAiChat, &stream);
        assert_eq!(answer.usage, Some(TOLD), "{what}");
    }
}

#[test]
fn case_12_the_end_waits_for_usage_but_not_forever() {
    let upstream = Dialect::OpenAiChat;
    let finished = chunk(json!({"role": "assistant", "content": "Hi"}), None)
        + &chunk(json!({}), Some("stop"));
    // Usage comes late.
    let mut live = Live::new(Dialect::Anthropic, upstream, true);
    live.head().feed(&finished);
    assert!(!live.text().contains("message_delta"), "{}", live.text());
    live.world.pass(core::time::Duration::from_secs(1));
    live.feed(&chunk_of(json!({"choices": [], "usage": chat_usage()})));
    live.feed("data: [DONE]\n\n").end();
    let (answer, _, _) = live.finish();
    assert_eq!(answer.usage, Some(TOLD));
    // It never comes, and the connection stays: an estimate must do.
    let mut live = Live::new(Dialect::Anthropic, upstream, true);
    live.head().feed(&finished);
    live.world.pass(core::time::Duration::from_secs(6));
    let (answer, _, record) = live.finish();
    assert!(answer.is_complete && answer.error.is_none(), "{answer:?}");
    assert!(answer.usage.unwrap().input > 0);
    assert_eq!(record.outcome, Outcome::Complete);
}

#[test]
fn case_12_messages_clients_are_told_input_at_once_and_all_at_the_end() {
    let stream = chunk(json!({"role": "assistant", "content": "Hi"}), None)
        + &chunk(json!({}), Some("stop"))
        + &chunk_of(json!({"choices": [], "usage": chat_usage()}))
        + "data: [DONE]\n\n";
    let (client, upstream) = (Dialect::Anthropic, Dialect::OpenAiChat);
    let talk = ask_once(client, upstream, true, &Reply::stream(stream), Cuts::Whole);
    // `check` holds that `message_start` has input tokens, and `message_delta` all counts.
    let answer = messages::check(talk.answer.text());
    assert_eq!(answer.usage.unwrap().input, 100);
    let last = events::read(talk.answer.text());
    let delta: Json = serde_json::from_str(&last[last.len() - 2].data).unwrap();
    let usage = &delta["usage"];
    // Anthropic's `input_tokens` leaves cached tokens out; OpenAI's `prompt_tokens` has them in.
    assert_eq!(usage["input_tokens"], 40, "{usage}");
    assert_eq!(usage["cache_read_input_tokens"], 60, "{usage}");
    assert_eq!(usage["cache_creation_input_tokens"], 0, "{usage}");
    assert_eq!(usage["output_tokens"], 20, "{usage}");
    assert_eq!(talk.record.usage.input, Some(100));
    assert_eq!(talk.record.usage.output, Some(20));
}

#[test]
fn case_12_chat_clients_are_told_usage_if_they_ask() {
    let counts = json!({"input_tokens": 30, "output_tokens": 20,
        "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10});
    let text = json!({"type": "text_delta", "text": "Hi"});
    let events = [
        start(),
        block(0, json!({"type": "text", "text": ""}), &[text]).concat(),
        event(json!({"type": "message_delta", "usage": counts,
            "delta": {"stop_reason": "end_turn", "stop_sequence": null}})),
        event(json!({"type": "message_stop"})),
    ]
    .concat();
    for (upstream, stream) in [
        (Dialect::Anthropic, events),
        (
            Dialect::OpenAiChat,
            super::fixtures::stream(Dialect::OpenAiChat, "Hi"),
        ),
    ] {
        for wanted in [true, false] {
            let mut body = request(Dialect::OpenAiChat, true);
            if wanted {
                body["stream_options"] = json!({"include_usage": true});
            }
            let mut live = Live::with(config::one(upstream), Dialect::OpenAiChat, &body);
            live.head().feed(&stream).end();
            // `check` holds that the chunk is there if, and only if, it is wanted.
            let answer = chat::check(&live.text(), wanted);
            let record = live.world.finish().remove(0);
            match upstream {
                Dialect::Anthropic => {
                    let expected = Usage {
                        cache_write: 10,
                        reasoning: 0,
                        ..TOLD
                    };
                    assert_eq!(answer.usage, wanted.then_some(expected));
                    assert_eq!(record.usage.input, Some(100));
                }
                Dialect::OpenAiChat => assert_eq!(record.usage.input, Some(12)),
            }
        }
    }
}

#[test]
fn case_12_whole_answers_count_as_the_clients_api_does() {
    for (client, upstream) in pairs() {
        let mut body = whole(upstream, "Hi");
        match upstream {
            Dialect::Anthropic => {
                body["usage"] = json!({"input_tokens": 40, "output_tokens": 20,
                    "cache_read_input_tokens": 60, "cache_creation_input_tokens": 0});
            }
            Dialect::OpenAiChat => body["usage"] = chat_usage(),
        }
        let reply = Reply::json(200, body.to_string());
        let talk = ask_once(client, upstream, false, &reply, Cuts::Whole);
        let usage = talk::read(client, &talk.answer, false).usage.unwrap();
        assert_eq!(
            Usage {
                reasoning: 7,
                ..usage
            },
            TOLD,
            "{client:?} {upstream:?}"
        );
        assert_eq!(
            talk.record.usage.input,
            Some(100),
            "{client:?} {upstream:?}"
        );
    }
}
