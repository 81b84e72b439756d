//! Answers that fail before the client has seen of them, where another target can answer.

use std::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;
use tollgate_core::ir::Class;
use tollgate_core::record::Outcome;

use super::fixtures::{
    error_body, error_event, event, frame, piece, start, stream, usage_chunk, whole,
};
use super::play::{CHAIN, FIRST, HEAD, Play, SECOND, alone, chain_of, dialect_at, error};
use super::support::DIALECTS;
use super::support::talk::Reply;
use super::support::world::{Conn, End};

const SECOND_OF_TIME: Duration = Duration::from_secs(1);

/// [`CHAIN`], the providers in turn: the first is asked in the given API.
fn chain(first: Dialect) -> String {
    match first {
        Dialect::Anthropic => CHAIN.to_owned(),
        Dialect::OpenAiChat => chain_of("[\"second/two\", \"first/one\"]"),
    }
}

/// The client has the second target's answer, and no trace of what failed before.
fn assert_unseen(play: &Play, client: Conn, dialect: Dialect, what: &str) {
    assert_eq!(play.answer(client).status(), 200, "{what}");
    let said = play.said(dialect, client);
    assert_eq!(said.error, None, "{what}");
    assert_eq!(said.said().text, "well", "{what}");
}

#[test]
fn case_02_an_error_inside_a_200_opens_the_breaker_and_another_answers() {
    for dialect in DIALECTS {
        for first in DIALECTS {
            let what = format!("{dialect:?} of {first:?}");
            let mut play = Play::new(&chain(first));
            let mut at_first = 0;
            for _ in 0..6 {
                let client = play.ask(dialect, true);
                while dialect_at(play.pending()[0].1) == first {
                    at_first += 1;
                    let error = error_event(first, "overloaded_error", "No capacity left.");
                    play.reply(&Reply::stream(frame(first) + &error));
                    play.back_off();
                }
                play.reply_well(true);
                assert_unseen(&play, client, dialect, &what);
            }
            assert_eq!(at_first, 3, "{what}: the breaker hears of it");
        }
    }
}

#[test]
fn case_02_an_error_after_content_opens_the_breaker_too() {
    for first in DIALECTS {
        let mut play = Play::new(&chain(first));
        for _ in 0..3 {
            let client = play.ask(first, true);
            let error = error_event(first, "overloaded_error", "No capacity left.");
            let begun = frame(first) + &piece(first, "begun");
            let port = play.reply(&Reply::stream(begun + &error));
            assert_eq!(dialect_at(port), first);
            assert!(play.answer(client).text().contains("No capacity left."));
            assert!(play.pending().is_empty(), "{first:?}: asked elsewhere");
        }
        let client = play.ask(first, true);
        assert_ne!(dialect_at(play.reply_well(true)), first);
        assert_unseen(&play, client, first, "the breaker is open");
    }
}

#[test]
fn case_14_signs_of_life_alone_do_not_keep_another_target_from_being_asked() {
    for dialect in DIALECTS {
        for first in DIALECTS {
            let what = format!("{dialect:?} of {first:?}");
            let mut play = Play::new(&chain(first));
            let client = play.ask(dialect, true);
            let (conn, port, _) = play.asked();
            assert_eq!(dialect_at(port), first);
            let noise = match first {
                Dialect::Anthropic => event(json!({"type": "ping"})),
                Dialect::OpenAiChat => ": PROCESSING\n\n".to_owned(),
            };
            play.world.send(conn, format!("{HEAD}{}", frame(first)));
            // The least that a stream gets where another target can answer is 12 seconds.
            for _ in 0..12 {
                assert!(!play.world.is_closed(conn), "{what}: too soon");
                play.world.send(conn, noise.clone());
                play.world.pass(SECOND_OF_TIME);
            }
            assert!(play.world.is_closed(conn), "{what}: kept alive by nothing");
            play.reply_well(true);
            assert_unseen(&play, client, dialect, &what);
            let record = play.record();
            assert_eq!(record.attempts[0].failed(), Some(Class::Timeout), "{what}");
        }
    }
}

