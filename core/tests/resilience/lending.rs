//! Limits that hold over all shards together: what one has not, another lends it.

use std::time::Duration;

use tollgate_core::dialect::Dialect;
use tollgate_core::gateway::io::Message;

use super::fixtures::request;
use super::play::{
    CHAIN, FIRST, Play, SECOND, alone, chain_of, dialect_at, error, well, with_first,
};
use super::support::world::{Conn, End};

/// Two shards of one gateway.
struct Pair([Play; 2]);

impl Pair {
    fn new(config: &str) -> Pair {
        Pair([0, 1].map(|own| Play::nth_of(own, 2, config)))
    }

    /// Takes letters from one to the other until nothing more is said.
    fn post(&mut self) {
        for _ in 0..1_000 {
            let letters = self
                .0
                .each_mut()
                .map(|it| std::mem::take(&mut it.world.letters));
            if letters.iter().all(Vec::is_empty) {
                return;
            }
            let [one, other] = letters;
            other.into_iter().for_each(|it| self.0[0].world.hear(it));
            one.into_iter().for_each(|it| self.0[1].world.hear(it));
        }
        panic!("they talk for ever");
    }

    fn ask(&mut self, shard: usize) -> Conn {
        let client = self.0[shard].ask(Dialect::Anthropic, false);
        self.post();
        client
    }

    fn asked(&self) -> [usize; 2] {
        self.0.each_ref().map(|it| it.pending().len())
    }

    /// Which of the two upstreams is asked.
    fn port(&self, shard: usize) -> u16 {
        self.0[shard].pending()[0].1
    }

    /// The request that waits longest there is answered.
    fn reply(&mut self, shard: usize) {
        let (conn, port, _) = self.0[shard].pending().remove(0);
        self.0[shard].reply_on(conn, &well(dialect_at(port), false));
        self.post();
    }

    fn pass(&mut self, time: Duration) {
        for play in &mut self.0 {
            play.world.pass(time);
        }
        self.post();
    }
}

#[test]
fn one_place_is_one_place_whoever_asks() {
    for config in [
        with_first(&alone(), "key_limits = { concurrent = 1 }"),
        with_first(&alone(), "concurrent = 1"),
        alone().replace(
            "[\"first/one\"]",
            "[{ target = \"first/one\", concurrent = 1 }]",
        ),
    ] {
        let mut pair = Pair::new(&config);
        let clients = [0, 1, 0, 1, 1].map(|shard| (shard, pair.ask(shard)));
        let mut order = Vec::new();
        for _ in clients {
            let asked = pair.asked();
            assert_eq!(asked.iter().sum::<usize>(), 1, "{asked:?} {config}");
            let shard = usize::from(asked[1] == 1);
            order.push(shard);
            pair.reply(shard);
        }
        // Those of one shard do not keep those of the other waiting.
        assert_eq!(order[..4], [0, 1, 0, 1], "{config}");
        for (shard, client) in clients {
            assert_eq!(pair.0[shard].answer(client).status(), 200);
        }
        assert_eq!(pair.asked(), [0, 0]);
    }
}

#[test]
fn all_of_a_minutes_requests_may_come_by_one_shard() {
    let mut pair = Pair::new(&with_first(
        CHAIN,
        "key_limits = { requests_per_minute = 5 }",
    ));
    for shard in [0, 0, 0, 0, 0] {
        pair.ask(shard);
        assert_eq!(pair.port(shard), FIRST);
        pair.reply(shard);
    }
    // Then there are none, at neither.
    for shard in [0, 1] {
        pair.ask(shard);
        assert_eq!(pair.port(shard), SECOND);
        pair.reply(shard);
    }
    pair.pass(Duration::from_secs(66));
    for (turn, shard) in [1, 0, 1, 1, 1].into_iter().enumerate() {
        pair.ask(shard);
        assert_eq!(pair.port(shard), FIRST, "{turn}");
        pair.reply(shard);
    }
    pair.ask(0);
    assert_eq!(pair.port(0), SECOND);
}

