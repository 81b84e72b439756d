//! A request whose first content is late is sent to a second target as well.

use std::time::Duration;

use tollgate_core::dialect::Dialect;
use tollgate_core::ir::Class;
use tollgate_core::record::{Access, Ending};

use super::fixtures::{frame, piece};
use super::play::{CHAIN, FIRST, Play, SECOND, dialect_at, error, well};
use super::support::DIALECTS;
use super::support::talk;
use super::support::world::{Conn, End};

pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
/// As late is the second request at least, after the first target was seen to take a second.
const LATE: Duration = Duration::from_millis(1_200);

/// A chain that hedges so many of a hundred requests, and whose first target answers in a second.
pub(crate) fn known(percent: u32) -> Play {
    known_with(&format!("retry.hedge_percent = {percent}"))
}

/// The same, with other settings.
fn known_with(settings: &str) -> Play {
    let mut play = Play::new(&format!("{settings}\n{CHAIN}"));
    for _ in 0..40 {
        let client = play.ask(Dialect::Anthropic, true);
        play.world.pass(Duration::from_secs(1));
        assert_eq!(play.reply_well(true), FIRST);
        play.answer(client);
    }
    play
}

/// The connection on which the upstream at `port` is asked.
fn asked_at(play: &mut Play, port: u16) -> Conn {
    let pending = play.pending();
    let (conn, ..) = *pending
        .iter()
        .find(|(_, at, _)| *at == port)
        .expect("asked");
    play.count(conn);
    conn
}

/// A client asks, the first target is late, and both are asked.
pub(crate) fn race(play: &mut Play, dialect: Dialect) -> (Conn, Conn, Conn) {
    let client = play.ask(dialect, true);
    let first = asked_at(play, FIRST);
    play.world.pass(LATE);
    let second = asked_at(play, SECOND);
    (client, first, second)
}

/// The record of the last request.
fn record(play: Play) -> Access {
    play.world.finish().pop().unwrap()
}

fn endings(record: &Access) -> Vec<Ending> {
    record.attempts.iter().map(|it| it.ending).collect()
}

fn is_answered(play: &Play, client: Conn, dialect: Dialect) {
    let answer = play.answer(client);
    let said = talk::read(dialect, &answer, false);
    assert!(said.is_complete);
    assert_eq!(said.said().text, "well");
    assert_eq!(answer.field("x-tollgate-attempts"), Some("2"));
}

