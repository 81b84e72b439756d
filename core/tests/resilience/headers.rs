//! Limits that answers tell in fields: keys rest before they meet them, and as long as is told.

use std::time::Duration;

use tollgate_core::dialect::Dialect;

use super::play::{CHAIN, FIRST, Play, SECOND, TWO_KEYS, error, well};
use super::support::talk::Reply;

/// Only one key.
fn one_key() -> String {
    TWO_KEYS.replace(", \"key-2\"", "")
}

/// As OpenAI writes it.
fn requests_left(reply: Reply, left: &str, of: &str, reset: &str) -> Reply {
    let reply = reply.field("x-ratelimit-limit-requests", of);
    let reply = reply.field("x-ratelimit-remaining-requests", left);
    reply.field("x-ratelimit-reset-requests", reset)
}

#[test]
fn a_key_with_nothing_left_rests_before_it_meets_its_limit() {
    for is_stream in [false, true] {
        let mut play = Play::new(TWO_KEYS);
        let good = || well(Dialect::OpenAiChat, is_stream);
        let client = play.ask(Dialect::OpenAiChat, is_stream);
        let own = play.reply_to_key(&requests_left(good(), "1", "3", "40s"));
        assert_eq!(play.answer(client).status(), 200);
        let client = play.ask(Dialect::OpenAiChat, is_stream);
        let last = requests_left(good(), "0", "3", "60s");
        assert_eq!(play.reply_to_key(&last), own, "one is left");
        assert_eq!(play.answer(client).status(), 200);
        // Full after 60 s, so that there is one more after 20 s.
        play.world.pass(Duration::from_millis(19_990));
        let client = play.ask(Dialect::OpenAiChat, is_stream);
        let other = play.reply_to_key(&good());
        assert_ne!(other, own);
        assert_eq!(play.answer(client).status(), 200);
        play.world.pass(Duration::from_millis(20));
        play.ask(Dialect::OpenAiChat, is_stream);
        assert_eq!(play.reply_to_key(&good()), own);
        let records = play.world.finish();
        assert!(records.iter().all(|it| it.attempts.len() == 1));
    }
}

#[test]
fn requests_wait_for_the_only_key_or_are_told_when_it_is_free() {
    let good = || well(Dialect::OpenAiChat, false);
    let mut play = Play::new(&one_key());
    play.ask(Dialect::OpenAiChat, false);
    play.reply_to_key(&requests_left(good(), "0", "20", "60s"));
    let client = play.ask(Dialect::OpenAiChat, false);
    assert!(play.pending().is_empty());
    play.world.pass(Duration::from_millis(2_999));
    assert!(play.pending().is_empty());
    play.world.pass(Duration::from_millis(2));
    play.reply_to_key(&good());
    assert_eq!(play.answer(client).status(), 200);
    // Together's spelling: the window ends in so many seconds.
    play.ask(Dialect::OpenAiChat, false);
    let reply = good().field("x-ratelimit-remaining", "0");
    let reply = reply.field("x-ratelimit-limit", "2");
    play.reply_to_key(&reply.field("x-ratelimit-reset", "45"));
    let client = play.ask(Dialect::OpenAiChat, false);
    assert!(play.pending().is_empty());
    let answer = play.answer(client);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.field("retry-after"), Some("45"));
}

#[test]
fn a_429_that_does_not_say_when_holds_until_the_reset_of_what_is_exhausted() {
    for asks in [Dialect::OpenAiChat, Dialect::Anthropic] {
        let mut play = Play::new(&one_key());
        let client = play.ask(asks, false);
        let reply = requests_left(error(429), "12", "500", "8ms");
        let reply = reply.field("x-ratelimit-remaining-tokens", "0");
        play.reply_to_key(&reply.field("x-ratelimit-reset-tokens", "32.5s"));
        let answer = play.answer(client);
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.field("retry-after"), Some("33"));
        play.world.pass(Duration::from_secs(20));
        let client = play.ask(asks, false);
        assert!(play.pending().is_empty());
        assert_eq!(play.answer(client).field("retry-after"), Some("13"));
        // Near the end it is waited for.
        play.world.pass(Duration::from_secs(10));
        let client = play.ask(asks, false);
        play.world.pass(Duration::from_millis(2_490));
        assert!(play.pending().is_empty());
        play.world.pass(Duration::from_millis(20));
        play.reply_to_key(&well(Dialect::OpenAiChat, false));
        assert_eq!(play.answer(client).status(), 200);
    }
}

#[test]
fn what_is_asked_for_counts_more_than_resets() {
    let mut play = Play::new(&one_key());
    let client = play.ask(Dialect::OpenAiChat, false);
    let reply = requests_left(error(429), "0", "500", "60s");
    play.reply_to_key(&reply.field("retry-after", "2"));
    assert!(play.pending().is_empty());
    play.world.pass(Duration::from_millis(2_010));
    play.reply_to_key(&well(Dialect::OpenAiChat, false));
    assert_eq!(play.answer(client).status(), 200);
}

#[test]
fn a_reset_never_shortens_a_cool_down() {
    let mut play = Play::new(TWO_KEYS);
    let both: Vec<_> = (0..2)
        .map(|_| play.ask(Dialect::OpenAiChat, false))
        .collect();
    let pending = play.pending();
    let [(one, ..), (other, ..)] = &pending[..] else {
        panic!("{pending:?}");
    };
    play.reply_on(*one, &error(429).field("retry-after", "30"));
    let late = requests_left(well(Dialect::OpenAiChat, false), "0", "60", "60s");
    play.reply_on(*other, &late);
    // The first goes on with the other key.
    let spare = play.reply_to_key(&well(Dialect::OpenAiChat, false));
    for client in both {
        assert_eq!(play.answer(client).status(), 200);
    }
    play.world.pass(Duration::from_secs(29));
    play.ask(Dialect::OpenAiChat, false);
    assert_eq!(play.reply_to_key(&well(Dialect::OpenAiChat, false)), spare);
}

#[test]
fn dates_of_resets_are_read_by_the_wall_clock() {
    // The wall clock of these tests begins at 2026-11-22T12:00:00Z.
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::Anthropic, false);
    let reply = error(429)
        .field("anthropic-ratelimit-input-tokens-limit", "80000")
        .field("anthropic-ratelimit-input-tokens-remaining", "0")
        .field(
            "anthropic-ratelimit-input-tokens-reset",
            "2026-11-22T12:00:30Z",
        );
    assert_eq!(play.reply(&reply), FIRST);
    assert_eq!(play.reply_well(false), SECOND);
    assert_eq!(play.answer(client).status(), 200);
    for (seconds, port) in [(29, SECOND), (2, FIRST)] {
        play.world.pass(Duration::from_secs(seconds));
        play.ask(Dialect::Anthropic, false);
        assert_eq!(play.reply_well(false), port);
    }
}

#[test]
fn nonsense_is_no_limit() {
    let mut play = Play::new(&one_key());
    for (limit, remaining, reset) in [
        ("0", "0", "60s"),
        ("-1", "-1", "60s"),
        ("100", "0", "soon"),
        ("100", "0", "0s"),
        ("100", "zero", "60s"),
        ("100", "0", "-60"),
        ("100", "0", "2001-01-01T00:00:00Z"),
    ] {
        let client = play.ask(Dialect::OpenAiChat, false);
        let good = well(Dialect::OpenAiChat, false);
        play.reply_to_key(&requests_left(good, remaining, limit, reset));
        assert_eq!(play.answer(client).status(), 200, "{limit} {reset}");
    }
}
