//! How long is waited: as the client says, and as a target is known.

use std::time::Duration;

use tollgate_core::dialect::Dialect;

use super::fixtures::{request, request_with};
use super::play::{CHAIN, FIRST, Play, SECOND, alone, chain_of, error, with_first};
use super::support::DIALECTS;
use super::support::http;
use super::support::world::Conn;

const SECOND_OF_TIME: Duration = Duration::from_secs(1);

/// A client asks with this field and these members of the body beside the usual ones.
fn ask(
    play: &mut Play,
    dialect: Dialect,
    is_stream: bool,
    field: Option<(&str, &str)>,
    members: &str,
) -> Conn {
    let members = serde_json::from_str(members).unwrap();
    let body = request_with(dialect, is_stream, &members);
    play.ask_body(dialect, &body, field.as_slice())
}

fn answered(play: &Play, client: Conn) -> Option<u16> {
    let written = play.world.written(client);
    (!written.is_empty()).then(|| http::read(written)[0].status())
}

#[test]
fn the_clients_deadline_ends_what_is_late() {
    for dialect in DIALECTS {
        for (name, is_stream, is_heard) in [
            ("x-tollgate-timeout", false, true),
            ("x-tollgate-timeout", true, true),
            // The SDKs mean the time between two reads where they stream.
            ("x-stainless-timeout", false, true),
            ("x-stainless-timeout", true, false),
        ] {
            let mut play = Play::new(CHAIN);
            let client = ask(&mut play, dialect, is_stream, Some((name, "2.5")), "{}");
            play.world.pass(Duration::from_millis(2_400));
            assert_eq!(answered(&play, client), None);
            play.world.pass(Duration::from_millis(200));
            assert_eq!(answered(&play, client), is_heard.then_some(504), "{name}");
            let is_closed = play.world.is_closed(play.world.upstreams()[0]);
            assert_eq!(is_closed, is_heard);
        }
    }
}

#[test]
fn no_wait_reaches_beyond_the_clients_deadline() {
    for dialect in DIALECTS {
        for (deadline, waits) in [("4", false), ("6", true)] {
            let mut play = Play::new(&alone());
            let field = Some(("x-tollgate-timeout", deadline));
            let client = ask(&mut play, dialect, false, field, "{}");
            play.reply(&error(429).field("retry-after", "5"));
            let told = answered(&play, client);
            assert_eq!(told, (!waits).then_some(429), "{deadline}");
            if !waits {
                assert_eq!(play.answer(client).field("retry-after"), Some("5"));
            }
            // An overload is repeated after a wait, or not at all.
            let mut play = Play::new(&alone());
            let client = ask(&mut play, dialect, false, field, "{}");
            play.reply(&error(503).field("retry-after", "5"));
            assert_eq!(answered(&play, client).is_some(), !waits, "{deadline}");
        }
    }
}

#[test]
fn a_deadline_that_is_no_time_is_a_clear_error() {
    for value in ["soon", "0", "-1", "", "NaN", "1e400"] {
        let mut play = Play::new(CHAIN);
        let field = Some(("x-tollgate-timeout", value));
        let client = ask(&mut play, Dialect::Anthropic, false, field, "{}");
        assert_eq!(answered(&play, client), Some(400), "{value}");
        let text = play.answer(client).text().to_owned();
        assert!(text.contains("x-tollgate-timeout"), "{text}");
    }
    // What is not addressed to the gateway is no error of its client.
    let mut play = Play::new(CHAIN);
    let field = Some(("x-stainless-timeout", "NOT_GIVEN"));
    ask(&mut play, Dialect::Anthropic, false, field, "{}");
    assert_eq!(play.pending().len(), 1);
}

/// After how many seconds of silence the second target is asked, or the client told.
fn patience(config: &str, is_stream: bool, members: &str) -> u64 {
    let mut play = Play::new(config);
    let client = ask(&mut play, Dialect::Anthropic, is_stream, None, members);
    let (first, _, _) = play.asked();
    for seconds in 0..1_000 {
        if play.world.is_closed(first) {
            let asks_other = !play.pending().is_empty();
            assert_eq!(asks_other, config.contains("second/two"));
            assert!(asks_other || answered(&play, client).is_some());
            return seconds;
        }
        play.world.pass(SECOND_OF_TIME);
    }
    panic!("never");
}

