//! What a route may want of its answers, combined: hedges, holds, continuation, messages; and
//! deadlines, slow clients, and what answers must not tell.

use std::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Outcome;

use super::fixtures::{
    chunk, ending, error_body, error_event, frame, piece, request, request_bytes, request_with,
    usage_chunk, whole, without_end,
};
use super::play::{
    CHAIN, FIRST, HEAD, LATE, Play, SECOND, alone, chain_of, dialect_at, error, prefilling, well,
    with_first,
};
use super::support::DIALECTS;
use super::support::http::{self, Message};
use super::support::talk::{self, Reply};
use super::support::world::{Conn, End, Reach};

const SECOND_OF_TIME: Duration = Duration::from_secs(1);

/// A client asks, with earlier thoughts.
fn ask_thoughtful(play: &mut Play) -> Conn {
    let thought = json!({"type": "thinking", "thinking": "Hm.", "signature": "old"});
    let messages = json!([
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Hi."}]},
        {"role": "user", "content": "And?"},
    ]);
    let body = request_with(Dialect::Anthropic, false, &json!({"messages": messages}));
    play.ask_body(Dialect::Anthropic, &body, &[])
}

/// A target takes no earlier thoughts back.
fn refusal() -> Reply {
    let message = "messages.1.content.0: Invalid `signature` in `thinking` block";
    let body = error_body(Dialect::Anthropic, "invalid_request_error", message);
    Reply::json(400, body.to_string())
}

/// A client asks whose earlier thoughts the first target does not take back, and is told so.
fn ask_refused(play: &mut Play, reach: Reach) -> Conn {
    let client = ask_thoughtful(play);
    play.world.reach = reach;
    assert_eq!(play.reply(&refusal()), FIRST);
    play.world.reach = Reach::Accepts;
    client
}

#[test]
fn a_request_that_lost_its_place_while_it_reconnected_waits_without_old_deadlines() {
    let config = "retry.wait_max = \"60s\"\ntimers.first_content = \"5s\"\n".to_owned() + &alone();
    let mut play = Play::new(&config);
    let client = play.ask(Dialect::Anthropic, true);
    play.reply_well(true);
    play.answer(client);
    // One request on the kept connection, another on a connection of its own.
    let kept = play.ask(Dialect::Anthropic, true);
    let (old, ..) = play.asked();
    let limited = play.ask(Dialect::Anthropic, true);
    let conn = play.asked_at(FIRST);
    play.send(conn, &error(429).field("retry-after", "30"));
    play.world.hang_up(limited, End::Fin);
    // The kept one was dead, and by now the key cools.
    play.world.hang_up(old, End::Reset);
    assert_eq!(play.world.usage().waiting, 1);
    play.world.pass(Duration::from_secs(31));
    play.reply_well(true);
    play.answered_well(Dialect::Anthropic, kept);
    play.world.finish();
}

#[test]
fn a_rival_that_finds_nobody_tells_no_message() {
    let table = "retry.hedge_percent = 100\n".to_owned()
        + &chain_of("{ target = [\"first/one\", \"second/two\"], message = \"Out.\" }");
    let mut play = Play::new(&table);
    play.teach(true);
    // The second target's breaker opens.
    for _ in 0..2 {
        let client = play.ask(Dialect::Anthropic, true);
        let first = play.asked_at(FIRST);
        play.send(first, &error(404));
        assert_eq!(play.reply(&error(503)), SECOND);
        play.back_off();
        if !play.pending().is_empty() {
            assert_eq!(play.reply(&error(503)), SECOND);
        }
        play.world.pass(Duration::from_millis(500));
        play.answer(client);
    }
    let client = play.ask(Dialect::Anthropic, true);
    let first = play.asked_at(FIRST);
    play.world.pass(LATE);
    assert!(play.pending().is_empty(), "the breaker is open");
    assert_eq!(play.text(client), "");
    play.send(first, &well(Dialect::Anthropic, true));
    play.answered_well(Dialect::Anthropic, client);
    play.world.finish();
}

