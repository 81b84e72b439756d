//! `GET /metrics` says how keys and targets are, what is under way, and what was counted.

use std::time::Duration;

use tollgate_core::config::Key;
use tollgate_core::dialect::Dialect;

use super::fixtures::{ending, whole};
use super::play::{CHAIN, FIRST, Play, SECOND, alone, chain_of, dialect_at, error, with_first};
use super::support::http;
use super::support::talk::Reply;
use super::support::world::{Conn, End};

/// The samples, each by its name and labels without those that are always there.
fn samples(play: &mut Play) -> Vec<(String, f64)> {
    let answer = play.page("GET", "/metrics");
    assert_eq!(answer.status(), 200);
    let mut families: Vec<String> = Vec::new();
    let mut samples: Vec<(String, f64)> = Vec::new();
    for line in answer.text().lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(!families.iter().any(|it| it == name), "{name} comes twice");
            families.push(name.to_owned());
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (family, labels) = name.split_once("{shard=\"0\"").unwrap();
            assert_eq!(families.last().map(String::as_str), Some(family), "{line}");
            let family = family.strip_prefix("tollgate_").unwrap();
            let labels = labels.trim_start_matches(',').trim_end_matches('}');
            let name = format!("{family} {labels}").trim().to_owned();
            assert!(!samples.iter().any(|(it, _)| *it == name), "{line} twice");
            samples.push((name, value.parse().unwrap()));
        }
    }
    samples
}

fn value(play: &mut Play, name: &str) -> f64 {
    let samples = samples(play);
    let sample = samples.iter().find(|(it, _)| it == name);
    sample
        .unwrap_or_else(|| panic!("no {name} in {samples:#?}"))
        .1
}

fn has(play: &mut Play, name: &str) -> bool {
    samples(play).iter().any(|(it, _)| it.starts_with(name))
}

/// Time from one moment to another, that is not told to the millisecond.
fn is_about(value: f64, seconds: f64) -> bool {
    (seconds - 0.6..=seconds + 0.6).contains(&value)
}

#[test]
fn each_key_is_told_with_why_it_is_out_and_how_long() {
    let config = alone().replace("\"key-1\"", "[\"key-1\", \"key-2\", \"key-3\"]");
    let mut play = Play::new(&config);
    play.ask(Dialect::Anthropic, false);
    for (reply, why, seconds) in [
        (error(402), "billing", 10.0),
        (error(429).field("retry-after", "60"), "limit", 60.0),
    ] {
        let (conn, _, request) = play.asked();
        let key = Key::new(request.field("x-api-key").unwrap()).fingerprint;
        let labels = format!("provider=\"first\",key=\"{key}\"");
        assert_eq!(value(&mut play, &format!("key_out {labels}")), 0.0);
        assert_eq!(value(&mut play, &format!("key_in_flight {labels}")), 1.0);
        play.send(conn, &reply);
        assert_eq!(value(&mut play, &format!("key_out {labels}")), 1.0);
        assert_eq!(value(&mut play, &format!("key_in_flight {labels}")), 0.0);
        let left = value(
            &mut play,
            &format!("key_out_seconds {labels},why=\"{why}\""),
        );
        assert!(is_about(left, seconds), "{left}");
    }
    for state in ["well", "cooling", "refused"] {
        let name = format!("keys provider=\"first\",state=\"{state}\"");
        assert_eq!(value(&mut play, &name), 1.0, "{state}");
    }
    // No more than its name is told of a key.
    let text = play.page("GET", "/metrics").text().to_owned();
    assert!(!text.contains("key-1") && !text.contains("key-2"), "{text}");
    let class = "attempts_total provider=\"first\",model=\"one\",ending=\"failed\",class";
    assert_eq!(value(&mut play, &format!("{class}=\"billing\"")), 1.0);
    assert_eq!(value(&mut play, &format!("{class}=\"rate_limit\"")), 1.0);
    play.world.pass(Duration::from_secs(700));
    assert!(!has(&mut play, "key_out_seconds"));
}

