//! Answers that end before their end, errors within a stream, events that cannot be read.

use std::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Outcome;

use super::fixtures::{
    Live, ask_once, block, chunk, ending, error_event, event, fault, frame, piece, start, stream,
    usage_chunk, whole,
};
use super::support::http::Framing;
use super::support::said::Finish;
use super::support::talk::{self, Reply};
use super::support::world::End;
use super::support::{DIALECTS, events::Cuts, pairs};

/// How a stream can end too early.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// The body ends as its framing says, but the answer is not complete.
    Clean,
    /// The connection ends within the body.
    Cut(End),
}

const BREAKS: [Break; 3] = [Break::Clean, Break::Cut(End::Fin), Break::Cut(End::Reset)];

fn break_off(live: &mut Live, how: Break) {
    match how {
        Break::Clean => live.end(),
        Break::Cut(end) => live.cut(end),
    };
}

/// A truncated stream ends with one error, and with nothing that means an end.
fn assert_truncated(live: Live, what: &str) -> String {
    let (said, answer, record) = live.finish();
    let text = answer.text().to_owned();
    assert_eq!(answer.status(), 200, "{what}");
    assert!(said.error.is_some() && !said.is_complete, "{what}: {text}");
    assert_eq!(said.choices.iter().find_map(|it| it.finish), None, "{what}");
    for end in [
        "message_delta",
        "message_stop",
        "[DONE]",
        "finish_reason\":\"",
    ] {
        assert!(!text.contains(end), "{what}: {end} in {text}");
    }
    assert!(matches!(record.outcome, Outcome::Failed { .. }), "{what}");
    text
}

#[test]
fn case_01_truncated_upstream_is_never_a_complete_answer() {
    for (client, upstream) in pairs() {
        for how in BREAKS {
            for half in [
                "",
                "data: {\"type\": \"content_bl",
                "event: content_block_del",
            ] {
                let what = format!("{client:?} {upstream:?} {how:?} {half:?}");
                let mut live = Live::new(client, upstream, true);
                live.begin(upstream, "Let me");
                if !half.is_empty() {
                    live.feed(half);
                }
                break_off(&mut live, how);
                let text = assert_truncated(live, &what);
                assert!(text.contains("Let me"), "{what}: {text}");
                if client == Dialect::Anthropic {
                    assert!(text.contains("\"type\":\"api_error\""), "{what}: {text}");
                }
            }
        }
    }
}

#[test]
fn case_01_a_half_written_call_is_never_closed_as_if_complete() {
    for (client, upstream) in pairs() {
        for how in BREAKS {
            let what = format!("{client:?} {upstream:?} {how:?}");
            let mut live = Live::new(client, upstream, true);
            live.head();
            match upstream {
                Dialect::Anthropic => {
                    let begin = json!({"type": "tool_use", "id": "t1", "name": "rm", "input": {}});
                    let piece =
                        json!({"type": "input_json_delta", "partial_json": "{\"path\":\"/"});
                    let mut open = block(0, begin, &[piece]);
                    open.pop();
                    live.feed(&(start() + &open.concat()));
                }
                Dialect::OpenAiChat => {
                    let call = json!([{"index": 0, "id": "t1", "type": "function",
                        "function": {"name": "rm", "arguments": "{\"path\":\"/"}}]);
                    live.feed(&chunk(
                        json!({"role": "assistant", "tool_calls": call}),
                        None,
                    ));
                }
            }
            break_off(&mut live, how);
            let text = assert_truncated(live, &what);
            assert!(!text.contains("content_block_stop"), "{what}: {text}");
        }
    }
}

#[test]
fn case_01_a_truncated_whole_answer_is_a_502() {
    for (client, upstream) in pairs() {
        for end in [End::Fin, End::Reset] {
            let mut live = Live::new(client, upstream, false);
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n";
            let half = whole(upstream, "Hello").to_string();
            live.world.send(live.upstream, format!("{head}{half}"));
            live.cut(end);
            let (said, answer, _) = live.finish();
            assert_eq!(answer.status(), 502, "{client:?} {upstream:?} {end:?}");
            assert!(said.error.is_some());
        }
    }
}

#[test]
fn case_01_a_missing_done_after_the_finish_is_no_error() {
    for client in DIALECTS {
        let upstream = Dialect::OpenAiChat;
        let events = frame(upstream) + &piece(upstream, "All.") + &chunk(json!({}), Some("stop"));
        // The body ends: complete at once.
        for with_usage in [true, false] {
            let mut live = Live::new(client, upstream, true);
            live.head().feed(&events);
            if with_usage {
                live.feed(&usage_chunk());
            }
            live.end();
            let said = live.begun();
            assert_eq!(said.error, None, "{client:?}");
            assert_eq!(said.said().finish, Some(Finish::Stop), "{client:?}");
            let answer = live.answer().unwrap();
            assert!(answer.is_complete, "{client:?}");
            let record = live.world.finish().remove(0);
            assert_eq!(record.outcome, Outcome::Complete);
        }
        // The body does not end: the end is waited for, but not for long.
        let mut live = Live::new(client, upstream, true);
        live.head().feed(&events).feed(&usage_chunk());
        live.world.pass(Duration::from_secs(6));
        let answer = live.answer().unwrap();
        assert!(answer.is_complete, "{client:?}");
        let said = live.begun();
        assert_eq!(
            (said.error, said.choices[0].finish),
            (None, Some(Finish::Stop))
        );
        assert!(
            live.world.is_closed(live.upstream),
            "kept though it said no end"
        );
        live.world.finish();
    }
}

