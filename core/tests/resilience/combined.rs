//! What a route may want of its answers, combined: hedges, holds, continuation, messages; and
//! deadlines, slow clients, and what answers must not tell.

use std::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::{Access, Outcome};

use super::fixtures::{ending, frame, piece, request};
use super::play::{CHAIN, FIRST, Play, SECOND, dialect_at, error, well};
use super::support::DIALECTS;
use super::support::http::{self, Message};
use super::support::talk::{self, Reply};
use super::support::world::{Conn, End, Reach};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const SECOND_OF_TIME: Duration = Duration::from_secs(1);
/// As late is the second request at least, after a target was seen to take a second.
const LATE: Duration = Duration::from_millis(1_200);

/// The targets of `asked`, in the place of the two of [`CHAIN`].
fn asked(targets: &str) -> String {
    CHAIN.replace("asked = [\"first/one\", \"second/two\"]", targets)
}

/// The connection on which the upstream at `port` is asked.
fn asked_at(play: &mut Play, port: u16) -> Conn {
    let pending = play.pending();
    let found = pending.iter().find(|(_, at, _)| *at == port);
    let (conn, ..) = *found.expect("asked");
    play.count(conn);
    conn
}

/// The first target answers so many requests in a second each.
fn teach(play: &mut Play) {
    for _ in 0..40 {
        let client = play.ask(Dialect::Anthropic, true);
        play.world.pass(SECOND_OF_TIME);
        assert_eq!(play.reply_well(true), FIRST);
        play.answer(client);
    }
}

/// A client asks with a field beside the usual ones.
fn ask_with(play: &mut Play, dialect: Dialect, is_stream: bool, field: (&str, &str)) -> Conn {
    let client = play.world.client();
    let body = request(dialect, is_stream).to_string();
    let request = http::request(talk::path(dialect), &[field], body.as_bytes());
    play.world.send(client, request);
    client
}

fn text(play: &Play, client: Conn) -> String {
    String::from_utf8_lossy(play.world.written(client)).into_owned()
}

/// The record of the last request.
fn record(play: Play) -> Access {
    play.world.finish().pop().unwrap()
}

/// A client asks whose earlier thoughts the first target does not take back, and is told so.
fn ask_refused(play: &mut Play, reach: Reach) -> Conn {
    let client = play.world.client();
    let mut body = request(Dialect::Anthropic, false);
    let thought = json!({"type": "thinking", "thinking": "Hm.", "signature": "old"});
    body["messages"] = json!([
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Hi."}]},
        {"role": "user", "content": "And?"},
    ]);
    let path = talk::path(Dialect::Anthropic);
    let request = http::request(path, &[], body.to_string().as_bytes());
    play.world.send(client, request);
    let refusal = json!({"type": "error", "error": {"type": "invalid_request_error",
        "message": "messages.1.content.0: Invalid `signature` in `thinking` block"}});
    play.world.reach = reach;
    assert_eq!(play.reply(&Reply::json(400, refusal.to_string())), FIRST);
    play.world.reach = Reach::Accepts;
    client
}

#[test]
fn a_request_that_lost_its_place_while_it_reconnected_waits_without_old_deadlines() {
    let config = "retry.wait_max = \"60s\"\ntimers.first_content = \"5s\"\n".to_owned()
        + &asked("asked = \"first/one\"");
    let mut play = Play::new(&config);
    let client = play.ask(Dialect::Anthropic, true);
    play.reply_well(true);
    play.answer(client);
    // One request on the kept connection, another on a connection of its own.
    let kept = play.ask(Dialect::Anthropic, true);
    let (old, ..) = play.asked();
    let limited = play.ask(Dialect::Anthropic, true);
    let conn = asked_at(&mut play, FIRST);
    play.world
        .send(conn, error(429).field("retry-after", "30").bytes(1 << 20));
    play.world.hang_up(limited, End::Fin);
    // The kept one was dead, and by now the key cools.
    play.world.hang_up(old, End::Reset);
    assert_eq!(play.world.usage().waiting, 1);
    play.world.pass(Duration::from_secs(31));
    play.reply_well(true);
    let said = talk::read(Dialect::Anthropic, &play.answer(kept), false);
    assert!(said.is_complete);
    play.world.finish();
}

