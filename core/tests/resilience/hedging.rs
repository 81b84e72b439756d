//! A request whose first content is late is sent to a second target as well.

use std::time::Duration;

use tollgate_core::dialect::Dialect;
use tollgate_core::ir::Class;
use tollgate_core::record::{Access, Ending};

use super::fixtures::{ending, error_body, frame, piece, request};
use super::play::{CHAIN, FIRST, HEAD, LATE, Play, SECOND, chain_of, dialect_at, error, well};
use super::support::DIALECTS;
use super::support::http;
use super::support::talk::{self, Reply};
use super::support::world::{Conn, End};

fn endings(record: &Access) -> Vec<Ending> {
    record.attempts.iter().map(|it| it.ending).collect()
}

fn is_answered(play: &Play, client: Conn, dialect: Dialect) {
    let answer = play.answered_well(dialect, client);
    assert_eq!(answer.field("x-tollgate-attempts"), Some("2"));
}

#[test]
fn the_first_to_have_content_answers_and_the_other_is_closed_at_once() {
    for dialect in DIALECTS {
        for winner in [FIRST, SECOND] {
            let mut play = Play::hedging(100, "");
            let (client, first, second) = play.race(dialect);
            // What is no content decides nothing.
            for (conn, port) in [(first, FIRST), (second, SECOND)] {
                play.world
                    .send(conn, format!("{HEAD}{}", frame(dialect_at(port))));
            }
            assert!(!play.world.is_closed(first) && !play.world.is_closed(second));
            let (won, lost, target) = match winner {
                FIRST => (first, second, "first/one"),
                _ => (second, first, "second/two"),
            };
            play.world.send(won, piece(dialect_at(winner), "we"));
            assert!(play.world.is_closed(lost) && !play.world.is_closed(won));
            let rest = piece(dialect_at(winner), "ll") + &ending(dialect_at(winner));
            play.world.send(won, rest);
            is_answered(&play, client, dialect);
            let answer = play.answer(client);
            assert_eq!(answer.field("x-tollgate-target"), Some(target));
            let record = play.record();
            assert_eq!(endings(&record), [Ending::CalledOff, Ending::Answered]);
            let name = target.split('/').next().unwrap();
            assert_eq!(record.provider.as_deref(), Some(name));
            assert_eq!(&*record.attempts[1].provider, name);
            // What the one that lost had told of is told too.
            let is_told = record.attempts[0].usage.input.is_some();
            assert_eq!(is_told, winner == SECOND);
        }
    }
}

#[test]
fn an_answer_that_is_not_streamed_is_late_by_what_such_answers_take() {
    for dialect in DIALECTS {
        for winner in [FIRST, SECOND] {
            let mut play = Play::hedging(100, "");
            // How long streams take to begin says nothing of it.
            let client = play.ask(dialect, false);
            let conn = play.asked_at(FIRST);
            play.world.pass(LATE * 3);
            assert!(play.pending().is_empty());
            play.send(conn, &well(dialect_at(FIRST), false));
            assert_eq!(play.answer(client).status(), 200);
            play.teach(false);
            let client = play.ask(dialect, false);
            let first = play.asked_at(FIRST);
            play.world.pass(LATE * 4);
            let second = play.asked_at(SECOND);
            let (won, lost) = match winner {
                FIRST => (first, second),
                _ => (second, first),
            };
            play.send(won, &well(dialect_at(winner), false));
            assert!(play.world.is_closed(lost) && !play.world.is_closed(won));
            is_answered(&play, client, dialect);
            let record = play.record();
            assert_eq!(endings(&record), [Ending::CalledOff, Ending::Answered]);
            assert!(record.usage.output.is_some());
        }
    }
}

