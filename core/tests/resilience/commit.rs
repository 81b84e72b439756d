//! The commit point: nothing reaches the client before the first content, or when that takes long,
//! a head and signs of life alone.

use std::time::Duration;

use tollgate_core::dialect::Dialect;

use super::fixtures::{piece, start};
use super::play::{CHAIN, FIRST, HEAD, Play, SECOND, chain_of, error, well};
use super::support::DIALECTS;
use super::support::world::{End, Reach};

/// A target is waited for although another one could answer.
const PATIENT: &str = "timers.first_content_min = \"5m\"\n";

#[test]
fn after_a_long_hold_another_target_still_answers_unseen() {
    for dialect in DIALECTS {
        let mut play = Play::new(&format!("{PATIENT}{CHAIN}"));
        let client = play.ask(dialect, true);
        let (conn, port, _) = play.asked();
        assert_eq!(port, FIRST);
        // A head and the first events, in which there is no content.
        play.world.send(conn, format!("{HEAD}{}", start()));
        assert_eq!(play.text(client), "");
        play.world.pass(Duration::from_secs(30));
        let seen = play.text(client);
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
        assert_eq!(play.reply_well(true), SECOND);
        let answer = play.answered_well(dialect, client);
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
        assert_eq!(play.answer(client).status(), 200);
        let said = play.said(dialect, client);
        assert!(!said.is_complete);
        assert_eq!(
            said.error.unwrap().message,
            "the upstream's connection broke: connection reset"
        );
        assert_eq!(play.record().attempts.len(), 3);
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
    assert_eq!(play.text(client), "");
    play.world.pass(Duration::from_secs(30));
    assert!(play.text(client).contains("event: ping"));
    play.send(conn, &well(Dialect::Anthropic, true));
    play.answered_well(Dialect::Anthropic, client);
}

#[test]
fn an_upstream_that_answers_with_something_else_and_falls_silent_is_heard_of() {
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::Anthropic, true);
    let (conn, ..) = play.asked();
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9999\r\n\r\n<h1>";
    play.world.send(conn, html);
    play.world.pass(Duration::from_secs(60));
    assert!(play.text(client).contains("event: ping"));
    play.world.hang_up(conn, End::Fin);
    play.back_off();
    play.reply_well(true);
    play.answered_well(Dialect::Anthropic, client);
}

#[test]
fn after_content_nobody_else_is_asked_and_the_break_is_told() {
    for dialect in DIALECTS {
        let mut play = Play::new(CHAIN);
        let client = play.ask(dialect, true);
        let (conn, _) = play.begins(FIRST, &["begun"]);
        play.world.hang_up(conn, End::Fin);
        play.world.pass(Duration::from_secs(60));
        assert!(play.pending().is_empty());
        let said = play.said(dialect, client);
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
        assert_eq!(play.answer(client).status(), 200);
        play.world.finish();
    }
}

/// Events are held until there are three with content.
const HOLDING: &str = "
    [retry]
    hold_events = 3
";

#[test]
fn an_opt_in_hold_lets_another_target_answer_after_content() {
    for dialect in DIALECTS {
        let mut play = Play::new(&format!("{HOLDING}{CHAIN}"));
        let client = play.ask(dialect, true);
        let (conn, _) = play.begins(FIRST, &["one ", "two "]);
        assert_eq!(play.text(client), "");
        play.world.hang_up(conn, End::Reset);
        play.back_off();
        assert_eq!(play.reply(&error(503)), FIRST);
        assert_eq!(play.reply_well(true), SECOND);
        play.answered_well(dialect, client);
        play.world.finish();
    }
}

#[test]
fn silence_after_content_that_no_client_has_seen_is_not_waited_for_longer_than_elsewhere() {
    // The stream is held back, or collected for a client that wants the answer whole.
    let times = "timers = { idle = \"2s\", first_content = \"1m\", commit_hold = \"1m\" }\n";
    for dialect in DIALECTS {
        for is_stream in [true, false] {
            let mut play = Play::new(&format!("{times}{HOLDING}{CHAIN}"));
            let client = play.ask(dialect, is_stream);
            let (conn, _) = play.begins(FIRST, &["one "]);
            play.world.pass(Duration::from_millis(1_900));
            assert!(!play.world.is_closed(conn));
            play.world.pass(Duration::from_millis(200));
            assert!(play.world.is_closed(conn), "{dialect:?} {is_stream}");
            assert_eq!(play.reply_well(is_stream), SECOND);
            play.answer(client);
            play.world.finish();
        }
    }
}

