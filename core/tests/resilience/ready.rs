//! `GET /ready` says which keys and targets are left alone, why, and for how long.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tollgate_core::config::Key;
use tollgate_core::dialect::Dialect;

use super::play::{CHAIN, FIRST, Play, SECOND, alone, error};

fn ready(play: &mut Play) -> Json {
    let answer = play.page("GET", "/ready");
    assert_eq!(answer.status(), 200);
    answer.json()
}

#[test]
fn each_key_that_is_out_is_told() {
    let config = alone().replace("\"key-1\"", "[\"key-1\", \"key-2\", \"key-3\"]");
    let mut play = Play::new(&config);
    assert_eq!(ready(&mut play), json!({"status": "ready"}));
    play.ask(Dialect::Anthropic, false);
    let mut expected = Vec::new();
    for (reply, why, seconds) in [
        (error(403), "permission", 9),
        (error(429).field("retry-after", "60"), "limit", 59),
    ] {
        let (conn, _, request) = play.asked();
        play.send(conn, &reply);
        let key = Key::new(request.field("x-api-key").unwrap()).fingerprint;
        expected.push(json!({"key": &*key, "why": why, "seconds_left": seconds, "in_flight": 0}));
    }
    play.world.pass(Duration::from_millis(10));
    let told = ready(&mut play);
    let provider = &told["providers"][0];
    assert_eq!(told["providers"].as_array().unwrap().len(), 1);
    for (name, value) in [
        ("name", json!("first")),
        ("keys", json!(3)),
        ("keys_refused", json!(1)),
        ("keys_cooling", json!(1)),
        ("targets_open", json!(0)),
        ("targets_out", json!([])),
    ] {
        assert_eq!(provider[name], value, "{name}");
    }
    let keys = provider["keys_out"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    assert!(expected.iter().all(|key| keys.contains(key)), "{told}");
    // No more than its name is told of a key.
    assert!(!told.to_string().contains("key-1"));
}

#[test]
fn each_target_whose_breaker_is_open_is_told() {
    let config = format!("retry.repeats_max = 0\nbreaker.failures_in_row = 1\n{CHAIN}");
    let mut play = Play::new(&config);
    play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&error(500)), FIRST);
    assert_eq!(play.reply_well(false), SECOND);
    let told = ready(&mut play);
    let provider = &told["providers"][0];
    assert_eq!(provider["name"], "first");
    assert_eq!(provider["keys_out"], json!([]));
    let target = &provider["targets_out"][0];
    let seconds = target["seconds_left"].as_u64().unwrap();
    assert!((4..=5).contains(&seconds), "{told}");
    let expected = json!({"route": "asked", "model": "one", "is_probed": false,
        "seconds_left": seconds, "in_flight": 0});
    assert_eq!(*target, expected);
    // While one request finds out:
    play.world.pass(Duration::from_secs(6));
    play.ask(Dialect::Anthropic, false);
    let told = ready(&mut play);
    let target = &told["providers"][0]["targets_out"][0];
    assert_eq!(
        (&target["is_probed"], &target["in_flight"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(play.reply_well(false), FIRST);
    assert_eq!(ready(&mut play), json!({"status": "ready"}));
}
