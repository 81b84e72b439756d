//! The commit point: nothing reaches the client before the first content, or when that takes long,
//! a head and signs of life alone.

use std::time::Duration;

use tollgate_core::dialect::Dialect;

use super::fixtures::{frame, piece, start, stream};
use super::play::{CHAIN, FIRST, Play, SECOND, error, well};
use super::support::DIALECTS;
use super::support::http;
use super::support::talk::{self, Reply};
use super::support::world::{Conn, End, Reach};

/// A target is waited for although another one could answer.
const PATIENT: &str = "timers.first_content_min = \"5m\"\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

fn text(play: &Play, client: Conn) -> String {
    String::from_utf8_lossy(play.world.written(client)).into_owned()
}

#[test]
fn after_a_long_hold_another_target_still_answers_unseen() {
    for dialect in DIALECTS {
        let mut play = Play::new(&format!("{PATIENT}{CHAIN}"));
        let client = play.ask(dialect, true);
        let (conn, port, _) = play.asked();
        assert_eq!(port, FIRST);
        // A head and the first events, in which there is no content.
        play.world.send(conn, format!("{HEAD}{}", start()));
        assert_eq!(text(&play, client), "");
        play.world.pass(Duration::from_secs(30));
        let seen = text(&play, client);
        assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
        assert!(
            !seen.contains("message_start") && !seen.contains("chat.completion"),
            "{seen}"
        );
        let sign = match dialect {
            Dialect::Anthropic => "event: ping",
            Dialect::OpenAiChat => ": keep-alive",
        };
        assert!(seen.contains(sign), "{seen}");
        play.world.hang_up(conn, End::Reset);
        play.back_off();
        assert_eq!(play.reply(&error(503)), FIRST);
        let reply = Reply::stream(stream(Dialect::OpenAiChat, "well"));
        assert_eq!(play.reply(&reply), SECOND);
        let answer = play.answer(client);
        let said = talk::read(dialect, &answer, false);
        assert!(said.is_complete);
        assert_eq!(said.said().text, "well");
        if dialect == Dialect::Anthropic {
            assert_eq!(answer.text().matches("event: message_start").count(), 1);
        }
        play.world.finish();
    }
}

#[test]
fn after_a_long_hold_the_last_error_is_an_event() {
    for dialect in DIALECTS {
        let mut play = Play::new(&format!("{PATIENT}{CHAIN}"));
        let client = play.ask(dialect, true);
        play.asked();
        play.world.pass(Duration::from_secs(30));
        play.world.hang_up(play.world.upstreams()[0], End::Reset);
        play.back_off();
        play.reply(&error(500));
        assert_eq!(play.reply(&error(400)), SECOND);
        let answer = play.answer(client);
        assert_eq!(answer.status(), 200);
        let said = talk::read(dialect, &answer, false);
        assert!(!said.is_complete);
        assert_eq!(
            said.error.unwrap().message,
            "the upstream's connection broke: connection reset"
        );
        let record = play.world.finish().remove(0);
        assert_eq!(record.attempts.len(), 3);
    }
}

#[test]
fn the_hold_ends_too_where_the_first_target_was_never_reached() {
    let mut play = Play::new(&format!("{PATIENT}{CHAIN}"));
    play.world.reach = Reach::Refuses;
    let client = play.ask(Dialect::Anthropic, true);
    play.world.reach = Reach::Accepts;
    play.back_off();
    let (conn, port, _) = play.asked();
    assert_eq!(port, FIRST);
    assert_eq!(text(&play, client), "");
    play.world.pass(Duration::from_secs(30));
    assert!(text(&play, client).contains("event: ping"));
    let reply = Reply::stream(stream(Dialect::Anthropic, "well"));
    play.world.send(conn, reply.bytes(1 << 20));
    let said = talk::read(Dialect::Anthropic, &play.answer(client), false);
    assert!(said.is_complete);
}

#[test]
fn an_upstream_that_answers_with_something_else_and_falls_silent_is_heard_of() {
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::Anthropic, true);
    let (conn, ..) = play.asked();
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9999\r\n\r\n<h1>";
    play.world.send(conn, html);
    play.world.pass(Duration::from_secs(60));
    assert!(text(&play, client).contains("event: ping"));
    play.world.hang_up(conn, End::Fin);
    play.back_off();
    play.reply_well(true);
    let said = talk::read(Dialect::Anthropic, &play.answer(client), false);
    assert!(said.is_complete);
}