#[test]
fn a_rival_that_finds_nobody_tells_no_message() {
    let table = "retry.hedge_percent = 100\n".to_owned()
        + &asked("asked = { target = [\"first/one\", \"second/two\"], message = \"Out.\" }");
    let mut play = Play::new(&table);
    teach(&mut play);
    // The second target's breaker opens.
    for _ in 0..2 {
        let client = play.ask(Dialect::Anthropic, true);
        let first = asked_at(&mut play, FIRST);
        play.world.send(first, error(404).bytes(1 << 20));
        assert_eq!(play.reply(&error(503)), SECOND);
        play.back_off();
        if !play.pending().is_empty() {
            assert_eq!(play.reply(&error(503)), SECOND);
        }
        play.world.pass(Duration::from_millis(500));
        play.answer(client);
    }
    let client = play.ask(Dialect::Anthropic, true);
    let first = asked_at(&mut play, FIRST);
    play.world.pass(LATE);
    assert!(play.pending().is_empty(), "the breaker is open");
    assert_eq!(text(&play, client), "");
    play.world
        .send(first, well(Dialect::Anthropic, true).bytes(1 << 20));
    let said = talk::read(Dialect::Anthropic, &play.answer(client), false);
    assert_eq!(said.said().text, "well");
    play.world.finish();
}

#[test]
fn a_message_ends_the_race() {
    let config = "retry.hedge_percent = 100\nretry.attempts_max = 6\n".to_owned()
        + &asked(
            "asked = { target = [\"first/one\", \"second/two\", \"second/three\"], \
             message = \"We are out of all our models\" }",
        );
    let mut play = Play::new(&config);
    for _ in 0..40 {
        let client = play.ask(Dialect::Anthropic, true);
        assert_eq!(play.reply(&error(404)), FIRST);
        play.world.pass(SECOND_OF_TIME);
        assert_eq!(play.reply_well(true), SECOND);
        play.answer(client);
    }
    let client = play.ask(Dialect::Anthropic, true);
    assert_eq!(play.reply(&error(503)), FIRST);
    play.back_off();
    assert_eq!(play.reply(&error(503)), FIRST);
    let late = asked_at(&mut play, SECOND);
    play.world.pass(LATE);
    let rival = asked_at(&mut play, SECOND);
    play.world.send(late, error(400).bytes(1 << 20));
    assert!(play.world.is_closed(rival), "the request is being answered");
    play.world.pass(SECOND_OF_TIME);
    let said = talk::read(Dialect::Anthropic, &play.answer(client), false);
    assert_eq!(said.said().text, "We are out of all our models");
    play.world.finish();
}

#[test]
fn who_is_told_a_message_stands_in_no_line() {
    let words = "word ".repeat(100);
    let config = format!(
        "retry.wait_max = \"5s\"\n{}",
        asked(&format!(
            "asked = {{ target = \"first/one\", message = \"{words}\" }}"
        ))
        .replace(
            "key = \"key-1\"",
            "key = \"key-1\"\nkey_limits = { concurrent = 1 }"
        )
    );
    let mut play = Play::new(&config);
    let busy = play.ask(Dialect::Anthropic, true);
    let (conn, ..) = play.asked();
    let told = play.ask(Dialect::Anthropic, true);
    play.world.pass(Duration::from_millis(4_900));
    let next = play.ask(Dialect::Anthropic, true);
    assert_eq!(play.world.usage().waiting, 2);
    play.world.pass(Duration::from_millis(200));
    assert!(text(&play, told).contains("word"));
    assert_eq!(play.world.usage().waiting, 1);
    // The key is free: it is the next one's.
    play.world
        .send(conn, well(Dialect::Anthropic, true).bytes(1 << 20));
    play.answer(busy);
    play.reply_well(true);
    play.answer(next);
    play.world.pass(SECOND_OF_TIME);
    play.answer(told);
    play.world.finish();
}