#[test]
fn each_target_is_told_with_its_breaker_and_its_pace() {
    let config = format!("retry.repeats_max = 0\nbreaker.failures_in_row = 1\n{CHAIN}");
    let mut play = Play::new(&config);
    let labels = "provider=\"first\",model=\"one\"";
    let is = |play: &mut Play, state: &str| {
        for other in ["closed", "open", "half_open"] {
            let name = format!("breaker {labels},state=\"{other}\"");
            let expected = if other == state { 1.0 } else { 0.0 };
            assert_eq!(value(play, &name), expected, "{state}, {other}");
        }
    };
    is(&mut play, "closed");
    play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&error(500)), FIRST);
    is(&mut play, "open");
    let left = value(&mut play, &format!("breaker_open_seconds {labels}"));
    assert!(is_about(left, 5.0), "{left}");
    assert_eq!(play.reply_well(false), SECOND);
    play.world.pass(Duration::from_secs(6));
    play.ask(Dialect::Anthropic, false);
    is(&mut play, "half_open");
    assert!(!has(&mut play, "breaker_open_seconds"));
    let in_flight = format!("target_in_flight {labels}");
    assert_eq!(value(&mut play, &in_flight), 1.0);
    assert!(!has(&mut play, "first_content_seconds"));
    assert_eq!(play.reply_well(false), FIRST);
    is(&mut play, "closed");
    assert_eq!(value(&mut play, &in_flight), 0.0);
    let tokens = "tokens_total provider=\"second\",model=\"two\",kind";
    assert_eq!(value(&mut play, &format!("{tokens}=\"input\"")), 12.0);
    assert_eq!(value(&mut play, &format!("{tokens}=\"output\"")), 5.0);
    for (name, expected) in [
        ("requests_total outcome=\"complete\"", 2.0),
        (
            "attempts_total provider=\"first\",model=\"one\",ending=\"answered\"",
            1.0,
        ),
        (
            "attempts_total provider=\"second\",model=\"two\",ending=\"answered\"",
            1.0,
        ),
        ("repetitions_total provider=\"first\"", 0.0),
    ] {
        assert_eq!(value(&mut play, name), expected, "{name}");
    }
}

#[test]
fn what_is_held_and_who_waits_is_told() {
    let mut play = Play::new(&with_first(&alone(), "concurrent = 1"));
    // The one who asks for the page is counted, too.
    let held = |play: &mut Play| {
        ["clients", "exchanges", "upstreams", "waiting"].map(|name| value(play, name))
    };
    let before = held(&mut play);
    play.ask(Dialect::Anthropic, false);
    let client = play.ask(Dialect::Anthropic, false);
    let now = held(&mut play);
    let more = |at: usize| now[at] - before[at];
    assert_eq!([more(1), more(2), more(3)], [2.0, 1.0, 1.0]);
    assert!(more(0) >= 2.0);
    assert!(value(&mut play, "bodies_bytes") > 100.0);
    assert!(value(&mut play, "buffered_bytes") > 0.0);
    play.world.hang_up(client, End::Reset);
    assert_eq!(value(&mut play, "waiting"), 0.0);
    assert_eq!(
        value(&mut play, "requests_total outcome=\"client_gone\""),
        1.0
    );
    play.reply_well(false);
    assert_eq!(value(&mut play, "exchanges"), before[1]);
    assert_eq!(value(&mut play, "draining"), 0.0);
}

#[test]
fn failures_and_repetitions_are_counted_by_class_and_blame() {
    let mut play = Play::new(&alone());
    play.ask(Dialect::Anthropic, false);
    play.reply(&error(500));
    play.back_off();
    play.reply(&error(503));
    play.ask(Dialect::Anthropic, false);
    play.reply(&error(400));
    for (name, expected) in [
        (
            "outcome=\"failed\",class=\"internal\",blame=\"upstream\"",
            1.0,
        ),
        (
            "outcome=\"failed\",class=\"invalid_request\",blame=\"client\"",
            1.0,
        ),
        ("outcome=\"complete\"", 0.0),
    ] {
        assert_eq!(
            value(&mut play, &format!("requests_total {name}")),
            expected,
            "{name}"
        );
    }
    let repetitions = "repetitions_total provider=\"first\"";
    assert_eq!(value(&mut play, repetitions), 1.0);
    let failed = "attempts_total provider=\"first\",model=\"one\",ending=\"failed\",class";
    for class in ["internal", "overloaded", "invalid_request"] {
        assert_eq!(
            value(&mut play, &format!("{failed}=\"{class}\"")),
            1.0,
            "{class}"
        );
    }
    // The gateway's own pages are no requests for an answer, nor is what is not there.
    let client = play.world.client();
    play.world.send(client, http::request("/nothing", &[], b""));
    let requests = |play: &mut Play| {
        let all = samples(play).into_iter();
        let all = all.filter(|(name, _)| name.starts_with("requests_total"));
        all.map(|(_, count)| count).sum::<f64>()
    };
    assert_eq!(requests(&mut play), 2.0);
    // A reload goes on counting what stays, and forgets what goes.
    let config = chain_of("[\"second/two\"]").replace("[providers.first]", "[providers.third]");
    play.reload(&config);
    assert!(!has(&mut play, "repetitions_total provider=\"first\""));
    assert_eq!(
        value(&mut play, "repetitions_total provider=\"third\""),
        0.0
    );
    assert_eq!(requests(&mut play), 2.0);
}

#[test]
fn hedges_are_counted_and_the_pace_is_known_then() {
    let mut play = Play::hedging(100, "");
    for (quantile, seconds) in [("0.5", 1.0), ("0.95", 1.0)] {
        let name = format!(
            "first_content_seconds provider=\"first\",\
             model=\"one\",quantile=\"{quantile}\""
        );
        let pace = value(&mut play, &name);
        assert!((seconds..seconds * 1.13).contains(&pace), "{pace}");
    }
    let (_, _, second) = play.race(Dialect::Anthropic);
    assert_eq!(value(&mut play, "hedges_total"), 1.0);
    assert_eq!(value(&mut play, "hedges_won_total"), 0.0);
    stream(&mut play, second, SECOND);
    assert_eq!(value(&mut play, "hedges_won_total"), 1.0);
    let called_off = "attempts_total provider=\"first\",model=\"one\",ending=\"called_off\"";
    assert_eq!(value(&mut play, called_off), 1.0);
}

