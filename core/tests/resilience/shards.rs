//! What shards tell each other of keys and targets.

use std::time::Duration;

use tollgate_core::dialect::Dialect;
use tollgate_core::gateway::io::Message;

use super::play::{CHAIN, FIRST, Play, SECOND, error, snapshot, well};
use super::support::world::World;

/// The first of two shards.
fn of_two(config: &str) -> Play {
    let mut play = Play::new(config);
    play.world = World::one_of(2, snapshot(config));
    play
}

fn news(play: &mut Play) -> Vec<Message> {
    let letters = std::mem::take(&mut play.world.letters);
    let is_news = |it: &Message| !matches!(it, Message::Load { .. });
    letters.into_iter().filter(is_news).collect()
}

#[test]
fn a_key_that_cools_at_one_shard_is_left_alone_by_all() {
    for status in [429, 401] {
        let (mut one, mut other) = (of_two(CHAIN), of_two(CHAIN));
        let client = one.ask(Dialect::Anthropic, false);
        assert_eq!(one.reply(&error(status).field("retry-after", "30")), FIRST);
        one.reply_well(false);
        assert_eq!(one.answer(client).status(), 200);
        let letters = news(&mut one);
        assert!(matches!(letters[..], [Message::Key { .. }]), "{letters:?}");
        letters.into_iter().for_each(|it| other.world.hear(it));
        other.ask(Dialect::Anthropic, false);
        assert_eq!(other.reply_well(false), SECOND);
        other.world.pass(Duration::from_secs(29));
        other.ask(Dialect::Anthropic, false);
        assert_eq!(other.reply_well(false), SECOND);
        other
            .world
            .pass(Duration::from_secs(if status == 429 { 2 } else { 600 }));
        other.ask(Dialect::Anthropic, false);
        assert_eq!(other.reply_well(false), FIRST);
    }
}

#[test]
fn a_breaker_that_opens_at_one_shard_opens_at_all_and_closes_with_the_first_success() {
    let (mut one, mut other) = (of_two(CHAIN), of_two(CHAIN));
    for _ in 0..2 {
        one.ask(Dialect::Anthropic, false);
        while one.pending().first().is_some_and(|it| it.1 == FIRST) {
            one.reply(&error(500));
            one.back_off();
        }
        one.reply_well(false);
    }
    let letters = news(&mut one);
    assert!(
        matches!(
            letters[..],
            [
                Message::Failures { in_row: 1, .. },
                Message::Failures { in_row: 2, .. },
                Message::Breaker { open: Some(_), .. }
            ]
        ),
        "{letters:?}"
    );
    letters.into_iter().for_each(|it| other.world.hear(it));
    other.ask(Dialect::Anthropic, false);
    assert_eq!(other.reply_well(false), SECOND);
    // The shard that saw it fail probes first; the other waits for its turn.
    one.world.pass(Duration::from_millis(5_600));
    other.world.pass(Duration::from_millis(5_800));
    other.ask(Dialect::Anthropic, false);
    assert_eq!(other.reply_well(false), SECOND);
    one.ask(Dialect::Anthropic, false);
    assert_eq!(one.reply_well(false), FIRST);
    let letters = news(&mut one);
    assert!(
        matches!(letters[..], [Message::Breaker { open: None, .. }]),
        "{letters:?}"
    );
    letters.into_iter().for_each(|it| other.world.hear(it));
    other.ask(Dialect::Anthropic, false);
    assert_eq!(other.reply_well(false), FIRST);
}

#[test]
fn each_shard_keeps_to_its_share_of_a_key() {
    let limited = CHAIN.replace("\"key-1\"", "\"key-1\"\nkey_limits.requests_per_minute = 4");
    let mut play = of_two(&limited);
    let good = well(Dialect::Anthropic, false);
    for _ in 0..2 {
        play.ask(Dialect::Anthropic, false);
        assert_eq!(play.reply(&good), FIRST);
    }
    play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply_well(false), SECOND);
}

#[test]
fn news_of_a_limit_while_a_probe_is_on_its_way_holds_up_nobody_for_long() {
    let alone = CHAIN.replace(", \"second/two\"", "");
    let (mut one, mut other) = (of_two(&alone), of_two(&alone));
    let limited = error(429).field("retry-after", "1");
    other.ask(Dialect::Anthropic, true);
    other.reply(&limited);
    other.world.pass(Duration::from_secs(1));
    let (probe, ..) = other.asked();
    one.world.pass(Duration::from_secs(1));
    one.ask(Dialect::Anthropic, true);
    one.reply(&limited);
    news(&mut one)
        .into_iter()
        .for_each(|it| other.world.hear(it));
    // A long answer begins.
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    other.world.send(probe, head);
    other.ask(Dialect::Anthropic, true);
    assert!(other.pending().is_empty(), "it cools again");
    other.world.pass(Duration::from_secs(2));
    assert_eq!(other.pending().len(), 1);
}

