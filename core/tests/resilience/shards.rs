//! What shards tell each other of keys and targets.

use std::time::Duration;

use tollgate_core::dialect::Dialect;
use tollgate_core::gateway::io::Message;

use super::play::{CHAIN, FIRST, HEAD, Play, SECOND, alone, error, with_first};
use super::support::world::End;

/// The first of two shards.
pub(super) fn of_two(config: &str) -> Play {
    Play::nth_of(0, 2, config)
}

/// What a shard has to tell of keys and targets.
fn news(play: &mut Play) -> Vec<Message> {
    let letters = std::mem::take(&mut play.world.letters);
    let is_news = |it: &Message| !matches!(it, Message::Load { .. });
    letters.into_iter().filter(is_news).collect()
}

/// One shard's news reach another.
pub(super) fn tell(from: &mut Play, to: &mut Play) {
    news(from).into_iter().for_each(|it| to.world.hear(it));
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
        let seconds = if status == 429 { 30 } else { 10 };
        other.world.pass(Duration::from_secs(seconds - 1));
        other.ask(Dialect::Anthropic, false);
        assert_eq!(other.reply_well(false), SECOND);
        other.world.pass(Duration::from_secs(2));
        other.ask(Dialect::Anthropic, false);
        assert_eq!(other.reply_well(false), FIRST);
    }
}

#[test]
fn a_breaker_that_opens_at_one_shard_opens_at_all_and_closes_with_the_first_success() {
    let (mut one, mut other) = (of_two(CHAIN), of_two(CHAIN));
    one.first_fails(2);
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
fn three_failures_open_the_breaker_whoever_saw_them() {
    let config = format!("retry.repeats_max = 0\n{CHAIN}");
    let (mut one, mut other) = (of_two(&config), of_two(&config));
    one.first_fails(2);
    tell(&mut one, &mut other);
    // What is well again for one is for all.
    other.ask(Dialect::Anthropic, false);
    assert_eq!(other.reply_well(false), FIRST);
    tell(&mut other, &mut one);
    one.first_fails(2);
    tell(&mut one, &mut other);
    other.first_fails(1);
    tell(&mut other, &mut one);
    for play in [&mut one, &mut other] {
        play.ask(Dialect::Anthropic, false);
        assert_eq!(play.reply_well(false), SECOND);
    }
}

#[test]
fn a_probe_that_fails_doubles_the_time_for_all() {
    let config = format!("retry.repeats_max = 0\n{CHAIN}");
    let (mut one, mut other) = (of_two(&config), of_two(&config));
    one.first_fails(3);
    tell(&mut one, &mut other);
    one.world.pass(Duration::from_millis(5_600));
    one.first_fails(1);
    tell(&mut one, &mut other);
    // Ten seconds, from half past five on; the turn of the second shard is later still.
    other.world.pass(Duration::from_millis(15_500));
    other.ask(Dialect::Anthropic, false);
    assert_eq!(other.reply_well(false), SECOND);
    // It fails as well, and then it is twenty.
    other.world.pass(Duration::from_secs(4));
    other.first_fails(1);
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
fn what_begins_an_answer_may_be_asked_by_all_until_anybody_sees_it_fail() {
    let (mut one, mut other) = (of_two(CHAIN), of_two(CHAIN));
    one.first_fails(2);
    tell(&mut one, &mut other);
    one.world.pass(Duration::from_millis(5_600));
    one.ask(Dialect::Anthropic, true);
    let (probe, _) = one.begins(FIRST, &["some"]);
    tell(&mut one, &mut other);
    other.ask(Dialect::Anthropic, true);
    other.begins_and_breaks(FIRST, &["some"]);
    tell(&mut other, &mut one);
    for play in [&mut one, &mut other] {
        play.ask(Dialect::Anthropic, true);
        assert_eq!(play.reply_well(true), SECOND);
    }
    one.world.hang_up(probe, End::Reset);
}

#[test]
fn one_shard_finds_out_for_all_whether_a_key_works_again() {
    let alone = alone();
    let (mut one, mut other) = (of_two(&alone), of_two(&alone));
    let client = one.ask(Dialect::Anthropic, false);
    assert_eq!(one.reply(&error(429).field("retry-after", "5")), FIRST);
    tell(&mut one, &mut other);
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
    tell(&mut one, &mut other);
    other.ask(Dialect::Anthropic, false);
    other.world.pass(Duration::from_secs(7));
    assert_eq!(other.reply_well(false), FIRST);
}

#[test]
fn news_of_a_limit_while_a_probe_is_on_its_way_holds_up_nobody_for_long() {
    let alone = alone();
    let (mut one, mut other) = (of_two(&alone), of_two(&alone));
    let limited = error(429).field("retry-after", "1");
    other.ask(Dialect::Anthropic, true);
    other.reply(&limited);
    other.world.pass(Duration::from_secs(1));
    let (probe, ..) = other.asked();
    one.world.pass(Duration::from_secs(1));
    one.ask(Dialect::Anthropic, true);
    one.reply(&limited);
    tell(&mut one, &mut other);
    // A long answer begins.
    other.world.send(probe, HEAD);
    other.ask(Dialect::Anthropic, true);
    assert!(other.pending().is_empty(), "it cools again");
    // And the shard that met the limit finds out first.
    other.world.pass(Duration::from_secs(2));
    assert_eq!(other.pending().len(), 1);
}

#[test]
fn requests_that_were_not_sent_do_not_count_for_their_key() {
    let limited = with_first(&alone(), "key_limits.requests_per_minute = 8");
    let named = limited.replace("127.0.0.1:9001", "first.test:9001");
    let (mut one, mut other) = (of_two(&named), of_two(&named));
    other.world.resolves = false;
    let clients: Vec<_> = (0..4)
        .map(|_| other.ask(Dialect::Anthropic, false))
        .collect();
    one.ask(Dialect::Anthropic, false);
    one.reply(&error(429).field("retry-after", "1"));
    tell(&mut one, &mut other);
    other.world.resolve(FIRST);
    assert!(other.pending().is_empty(), "the key cools");
    other.world.pass(Duration::from_secs(2));
    while !other.pending().is_empty() {
        other.reply_well_to_all(false);
    }
    for client in clients {
        assert_eq!(other.answer(client).status(), 200);
    }
}

#[test]
fn a_key_that_two_providers_have_is_left_alone_at_the_one_where_it_failed() {
    // Servers of one's own take any key: that one does not like it says nothing of another.
    let config = CHAIN.replace("key-2", "key-1");
    for status in [429, 401] {
        let (mut one, mut other) = (of_two(&config), of_two(&config));
        one.ask(Dialect::Anthropic, false);
        assert_eq!(one.reply(&error(status).field("retry-after", "30")), FIRST);
        assert_eq!(one.reply_well(false), SECOND);
        tell(&mut one, &mut other);
        for play in [&mut one, &mut other] {
            play.ask(Dialect::Anthropic, false);
            assert_eq!(play.reply_well(false), SECOND);
        }
    }
}