#[test]
fn what_is_too_late_is_not_continued() {
    let config = "retry.resume = true\n".to_owned()
        + &asked(
            "asked = [{ target = \"first/one\", traits = { prefill = true } }, \
             { target = \"second/two\", traits = { prefill = true } }]",
        );
    for dialect in DIALECTS {
        let mut play = Play::new(&config);
        let client = ask_with(&mut play, dialect, true, ("x-tollgate-timeout", "5"));
        let (conn, ..) = play.asked();
        let events = frame(Dialect::Anthropic) + &piece(Dialect::Anthropic, "begun");
        play.world.send(conn, format!("{HEAD}{events}"));
        play.world.pass(Duration::from_secs(6));
        assert!(play.pending().is_empty(), "nobody else is asked");
        let said = talk::read(dialect, &play.answer(client), false);
        assert_eq!(said.error.unwrap().message, "the answer took too long");
        play.world.finish();
    }
}

#[test]
fn a_clients_impatience_opens_no_breaker() {
    for is_stream in [false, true] {
        let mut play = Play::new(CHAIN);
        for _ in 0..10 {
            let field = ("x-tollgate-timeout", "0.001");
            let client = ask_with(&mut play, Dialect::Anthropic, is_stream, field);
            asked_at(&mut play, FIRST);
            play.world.pass(Duration::from_millis(2));
            assert_eq!(play.answer(client).status(), 504);
        }
        let client = play.ask(Dialect::Anthropic, is_stream);
        assert_eq!(play.reply_well(is_stream), FIRST);
        play.answer(client);
        play.world.finish();
    }
}

#[test]
fn a_flood_without_content_ends_the_race_before_it_is_let_through() {
    for winner in [FIRST, SECOND] {
        let mut play = Play::new(&format!("retry.hedge_percent = 100\n{CHAIN}"));
        teach(&mut play);
        let dialect = dialect_at(winner);
        let client = play.ask(dialect, true);
        let first = asked_at(&mut play, FIRST);
        play.world.pass(LATE);
        let second = asked_at(&mut play, SECOND);
        let (floods, other) = match winner {
            FIRST => (first, second),
            _ => (second, first),
        };
        let comments = ": nothing yet, but it is on its way\n\n".repeat(3_000);
        play.world.send(floods, format!("{HEAD}{comments}"));
        assert!(text(&play, client).starts_with("HTTP/1.1 200"));
        assert!(play.world.is_closed(other));
        let rest = frame(dialect) + &piece(dialect, "well") + &ending(dialect);
        play.world.send(floods, rest);
        let answer = play.answer(client);
        assert!(answer.text().contains("\"well\""), "{}", answer.text());
        assert_eq!(record(play).outcome, Outcome::Complete);
    }
}

#[test]
fn the_target_that_was_called_off_may_still_answer() {
    let mut play = Play::new(&format!(
        "retry.hedge_percent = 100\nretry.hold_events = 3\n{CHAIN}"
    ));
    teach(&mut play);
    let client = play.ask(Dialect::Anthropic, true);
    let first = asked_at(&mut play, FIRST);
    play.world.pass(LATE);
    let second = asked_at(&mut play, SECOND);
    let dialect = Dialect::OpenAiChat;
    let begun = frame(dialect) + &piece(dialect, "one");
    play.world.send(second, format!("{HEAD}{begun}"));
    assert!(play.world.is_closed(first));
    play.world.hang_up(second, End::Reset);
    play.back_off();
    assert_eq!(play.reply_well(true), FIRST);
    let said = talk::read(Dialect::Anthropic, &play.answer(client), false);
    assert_eq!(said.said().text, "well");
    assert_eq!(record(play).attempts.len(), 3);
}