#[test]
fn case_16_an_overflow_is_never_repeated_and_charged_to_nobody() {
    let message = "prompt is too long: 205000 tokens > 200000 maximum";
    let body = error_body(Dialect::Anthropic, "invalid_request_error", message);
    let overflow = Reply::json(400, body.to_string());
    for dialect in DIALECTS {
        let mut play = Play::new(CHAIN);
        for _ in 0..8 {
            let client = play.ask(dialect, false);
            assert_eq!(play.reply(&overflow), FIRST);
            assert_eq!(play.reply_well(false), SECOND);
            assert_unseen(&play, client, dialect, "another model");
        }
    }
}

#[test]
fn case_29_what_says_nothing_does_not_commit() {
    let empty = |dialect| piece(dialect, "");
    for dialect in DIALECTS {
        for first in DIALECTS {
            let beginnings = [
                frame(first),
                frame(first) + &empty(first),
                frame(first) + &empty(first) + &empty(first) + ": comment\n\n",
            ];
            for begun in beginnings {
                let what = format!("{dialect:?} of {first:?}: {begun:?}");
                let mut play = Play::new(&chain(first));
                let client = play.ask(dialect, true);
                // Each attempt begins anew, and is no more than its beginning.
                for _ in 0..2 {
                    let (conn, port, _) = play.asked();
                    assert_eq!(dialect_at(port), first, "{what}");
                    play.world.send(conn, format!("{HEAD}{begun}"));
                    play.world.hang_up(conn, End::Reset);
                    play.back_off();
                }
                assert_eq!(play.world.written(client), b"", "{what}");
                let port = play.reply_well(true);
                assert_ne!(dialect_at(port), first, "{what}");
                assert_unseen(&play, client, dialect, &what);
                let text = play.answer(client).text().to_owned();
                let starts = text.matches("event: message_start").count();
                assert_eq!(starts, usize::from(dialect == Dialect::Anthropic), "{what}");
            }
        }
    }
}

#[test]
fn case_29_what_says_something_commits() {
    for dialect in DIALECTS {
        let mut play = Play::new(&chain(dialect));
        let client = play.ask(dialect, true);
        let (conn, port, _) = play.asked();
        play.begin(conn, port, &["begun"]);
        assert!(!play.world.written(client).is_empty());
        play.world.hang_up(conn, End::Reset);
        play.world.pass(60 * SECOND_OF_TIME);
        assert!(play.pending().is_empty(), "{dialect:?}: asked elsewhere");
        let said = play.said(dialect, client);
        assert_eq!(said.said().text, "begun");
        assert!(said.error.is_some() && !said.is_complete);
    }
}

#[test]
fn case_30_the_refusal_of_a_prefill_never_hides_the_first_error() {
    let refusal = "This model does not support assistant message prefill.";
    let refusal = error_body(Dialect::OpenAiChat, "invalid_request_error", refusal);
    for dialect in DIALECTS {
        for is_stream in [true, false] {
            let mut play = Play::new(CHAIN);
            let client = play.ask(dialect, is_stream);
            for _ in 0..2 {
                let begun = frame(Dialect::Anthropic);
                let busy = error_event(Dialect::Anthropic, "overloaded_error", "first of all");
                assert_eq!(play.reply(&Reply::stream(begun + &busy)), FIRST);
                play.back_off();
            }
            assert_eq!(play.reply(&Reply::json(400, refusal.to_string())), SECOND);
            let answer = play.answer(client);
            assert!(answer.text().contains("first of all"), "{}", answer.text());
            assert!(!answer.text().contains("prefill"), "{}", answer.text());
            let expected = if dialect == Dialect::Anthropic {
                529
            } else {
                503
            };
            assert_eq!(answer.status(), expected);
        }
    }
}