#[test]
fn after_content_nobody_else_is_asked_and_the_break_is_told() {
    for dialect in DIALECTS {
        let mut play = Play::new(CHAIN);
        let client = play.ask(dialect, true);
        let (conn, ..) = play.asked();
        let begun = frame(Dialect::Anthropic) + &piece(Dialect::Anthropic, "begun");
        play.world.send(conn, format!("{HEAD}{begun}"));
        play.world.hang_up(conn, End::Fin);
        play.world.pass(Duration::from_secs(60));
        assert!(play.pending().is_empty());
        let answer = play.answer(client);
        let said = talk::read(dialect, &answer, false);
        assert!(!said.is_complete && said.error.is_some(), "{said:?}");
        assert_eq!(said.said().text, "begun");
    }
}

#[test]
fn an_answer_that_does_not_stream_is_rescued_at_any_byte() {
    let whole = well(Dialect::Anthropic, false).bytes(1 << 20);
    for cut in 1..whole.len() {
        let mut play = Play::new(CHAIN);
        let client = play.ask(Dialect::OpenAiChat, false);
        let (conn, ..) = play.asked();
        play.world.send(conn, whole[..cut].to_vec());
        play.world.hang_up(conn, End::Reset);
        play.back_off();
        assert_eq!(play.reply_well(false), FIRST);
        assert_eq!(http::only(play.world.written(client)).status(), 200);
        play.world.finish();
    }
}

/// Events are held until there are three with content.
const HOLDING: &str = "
    [retry]
    hold_events = 3
";

/// A stream of Messages events: the start, and a piece of text for each of `texts`.
fn begun(texts: &[&str]) -> String {
    let pieces: String = texts
        .iter()
        .map(|text| piece(Dialect::Anthropic, text))
        .collect();
    format!("{HEAD}{}{pieces}", frame(Dialect::Anthropic))
}

#[test]
fn an_opt_in_hold_lets_another_target_answer_after_content() {
    for dialect in DIALECTS {
        let mut play = Play::new(&format!("{HOLDING}{CHAIN}"));
        let client = play.ask(dialect, true);
        let (conn, _, _) = play.asked();
        play.world.send(conn, begun(&["one ", "two "]));
        assert_eq!(text(&play, client), "");
        play.world.hang_up(conn, End::Reset);
        play.back_off();
        assert_eq!(play.reply(&error(503)), FIRST);
        assert_eq!(play.reply_well(true), SECOND);
        let answer = play.answer(client);
        let said = talk::read(dialect, &answer, false);
        assert!(said.is_complete);
        assert_eq!(said.said().text, "well");
        play.world.finish();
    }
}

#[test]
fn a_hold_ends_with_its_events_or_the_answer_or_the_patience() {
    for dialect in DIALECTS {
        let mut play = Play::new(&format!("{HOLDING}{CHAIN}"));
        let client = play.ask(dialect, true);
        let (conn, _, _) = play.asked();
        play.world.send(conn, begun(&["one ", "two "]));
        assert_eq!(text(&play, client), "");
        play.world.send(conn, piece(Dialect::Anthropic, "three"));
        let seen = text(&play, client);
        assert!(seen.contains("one ") && seen.contains("three"), "{seen}");
        play.world.hang_up(conn, End::Reset);
        let answer = play.answer(client);
        assert!(talk::read(dialect, &answer, false).error.is_some());
        // A short answer is over before there are so many.
        let client = play.ask(dialect, true);
        play.back_off();
        play.reply_well(true);
        let said = talk::read(dialect, &play.answer(client), false);
        assert_eq!(said.said().text, "well");
        // And a client is not kept waiting in silence.
        let client = play.ask(dialect, true);
        let (conn, _, _) = play.asked();
        play.world.send(conn, begun(&["one "]));
        play.world.pass(Duration::from_secs(12));
        let seen = text(&play, client);
        assert!(seen.starts_with("HTTP/1.1 200") && !seen.contains("one "));
        play.world.hang_up(conn, End::Reset);
        play.world.finish();
    }
}