#[test]
fn who_cannot_be_served_by_any_shard_is_told_at_once_and_how_long() {
    for limit in ["requests_per_minute = 1", "tokens_per_minute = 40"] {
        let limit = format!("key_limits = {{ {limit} }}");
        let mut pair = Pair::new(&with_first(&alone(), &limit));
        let client = pair.ask(0);
        pair.reply(0);
        assert_eq!(pair.0[0].answer(client).status(), 200, "{limit}");
        pair.pass(Duration::from_secs(10));
        for shard in [0, 1] {
            let client = pair.ask(shard);
            let told = pair.0[shard].answer(client);
            assert_eq!(told.status(), 429);
            let wait: u64 = told.field("retry-after").unwrap().parse().unwrap();
            assert!((50..=55).contains(&wait), "{wait}");
        }
    }
}

#[test]
fn a_shard_that_does_not_answer_is_not_waited_for() {
    let mut pair = Pair::new(&with_first(CHAIN, "key_limits = { concurrent = 1 }"));
    let has_none = |it: &mut Play| {
        let client = it.ask(Dialect::Anthropic, false);
        let has_none = it.pending().is_empty();
        it.world.hang_up(client, End::Reset);
        has_none
    };
    let play = pair.0.iter_mut().find_map(|it| has_none(it).then_some(it));
    let play = play.unwrap();
    play.world.letters.clear();
    play.world.pass(Duration::from_secs(2));
    let client = play.ask(Dialect::Anthropic, false);
    assert!(play.pending().is_empty(), "it asks the other one");
    play.world.pass(Duration::from_millis(101));
    assert_eq!(play.asked_at(SECOND), play.world.upstreams()[0]);
    play.world.hang_up(client, End::Reset);
    play.world.letters.clear();
}

#[test]
fn a_client_that_is_done_leaves_nothing_lent() {
    let config = format!("queue.concurrent_per_client = 3\n{}", alone());
    let mut pair = Pair::new(&config);
    for shard in [0, 1] {
        let clients = [(); 4].map(|()| pair.ask(shard));
        assert_eq!(pair.asked()[shard], 3, "all three are its");
        for _ in clients {
            pair.reply(shard);
        }
        for client in clients {
            assert_eq!(pair.0[shard].answer(client).status(), 200);
        }
    }
    let said = pair.0.each_mut().map(|play| {
        let client = play.ask(Dialect::Anthropic, false);
        play.reply_well(false);
        assert_eq!(play.answer(client).status(), 200);
        std::mem::take(&mut play.world.letters)
    });
    let borrowed = said.iter().flatten();
    let borrowed = borrowed.filter(|it| matches!(it, Message::Borrow { .. }));
    assert_eq!(borrowed.count(), 0, "each has its own share again");
}

#[test]
fn what_was_lent_remains_so_over_a_reload() {
    let config = with_first(&alone(), "key_limits = { concurrent = 2 }");
    let mut pair = Pair::new(&config);
    pair.ask(0);
    pair.ask(0);
    assert_eq!(pair.asked(), [2, 0]);
    pair.reply(0);
    pair.reply(0);
    for play in &mut pair.0 {
        play.reload(&config);
    }
    pair.post();
    let clients = [(); 3].map(|()| pair.ask(1));
    assert_eq!(pair.asked(), [0, 2]);
    for _ in clients {
        pair.reply(1);
    }
    for client in clients {
        assert_eq!(pair.0[1].answer(client).status(), 200);
    }
}

#[test]
fn what_is_in_use_is_counted_over_a_reload() {
    let one_place = "[{ target = \"first/one\", concurrent = 1 }]";
    for config in [
        with_first(&alone(), "key_limits = { concurrent = 1 }"),
        with_first(&alone(), "concurrent = 1"),
        alone().replace("[\"first/one\"]", one_place),
    ] {
        let mut pair = Pair::new(&config);
        let held = pair.ask(0);
        // Another provider comes first in the new config.
        let settings = "dialect = \"anthropic\"\nbase_url = \"http://127.0.0.1:9\"";
        let other = format!("{config}\n[providers.aaa]\n{settings}\n");
        for play in &mut pair.0 {
            play.reload(&other);
        }
        pair.post();
        let waits = [0, 1].map(|shard| (shard, pair.ask(shard)));
        assert_eq!(pair.asked(), [1, 0], "{config}");
        pair.reply(0);
        assert_eq!(pair.0[0].answer(held).status(), 200);
        for _ in waits {
            let shard = usize::from(pair.asked()[1] == 1);
            assert_eq!(pair.asked().iter().sum::<usize>(), 1, "{config}");
            pair.reply(shard);
        }
        for (shard, client) in waits {
            assert_eq!(pair.0[shard].answer(client).status(), 200);
        }
    }
}