#[test]
fn what_the_gateway_itself_tells_ends_in_time_with_an_error() {
    for dialect in DIALECTS {
        let words = "word ".repeat(100);
        let config = asked(&format!(
            "asked = {{ target = \"first/one\", message = \"{words}\" }}"
        ));
        let mut play = Play::new(&config);
        let client = ask_with(&mut play, dialect, true, ("x-tollgate-timeout", "0.5"));
        assert_eq!(play.reply(&error(401)), FIRST);
        assert!(text(&play, client).contains("word"));
        play.world.pass(SECOND_OF_TIME);
        let said = talk::read(dialect, &play.answer(client), false);
        assert_eq!(said.error.unwrap().message, "the answer took too long");
        let Outcome::Failed { message, .. } = record(play).outcome else {
            panic!("it failed");
        };
        assert_eq!(message.unescape(), "the answer took too long");
    }
}

#[test]
fn a_client_that_takes_nothing_is_no_fault_of_the_upstream() {
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::Anthropic, false);
    play.world.stall(client, true);
    let long = super::fixtures::whole(Dialect::Anthropic, &"x".repeat(300_000));
    play.reply(&Reply::json(200, long.to_string()));
    // The next request on the same connection.
    let body = request(Dialect::Anthropic, true).to_string();
    let request = http::request(talk::path(Dialect::Anthropic), &[], body.as_bytes());
    play.world.send(client, request);
    assert_eq!(play.reply_well(true), FIRST);
    play.world.pass(Duration::from_secs(20));
    assert!(play.pending().is_empty(), "nobody else is asked");
    play.world.stall(client, false);
    let answers = http::read(play.world.written(client));
    assert_eq!(answers.len(), 2);
    assert!(answers[1].is_complete && answers[1].text().contains("message_stop"));
    assert_eq!(record(play).attempts.len(), 1);
}

#[test]
fn what_a_slow_client_has_not_taken_is_not_cut_off() {
    let config = asked("asked = \"second/two\"");
    let mut play = Play::new(&config);
    let client = play.world.client();
    let mut body = request(Dialect::OpenAiChat, true);
    body["stream_options"] = json!({"include_usage": true});
    let path = talk::path(Dialect::OpenAiChat);
    let request = http::request(path, &[], body.to_string().as_bytes());
    play.world.send(client, request);
    let (conn, ..) = play.asked();
    let dialect = Dialect::OpenAiChat;
    play.world.send(
        conn,
        format!("{HEAD}{}{}", frame(dialect), piece(dialect, "a")),
    );
    play.world.stall(client, true);
    let long = piece(dialect, &"x".repeat(200_000));
    let finish = super::fixtures::chunk(json!({}), Some("stop"));
    play.world.send(conn, format!("{long}{finish}"));
    play.world
        .send(conn, super::fixtures::usage_chunk() + "data: [DONE]\n\n");
    play.world.pass(Duration::from_secs(10));
    play.world.stall(client, false);
    let answer = play.answer(client);
    let said = talk::read(dialect, &answer, true);
    assert!(said.is_complete && said.usage.is_some());
    assert_eq!(record(play).usage.output, Some(5));
}

#[test]
fn a_request_that_was_mended_has_its_time_anew() {
    let mut play = Play::new(&asked("asked = \"first/one\""));
    let client = ask_refused(&mut play, Reach::Accepts);
    let (conn, _, request) = play.asked();
    assert!(!request.text().contains("signature"));
    // Longer than an answer may be silent that has begun.
    play.world.pass(Duration::from_secs(200));
    play.world
        .send(conn, well(Dialect::Anthropic, false).bytes(1 << 20));
    assert_eq!(play.answer(client).status(), 200);
    play.world.finish();
}

#[test]
fn a_request_that_was_mended_connects_in_time() {
    let mut play = Play::new(CHAIN);
    let client = ask_refused(&mut play, Reach::Silent);
    play.world.pass(Duration::from_secs(11));
    assert_eq!(play.reply_well(false), SECOND);
    assert_eq!(play.answer(client).status(), 200);
    play.world.finish();
}