#[test]
fn a_stream_that_does_not_begin_goes_elsewhere_before_long() {
    assert_eq!(patience(CHAIN, true, "{}"), 12);
    let set = "timers.first_content_min = \"4s\"\n";
    assert_eq!(patience(&format!("{set}{CHAIN}"), true, "{}"), 4);
    // Nobody else could answer.
    assert_eq!(patience(&alone(), true, "{}"), 300);
    // Nothing can be seen before it is over, or thought out.
    assert_eq!(patience(CHAIN, false, "{}"), 300);
    let thinks = r#"{"thinking": {"type": "enabled", "budget_tokens": 2000}}"#;
    assert_eq!(patience(CHAIN, true, thinks), 300);
    let hidden = CHAIN.replace("first/one", "first/gpt-5-mini");
    assert_eq!(patience(&hidden, true, "{}"), 300);
    // A long prompt takes time to read: 40,000 tokens are twenty seconds more.
    let long = format!("{{\"system\": \"{}\"}}", "word ".repeat(32_000));
    assert_eq!(patience(CHAIN, true, &long), 32);
}

#[test]
fn a_target_that_is_slow_as_a_rule_has_more_time() {
    let mut play = Play::new(CHAIN);
    let mut ask_one = |seconds: u64| {
        let client = play.ask(Dialect::Anthropic, true);
        for _ in 0..seconds {
            play.world.pass(SECOND_OF_TIME);
        }
        let port = play.pending()[0].1;
        play.reply_well(true);
        play.answer(client);
        port
    };
    for _ in 0..30 {
        assert_eq!(ask_one(8), FIRST);
    }
    assert_eq!(ask_one(20), FIRST, "three times eight are not over");
    assert_eq!(ask_one(40), SECOND);
}

#[test]
fn a_target_may_have_times_of_its_own() {
    let table = "[{ target = \"first/one\", timers = { first_content = \"5s\" } }, \"second/two\"]";
    assert_eq!(patience(&chain_of(table), false, "{}"), 5);
    let table = "{ target = [\"first/one\"], timers = { first_content = \"7s\" } }";
    assert_eq!(patience(&chain_of(table), false, "{}"), 7);
}

/// [`CHAIN`] with a name for each target, where one handshake goes on at a time and nobody answers,
/// and settings for the first.
fn silent_in_tls(first: &str) -> Play {
    let models = "asked = [\"first/one\"]\ntwo = [\"second/two\"]";
    let config = CHAIN.replace("asked = [\"first/one\", \"second/two\"]", models);
    let config = with_first(&config.replace("http:", "https:"), first);
    Play::new(&format!(
        "limits.handshakes_max = 1\nbreaker.failures_in_row = 1\n{config}"
    ))
}

fn ask_two(play: &mut Play) -> Conn {
    let mut body = request(Dialect::Anthropic, false);
    body["model"] = "two".into();
    play.ask_body(Dialect::Anthropic, &body, &[])
}

#[test]
fn a_handshake_that_had_to_wait_for_others_has_its_whole_time() {
    let mut play = silent_in_tls("");
    play.ask(Dialect::Anthropic, false);
    play.world.pass(Duration::from_secs(5));
    let client = ask_two(&mut play);
    play.world.pass(Duration::from_secs(5));
    let second = play.world.upstreams()[1];
    assert!(!play.world.written(second).is_empty(), "it begins");
    play.world.pass(Duration::from_millis(9_999));
    assert!(!play.world.is_closed(second));
    play.world.pass(Duration::from_millis(1));
    assert_eq!(play.answer(client).status(), 504);
    play.world.finish();
}

#[test]
fn that_others_shake_hands_for_too_long_is_no_fault_of_a_target() {
    let mut play = silent_in_tls("breaker = { failures_in_row = 9 }");
    for _ in 0..2 {
        play.ask(Dialect::Anthropic, false);
        play.world.pass(Duration::from_secs(5));
    }
    let client = ask_two(&mut play);
    play.world.pass(Duration::from_secs(10));
    assert_eq!(play.answer(client).status(), 504);
    let again = ask_two(&mut play);
    assert!(play.is_silent(again), "it is not left alone");
    let others = play.world.upstreams();
    assert_eq!(play.world.address(others[3]).unwrap().port(), SECOND);
    play.world.finish();
}

#[test]
fn no_handshake_begins_with_a_target_that_is_left_alone_by_then() {
    let mut play = silent_in_tls("");
    let first = play.ask(Dialect::Anthropic, false);
    play.world.pass(Duration::from_secs(5));
    let behind = play.ask(Dialect::Anthropic, false);
    let client = ask_two(&mut play);
    play.world.pass(Duration::from_secs(5));
    assert_eq!(play.answer(first).status(), 504);
    assert_ne!(play.answer(behind).status(), 504, "it is told at once");
    let conns = play.world.upstreams();
    assert!(play.world.is_closed(conns[1]));
    assert!(
        !play.world.written(conns[2]).is_empty(),
        "its turn has come"
    );
    assert!(play.is_silent(client));
    play.world.finish();
}