#[test]
fn when_one_of_two_fails_the_other_answers() {
    for dialect in DIALECTS {
        for failing in [FIRST, SECOND] {
            let mut play = Play::hedging(100, "");
            let (client, first, second) = play.race(dialect);
            let (failed, other, port) = match failing {
                FIRST => (first, second, SECOND),
                _ => (second, first, FIRST),
            };
            // A kept connection that breaks before its answer would be replaced.
            play.world.send(failed, HEAD);
            play.world.hang_up(failed, End::Reset);
            play.back_off();
            assert!(play.pending().is_empty(), "nobody else is asked");
            play.send(other, &well(dialect_at(port), true));
            is_answered(&play, client, dialect);
            let failed = Ending::Failed(Class::BadGateway);
            assert_eq!(endings(&play.record()), [failed, Ending::Answered]);
        }
    }
}

#[test]
fn when_both_fail_the_first_error_is_told() {
    for dialect in DIALECTS {
        let mut play = Play::hedging(100, "");
        let (client, first, second) = play.race(dialect);
        play.send(first, &error(500));
        play.send(second, &error(503));
        play.back_off();
        // The rival's target is asked once more, as a target is that failed for the first time.
        assert_eq!(play.reply(&error(503)), SECOND);
        assert_eq!(play.answer(client).status(), 500);
        assert_eq!(play.record().attempts.len(), 3);
    }
}

#[test]
fn a_request_that_is_wrong_ends_the_race() {
    for dialect in DIALECTS {
        let mut play = Play::hedging(100, "");
        let (client, first, second) = play.race(dialect);
        play.send(first, &error(400));
        assert_eq!(play.answer(client).status(), 400);
        assert!(play.world.is_closed(second));
        let failed = Ending::Failed(Class::InvalidRequest);
        assert_eq!(endings(&play.record()), [failed, Ending::CalledOff]);
    }
}

#[test]
fn a_client_that_leaves_ends_both() {
    for end in [End::Fin, End::Reset] {
        let mut play = Play::hedging(100, "");
        let (client, first, second) = play.race(Dialect::Anthropic);
        play.world.hang_up(client, end);
        assert!(play.world.is_closed(first) && play.world.is_closed(second));
        let record = play.record();
        assert_eq!(endings(&record), [Ending::CalledOff, Ending::CalledOff]);
    }
}

#[test]
fn the_deadline_ends_both() {
    let mut play = Play::hedging(100, "");
    let (client, ..) = play.race(Dialect::Anthropic);
    for _ in 0..400 {
        play.world.pass(Duration::from_secs(1));
    }
    assert!(play.said(Dialect::Anthropic, client).error.is_some());
    play.world.finish();
}

#[test]
fn no_more_than_a_share_is_hedged_and_by_default_nothing() {
    for (percent, hedged) in [(0, 0), (10, 10), (100, 100)] {
        let mut play = Play::hedging(percent, "");
        let mut count = 0;
        for _ in 0..100 {
            let client = play.ask(Dialect::Anthropic, true);
            play.asked_at(FIRST);
            play.world.pass(LATE);
            count += play.pending().len();
            play.world.hang_up(client, End::Reset);
        }
        assert!(
            (hedged..=hedged + 4).contains(&count),
            "{count} of {percent} %"
        );
        play.world.finish();
    }
}

#[test]
fn answers_that_do_not_stream_are_not_hedged() {
    let mut play = Play::hedging(100, "");
    let client = play.ask(Dialect::Anthropic, false);
    play.world.pass(Duration::from_secs(30));
    assert_eq!(play.reply_well(false), FIRST);
    play.answer(client);
    play.world.finish();
}

#[test]
fn both_count_as_one_request_of_their_client_and_each_at_its_target() {
    for winner in [FIRST, SECOND] {
        let mut play = Play::hedging(100, "queue.concurrent_per_client = 1");
        let (client, first, second) = play.race(Dialect::Anthropic);
        let next = play.ask(Dialect::Anthropic, true);
        assert_eq!(play.world.usage().waiting, 1);
        let won = if winner == FIRST { first } else { second };
        play.send(won, &well(dialect_at(winner), true));
        is_answered(&play, client, Dialect::Anthropic);
        assert_eq!(play.reply_well(true), FIRST, "the next one goes");
        play.answer(next);
        assert_eq!(play.world.usage().waiting, 0);
        play.world.finish();
    }
}