#[test]
fn continuations_and_broken_events_are_counted() {
    let settings = "[retry]\nresume = true\n[providers.first.traits]\nprefill = true\n\
                    [providers.second.traits]\nprefill = true\n";
    let mut play = Play::new(&format!("{CHAIN}\n{settings}"));
    play.ask(Dialect::Anthropic, true);
    let (conn, _) = play.begins(FIRST, &["one "]);
    play.world.send(conn, "data: {broken\n\n");
    play.world.hang_up(conn, End::Fin);
    assert_eq!(value(&mut play, "continuations_total"), 0.0);
    play.back_off();
    let (conn, port, _) = play.asked();
    stream(&mut play, conn, port);
    assert_eq!(value(&mut play, "continuations_total"), 1.0);
    assert_eq!(value(&mut play, "broken_events_total"), 1.0);
    assert_eq!(value(&mut play, "requests_total outcome=\"complete\""), 1.0);
}

/// A whole stream comes.
fn stream(play: &mut Play, conn: Conn, port: u16) {
    play.begin(conn, port, &["well"]);
    play.world.send(conn, ending(dialect_at(port)));
}

#[test]
fn requests_that_share_an_answer_are_counted() {
    let caller = "[[callers]]\nname = \"c\"\nkey = \"caller-key\"\ncoalesce = true\n";
    let mut play = Play::new(&format!("{CHAIN}\n{caller}"));
    let key = [("x-api-key", "caller-key")];
    for _ in 0..3 {
        play.ask_with(Dialect::Anthropic, false, &key);
    }
    play.reply_well(false);
    assert_eq!(value(&mut play, "coalesced_total"), 2.0);
    assert_eq!(value(&mut play, "requests_total outcome=\"complete\""), 3.0);
    // Like `/ready`, the page needs no key.
    assert_eq!(play.page("GET", "/metrics").status(), 200);
    // A caller without one is a request that failed.
    play.ask(Dialect::Anthropic, false);
    let refused = "requests_total outcome=\"failed\",class=\"authentication\",blame=\"client\"";
    assert_eq!(value(&mut play, refused), 1.0);
}

#[test]
fn the_page_is_of_its_type_takes_get_and_head_and_is_there_to_the_end() {
    let mut play = Play::new(CHAIN);
    let get = play.page("GET", "/metrics");
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(get.field("content-type"), Some(kind));
    let client = play.world.client();
    play.world
        .send(client, "HEAD /metrics HTTP/1.1\r\nhost: g\r\n\r\n");
    let head = play.text(client);
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains(kind),
        "{head}"
    );
    let post = play.page("POST", "/metrics");
    assert_eq!(
        (post.status(), post.field("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(post.field("content-type"), Some("application/json"));
    let client = play.world.client();
    play.world.send(client, "GET /metrics HTTP/1.1\r\n");
    play.world.drain(Duration::from_secs(10));
    play.world.send(client, "host: g\r\n\r\n");
    let last = play.answer(client);
    assert!(
        last.text().contains("tollgate_draining{shard=\"0\"} 1"),
        "{}",
        last.text()
    );
    play.world.finish();
}

#[test]
fn names_are_written_so_that_they_can_be_read() {
    let config = CHAIN
        .replace("asked =", "'a\"\\s' =")
        .replace("first/one", "first");
    let mut play = Play::new(&config);
    let text = play.page("GET", "/metrics").text().to_owned();
    assert!(text.contains(r#"model="a\"\\s","#), "{text}");
}

#[test]
fn models_that_the_config_does_not_name_are_counted_together_and_any_number_is_borne() {
    let mut play = Play::new(
        &CHAIN
            .replace("asked =", "'as*' =")
            .replace("first/one", "first"),
    );
    let count = u64::MAX.to_string();
    for _ in 0..2 {
        play.ask(Dialect::Anthropic, false);
        let whole = whole(Dialect::Anthropic, "well").to_string();
        let whole = whole.replace("\"output_tokens\":5", &format!("\"output_tokens\":{count}"));
        play.reply(&Reply::json(200, whole));
    }
    let page = play.page("GET", "/metrics").text().to_owned();
    // Counters are for ever, so they have no names of clients; how a model fares that is known by
    // one has.
    for line in page.lines().filter(|line| line.contains("=\"asked\"")) {
        assert!(!line.contains("_total"), "{line}");
    }
    let told = "tollgate_breaker{shard=\"0\",provider=\"first\",model=\"asked\"";
    assert!(page.contains(told), "{page}");
    let attempts = "attempts_total provider=\"first\",ending=\"answered\"";
    assert_eq!(value(&mut play, attempts), 2.0);
    assert!(
        page.contains(&format!("kind=\"output\"}} {count}\n")),
        "{page}"
    );
}