/// How a first target can fail before it has said anything.
fn failures(first: Dialect) -> Vec<(&'static str, String, Option<End>)> {
    let broken = "data: {\"cho\n\n".repeat(100);
    vec![
        ("refused to speak", String::new(), Some(End::Fin)),
        ("reset", String::new(), Some(End::Reset)),
        ("half a head", HEAD[..20].to_owned(), Some(End::Fin)),
        ("a head", HEAD.to_owned(), Some(End::Reset)),
        ("an empty stream", HEAD.to_owned(), Some(End::Fin)),
        ("a frame", format!("{HEAD}{}", frame(first)), Some(End::Fin)),
        ("no HTTP", "SSH-2.0-x\r\n".to_owned(), Some(End::Fin)),
        ("broken events", format!("{HEAD}{broken}"), None),
        ("silence", String::new(), None),
        ("a head and silence", HEAD.to_owned(), None),
    ]
}

#[test]
fn case_32_whatever_the_first_fails_by_the_fallback_gets_exactly_one_request() {
    for dialect in DIALECTS {
        for first in DIALECTS {
            for (how, bytes, end) in failures(first) {
                let what = format!("{dialect:?} of {first:?}: {how}");
                let mut play = Play::new(&chain(first));
                let client = play.ask(dialect, true);
                let mut at_first = 0;
                while dialect_at(play.pending()[0].1) == first {
                    at_first += 1;
                    assert!(at_first <= 2, "{what}");
                    let (conn, ..) = play.asked();
                    play.world.send(conn, bytes.clone());
                    match end {
                        Some(end) => play.world.hang_up(conn, end),
                        None if play.world.is_closed(conn) => {}
                        None => play.world.pass(12 * SECOND_OF_TIME),
                    }
                    play.back_off();
                }
                play.reply_well(true);
                assert_unseen(&play, client, dialect, &what);
                play.world.pass(60 * SECOND_OF_TIME);
                assert!(play.pending().is_empty(), "{what}");
                let record = play.record();
                assert_eq!(record.attempts.len(), at_first + 1, "{what}");
                assert_eq!(record.outcome, Outcome::Complete, "{what}");
            }
        }
    }
}

#[test]
fn case_39_a_broken_tool_call_that_the_provider_reports_is_tried_again_elsewhere() {
    let body = json!({"error": {
        "message": "Failed to call a function. Please adjust your prompt.",
        "type": "invalid_request_error", "code": "tool_use_failed",
        "failed_generation": "<function=one>{",
    }});
    let failed = Reply::json(400, body.to_string());
    for dialect in DIALECTS {
        for is_stream in [true, false] {
            let mut play = Play::new(&chain(Dialect::OpenAiChat));
            let client = play.ask(dialect, is_stream);
            assert_eq!(play.reply(&failed), SECOND);
            play.back_off();
            assert_eq!(play.reply(&failed), SECOND, "once more in place");
            assert_eq!(play.reply_well(is_stream), FIRST);
            assert_unseen(&play, client, dialect, "elsewhere");
            let record = play.record();
            let classes: Vec<_> = record.attempts.iter().map(|it| it.failed()).collect();
            let class = Some(Class::ToolGeneration);
            assert_eq!(classes, [class, class, None]);
        }
    }
}

