//! An answer that breaks after some of it went out, continued by a target that goes on from there.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tollgate_core::dialect::Dialect;
use tollgate_core::ir::Class;
use tollgate_core::record::Ending;

use super::fixtures::{block, ending, error_event, start};
use super::play::{
    CHAIN, FIRST, HEAD, Play, SECOND, chain_of, dialect_at, error, prefilling, well,
};
use super::support::DIALECTS;
use super::support::http::Message;
use super::support::talk;
use super::support::world::End;

/// A chain that continues; the second target, and the first if told, can.
fn resuming(first: bool) -> Play {
    Play::new(&format!("retry.resume = true\n{}", prefilling(first)))
}

/// The upstream that was asked, which must be that at `port`, answers with these pieces of text.
fn answers(play: &mut Play, port: u16, texts: &[&str]) -> Json {
    let (conn, request) = play.begins(port, texts);
    play.world.send(conn, ending(dialect_at(port)));
    play.world.hang_up(conn, End::Fin);
    request.json()
}

/// The text of an answer that is one message.
fn text_of(dialect: Dialect, answer: &Message) -> String {
    let said = talk::read(dialect, answer, false);
    assert!(said.is_complete, "{}", answer.text());
    let starts = match dialect {
        Dialect::Anthropic => "event: message_start",
        Dialect::OpenAiChat => "\"role\":\"assistant\"",
    };
    assert_eq!(answer.text().matches(starts).count(), 1);
    said.said().text.clone()
}

#[test]
fn the_rest_comes_from_another_target_in_the_same_message() {
    for dialect in DIALECTS {
        for end in [End::Fin, End::Reset] {
            let mut play = resuming(false);
            let client = play.ask(dialect, true);
            let (conn, _) = play.begins(FIRST, &["Once upon ", "a time "]);
            play.world.hang_up(conn, end);
            play.back_off();
            let request = answers(&mut play, SECOND, &[" there ", "was."]);
            let last = request["messages"].as_array().unwrap().last().unwrap();
            let prefill = json!({"role": "assistant", "content": "Once upon a time"});
            assert_eq!(*last, prefill);
            let answer = play.answer(client);
            assert_eq!(text_of(dialect, &answer), "Once upon a time there was.");
            let record = play.record();
            let endings: Vec<_> = record.attempts.iter().map(|it| it.ending).collect();
            let failed = Ending::Failed(Class::BadGateway);
            assert_eq!(endings, [failed, Ending::Answered]);
            assert_eq!(record.provider.as_deref(), Some("second"));
        }
    }
}

#[test]
fn silence_and_errors_in_the_stream_are_continued_too_and_more_than_once() {
    for dialect in DIALECTS {
        let mut play = resuming(true);
        let client = play.ask(dialect, true);
        let (conn, _) = play.begins(FIRST, &["one"]);
        let told = error_event(Dialect::Anthropic, "overloaded_error", "o");
        play.world.send(conn, told);
        play.back_off();
        // The same target once more, as for every overload.
        let (silent, request) = play.begins(FIRST, &[" two"]);
        assert_eq!(request.json()["messages"][1]["role"], "assistant");
        for _ in 0..130 {
            play.world.pass(Duration::from_secs(1));
        }
        assert!(play.world.is_closed(silent));
        let request = answers(&mut play, SECOND, &[" three"]);
        assert_eq!(request["messages"][1]["content"], "one two");
        let answer = play.answer(client);
        assert_eq!(text_of(dialect, &answer), "one two three");
        assert_eq!(play.record().attempts.len(), 3);
    }
}

#[test]
fn fault_14_a_target_that_refuses_to_continue_never_surfaces() {
    for dialect in DIALECTS {
        let mut play = resuming(false);
        let client = play.ask(dialect, true);
        play.begins_and_breaks(FIRST, &["begun"]);
        assert_eq!(play.reply(&error(400)), SECOND);
        let answer = play.answer(client);
        let said = talk::read(dialect, &answer, false);
        assert!(!said.is_complete);
        let message = said.error.unwrap().message;
        assert!(message.contains("connection reset"), "{message}");
        assert!(answer.text().contains("begun"));
        play.world.finish();
    }
}

#[test]
fn when_one_target_refuses_to_continue_the_next_is_asked() {
    for dialect in DIALECTS {
        let third = "[{ target = \"first/one\", traits = { prefill = true } }, \
            { target = \"second/two\", traits = { prefill = true } }, \
            { target = \"second/three\", traits = { prefill = true } }]";
        let mut play = Play::new(&format!("retry.resume = true\n{}", chain_of(third)));
        let client = play.ask(dialect, true);
        let (conn, _) = play.begins(FIRST, &["one"]);
        play.world.hang_up(conn, End::Reset);
        play.back_off();
        // The first one takes no prefill after all, nor does the second.
        assert_eq!(play.reply(&error(400)), FIRST);
        assert_eq!(play.reply(&error(400)), SECOND);
        let request = answers(&mut play, SECOND, &[" two"]);
        assert_eq!(request["model"], "three");
        let answer = play.answer(client);
        assert_eq!(text_of(dialect, &answer), "one two");
        play.world.finish();
    }
}

#[test]
fn while_a_target_is_sought_the_client_hears_signs_of_life() {
    for dialect in DIALECTS {
        let mut play = resuming(false);
        let client = play.ask(dialect, true);
        play.begins_and_breaks(FIRST, &["one"]);
        let (conn, _, _) = play.asked();
        play.world.pass(Duration::from_secs(11));
        let seen = play.text(client);
        assert!(
            seen.contains("ping") || seen.contains(": keep-alive"),
            "{seen}"
        );
        play.world.hang_up(client, End::Reset);
        assert!(play.world.is_closed(conn));
        play.world.finish();
    }
}

#[test]
fn half_a_call_is_never_continued() {
    let mut play = resuming(true);
    let client = play.ask(Dialect::Anthropic, true);
    let (conn, _, _) = play.asked();
    let call = json!({"type": "tool_use", "id": "t", "name": "rm", "input": {}});
    let mut events = block(
        0,
        call,
        &[json!({"type": "input_json_delta", "partial_json": "{\"a"})],
    );
    events.pop();
    play.world
        .send(conn, format!("{HEAD}{}{}", start(), events.concat()));
    play.world.hang_up(conn, End::Reset);
    assert!(play.said(Dialect::Anthropic, client).error.is_some());
    play.world.finish();
}

#[test]
fn a_target_that_answers_whole_cannot_continue() {
    let mut play = resuming(false);
    let client = play.ask(Dialect::OpenAiChat, true);
    play.begins_and_breaks(FIRST, &["begun"]);
    let whole = well(Dialect::OpenAiChat, false);
    assert_eq!(play.reply(&whole), SECOND);
    play.back_off();
    assert_eq!(play.reply(&whole), SECOND);
    assert!(play.said(Dialect::OpenAiChat, client).error.is_some());
    play.world.finish();
}

#[test]
fn by_default_nothing_is_continued() {
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::Anthropic, true);
    let (conn, _) = play.begins(FIRST, &["begun"]);
    play.world.hang_up(conn, End::Reset);
    assert!(play.said(Dialect::Anthropic, client).error.is_some());
    play.world.finish();
}
