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
        matches!(letters[..], [Message::Breaker { until: Some(_), .. }]),
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
        matches!(letters[..], [Message::Breaker { until: None, .. }]),
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
    other.world.pass(Duration::from_secs(1));
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
    other.world.pass(Duration::from_secs(1));
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