#[test]
fn a_failure_is_told_of_a_target_over_a_reload() {
    let config = format!("breaker.failures_in_row = 1\nretry.repeats_max = 0\n{CHAIN}");
    let mut pair = Pair::new(&config);
    pair.ask(0);
    pair.0[0].reload(&config);
    assert_eq!(pair.0[0].reply(&error(500)), FIRST);
    pair.post();
    assert_eq!(pair.port(0), SECOND);
    pair.reply(0);
    for shard in [0, 1] {
        pair.ask(shard);
        assert_eq!(pair.port(shard), SECOND, "it is left alone");
        pair.reply(shard);
    }
}

#[test]
fn an_attempt_goes_on_with_the_key_that_it_began_with_over_a_reload() {
    let config = alone().replace("http://127.0.0.1:9001", "http://host.test:9001");
    let mut play = Play::new(&config);
    play.world.resolves = false;
    let client = play.ask(Dialect::Anthropic, false);
    // Another provider comes first in the new config, and has another key.
    let settings = "dialect = \"anthropic\"\nbase_url = \"http://127.0.0.1:9\"\nkey = \"key-0\"";
    play.reload(&config.replace(
        "[providers.first]",
        &format!("[providers.aaa]\n{settings}\n[providers.first]"),
    ));
    // Of the lookups the first is the old config's.
    play.world.resolve(FIRST);
    play.world.resolve(FIRST);
    let (port, request) = play.serve(false);
    assert_eq!((port, request.field("x-api-key")), (FIRST, Some("key-1")));
    play.answered_well(Dialect::Anthropic, client);
    let record = play.record();
    assert_eq!(&*record.attempts[0].provider, "first");
}

#[test]
fn a_target_that_failed_is_not_asked_again_over_a_reload() {
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::Anthropic, false);
    let other = "[models]\nbefore = \"second/zero\"\n";
    play.reload(&CHAIN.replace("[models]\n", other));
    assert_eq!(play.reply(&error(403)), FIRST);
    assert_eq!(play.reply_well(false), SECOND);
    play.answered_well(Dialect::Anthropic, client);
}

#[test]
fn what_goes_on_at_a_provider_counts_though_its_target_is_gone() {
    for limit in ["concurrent = 1", "key_limits = { concurrent = 1 }"] {
        let config = with_first(&alone(), limit);
        let mut play = Play::new(&config);
        let held = play.ask(Dialect::Anthropic, false);
        play.reload(&config.replace("first/one", "first/other"));
        let next = play.ask(Dialect::Anthropic, false);
        for client in [held, next] {
            assert_eq!(play.pending().len(), 1, "{limit}");
            play.reply_well(false);
            play.answered_well(Dialect::Anthropic, client);
        }
        assert_eq!(play.world.usage().permits, 0);
    }
}

#[test]
fn a_lower_limit_holds_after_a_reload_whatever_was_lent() {
    let first = |limits: &str| with_first(&alone(), limits);
    let target = |places: u32| {
        let target = format!("[{{ target = \"first/one\", concurrent = {places} }}]");
        alone().replace("[\"first/one\"]", &target)
    };
    for (before, after, seconds) in [
        (first("concurrent = 8"), first("concurrent = 2"), 0),
        (target(8), target(2), 0),
        (
            first("key_limits = { concurrent = 8 }"),
            first("key_limits = { concurrent = 2 }"),
            0,
        ),
        (
            first("key_limits = { requests_per_minute = 8 }"),
            first("key_limits = { requests_per_minute = 2 }"),
            66,
        ),
    ] {
        for order in [[0, 1], [1, 0]] {
            let mut pair = Pair::new(&before);
            for _ in 0..8 {
                pair.ask(0);
            }
            assert_eq!(pair.asked(), [8, 0], "{before}");
            for shard in order {
                pair.0[shard].reload(&after);
            }
            pair.post();
            (0..8).for_each(|_| pair.reply(0));
            pair.pass(Duration::from_secs(seconds));
            for shard in [0, 0, 0, 0, 1, 1] {
                pair.ask(shard);
            }
            assert_eq!(pair.asked().iter().sum::<usize>(), 2, "{after}");
        }
    }
}