#[test]
fn case_40_usage_and_model_are_those_of_the_answer_alone() {
    let begun = start().replace("\"input_tokens\":12", "\"input_tokens\":99999");
    let busy = error_event(Dialect::Anthropic, "overloaded_error", "busy");
    let named = |text: String| text.replace("\"model\":\"m\"", "\"model\":\"two-0613\"");
    for dialect in DIALECTS {
        for is_stream in [true, false] {
            let mut play = Play::new(CHAIN);
            let client = play.ask(dialect, is_stream);
            for _ in 0..2 {
                assert_eq!(play.reply(&Reply::stream(begun.clone() + &busy)), FIRST);
                play.back_off();
            }
            let reply = match is_stream {
                true => Reply::stream(named(stream(Dialect::OpenAiChat, "well"))),
                false => Reply::json(200, named(whole(Dialect::OpenAiChat, "well").to_string())),
            };
            assert_eq!(play.reply(&reply), SECOND);
            assert_unseen(&play, client, dialect, "the second's");
            let answer = play.answer(client);
            assert!(answer.text().contains("two-0613"), "{}", answer.text());
            assert!(!answer.text().contains("99999"), "{}", answer.text());
            assert_eq!(answer.field("x-tollgate-target"), Some("second/two"));
            let record = play.record();
            assert_eq!(record.answered_by.unwrap().unescape(), "two-0613");
            let usage = (record.usage.input, record.usage.output);
            assert_eq!(usage, (Some(12), Some(5)), "{dialect:?} {is_stream}");
        }
    }
}

#[test]
fn case_40_what_failed_attempts_took_is_theirs() {
    let begun = start().replace("\"input_tokens\":12", "\"input_tokens\":99999");
    let busy = error_event(Dialect::Anthropic, "overloaded_error", "busy");
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::OpenAiChat, true);
    for _ in 0..2 {
        assert_eq!(play.reply(&Reply::stream(begun.clone() + &busy)), FIRST);
        play.back_off();
    }
    assert_eq!(play.reply(&error(400)), SECOND);
    assert_eq!(play.answer(client).status(), 503);
    let record = play.record();
    let inputs: Vec<_> = record.attempts.iter().map(|it| it.usage.input).collect();
    assert_eq!(inputs, [Some(99_999), Some(99_999), None]);
    assert_eq!(record.usage.input, None);
}

#[test]
fn case_15_one_budget_of_attempts_whatever_the_waits_that_are_asked_for() {
    // Sixteen keys at each of two targets, all of which ask for next to no patience.
    let keys: Vec<_> = (0..16).map(|at| format!("\"key-{at}\"")).collect();
    let keys = format!("key = [{}]", keys.join(", "));
    let many = CHAIN
        .replace("key = \"key-1\"", &keys)
        .replace("key = \"key-2\"", &keys);
    for (status, field, value) in [
        (429, "retry-after", "0"),
        (429, "retry-after", "0.01"),
        (429, "retry-after-ms", "1"),
        (503, "retry-after", "0"),
        (529, "retry-after-ms", "1"),
    ] {
        let mut play = Play::new(&many);
        let client = play.ask(Dialect::OpenAiChat, true);
        let mut asked = 0;
        for _ in 0..100 {
            while !play.pending().is_empty() {
                asked += 1;
                play.reply(&error(status).field(field, value));
            }
            play.world.pass(SECOND_OF_TIME);
        }
        assert!(
            (2..=4).contains(&asked),
            "{status} {field} {value}: {asked}"
        );
        let told = play.answer(client).status();
        let expected = if status == 529 { 503 } else { status };
        assert_eq!(told, expected, "{field} {value}");
    }
}

#[test]
fn case_15_a_new_cool_down_never_shortens_an_old_one() {
    let mut play = Play::new(&alone());
    let clients = [(); 2].map(|()| play.ask(Dialect::Anthropic, false));
    let pending = play.pending();
    assert_eq!(pending.len(), 2);
    for ((conn, ..), seconds) in pending.into_iter().zip(["8", "1"]) {
        play.reply_on(conn, &error(429).field("retry-after", seconds));
    }
    play.world.pass(Duration::from_millis(7_999));
    assert!(play.pending().is_empty(), "within the longer of the two");
    play.world.pass(Duration::from_millis(101));
    while !play.pending().is_empty() {
        play.reply_well(false);
    }
    for client in clients {
        assert_eq!(play.answer(client).status(), 200);
    }
}