#[test]
fn case_02_an_error_without_a_type_is_one_too() {
    // As proxies between here and the model tell their own, whatever is spoken.
    let kind = "rate_limit_error";
    let error = json!({"message": "Slow down.", "type": kind, "param": null, "code": null});
    let error = format!("data: {}", json!({"error": error}));
    for (client, upstream) in pairs() {
        let what = format!("{client:?} {upstream:?}");
        for begun in [String::new(), frame(upstream)] {
            let reply = Reply::stream(format!("{begun}{error}\n\n"));
            let talk = ask_once(client, upstream, true, &reply, Cuts::Whole);
            assert_eq!(talk.answer.status(), 429, "{what}");
        }
        let begun = frame(upstream) + &piece(upstream, "begun");
        let reply = Reply::stream(format!("{begun}{error}\n\n"));
        let talk = ask_once(client, upstream, true, &reply, Cuts::Whole);
        let said = talk::read(client, &talk.answer, false);
        assert!(!said.is_complete, "{what}");
        assert_eq!(said.error.unwrap().message, "Slow down.", "{what}");
    }
}

#[test]
fn case_02_an_error_before_content_becomes_a_status() {
    let kinds = [
        ("overloaded_error", 529, 503),
        ("rate_limit_error", 429, 429),
        ("api_error", 500, 500),
    ];
    for (client, upstream) in pairs() {
        for (kind, messages_status, chat_status) in kinds {
            for begun in ["", ": comment\n\n", &frame(upstream)] {
                for cuts in [Cuts::Whole, Cuts::Bytes] {
                    let what = format!("{client:?} {upstream:?} {kind} {begun:?} {cuts:?}");
                    let error = error_event(upstream, kind, "No capacity left.");
                    let reply = Reply::stream(format!("{begun}{error}"));
                    let talk = ask_once(client, upstream, true, &reply, cuts);
                    let expected = match client {
                        Dialect::Anthropic => messages_status,
                        Dialect::OpenAiChat => chat_status,
                    };
                    assert_eq!(talk.answer.status(), expected, "{what}");
                    let fault = fault(client, &talk.answer);
                    assert!(
                        fault.message.contains("No capacity left."),
                        "{what}: {fault:?}"
                    );
                    assert!(
                        matches!(talk.record.outcome, Outcome::Failed { .. }),
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn case_02_an_error_after_content_stays_in_the_stream() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        live.begin(upstream, "Well, ");
        live.feed(&error_event(
            upstream,
            "overloaded_error",
            "No capacity left.",
        ));
        let text = assert_truncated(live, &format!("{client:?} {upstream:?}"));
        assert!(
            text.contains("No capacity left.") && text.contains("Well, "),
            "{text}"
        );
    }
}

#[test]
fn case_31_one_broken_event_is_skipped_and_counted() {
    let broken = [
        "data: {\"choices\": [{\"delta\": {\"content\": \"lo\n\n",
        "data: {\"type\": \"content_block_delta\", \"index\": \n\n",
        "data: <html>\n\n",
        "data: {]\n\n",
    ];
    for (client, upstream) in pairs() {
        for broken in broken {
            let what = format!("{client:?} {upstream:?} {broken:?}");
            let mut live = Live::new(client, upstream, true);
            live.begin(upstream, "Hel");
            live.feed(broken)
                .feed(&piece(upstream, "lo"))
                .feed(&ending(upstream))
                .end();
            let text = live.text();
            assert!(
                !text.contains(broken),
                "{what}: it went on to the client: {text}"
            );
            let (said, _, record) = live.finish();
            assert!(said.is_complete && said.error.is_none(), "{what}");
            assert_eq!(said.said().text, "Hello", "{what}");
            assert_eq!(record.broken_events, 1, "{what}");
        }
    }
}

#[test]
fn case_31_many_broken_events_in_a_row_are_an_error() {
    let broken_max = tollgate_core::base::Limits::default()
        .shard
        .broken_events_max;
    for (client, upstream) in pairs() {
        let what = format!("{client:?} {upstream:?}");
        let mut live = Live::new(client, upstream, true);
        live.begin(upstream, "Hel");
        for _ in 0..broken_max {
            live.feed("data: {]\n\n");
        }
        assert_truncated(live, &what);
    }
}

#[test]
fn case_31_broken_events_apart_from_each_other_do_not_add_up() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        live.head().feed(&frame(upstream));
        for _ in 0..20 {
            live.feed("data: {]\n\n").feed(&piece(upstream, "a"));
        }
        live.feed(&ending(upstream)).end();
        let (said, _, record) = live.finish();
        assert_eq!(said.said().text, "a".repeat(20), "{client:?} {upstream:?}");
        assert_eq!(record.broken_events, 20, "{client:?} {upstream:?}");
    }
}

#[test]
fn an_unknown_event_is_not_a_broken_one() {
    for client in DIALECTS {
        let upstream = Dialect::Anthropic;
        let mut live = Live::new(client, upstream, true);
        live.begin(upstream, "Hel");
        if client != upstream {
            live.feed(&event(json!({"type": "a_new_event", "what": "ever"})));
        }
        live.feed(&piece(upstream, "lo"))
            .feed(&ending(upstream))
            .end();
        let (said, _, record) = live.finish();
        assert_eq!(said.said().text, "Hello");
        assert_eq!(record.broken_events, 0);
    }
}

#[test]
fn an_answer_that_ends_with_the_connection_is_whole_if_it_says_so() {
    for (client, upstream) in pairs() {
        let body = stream(upstream, "Hello there");
        let reply = Reply::new(200, "text/event-stream", body, Framing::Close);
        let talk = ask_once(client, upstream, true, &reply, Cuts::Seeded(3));
        let said = talk::read(client, &talk.answer, false);
        assert!(said.is_complete, "{client:?} {upstream:?}");
        assert_eq!(said.said().text, "Hello there");
    }
}