#[test]
fn a_limit_that_is_new_is_shared_though_one_shard_hears_of_it_later() {
    let target = "[{ target = \"first/one\", concurrent = 2 }]";
    for config in [
        with_first(&alone(), "concurrent = 2"),
        with_first(&alone(), "key_limits = { concurrent = 2 }"),
        alone().replace("[\"first/one\"]", target),
    ] {
        let mut pair = Pair::new(&alone());
        pair.0[0].reload(&config);
        for _ in 0..2 {
            pair.ask(0);
        }
        assert_eq!(pair.asked(), [1, 0], "the other knows of no limit");
        pair.0[1].reload(&config);
        pair.post();
        assert_eq!(pair.asked(), [2, 0], "{config}");
    }
}

#[test]
fn a_client_that_left_while_others_were_asked_is_forgotten() {
    let config = format!("queue.concurrent_per_client = 1\n{}", alone());
    let known = [0, 1].map(|holds| {
        let asks = 1 - holds;
        let mut pair = Pair::new(&config);
        pair.ask(holds);
        let late = pair.0[asks].ask(Dialect::Anthropic, false);
        pair.0[asks].world.hang_up(late, End::Reset);
        pair.post();
        let known = pair.0[asks].world.usage().lines;
        pair.reply(holds);
        assert_eq!(pair.0.each_ref().map(|it| it.world.usage().lines), [0, 0]);
        known
    });
    // By the one that has lent its share, as long as that is in use.
    assert_eq!(known.iter().sum::<usize>(), 1);
}

#[test]
fn shards_that_need_two_places_each_do_not_give_them_to_each_other_for_ever() {
    let config = with_first(
        &chain_of("[{ target = \"first/one\", concurrent = 1 }]"),
        "key_limits = { concurrent = 1 }\nconcurrent = 1",
    );
    let mut pair = Pair::new(&config);
    // All at once, before anybody has heard of anything.
    let clients = [0, 1, 0, 1].map(|shard| {
        let client = pair.0[shard].ask(Dialect::Anthropic, false);
        (shard, client)
    });
    pair.post();
    for _ in clients {
        let asked = pair.asked();
        assert_eq!(asked.iter().sum::<usize>(), 1, "{asked:?}");
        pair.reply(usize::from(asked[1] == 1));
    }
    for (shard, client) in clients {
        assert_eq!(pair.0[shard].answer(client).status(), 200);
    }
}

#[test]
fn what_a_late_request_asks_about_another_target_is_kept_by_nobody() {
    let targets = "[\"first/one\", { target = \"second/two\", concurrent = 1 }]\n\
                   other = \"second/three\"";
    let config = chain_of(targets).replace(
        "key = \"key-2\"",
        "key = \"key-2\"\nkey_limits = { concurrent = 2 }",
    );
    for late in [0, 1] {
        let mut pair = Pair::new(&format!("timers.first_content_min = \"4s\"\n{config}"));
        // The only place at the second target is taken at the other shard.
        let other = 1 - late;
        pair.ask(other);
        assert_eq!(pair.0[other].reply(&error(404)), FIRST);
        pair.post();
        assert_eq!(pair.port(other), SECOND);
        let client = pair.0[late].ask(Dialect::Anthropic, true);
        let (conn, ..) = pair.0[late].asked();
        for _ in 0..6 {
            pair.pass(Duration::from_secs(1));
        }
        assert!(pair.0[late].is_silent(client));
        pair.0[late].send(conn, &well(Dialect::Anthropic, true));
        pair.0[late].answered_well(Dialect::Anthropic, client);
        pair.reply(other);
        // Both places of the key are free, whoever needs them.
        for asked in [1, 2] {
            let mut body = request(Dialect::Anthropic, false);
            body["model"] = "other".into();
            pair.0[other].ask_body(Dialect::Anthropic, &body, &[]);
            pair.post();
            assert_eq!(pair.asked()[other], asked);
        }
    }
}

#[test]
fn those_who_wait_for_an_address_go_on_over_a_reload_however_many_they_are() {
    let config = alone().replace("http://127.0.0.1:9001", "http://host.test:9001");
    let config = format!("limits.host_jobs_max = 3\n{config}");
    let mut play = Play::new(&config);
    play.world.resolves = false;
    let clients = [(); 5].map(|()| play.ask(Dialect::Anthropic, false));
    play.reload(&config);
    play.world.resolve(FIRST);
    play.world.resolve(FIRST);
    play.reply_well_to_all(false);
    for client in clients {
        play.answered_well(Dialect::Anthropic, client);
    }
}