#[test]
fn requests_that_were_not_sent_do_not_count_for_their_key() {
    let limits = "\"key-1\"\nkey_limits.requests_per_minute = 8";
    let alone = CHAIN.replace(", \"second/two\"", "");
    let alone = alone.replace("127.0.0.1:9001", "first.test:9001");
    let alone = alone.replace("\"key-1\"", limits);
    let (mut one, mut other) = (of_two(&alone), of_two(&alone));
    other.world.resolves = false;
    let clients: Vec<_> = (0..4)
        .map(|_| other.ask(Dialect::Anthropic, false))
        .collect();
    one.ask(Dialect::Anthropic, false);
    one.reply(&error(429).field("retry-after", "1"));
    for letter in news(&mut one) {
        other.world.hear(letter);
    }
    other.world.resolve(FIRST);
    assert!(other.pending().is_empty(), "the key cools");
    other.world.pass(Duration::from_secs(2));
    while !other.pending().is_empty() {
        let (conn, ..) = other.pending().remove(0);
        other.count(conn);
        let good = well(Dialect::Anthropic, false);
        other.world.send(conn, good.bytes(1 << 20));
    }
    for client in clients {
        assert_eq!(other.answer(client).status(), 200);
    }
}

/// The first target fails so often, and the second one answers.
fn fails(play: &mut Play, times: usize) {
    for _ in 0..times {
        play.ask(Dialect::Anthropic, false);
        while play.pending().first().is_some_and(|it| it.1 == FIRST) {
            play.reply(&error(500));
        }
        assert_eq!(play.reply_well(false), SECOND);
    }
}

#[test]
fn three_failures_open_the_breaker_whoever_saw_them() {
    let config = format!("retry.repeats_max = 0\n{CHAIN}");
    let (mut one, mut other) = (of_two(&config), of_two(&config));
    fails(&mut one, 2);
    news(&mut one)
        .into_iter()
        .for_each(|it| other.world.hear(it));
    // What is well again for one is for all.
    other.ask(Dialect::Anthropic, false);
    assert_eq!(other.reply_well(false), FIRST);
    news(&mut other)
        .into_iter()
        .for_each(|it| one.world.hear(it));
    fails(&mut one, 2);
    news(&mut one)
        .into_iter()
        .for_each(|it| other.world.hear(it));
    fails(&mut other, 1);
    news(&mut other)
        .into_iter()
        .for_each(|it| one.world.hear(it));
    for play in [&mut one, &mut other] {
        play.ask(Dialect::Anthropic, false);
        assert_eq!(play.reply_well(false), SECOND);
    }
}

#[test]
fn a_probe_that_fails_doubles_the_time_for_all() {
    let config = format!("retry.repeats_max = 0\n{CHAIN}");
    let (mut one, mut other) = (of_two(&config), of_two(&config));
    fails(&mut one, 3);
    news(&mut one)
        .into_iter()
        .for_each(|it| other.world.hear(it));
    one.world.pass(Duration::from_millis(5_600));
    fails(&mut one, 1);
    news(&mut one)
        .into_iter()
        .for_each(|it| other.world.hear(it));
    // Ten seconds, from half past five on; the turn of the second shard is later still.
    other.world.pass(Duration::from_millis(15_500));
    other.ask(Dialect::Anthropic, false);
    assert_eq!(other.reply_well(false), SECOND);
    // It fails as well, and then it is twenty.
    other.world.pass(Duration::from_secs(4));
    fails(&mut other, 1);
    let letters = news(&mut other);
    let [
        Message::Breaker {
            open: Some((_, time)),
            ..
        },
    ] = letters[..]
    else {
        panic!("{letters:?}");
    };
    assert_eq!(time, Duration::from_secs(20));
}

#[test]
fn one_shard_finds_out_for_all_whether_a_key_works_again() {
    let alone = CHAIN.replace(", \"second/two\"", "");
    let (mut one, mut other) = (of_two(&alone), of_two(&alone));
    let client = one.ask(Dialect::Anthropic, false);
    assert_eq!(one.reply(&error(429).field("retry-after", "5")), FIRST);
    news(&mut one)
        .into_iter()
        .for_each(|it| other.world.hear(it));
    other.ask(Dialect::Anthropic, false);
    for play in [&mut one, &mut other] {
        play.world.pass(Duration::from_millis(5_001));
    }
    // One asks, the other waits for what comes of it.
    assert!(other.pending().is_empty());
    one.reply_well(false);
    assert_eq!(one.answer(client).status(), 200);
    let letters = news(&mut one);
    assert!(
        matches!(letters[..], [Message::KeyWorks { .. }]),
        "{letters:?}"
    );
    letters.into_iter().for_each(|it| other.world.hear(it));
    assert_eq!(other.reply_well(false), FIRST);
    // If nobody finds out, it does so itself before long.
    let (mut one, mut other) = (of_two(&alone), of_two(&alone));
    one.ask(Dialect::Anthropic, false);
    one.reply(&error(429).field("retry-after", "5"));
    news(&mut one)
        .into_iter()
        .for_each(|it| other.world.hear(it));
    other.ask(Dialect::Anthropic, false);
    other.world.pass(Duration::from_secs(7));
    assert_eq!(other.reply_well(false), FIRST);
}
