//! Models that the config does not name: behind a pattern each fares by itself, as many as may be
//! known.

use std::sync::Arc;
use std::time::Duration;

use tollgate_core::config::Snapshot;
use tollgate_core::dialect::Dialect;
use tollgate_core::policy::balance;

use super::fixtures::request;
use super::play::{CHAIN, FIRST, Play, SECOND, chain_of, error, well};
use super::shards::{of_two, tell};
use super::support::config::loaded;
use super::support::world::{Conn, World};

/// Whatever begins with `as` is asked of the first provider, and then of the second.
fn config() -> String {
    let config = chain_of("[\"first\", \"second/two\"]").replace("asked =", "\"as*\" =");
    format!("retry.repeats_max = 0\n{config}")
}

fn bounded(models_max: usize) -> Snapshot {
    let mut snapshot = loaded(&config());
    snapshot.limits.shard.models_max = models_max;
    snapshot
}

fn play_with(snapshot: Snapshot) -> Play {
    let mut play = Play::new(CHAIN);
    play.world = World::new(snapshot);
    play
}

fn ask(play: &mut Play, model: &str) -> Conn {
    let mut body = request(Dialect::Anthropic, false);
    body["model"] = model.into();
    play.ask_body(Dialect::Anthropic, &body, &[])
}

/// Who answers for `model` if all are well.
fn answers(play: &mut Play, model: &str) -> u16 {
    let client = ask(play, model);
    let port = play.reply_well(false);
    assert_eq!(play.answer(client).status(), 200);
    port
}

/// The first provider fails `times`, and the second one answers.
fn fails(play: &mut Play, model: &str, times: usize) {
    for _ in 0..times {
        let client = ask(play, model);
        assert_eq!(play.reply(&error(500)), FIRST);
        assert_eq!(play.reply_well(false), SECOND);
        assert_eq!(play.answer(client).status(), 200);
    }
}

fn page(play: &mut Play, path: &str) -> String {
    play.page("GET", path).text().to_owned()
}