#[test]
fn the_first_to_have_content_answers_and_the_other_is_closed_at_once() {
    for dialect in DIALECTS {
        for winner in [FIRST, SECOND] {
            let mut play = known(100);
            let (client, first, second) = race(&mut play, dialect);
            // What is no content decides nothing.
            for (conn, port) in [(first, FIRST), (second, SECOND)] {
                play.world
                    .send(conn, format!("{HEAD}{}", frame(dialect_at(port))));
            }
            assert!(!play.world.is_closed(first) && !play.world.is_closed(second));
            let (won, lost) = if winner == FIRST {
                (first, second)
            } else {
                (second, first)
            };
            play.world.send(won, piece(dialect_at(winner), "we"));
            assert!(play.world.is_closed(lost) && !play.world.is_closed(won));
            let rest =
                piece(dialect_at(winner), "ll") + &super::fixtures::ending(dialect_at(winner));
            play.world.send(won, rest);
            is_answered(&play, client, dialect);
            let answer = play.answer(client);
            let target = if winner == FIRST {
                "first/one"
            } else {
                "second/two"
            };
            assert_eq!(answer.field("x-tollgate-target"), Some(target));
            let record = record(play);
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
fn when_one_of_two_fails_the_other_answers() {
    for dialect in DIALECTS {
        for failing in [FIRST, SECOND] {
            let mut play = known(100);
            let (client, first, second) = race(&mut play, dialect);
            let (failed, other, port) = match failing {
                FIRST => (first, second, SECOND),
                _ => (second, first, FIRST),
            };
            // A kept connection that breaks before its answer would be replaced.
            play.world.send(failed, HEAD);
            play.world.hang_up(failed, End::Reset);
            play.back_off();
            assert!(play.pending().is_empty(), "nobody else is asked");
            let reply = well(dialect_at(port), true);
            play.world.send(other, reply.bytes(1 << 20));
            is_answered(&play, client, dialect);
            let failed = Ending::Failed(Class::BadGateway);
            assert_eq!(endings(&record(play)), [failed, Ending::Answered]);
        }
    }
}

#[test]
fn when_both_fail_the_first_error_is_told() {
    for dialect in DIALECTS {
        let mut play = known(100);
        let (client, first, second) = race(&mut play, dialect);
        let bytes = error(500).bytes(1 << 20);
        play.world.send(first, bytes);
        play.world.send(second, error(503).bytes(1 << 20));
        play.back_off();
        // The rival's target is asked once more, as a target is that failed for the first time.
        assert_eq!(play.reply(&error(503)), SECOND);
        assert_eq!(play.answer(client).status(), 500);
        assert_eq!(record(play).attempts.len(), 3);
    }
}

#[test]
fn a_request_that_is_wrong_ends_the_race() {
    for dialect in DIALECTS {
        let mut play = known(100);
        let (client, first, second) = race(&mut play, dialect);
        play.world.send(first, error(400).bytes(1 << 20));
        assert_eq!(play.answer(client).status(), 400);
        assert!(play.world.is_closed(second));
        let failed = Ending::Failed(Class::InvalidRequest);
        assert_eq!(endings(&record(play)), [failed, Ending::CalledOff]);
    }
}

#[test]
fn a_client_that_leaves_ends_both() {
    for end in [End::Fin, End::Reset] {
        let mut play = known(100);
        let (client, first, second) = race(&mut play, Dialect::Anthropic);
        play.world.hang_up(client, end);
        assert!(play.world.is_closed(first) && play.world.is_closed(second));
        let record = record(play);
        assert_eq!(endings(&record), [Ending::CalledOff, Ending::CalledOff]);
    }
}

#[test]
fn the_deadline_ends_both() {
    let mut play = known(100);
    let client = play.ask(Dialect::Anthropic, true);
    asked_at(&mut play, FIRST);
    play.world.pass(LATE);
    asked_at(&mut play, SECOND);
    for _ in 0..400 {
        play.world.pass(Duration::from_secs(1));
    }
    let answer = play.answer(client);
    assert!(
        talk::read(Dialect::Anthropic, &answer, false)
            .error
            .is_some()
    );
    play.world.finish();
}

#[test]
fn no_more_than_a_share_is_hedged_and_by_default_nothing() {
    for (percent, hedged) in [(0, 0), (10, 10), (100, 100)] {
        let mut play = known(percent);
        let mut count = 0;
        for _ in 0..100 {
            let client = play.ask(Dialect::Anthropic, true);
            asked_at(&mut play, FIRST);
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
    let mut play = known(100);
    let client = play.ask(Dialect::Anthropic, false);
    play.world.pass(Duration::from_secs(30));
    assert_eq!(play.reply_well(false), FIRST);
    play.answer(client);
    play.world.finish();
}

#[test]
fn both_count_as_one_request_of_their_client_and_each_at_its_target() {
    let limits = "retry.hedge_percent = 100\nqueue.concurrent_per_client = 1";
    for winner in [FIRST, SECOND] {
        let mut play = known_with(limits);
        let (client, first, second) = race(&mut play, Dialect::Anthropic);
        let next = play.ask(Dialect::Anthropic, true);
        assert_eq!(play.world.usage().waiting, 1);
        let won = if winner == FIRST { first } else { second };
        let good = well(dialect_at(winner), true);
        play.world.send(won, good.bytes(1 << 20));
        is_answered(&play, client, Dialect::Anthropic);
        assert_eq!(play.reply_well(true), FIRST, "the next one goes");
        play.answer(next);
        assert_eq!(play.world.usage().waiting, 0);
        play.world.finish();
    }
}