#[test]
fn a_message_ends_the_race() {
    let config = "retry.hedge_percent = 100\nretry.attempts_max = 6\n".to_owned()
        + &chain_of(
            "{ target = [\"first/one\", \"second/two\", \"second/three\"], \
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
    let late = play.asked_at(SECOND);
    play.world.pass(LATE);
    let rival = play.asked_at(SECOND);
    play.send(late, &error(400));
    assert!(play.world.is_closed(rival), "the request is being answered");
    play.world.pass(SECOND_OF_TIME);
    let said = play.said(Dialect::Anthropic, client);
    assert_eq!(said.said().text, "We are out of all our models");
    play.world.finish();
}

#[test]
fn who_is_told_a_message_stands_in_no_line() {
    let words = "word ".repeat(100);
    let chain = chain_of(&format!(
        "{{ target = \"first/one\", message = \"{words}\" }}"
    ));
    let chain = with_first(&chain, "key_limits = { concurrent = 1 }");
    let mut play = Play::new(&format!("retry.wait_max = \"5s\"\n{chain}"));
    let busy = play.ask(Dialect::Anthropic, true);
    let (conn, ..) = play.asked();
    let told = play.ask(Dialect::Anthropic, true);
    play.world.pass(Duration::from_millis(4_900));
    let next = play.ask(Dialect::Anthropic, true);
    assert_eq!(play.world.usage().waiting, 2);
    play.world.pass(Duration::from_millis(200));
    assert!(play.text(told).contains("word"));
    assert_eq!(play.world.usage().waiting, 1);
    // The key is free: it is the next one's.
    play.send(conn, &well(Dialect::Anthropic, true));
    play.answer(busy);
    play.reply_well(true);
    play.answer(next);
    play.world.pass(SECOND_OF_TIME);
    play.answer(told);
    play.world.finish();
}

#[test]
fn what_is_too_late_is_not_continued() {
    let config = format!("retry.resume = true\n{}", prefilling(true));
    for dialect in DIALECTS {
        let mut play = Play::new(&config);
        let client = play.ask_with(dialect, true, &[("x-tollgate-timeout", "5")]);
        play.begins(FIRST, &["begun"]);
        play.world.pass(Duration::from_secs(6));
        assert!(play.pending().is_empty(), "nobody else is asked");
        let said = play.said(dialect, client);
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
            let client = play.ask_with(Dialect::Anthropic, is_stream, &[field]);
            play.asked_at(FIRST);
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
        let mut play = Play::hedging(100, "");
        let dialect = dialect_at(winner);
        let (client, first, second) = play.race(dialect);
        let (floods, other) = match winner {
            FIRST => (first, second),
            _ => (second, first),
        };
        let comments = ": nothing yet, but it is on its way\n\n".repeat(3_000);
        play.world.send(floods, format!("{HEAD}{comments}"));
        assert!(play.text(client).starts_with("HTTP/1.1 200"));
        assert!(play.world.is_closed(other));
        let rest = frame(dialect) + &piece(dialect, "well") + &ending(dialect);
        play.world.send(floods, rest);
        let answer = play.answer(client);
        assert!(answer.text().contains("\"well\""), "{}", answer.text());
        assert_eq!(play.record().outcome, Outcome::Complete);
    }
}

#[test]
fn the_target_that_was_called_off_may_still_answer() {
    let mut play = Play::hedging(100, "retry.hold_events = 3");
    let (client, first, second) = play.race(Dialect::Anthropic);
    play.begin(second, SECOND, &["one"]);
    assert!(play.world.is_closed(first));
    play.world.hang_up(second, End::Reset);
    play.back_off();
    assert_eq!(play.reply_well(true), FIRST);
    play.answered_well(Dialect::Anthropic, client);
    assert_eq!(play.record().attempts.len(), 3);
}

#[test]
fn what_the_gateway_itself_tells_ends_in_time_with_an_error() {
    for dialect in DIALECTS {
        let words = "word ".repeat(100);
        let config = chain_of(&format!(
            "{{ target = \"first/one\", message = \"{words}\" }}"
        ));
        let mut play = Play::new(&config);
        let client = play.ask_with(dialect, true, &[("x-tollgate-timeout", "0.5")]);
        assert_eq!(play.reply(&error(401)), FIRST);
        assert!(play.text(client).contains("word"));
        play.world.pass(SECOND_OF_TIME);
        let said = play.said(dialect, client);
        assert_eq!(said.error.unwrap().message, "the answer took too long");
        let Outcome::Failed { message, .. } = play.record().outcome else {
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
    let long = whole(Dialect::Anthropic, &"x".repeat(300_000));
    play.reply(&Reply::json(200, long.to_string()));
    // The next request on the same connection.
    play.world
        .send(client, request_bytes(Dialect::Anthropic, true));
    assert_eq!(play.reply_well(true), FIRST);
    play.world.pass(Duration::from_secs(20));
    assert!(play.pending().is_empty(), "nobody else is asked");
    play.world.stall(client, false);
    let answers = http::read(play.world.written(client));
    assert_eq!(answers.len(), 2);
    assert!(answers[1].is_complete && answers[1].text().contains("message_stop"));
    assert_eq!(play.record().attempts.len(), 1);
}

#[test]
fn what_a_slow_client_has_not_taken_is_not_cut_off() {
    let mut play = Play::new(&chain_of("\"second/two\""));
    let dialect = Dialect::OpenAiChat;
    let options = json!({"stream_options": {"include_usage": true}});
    let client = play.ask_body(dialect, &request_with(dialect, true, &options), &[]);
    let (conn, _) = play.begins(SECOND, &["a"]);
    play.world.stall(client, true);
    let long = piece(dialect, &"x".repeat(200_000));
    let finish = chunk(json!({}), Some("stop"));
    play.world.send(conn, format!("{long}{finish}"));
    play.world.send(conn, usage_chunk() + "data: [DONE]\n\n");
    play.world.pass(Duration::from_secs(10));
    play.world.stall(client, false);
    let answer = play.answer(client);
    let said = talk::read(dialect, &answer, true);
    assert!(said.is_complete && said.usage.is_some());
    assert_eq!(play.record().usage.output, Some(5));
}

#[test]
fn a_request_that_was_mended_has_its_time_anew() {
    let mut play = Play::new(&alone());
    let client = ask_refused(&mut play, Reach::Accepts);
    let (conn, _, request) = play.asked();
    assert!(!request.text().contains("signature"));
    // Longer than an answer may be silent that has begun.
    play.world.pass(Duration::from_secs(200));
    play.send(conn, &well(Dialect::Anthropic, false));
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
    // The second target's only key is out, for long.
    let client = play.ask(Dialect::Anthropic, true);
    assert_eq!(play.reply(&error(404)), FIRST);
    let limited = error(429).field("retry-after", "3600");
    assert_eq!(play.reply(&limited), SECOND);
    play.answer(client);
    let client = play.ask(Dialect::Anthropic, true);
    let (conn, ..) = play.asked();
    play.world.pass(Duration::from_secs(60));
    play.send(conn, &well(Dialect::Anthropic, true));
    play.answered_well(Dialect::Anthropic, client);
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
    let targets = "[\"first/one\", { target = \"second/two\", concurrent = 1 }]";
    let mut play = Play::new(&chain_of(targets));
    let client = play.ask(Dialect::Anthropic, true);
    assert_eq!(play.reply(&error(404)), FIRST);
    let busy = play.asked_at(SECOND);
    let late = play.ask(Dialect::Anthropic, true);
    let first = play.asked_at(FIRST);
    play.world.pass(Duration::from_secs(9));
    play.begin(busy, SECOND, &["a"]);
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
    let mut play = Play::new(&chain_of("\"second/two\""));
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
        let config = chain_of(&format!("\"{target}\""))
            .replace("key-1", "sk-secret-1")
            .replace("key-2", "sk-secret-2");
        let dialect = dialect_at(port);
        let message = format!("the key {key} is not well");
        let told = error_event(dialect, "overloaded_error", &message);
        let begun = frame(dialect) + &piece(dialect, "a");
        let body = error_body(dialect, "overloaded_error", &message).to_string();
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
                assert!(!format!("{:?}", play.record()).contains(key));
            }
        }
    }
}

