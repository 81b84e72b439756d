//! Silence of upstreams: signs of life toward the client, and an end to waiting.

use core::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;

use super::fixtures::{
    Live, ending, error_event, event, fault, frame, piece, request, request_bytes, whole,
};
use super::support::world::{Reach, World};
use super::support::{config, http, pairs};

const SECOND: Duration = Duration::from_secs(1);

/// Signs of life in a client's stream.
fn signs(text: &str) -> usize {
    text.matches("event: ping\n").count() + text.matches(": keep-alive\n\n").count()
}

#[test]
fn case_18_a_silent_stream_shows_signs_of_life() {
    for (client, upstream) in pairs() {
        let what = format!("{client:?} {upstream:?}");
        let mut live = Live::new(client, upstream, true);
        live.head();
        live.world.pass(9 * SECOND);
        assert_eq!(
            live.world.written(live.client),
            b"",
            "{what}: the status is out too early"
        );
        live.world.pass(2 * SECOND);
        let answer = live
            .answer()
            .unwrap_or_else(|| panic!("{what}: nothing after the hold"));
        assert_eq!(answer.status(), 200, "{what}");
        assert_eq!(
            answer.field("content-type"),
            Some("text/event-stream"),
            "{what}"
        );
        assert_eq!(answer.field("cache-control"), Some("no-cache"), "{what}");
        assert_eq!(answer.field("x-accel-buffering"), Some("no"), "{what}");
        for _ in 0..4 {
            let before = signs(&live.text());
            live.world.pass(15 * SECOND);
            assert!(signs(&live.text()) > before, "{what}: {}", live.text());
        }
        live.feed(&frame(upstream)).feed(&piece(upstream, "Hello"));
        live.feed(&ending(upstream)).end();
        let (said, _, _) = live.finish();
        assert_eq!(said.said().text, "Hello", "{what}");
    }
}

#[test]
fn case_18_a_head_of_something_else_is_no_reason_for_silence() {
    for (client, upstream) in pairs() {
        let whole = whole(upstream, "Hello").to_string();
        for (status, kind, body) in [
            ("200 OK", "text/html", "<h1>no</h1>".to_owned()),
            (
                "503 Service Unavailable",
                "text/html",
                "<h1>no</h1>".to_owned(),
            ),
            ("200 OK", "application/json", whole),
        ] {
            let what = format!("{client:?} {upstream:?} {status} {kind}");
            let mut live = Live::new(client, upstream, true);
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
            );
            live.world.send(live.upstream, head);
            live.world.pass(9 * SECOND);
            assert_eq!(live.world.written(live.client), b"", "{what}");
            live.world.pass(2 * SECOND);
            assert_eq!(live.answer().unwrap().status(), 200, "{what}");
            let before = signs(&live.text());
            live.world.pass(30 * SECOND);
            assert!(signs(&live.text()) > before, "{what}: {}", live.text());
            live.world.send(live.upstream, body);
            let (said, _, _) = live.finish();
            if kind == "text/html" {
                assert!(said.error.is_some() && !said.is_complete, "{what}");
            } else {
                assert_eq!(said.said().text, "Hello", "{what}");
            }
        }
    }
}

#[test]
fn case_18_an_upstream_that_sends_no_head_is_no_reason_for_silence() {
    for (client, upstream) in pairs() {
        let what = format!("{client:?} {upstream:?}");
        let mut live = Live::new(client, upstream, true);
        live.world.pass(11 * SECOND);
        assert!(live.answer().is_some(), "{what}: no head past the hold");
        live.world.pass(15 * SECOND);
        assert!(signs(&live.text()) >= 1, "{what}: no sign of life");
        live.begin(upstream, "Hello");
        live.feed(&ending(upstream)).end();
        let (said, _, _) = live.finish();
        assert_eq!(said.said().text, "Hello", "{what}");
    }
}

#[test]
fn case_18_a_sign_of_life_never_stands_within_an_event() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        live.begin(upstream, "Hel");
        let whole = piece(upstream, "lo");
        for at in 1..whole.len() {
            if at % 20 == 0 {
                live.world.pass(11 * SECOND);
            }
            live.feed(&whole[at - 1..at]);
        }
        live.feed(&whole[whole.len() - 1..]);
        assert!(signs(&live.text()) > 0, "{client:?} {upstream:?}");
        live.feed(&ending(upstream)).end();
        // The grammar holds: nothing stands where it must not.
        let (said, _, _) = live.finish();
        assert_eq!(said.said().text, "Hello", "{client:?} {upstream:?}");
    }
}

#[test]
fn case_18_past_the_hold_errors_are_told_in_the_stream() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        live.head();
        live.world.pass(11 * SECOND);
        live.feed(&error_event(
            upstream,
            "overloaded_error",
            "No capacity left.",
        ));
        let (said, answer, _) = live.finish();
        assert_eq!(answer.status(), 200, "{client:?} {upstream:?}");
        let error = said.error.expect("an error");
        assert!(error.message.contains("No capacity left."), "{error:?}");
    }
}

#[test]
fn case_18_each_event_goes_out_by_itself() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        live.head().feed(&frame(upstream));
        for word in ["one", "two", "three"] {
            live.feed(&piece(upstream, word));
            assert!(
                live.text().contains(word),
                "{client:?} {upstream:?}: {word} is held back"
            );
            live.begun();
        }
        live.feed(&ending(upstream)).end();
        live.finish();
    }
}