#[test]
fn case_15_an_overload_is_no_fault_of_the_key() {
    let two = CHAIN.replace("key = \"key-1\"", "key = [\"key-1\", \"key-3\"]");
    let mut play = Play::new(&two);
    let key = |play: &Play| play.pending()[0].2.field("x-api-key").unwrap().to_owned();
    for _ in 0..2 {
        let client = play.ask(Dialect::Anthropic, false);
        let own = key(&play);
        assert_eq!(play.reply(&error(529)), FIRST);
        play.back_off();
        assert_eq!(key(&play), own, "the same key, in place");
        assert_eq!(play.reply_well(false), FIRST);
        assert_unseen(&play, client, Dialect::Anthropic, "in place");
        // And whoever comes next does not avoid it.
        let client = play.ask(Dialect::Anthropic, false);
        assert_eq!(key(&play), own);
        play.reply_well(false);
        assert_eq!(play.answer(client).status(), 200);
    }
}

#[test]
fn case_01_text_without_a_finish_is_no_answer_to_a_client_that_waits_for_all() {
    // The body ends as its framing says, and what it holds is not complete.
    for dialect in DIALECTS {
        for first in DIALECTS {
            let mut play = Play::new(&chain(first));
            let client = play.ask(dialect, false);
            let begun = match first {
                Dialect::Anthropic => frame(first) + &piece(first, "forty tokens"),
                Dialect::OpenAiChat => {
                    frame(first) + &piece(first, "forty tokens") + &usage_chunk()
                }
            };
            for _ in 0..2 {
                let port = play.reply(&Reply::stream(begun.clone()));
                assert_eq!(dialect_at(port), first);
                play.back_off();
            }
            play.reply_well(false);
            assert_unseen(&play, client, dialect, "elsewhere");
        }
    }
}

/// How long after the client's request the second target was asked.
fn time_to_second(play: &mut Play, dialect: Dialect, failure: &Reply) -> Duration {
    let step = Duration::from_millis(1);
    let client = play.ask(dialect, true);
    let mut time = Duration::ZERO;
    loop {
        match play.pending().first().map(|(_, port, _)| *port) {
            Some(SECOND) => break,
            Some(_) => {
                play.reply(failure);
            }
            None => {
                play.world.pass(step);
                time += step;
            }
        }
        assert!(time < SECOND_OF_TIME, "never asked");
    }
    play.reply_well(true);
    assert_unseen(play, client, dialect, "the fallback's");
    time
}

#[test]
fn in_an_outage_the_fallback_is_asked_within_fifty_milliseconds() {
    for dialect in DIALECTS {
        for status in [500, 502, 503, 529, 404, 429] {
            let mut play = Play::new(CHAIN);
            for at in 0..20 {
                let time = time_to_second(&mut play, dialect, &error(status));
                assert!(time <= Duration::from_millis(50), "{status}: {time:?}");
                let is_known = at >= 2 && status != 404;
                assert!(!is_known || time.is_zero(), "{status}, {at}: {time:?}");
            }
        }
    }
}

#[test]
fn a_rescue_takes_no_longer_than_it_is_told_to_and_a_tenth_of_a_second() {
    let alone = alone();
    for dialect in DIALECTS {
        for status in [429, 503, 529] {
            for (field, value, told) in [
                ("retry-after", "2", 2_000),
                ("retry-after-ms", "1500", 1_500),
                ("retry-after", "0.2", 200),
            ] {
                let mut play = Play::new(&alone);
                let client = play.ask(dialect, true);
                play.reply(&error(status).field(field, value));
                play.world.pass(Duration::from_millis(told - 1));
                assert!(play.pending().is_empty(), "{status} {field} {value}");
                play.world.pass(Duration::from_millis(100));
                play.reply_well(true);
                assert_unseen(&play, client, dialect, "in time");
            }
        }
    }
}