#[test]
fn the_clients_deadline_holds_while_its_request_still_comes() {
    let mut play = Play::new(CHAIN);
    let client = play.world.client();
    let body = request(Dialect::Anthropic, true);
    let field = ("x-tollgate-timeout", "1");
    let request = talk::request(Dialect::Anthropic, &[field], &body);
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
        let mut play = Play::hedging(100, "");
        let dialect = dialect_at(winner);
        let (client, first, second) = play.race(dialect);
        let (conn, other) = match winner {
            FIRST => (first, second),
            _ => (second, first),
        };
        let all = without_end(dialect, frame(dialect) + &ending(dialect));
        play.world.send(conn, format!("{HEAD}{all}"));
        play.world.hang_up(conn, End::Reset);
        assert!(play.world.is_closed(other));
        let said = play.said(dialect, client);
        assert!(said.is_complete);
        assert_eq!(play.record().outcome, Outcome::Complete);
    }
}

#[test]
fn a_continuation_goes_on_after_it_broke_too_whoever_raced_before() {
    let settings = "retry.resume = true\nretry.hedge_percent = 100";
    let config = format!("{settings}\n{}", prefilling(true));
    let prefill = |request: &Message| request.json()["messages"][1]["content"].to_string();
    for dialect in DIALECTS {
        let mut play = Play::new(&config);
        play.teach(true);
        let (client, first, second) = play.race(dialect);
        // The head goes out before any content.
        play.world.pass(Duration::from_secs(9));
        assert!(play.text(client).starts_with("HTTP/1.1 200"));
        play.begin(second, SECOND, &["one "]);
        assert!(play.world.is_closed(first));
        play.world.hang_up(second, End::Reset);
        play.back_off();
        let (conn, request) = play.begins(FIRST, &[" two "]);
        assert!(prefill(&request).contains("\"one\""));
        play.world.hang_up(conn, End::Fin);
        play.back_off();
        let (conn, port, request) = play.asked();
        assert!(prefill(&request).contains("\"one two\""));
        play.begin(conn, port, &[" three"]);
        play.world.send(conn, ending(dialect_at(port)));
        let said = play.said(dialect, client);
        assert_eq!(said.said().text, "one two three");
        assert!(said.is_complete);
        let record = play.record();
        assert_eq!(record.outcome, Outcome::Complete);
        assert_eq!(record.attempts.len(), 4);
    }
}

