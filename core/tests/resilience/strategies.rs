//! Steps that place new sessions by how busy or how fast their targets are; known ones stay.

use std::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;

use super::fixtures::request_with;
use super::play::{FIRST, Play, SECOND, chain_of, dialect_at, error, well};
use super::support::world::Conn;

/// The targets of [`CHAIN`] in one step.
fn step(balance: &str) -> String {
    let targets = "[\"first/one\", \"second/two\"]";
    chain_of(&format!(
        "[{{ targets = {targets}, balance = {balance:?} }}]"
    ))
}

/// A stream is asked for in this session.
fn ask(play: &mut Play, session: &str) -> Conn {
    let body = request_with(Dialect::OpenAiChat, true, &json!({"user": session}));
    play.ask_body(Dialect::OpenAiChat, &body, &[])
}

/// The requests that wait for an answer of the upstream at `port`.
fn busy(play: &Play, port: u16) -> usize {
    let pending = play.pending();
    pending.iter().filter(|(_, at, _)| *at == port).count()
}

/// One request alone is asked and answered after as long as its upstream takes; says which it was.
fn alone(play: &mut Play, session: &str, takes: impl Fn(u16) -> u64) -> u16 {
    let client = ask(play, session);
    let (conn, port, _) = play.asked();
    play.world.pass(Duration::from_millis(takes(port)));
    play.send(conn, &well(dialect_at(port), true));
    assert_eq!(play.answer(client).status(), 200);
    port
}

#[test]
fn new_sessions_go_to_the_target_with_the_fewest_in_flight() {
    let mut play = Play::new(&step("least-in-flight"));
    for number in 1..=12 {
        ask(&mut play, &format!("session {number}"));
        let (first, second) = (busy(&play, FIRST), busy(&play, SECOND));
        assert_eq!(first + second, number);
        assert!(first.abs_diff(second) <= 1, "{first} {second}");
    }
    play.reply_well_to_all(true);
    assert_eq!(play.world.finish().len(), 12);
}

#[test]
fn a_weight_is_a_share_of_those_in_flight() {
    let weighted = "{ target = \"second/two\", weight = 3 }";
    let config = step("least-in-flight").replace("\"second/two\"", weighted);
    let mut play = Play::new(&config);
    for number in 0..12 {
        ask(&mut play, &format!("session {number}"));
    }
    assert_eq!((busy(&play, FIRST), busy(&play, SECOND)), (3, 9));
    play.reply_well_to_all(true);
}

#[test]
fn a_session_stays_where_it_is_however_busy_that_is() {
    for balance in ["least-in-flight", "latency"] {
        let mut play = Play::new(&step(balance));
        let own = alone(&mut play, "mine", |_| 10);
        let before: Vec<_> = (0..5).map(|_| ask(&mut play, "mine")).collect();
        assert_eq!(busy(&play, own), 5, "{balance}");
        // Others go elsewhere.
        ask(&mut play, "another");
        assert_eq!(busy(&play, own), 5, "{balance}");
        play.reply_well_to_all(true);
        for client in before {
            assert_eq!(play.answer(client).status(), 200);
        }
        // A new config with the same targets moves nobody.
        let again = step(balance).replace("[providers.first]", "[limits]\n[providers.first]");
        play.reload(&again);
        assert_eq!(alone(&mut play, "mine", |_| 10), own);
        // It is forgotten in time.
        play.world.pass(Duration::from_secs(3_601));
        ask(&mut play, "mine");
        play.reply_well_to_all(true);
    }
}

#[test]
fn a_session_moves_when_its_target_cannot_answer_and_stays_there() {
    let mut play = Play::new(&step("least-in-flight"));
    let own = alone(&mut play, "mine", |_| 10);
    let client = ask(&mut play, "mine");
    for _ in 0..2 {
        let (conn, port, _) = play.asked();
        assert_eq!(port, own);
        play.send(conn, &error(500));
        play.back_off();
    }
    let other = play.reply_well(true);
    assert_ne!(other, own);
    assert_eq!(play.answer(client).status(), 200);
    for _ in 0..3 {
        assert_eq!(alone(&mut play, "mine", |_| 10), other);
    }
}

#[test]
fn new_sessions_go_to_the_faster_target_until_the_slow_one_may_be_well_again() {
    let mut play = Play::new(&step("latency"));
    let takes = |port| if port == FIRST { 3_000 } else { 100 };
    // At first nothing is known: both are tried.
    let mut number = 0;
    let mut new = |play: &mut Play| {
        number += 1;
        alone(play, &format!("session {number}"), takes)
    };
    let tried: Vec<u16> = (0..2).map(|_| new(&mut play)).collect();
    assert!(tried.contains(&FIRST) && tried.contains(&SECOND));
    for _ in 0..100 {
        assert_eq!(new(&mut play), SECOND);
    }
    // What it took fades; some later session finds out how it is now.
    let mut found_out = 0;
    for _ in 0..600 {
        found_out += usize::from(new(&mut play) == FIRST);
    }
    assert!((1..=3).contains(&found_out), "{found_out}");
}

#[test]
fn how_long_a_target_was_silent_after_its_first_content_is_not_how_long_that_takes() {
    let settings = "retry.hold_events = 3\ntimers.idle = \"20s\"";
    let mut play = Play::new(&format!("{settings}\n{}", step("latency")));
    let takes = |port| if port == FIRST { 10 } else { 1_000 };
    let mut number = 0;
    let mut session = || {
        number += 1;
        format!("session {number}")
    };
    let tried: Vec<u16> = (0..4)
        .map(|_| alone(&mut play, &session(), takes))
        .collect();
    assert!(tried.contains(&FIRST) && tried.contains(&SECOND));
    let client = ask(&mut play, &session());
    play.begins(FIRST, &["some"]);
    play.world.pass(Duration::from_secs(20));
    assert_eq!(play.reply_well(true), SECOND);
    assert_eq!(play.answer(client).status(), 200);
    for _ in 0..4 {
        assert_eq!(alone(&mut play, &session(), takes), FIRST);
    }
}
