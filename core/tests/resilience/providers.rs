//! Repetitions and breakers as single providers have them.

use std::time::Duration;

use tollgate_core::dialect::Dialect;

use super::play::{CHAIN, FIRST, Play, SECOND, alone, error, with_first};

/// The chain, with settings for all and for the first provider.
fn chain(all: &str, first: &str) -> Play {
    Play::new(&format!("{all}{}", with_first(CHAIN, first)))
}

/// Everybody fails, each time; says who was asked, in order.
fn asked(play: &mut Play) -> Vec<u16> {
    let client = play.ask(Dialect::Anthropic, false);
    let mut asked = Vec::new();
    for _ in 0..100 {
        if !play.pending().is_empty() {
            asked.push(play.reply(&error(500)));
        }
        play.world.pass(Duration::from_millis(10));
    }
    play.answer(client);
    asked
}

#[test]
fn repetitions_are_each_providers_own() {
    let all = "retry.repeats_max = 0\n";
    let twice = [FIRST, FIRST, FIRST, SECOND];
    assert_eq!(asked(&mut chain(all, "")), [FIRST, SECOND]);
    assert_eq!(asked(&mut chain(all, "retry.repeats_max = 2\n")), twice);
    // What is not set is as for all.
    let own = "retry = { backoff = \"20ms\" }\n";
    assert_eq!(asked(&mut chain(all, own)), [FIRST, SECOND]);
    let all = "retry.repeats_max = 2\nretry.attempts_max = 3\n";
    assert_eq!(asked(&mut chain(all, own)), [FIRST, FIRST, FIRST]);
}

#[test]
fn the_longest_wait_that_is_asked_for_is_each_providers_own() {
    let busy = error(503).field("retry-after", "2");
    for (first, expected) in [("", FIRST), ("retry.wait_max = \"1s\"\n", SECOND)] {
        let mut play = chain("", first);
        play.ask(Dialect::Anthropic, false);
        play.reply(&busy);
        play.world.pass(Duration::from_millis(2_100));
        assert_eq!(play.asked().1, expected, "{first}");
    }
}

#[test]
fn a_breaker_is_each_providers_own() {
    let all = "retry.repeats_max = 0\nbreaker.recovery = \"1m\"\n";
    for (first, opens_after, recovers_after) in [
        ("", 3, 60),
        ("breaker = { failures_in_row = 1 }\n", 1, 60),
        (
            "breaker = { failures_in_row = 2, recovery = \"2s\" }\n",
            2,
            2,
        ),
    ] {
        // The second target fails too, and its breaker is like that of all.
        let mut play = chain(all, first);
        for _ in 0..opens_after {
            assert_eq!(asked(&mut play).first(), Some(&FIRST), "{first}");
        }
        assert_ne!(asked(&mut play).first(), Some(&FIRST), "{first}");
        play.world
            .pass(Duration::from_secs(recovers_after) * 11 / 10);
        assert_eq!(asked(&mut play).first(), Some(&FIRST), "{first}");
    }
}

#[test]
fn the_record_tells_how_long_each_attempt_was_waited_for() {
    let mut play = Play::new(&alone());
    play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&error(500)), FIRST);
    play.back_off();
    let limit = error(429).field("retry-after", "2");
    assert_eq!(play.reply(&limit), FIRST);
    play.world.pass(Duration::from_secs(3));
    assert_eq!(play.reply_well(false), FIRST);
    let record = play.record();
    let waits: Vec<_> = record.attempts.iter().map(|it| it.waited).collect();
    let [first, repeated, limited] = waits[..] else {
        panic!("{waits:?}")
    };
    assert_eq!(first, Duration::ZERO);
    assert!(!repeated.is_zero() && repeated <= Duration::from_millis(50));
    assert_eq!(limited, Duration::from_secs(2));
    assert_eq!(record.waited, limited);
}

#[test]
fn nvidias_limits_are_known() {
    let config = r#"
        retry.wait_max = "1s"
        [models]
        asked = "nvidia/one"
        [providers.nvidia]
        base_url = "http://127.0.0.1:9002/v1"
        key = "key-1"
    "#;
    let mut play = Play::new(config);
    let at_once: Vec<_> = (0..9)
        .map(|_| play.ask(Dialect::OpenAiChat, false))
        .collect();
    assert_eq!(play.pending().len(), 8);
    play.reply_well_to_all(false);
    play.reply_well(false);
    for client in at_once {
        assert_eq!(play.answer(client).status(), 200);
    }
    for _ in 9..40 {
        play.ask(Dialect::OpenAiChat, false);
        play.reply_well(false);
    }
    let client = play.ask(Dialect::OpenAiChat, false);
    assert!(play.pending().is_empty(), "forty within a minute");
    assert_eq!(play.answer(client).status(), 429);
    let wait = play.answer(client).field("retry-after").map(str::to_owned);
    let wait: u64 = wait.unwrap().parse().unwrap();
    // Minutes are counted in parts, and a part is over as a whole.
    assert!((60..=66).contains(&wait), "{wait}");
    play.world.pass(Duration::from_secs(wait));
    play.ask(Dialect::OpenAiChat, false);
    play.reply_well(false);
    play.world.finish();
}