#[test]
fn a_slow_target_is_waited_for_while_nobody_else_can_answer() {
    let mut play = Play::new(CHAIN);
    // The second target's only key is out.
    let client = play.ask(Dialect::Anthropic, true);
    assert_eq!(play.reply(&error(404)), FIRST);
    assert_eq!(play.reply(&error(401)), SECOND);
    play.answer(client);
    let client = play.ask(Dialect::Anthropic, true);
    let (conn, ..) = play.asked();
    play.world.pass(Duration::from_secs(60));
    play.world
        .send(conn, well(Dialect::Anthropic, true).bytes(1 << 20));
    let said = talk::read(Dialect::Anthropic, &play.answer(client), false);
    assert!(said.is_complete, "{said:?}");
    // But no longer than the config says.
    let client = play.ask(Dialect::Anthropic, true);
    let (conn, ..) = play.asked();
    play.world.pass(Duration::from_secs(299));
    assert!(!play.world.is_closed(conn));
    play.world.pass(Duration::from_secs(2));
    assert!(play.world.is_closed(conn));
    play.answer(client);
    play.world.finish();
}

#[test]
fn a_slow_target_is_left_as_soon_as_another_can_answer() {
    let targets = "asked = [\"first/one\", { target = \"second/two\", concurrent = 1 }]";
    let mut play = Play::new(&asked(targets));
    let client = play.ask(Dialect::Anthropic, true);
    assert_eq!(play.reply(&error(404)), FIRST);
    let busy = asked_at(&mut play, SECOND);
    let late = play.ask(Dialect::Anthropic, true);
    let first = asked_at(&mut play, FIRST);
    play.world.pass(Duration::from_secs(9));
    play.world.send(
        busy,
        HEAD.to_owned() + &frame(Dialect::OpenAiChat) + &piece(Dialect::OpenAiChat, "a"),
    );
    play.world.pass(Duration::from_secs(6));
    assert!(!play.world.is_closed(first));
    play.world.send(busy, ending(Dialect::OpenAiChat));
    play.answer(client);
    play.world.pass(Duration::from_secs(2));
    assert!(play.world.is_closed(first));
    assert_eq!(play.reply_well(true), SECOND);
    play.answer(late);
    play.world.finish();
}

#[test]
fn no_answer_tells_whose_account_was_asked() {
    let mut play = Play::new(&asked("asked = \"second/two\""));
    let client = play.ask(Dialect::OpenAiChat, false);
    let reply = well(Dialect::OpenAiChat, false)
        .field("openai-version", "2020-10-01")
        .field("openai-organization", "org-1")
        .field("OpenAI-Project", "proj_1");
    play.reply(&reply);
    let answer = play.answer(client);
    assert_eq!(answer.field("openai-version"), Some("2020-10-01"));
    assert_eq!(answer.field("openai-organization"), None);
    assert_eq!(answer.field("openai-project"), None);
    play.world.finish();
}

#[test]
fn no_error_within_an_answer_tells_the_key() {
    let keys = [
        (FIRST, "first/one", "sk-secret-1"),
        (SECOND, "second/two", "sk-secret-2"),
    ];
    for (port, target, key) in keys {
        let config = asked(&format!("asked = \"{target}\""))
            .replace("key-1", "sk-secret-1")
            .replace("key-2", "sk-secret-2");
        let dialect = dialect_at(port);
        let message = format!("the key {key} is not well");
        let told = super::fixtures::error_event(dialect, "overloaded_error", &message);
        let begun = frame(dialect) + &piece(dialect, "a");
        let body = super::fixtures::error_body(dialect, "overloaded_error", &message).to_string();
        for client in DIALECTS {
            for (is_stream, reply) in [
                (true, Reply::stream(told.clone())),
                (true, Reply::stream(format!("{begun}{told}"))),
                (false, Reply::stream(told.clone())),
                (false, Reply::json(200, body.clone())),
                (false, Reply::json(200, format!("<html>{key}"))),
            ] {
                let mut play = Play::new(&config);
                let conn = play.ask(client, is_stream);
                play.reply(&reply);
                play.back_off();
                if !play.pending().is_empty() {
                    play.reply(&reply);
                }
                play.back_off();
                let answer = play.answer(conn);
                assert!(!answer.text().contains(key), "{}", answer.text());
                assert!(answer.text().contains("[redacted]"), "{}", answer.text());
                assert!(!format!("{:?}", record(play)).contains(key));
            }
        }
    }
}