#[test]
fn each_target_may_ask_for_a_request_without_earlier_thoughts() {
    let chain = chain_of("[\"first/one\", \"first/three\"]");
    let mut play = Play::new(&format!("retry.repeats_max = 0\n{chain}"));
    let client = ask_refused(&mut play, Reach::Accepts);
    assert_eq!(play.reply(&error(503)), FIRST);
    let (conn, _, asked) = play.asked();
    assert!(asked.text().contains("three") && asked.text().contains("Hm."));
    play.send(conn, &refusal());
    let (_, asked) = play.serve(false);
    assert!(asked.text().contains("three") && !asked.text().contains("Hm."));
    play.answered_well(Dialect::Anthropic, client);
    assert_eq!(play.record().attempts.len(), 2);
}

#[test]
fn a_refusal_counts_though_the_mended_request_lost_its_place() {
    let mut play = Play::new(CHAIN);
    let limited = play.ask(Dialect::Anthropic, false);
    let conn = play.asked_at(FIRST);
    let client = ask_thoughtful(&mut play);
    let (refused, ..) = play.asked();
    play.send(conn, &error(429).field("retry-after", "60"));
    assert_eq!(play.reply_well(false), SECOND);
    play.answered_well(Dialect::Anthropic, limited);
    play.send(refused, &refusal());
    assert_eq!(play.reply_well(false), SECOND);
    let answer = play.answered_well(Dialect::Anthropic, client);
    assert_eq!(answer.field("x-tollgate-attempts"), Some("2"));
    assert_eq!(play.record().attempts.len(), 2);
}