/// A chain of three targets at two providers, of which the second has a name of its own too.
fn of_three(settings: &str) -> Play {
    let models = "asked = [\"first/one\", \"second/two\", \"first/three\"]\ntwo = \"second/two\"";
    let chain = CHAIN.replace("asked = [\"first/one\", \"second/two\"]", models);
    let mut play = Play::new(&format!("retry.hedge_percent = 100\n{settings}\n{chain}"));
    play.teach(true);
    play
}

fn ask_two(play: &mut Play) -> (Conn, Conn) {
    let mut body = request(Dialect::Anthropic, false);
    body["model"] = "two".into();
    let client = play.ask_body(Dialect::Anthropic, &body, &[]);
    (client, play.asked_at(SECOND))
}

#[test]
fn what_the_second_one_was_sent_counts_though_its_place_was_lost() {
    for is_resent in [true, false] {
        let mut play = of_three("retry.attempts_max = 3\nretry.repeats_max = 0");
        let (_, kept) = ask_two(&mut play);
        let (_, other) = ask_two(&mut play);
        play.send(kept, &well(Dialect::OpenAiChat, false));
        let (client, first, second) = play.race(Dialect::Anthropic);
        assert_eq!(second, kept);
        if is_resent {
            // The key must rest, and then the connection turns out to be dead.
            play.send(other, &error(429).field("retry-after", "30"));
            play.world.hang_up(second, End::Fin);
            let third = play.asked_at(FIRST);
            play.send(third, &error(404));
        } else {
            play.send(other, &well(Dialect::OpenAiChat, false));
            play.send(second, &error(404));
        }
        play.send(first, &error(404));
        if !is_resent {
            assert_eq!(play.reply(&error(404)), FIRST);
        }
        assert!(play.pending().is_empty(), "no fourth attempt");
        let answer = play.answer(client);
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.field("x-tollgate-attempts"), Some("3"));
        assert_eq!(play.record().attempts.len(), 3);
    }
}

#[test]
fn a_window_that_was_too_small_is_known_to_the_second_one() {
    let window = |tokens: u64| format!("traits = {{ context_window = {tokens} }}");
    let targets = format!(
        "[{{ target = \"first/one\", {} }}, \"second/two\", {{ target = \"first/three\", {} }}]",
        window(9_000),
        window(8_000)
    );
    let chain = chain_of(&targets);
    let mut play = Play::new(&format!(
        "retry.hedge_percent = 100\nretry.repeats_max = 0\n{chain}"
    ));
    play.teach(true);
    let (client, first, second) = play.race(Dialect::Anthropic);
    let message = "prompt is too long: 9100 tokens > 9000 maximum";
    let body = error_body(Dialect::Anthropic, "invalid_request_error", message);
    play.send(first, &Reply::json(400, body.to_string()));
    play.send(second, &error(404));
    assert!(play.pending().is_empty(), "no smaller one is asked");
    assert_eq!(play.answer(client).status(), 400);
    play.world.finish();
}

#[test]
fn a_request_that_came_behind_one_that_races_is_answered_behind_it() {
    for winner in [FIRST, SECOND] {
        let mut play = Play::hedging(100, "");
        let (client, first, second) = play.race(Dialect::Anthropic);
        let next = talk::request(Dialect::Anthropic, &[], &request(Dialect::Anthropic, true));
        play.world.send(client, next);
        let won = if winner == FIRST { first } else { second };
        play.send(won, &well(dialect_at(winner), true));
        assert_eq!(play.reply_well(true), FIRST);
        let answers = http::read(play.world.written(client));
        assert_eq!(answers.len(), 2);
        assert!(
            answers
                .iter()
                .all(|it| it.is_complete && it.status() == 200)
        );
        play.world.finish();
    }
}