#[test]
fn the_clients_deadline_holds_while_its_request_still_comes() {
    let mut play = Play::new(CHAIN);
    let client = play.world.client();
    let body = request(Dialect::Anthropic, true).to_string();
    let path = talk::path(Dialect::Anthropic);
    let field = ("x-tollgate-timeout", "1");
    let request = http::request(path, &[field], body.as_bytes());
    play.world
        .send(client, request[..request.len() - 5].to_vec());
    play.world.pass(Duration::from_secs(2));
    assert_eq!(play.answer(client).status(), 504);
    assert!(play.world.upstreams().is_empty());
    play.world.finish();
}

#[test]
fn a_rival_that_finishes_without_a_word_answers_alone() {
    for winner in [FIRST, SECOND] {
        let mut play = Play::new(&format!("retry.hedge_percent = 100\n{CHAIN}"));
        teach(&mut play);
        let dialect = dialect_at(winner);
        let client = play.ask(dialect, true);
        let first = asked_at(&mut play, FIRST);
        play.world.pass(LATE);
        let second = asked_at(&mut play, SECOND);
        let (conn, other) = match winner {
            FIRST => (first, second),
            _ => (second, first),
        };
        let mut all = frame(dialect) + &ending(dialect);
        // All but what says that nothing follows.
        let cut = match dialect {
            Dialect::Anthropic => all.find("event: message_stop"),
            Dialect::OpenAiChat => all.find("data: [DONE]"),
        };
        all.truncate(cut.unwrap());
        play.world.send(conn, format!("{HEAD}{all}"));
        play.world.hang_up(conn, End::Reset);
        assert!(play.world.is_closed(other));
        let said = talk::read(dialect, &play.answer(client), false);
        assert!(said.is_complete);
        assert_eq!(record(play).outcome, Outcome::Complete);
    }
}

#[test]
fn a_continuation_goes_on_after_it_broke_too_whoever_raced_before() {
    let config = "retry.resume = true\nretry.hedge_percent = 100\n".to_owned()
        + &asked(
            "asked = [{ target = \"first/one\", traits = { prefill = true } }, \
             { target = \"second/two\", traits = { prefill = true } }]",
        );
    for dialect in DIALECTS {
        let mut play = Play::new(&config);
        teach(&mut play);
        let client = play.ask(dialect, true);
        let first = asked_at(&mut play, FIRST);
        // The head goes out before any content.
        play.world.pass(LATE);
        let second = asked_at(&mut play, SECOND);
        play.world.pass(Duration::from_secs(9));
        assert!(text(&play, client).starts_with("HTTP/1.1 200"));
        let begun = frame(Dialect::OpenAiChat) + &piece(Dialect::OpenAiChat, "one ");
        play.world.send(second, format!("{HEAD}{begun}"));
        assert!(play.world.is_closed(first));
        play.world.hang_up(second, End::Reset);
        play.back_off();
        let (conn, port, request) = play.asked();
        assert_eq!(port, FIRST);
        let prefill = |request: &Message| request.json()["messages"][1]["content"].to_string();
        assert!(prefill(&request).contains("\"one\""));
        let more = frame(Dialect::Anthropic) + &piece(Dialect::Anthropic, " two ");
        play.world.send(conn, format!("{HEAD}{more}"));
        play.world.hang_up(conn, End::Fin);
        play.back_off();
        let (conn, port, request) = play.asked();
        assert!(prefill(&request).contains("\"one two\""));
        let last = frame(dialect_at(port)) + &piece(dialect_at(port), " three");
        play.world
            .send(conn, format!("{HEAD}{last}{}", ending(dialect_at(port))));
        let said = talk::read(dialect, &play.answer(client), false);
        assert_eq!(said.said().text, "one two three");
        assert!(said.is_complete);
        let record = record(play);
        assert_eq!(record.outcome, Outcome::Complete);
        assert_eq!(record.attempts.len(), 4);
    }
}