#[test]
fn a_broken_model_shuts_out_no_other() {
    let mut play = Play::new(&config());
    fails(&mut play, "as-broken", 3);
    assert_eq!(answers(&mut play, "as-broken"), SECOND);
    assert_eq!(answers(&mut play, "as-well"), FIRST);
    let metrics = page(&mut play, "/metrics");
    for told in [
        r#"breaker{shard="0",provider="first",model="as-broken",state="open"} 1"#,
        r#"breaker{shard="0",provider="first",model="as-well",state="closed"} 1"#,
        r#"breaker_open_seconds{shard="0",provider="first",model="as-broken"} "#,
    ] {
        assert!(metrics.contains(told), "{told}: {metrics}");
    }
    assert!(!metrics.contains("route="), "none is kept without its name");
    let ready = page(&mut play, "/ready");
    assert!(ready.contains(r#""targets_open":1"#), "{ready}");
    let told = r#""route":"as*","model":"as-broken","is_probed":false"#;
    assert!(ready.contains(told), "{ready}");
    // One probe finds out, of this model alone.
    play.world.pass(Duration::from_secs(6));
    let probe = ask(&mut play, "as-broken");
    let other = ask(&mut play, "as-broken");
    let ports: Vec<u16> = play.pending().iter().map(|it| it.1).collect();
    assert_eq!(ports, [FIRST, SECOND]);
    play.reply_well_to_all(false);
    for client in [probe, other] {
        assert_eq!(play.answer(client).status(), 200);
    }
    assert_eq!(answers(&mut play, "as-broken"), FIRST);
    assert!(!page(&mut play, "/ready").contains("as-broken"));
    play.world.finish();
}

#[test]
fn a_model_is_one_by_its_own_name_and_by_a_pattern() {
    let config = config().replace(
        "[models]",
        "[models]\nnamed = [\"first/as-broken\", \"second/two\"]",
    );
    let mut play = Play::new(&config);
    fails(&mut play, "as-broken", 1);
    fails(&mut play, "named", 1);
    fails(&mut play, "as-broken", 1);
    for name in ["named", "as-broken"] {
        assert_eq!(answers(&mut play, name), SECOND);
    }
    assert_eq!(answers(&mut play, "as-well"), FIRST);
}

#[test]
fn shards_tell_each_other_which_model_is_broken() {
    let mut shards = [of_two(&config()), of_two(&config())];
    let [one, other] = &mut shards;
    fails(one, "as-broken", 2);
    tell(one, other);
    // The third failure is enough, whoever sees it.
    fails(other, "as-broken", 1);
    assert_eq!(answers(other, "as-broken"), SECOND);
    assert_eq!(answers(other, "as-well"), FIRST);
    tell(other, one);
    assert_eq!(answers(one, "as-broken"), SECOND);
    assert_eq!(answers(one, "as-well"), FIRST);
    // One that was never asked here is left alone here too, and told by its name.
    fails(one, "as-new", 3);
    tell(one, other);
    assert!(page(other, "/ready").contains("\"as-new\""));
    assert!(page(other, "/metrics").contains("\"as-new\""));
    assert_eq!(answers(other, "as-new"), SECOND);
    // It is well: the same news.
    one.world.pass(Duration::from_secs(6));
    assert_eq!(answers(one, "as-new"), FIRST);
    tell(one, other);
    assert_eq!(answers(other, "as-new"), FIRST);
}

#[test]
fn names_that_anybody_can_make_up_fill_nothing() {
    let mut play = play_with(bounded(8));
    fails(&mut play, "as-broken", 3);
    assert_eq!(answers(&mut play, "as-well"), FIRST);
    for index in 0..200 {
        let client = ask(&mut play, &format!("as-made-up-{index}"));
        assert_eq!(play.reply(&error(404)), FIRST);
        assert_eq!(play.reply_well(false), SECOND);
        assert_eq!(play.answer(client).status(), 200);
    }
    let metrics = page(&mut play, "/metrics");
    assert!(!metrics.contains("made-up"), "{metrics}");
    assert!(metrics.contains("\"as-well\""), "{metrics}");
    assert_eq!(answers(&mut play, "as-broken"), SECOND, "it is remembered");
    // In an outage each may be open; no more of them than there is room for.
    for index in 0..60 {
        ask(&mut play, &format!("as-in-vain-{}", index / 3));
        if play.pending()[0].1 == FIRST {
            play.reply(&error(500));
        }
        play.reply_well(false);
    }
    let metrics = page(&mut play, "/metrics");
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("tollgate_breaker{") && line.contains("model=\"as-"));
    assert_eq!(lines.count(), 8 * 3, "{metrics}");
    // Nobody asks for them any more.
    play.world.pass(Duration::from_secs(700));
    assert!(!page(&mut play, "/metrics").contains("in-vain"));
    assert!(!page(&mut play, "/ready").contains("in-vain"));
}

#[test]
fn what_cannot_be_remembered_alone_is_remembered_together() {
    let (long, odd) = (format!("as-{}", "o".repeat(300)), "as-\u{1}\"odd\n");
    for (models_max, names) in [(0, ["as-one", "as-other"]), (8, [&long, odd])] {
        let mut play = play_with(bounded(models_max));
        for name in [names[0], names[1], names[0]] {
            fails(&mut play, name, 1);
        }
        for name in names {
            assert_eq!(answers(&mut play, name), SECOND);
        }
        let metrics = page(&mut play, "/metrics");
        let told = "route=\"as*\",provider=\"first\",state=\"open\"} 1";
        assert!(metrics.contains(told), "{metrics}");
        assert!(!metrics.contains("model=\"as-"), "{metrics}");
    }
}

#[test]
fn a_place_that_is_full_of_models_at_work_takes_no_other() {
    let mut play = play_with(bounded(1));
    ask(&mut play, "as-slow");
    let (slow, ..) = play.asked();
    fails(&mut play, "as-broken", 3);
    assert_eq!(answers(&mut play, "as-broken"), SECOND);
    play.send(slow, &well(Dialect::Anthropic, false));
    // Now there is room, and a new model has nothing to do with those before.
    assert_eq!(answers(&mut play, "as-new"), FIRST);
    play.world.finish();
}

#[test]
fn a_reload_keeps_what_is_known_of_models() {
    let mut play = Play::new(&config());
    fails(&mut play, "as-broken", 3);
    assert_eq!(answers(&mut play, "as-well"), FIRST);
    // From a pattern to a name, and back.
    let named = config().replace(
        "[models]",
        "[models]\nas-broken = [\"first/as-broken\", \"second/two\"]",
    );
    for config in [config(), named, config()] {
        play.world.reload(Arc::new(loaded(&config)));
        assert_eq!(answers(&mut play, "as-broken"), SECOND);
        assert_eq!(answers(&mut play, "as-well"), FIRST);
    }
    // Where nothing leads to them any more, they are forgotten; `first/as-broken` still did.
    play.world.reload(Arc::new(loaded(CHAIN)));
    play.world.reload(Arc::new(loaded(&config())));
    assert_eq!(answers(&mut play, "as-broken"), SECOND);
    let renamed = config().replace("first", "third");
    play.world.reload(Arc::new(loaded(&renamed)));
    play.world.reload(Arc::new(loaded(&config())));
    assert_eq!(answers(&mut play, "as-broken"), FIRST);
}

/// A name of sixteen bytes that shards tell from `name`, of as many, by nothing but itself.
fn mistaken_for(name: &str) -> String {
    let word = |at: usize| {
        let bytes = name.as_bytes()[at..at + 8].try_into().unwrap();
        u64::from_le_bytes(bytes)
    };
    // What the hash of sixteen bytes has made of the first eight when it comes to the others.
    let first = |word: u64| {
        let mixed = (16u64.rotate_left(25) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed.rotate_left(25)
    };
    let mut tries = (0..100_000).map(|number| {
        let begin = u64::from_le_bytes(format!("as-{number:05}").as_bytes().try_into().unwrap());
        let end = first(begin) ^ first(word(0)) ^ word(8);
        [begin, end].map(u64::to_le_bytes).concat()
    });
    let is_text = |name: &Vec<u8>| name.iter().all(|byte| (b' '..=b'~').contains(byte));
    let other = String::from_utf8(tries.find(is_text).unwrap()).unwrap();
    assert_eq!(
        balance::hash(other.as_bytes()),
        balance::hash(name.as_bytes())
    );
    other
}

#[test]
fn a_name_that_is_made_to_be_mistaken_for_another_is_not() {
    let name = "as-a-broken-mode";
    let other = mistaken_for(name);
    let mut shards = [of_two(&config()), of_two(&config())];
    let [one, other_shard] = &mut shards;
    fails(one, name, 3);
    tell(one, other_shard);
    for shard in [&mut *one, other_shard] {
        assert_eq!(answers(shard, name), SECOND);
        assert_eq!(answers(shard, &other), FIRST);
    }
    // And what becomes of it is none of the other's business.
    fails(one, &other, 3);
    one.world.pass(Duration::from_secs(6));
    assert_eq!(answers(one, name), FIRST);
    fails(one, name, 2);
    assert_eq!(answers(one, name), FIRST);
}