/// A sign of life of an upstream, which is no data.
const fn alive(upstream: Dialect) -> &'static str {
    match upstream {
        Dialect::Anthropic => "event: ping\ndata: {\"type\": \"ping\"}\n\n",
        Dialect::OpenAiChat => ": alive\n\n",
    }
}

/// The client is told of a timeout by a status, or within its stream.
fn assert_timed_out(live: Live, is_early: bool, what: &str) {
    assert!(
        live.world.is_closed(live.upstream),
        "{what}: the upstream goes on"
    );
    let client = live.dialect;
    let (said, answer, _) = live.finish();
    assert!(said.error.is_some() && !said.is_complete, "{what}");
    if is_early {
        assert_eq!(answer.status(), 504, "{what}");
        fault(client, &answer);
    }
}

#[test]
fn case_14_silence_ends_each_phase_in_its_own_time() {
    for (client, upstream) in pairs() {
        for stream in [true, false] {
            let what = format!("{client:?} {upstream:?} {stream}");
            // No head at all.
            let mut live = Live::new(client, upstream, stream);
            live.world.pass(299 * SECOND);
            assert!(!live.world.is_closed(live.upstream), "{what}");
            live.world.pass(2 * SECOND);
            assert_timed_out(live, !stream, &format!("{what}, no head"));
            // A head, comments and pings, but no content.
            let mut live = Live::new(client, upstream, stream);
            live.head();
            for _ in 0..31 {
                live.world.pass(10 * SECOND);
                if !live.world.is_closed(live.upstream) {
                    live.feed(alive(upstream));
                }
            }
            assert_timed_out(live, false, &format!("{what}, no content"));
            // Silence within the answer: comments are no data.
            let mut live = Live::new(client, upstream, stream);
            live.begin(upstream, "Hel");
            for _ in 0..13 {
                live.world.pass(10 * SECOND);
                if !live.world.is_closed(live.upstream) {
                    live.feed(alive(upstream));
                }
            }
            assert_timed_out(live, false, &format!("{what}, silence"));
        }
        // Nobody accepts.
        let mut world = World::new(config::one(upstream));
        world.reach = Reach::Silent;
        let conn = world.client();
        world.send(conn, request_bytes(client, true));
        world.pass(11 * SECOND);
        let answer = http::only(world.written(conn));
        assert_eq!(answer.status(), 504, "{client:?} {upstream:?}");
        fault(client, &answer);
        world.finish();
    }
}

#[test]
fn an_answer_that_never_ends_is_ended_by_the_total_time() {
    for (client, upstream) in pairs() {
        // A whole answer that trickles, 10 minutes by default.
        let mut live = Live::new(client, upstream, false);
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n";
        live.world.send(live.upstream, head.as_bytes());
        for _ in 0..6 {
            assert!(!live.world.is_closed(live.upstream));
            live.world.send(live.upstream, &b"{"[..]);
            live.world.pass(100 * SECOND);
        }
        live.world.pass(SECOND);
        assert_timed_out(live, true, &format!("{client:?} {upstream:?} whole"));
        // A stream, where there is such a time.
        let mut snapshot = config::one(upstream);
        config::target(&mut snapshot).timers.total_stream = Some(500 * SECOND);
        let body = request(client, true);
        let mut live = Live::with(snapshot, client, &body);
        live.head().feed(&frame(upstream));
        for _ in 0..5 {
            live.feed(&piece(upstream, "."));
            assert!(!live.world.is_closed(live.upstream));
            live.world.pass(100 * SECOND);
        }
        live.world.pass(SECOND);
        assert_timed_out(live, false, &format!("{client:?} {upstream:?} stream"));
    }
}

#[test]
fn a_stream_with_data_goes_on_for_hours() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        live.head().feed(&frame(upstream));
        for _ in 0..200 {
            live.world.pass(100 * SECOND);
            live.feed(&piece(upstream, "."));
        }
        live.feed(&ending(upstream)).end();
        let (said, _, _) = live.finish();
        assert_eq!(said.said().text.len(), 200, "{client:?} {upstream:?}");
        assert!(said.is_complete, "{client:?} {upstream:?}");
    }
}

#[test]
fn a_refused_connection_is_a_502() {
    for (client, upstream) in pairs() {
        let mut world = World::new(config::one(upstream));
        world.reach = Reach::Refuses;
        let conn = world.client();
        world.send(conn, request_bytes(client, true));
        let answer = http::only(world.written(conn));
        assert_eq!(answer.status(), 502, "{client:?} {upstream:?}");
        let kind = fault(client, &answer).kind;
        let is_right = client == Dialect::OpenAiChat || kind == "api_error";
        assert!(is_right, "{kind}");
        world.finish();
    }
}

#[test]
fn noise_before_the_first_content_is_held_within_bounds() {
    for (dialect, noise) in [
        (Dialect::Anthropic, event(json!({"type": "ping"}))),
        (Dialect::OpenAiChat, ": PROCESSING\n\n".repeat(8)),
    ] {
        let mut live = Live::new(dialect, dialect, true);
        live.world.stall(live.client, true);
        live.head().feed(&frame(dialect));
        let noise = noise.repeat(128);
        for _ in 0..256 {
            live.feed(&noise);
        }
        let held = live.world.usage().buffered_bytes;
        assert!(held < 512 * 1024, "{dialect:?}: {held} bytes");
        live.world.stall(live.client, false);
        live.feed(&(piece(dialect, "hello") + &ending(dialect)))
            .end();
        let (said, ..) = live.finish();
        assert_eq!(said.said().text, "hello");
    }
}