#[test]
fn a_hold_ends_with_its_events_or_the_answer_or_the_patience() {
    for dialect in DIALECTS {
        let mut play = Play::new(&format!("{HOLDING}{CHAIN}"));
        let client = play.ask(dialect, true);
        let (conn, _) = play.begins(FIRST, &["one ", "two "]);
        assert_eq!(play.text(client), "");
        play.world.send(conn, piece(Dialect::Anthropic, "three"));
        let seen = play.text(client);
        assert!(seen.contains("one ") && seen.contains("three"), "{seen}");
        play.world.hang_up(conn, End::Reset);
        assert!(play.said(dialect, client).error.is_some());
        // A short answer is over before there are so many.
        let client = play.ask(dialect, true);
        play.back_off();
        play.reply_well(true);
        play.answered_well(dialect, client);
        // And a client is not kept waiting in silence.
        let client = play.ask(dialect, true);
        let (conn, _) = play.begins(FIRST, &["one "]);
        play.world.pass(Duration::from_secs(12));
        let seen = play.text(client);
        assert!(seen.starts_with("HTTP/1.1 200") && !seen.contains("one "));
        play.world.hang_up(conn, End::Reset);
        play.world.finish();
    }
}

#[test]
fn a_text_whose_announced_reason_never_comes_is_no_answer() {
    for dialect in DIALECTS {
        for holds in [false, true] {
            let chain = chain_of("[\"second/two\", \"first/one\"]");
            let hold = if holds { "retry.hold_events = 64" } else { "" };
            let mut play = Play::new(&format!("{hold}\n{chain}"));
            let client = play.ask(dialect, true);
            let (conn, _) = play.begins(SECOND, &["half a ", "sentence"]);
            play.world.send(conn, "data: [DONE]\n\n");
            play.back_off();
            if holds {
                assert_eq!(play.cut(End::Reset), SECOND, "once more");
                play.back_off();
                assert_eq!(play.reply_well(true), FIRST);
                play.answered_well(dialect, client);
                continue;
            }
            let said = play.said(dialect, client);
            assert!(!said.is_complete && said.error.is_some());
            assert!(play.pending().is_empty());
        }
    }
}

#[test]
fn the_hold_is_over_though_no_connection_stands_yet() {
    for dialect in DIALECTS {
        let config = CHAIN.replace("http:", "https:");
        let mut play = Play::new(&format!("timers.commit_hold = \"5s\"\n{config}"));
        let client = play.ask(dialect, true);
        play.world.pass(Duration::from_millis(4_900));
        assert!(play.is_silent(client));
        play.world.pass(Duration::from_millis(200));
        assert!(play.text(client).starts_with("HTTP/1.1 200"), "{dialect:?}");
    }
}

#[test]
fn when_content_came_is_told_of_the_answer_that_the_client_got() {
    let config = format!("retry.repeats_max = 0\n{CHAIN}");
    let config = config.replace(
        "[models]",
        "[models]\nheld = { target = [\"first/one\", \"second/two\"], hold_events = 3 }",
    );
    let mut play = Play::new(&config);
    let mut body = super::fixtures::request(Dialect::Anthropic, true);
    body["model"] = "held".into();
    let client = play.ask_body(Dialect::Anthropic, &body, &[]);
    let (conn, _) = play.begins(FIRST, &["unseen"]);
    play.world.pass(Duration::from_secs(2));
    play.world.hang_up(conn, End::Reset);
    play.world.pass(Duration::from_secs(3));
    assert_eq!(play.reply_well(true), SECOND);
    play.answered_well(Dialect::Anthropic, client);
    assert_eq!(play.record().first_content, Some(Duration::from_secs(5)));
}
