//! Many keys of one provider: rotation, cool-downs, keys that are refused, limits.

use std::sync::Arc;
use std::time::Duration;

use tollgate_core::dialect::Dialect;
use tollgate_core::ir::Class;

use super::fixtures::{error_event, request, whole};
use super::play::{FIRST, HEAD, Play, SECOND, TWO_KEYS, alone, chain_of, error, well};
use super::support::config::loaded;
use super::support::world::End;

/// Only one key.
fn one_key(more: &str) -> String {
    TWO_KEYS.replace("[\"key-1\", \"key-2\"]", &format!("\"key-1\"\n{more}"))
}

#[test]
fn a_session_keeps_its_key_until_that_fails() {
    let mut play = Play::new(TWO_KEYS);
    let good = well(Dialect::OpenAiChat, false);
    let first = play.ask(Dialect::OpenAiChat, false);
    let own = play.reply_to_key(&good);
    play.answer(first);
    play.ask(Dialect::OpenAiChat, false);
    assert_eq!(play.reply_to_key(&good), own);
    // It meets its limit: the same request goes out with the other key, at once.
    let client = play.ask(Dialect::OpenAiChat, false);
    assert_eq!(
        play.reply_to_key(&error(429).field("retry-after", "30")),
        own
    );
    let other = play.reply_to_key(&good);
    assert_ne!(other, own);
    assert_eq!(play.answer(client).status(), 200);
    // It is left alone until its time is over, then it is its session's again.
    play.world.pass(Duration::from_secs(29));
    play.ask(Dialect::OpenAiChat, false);
    assert_eq!(play.reply_to_key(&good), other);
    play.world.pass(Duration::from_secs(2));
    play.ask(Dialect::OpenAiChat, false);
    assert_eq!(play.reply_to_key(&good), own);
    let records = play.world.finish();
    let keys: Vec<_> = records[2]
        .attempts
        .iter()
        .map(|it| it.key.clone())
        .collect();
    assert!(keys[0].is_some() && keys[0] != keys[1], "{keys:?}");
    assert_eq!(records[2].attempts[0].failed(), Some(Class::RateLimit));
}

#[test]
fn a_refused_key_is_out_and_when_all_are_the_refusal_is_told() {
    for status in [401, 402, 403] {
        let mut play = Play::new(TWO_KEYS);
        let client = play.ask(Dialect::OpenAiChat, false);
        let first = play.reply_to_key(&error(status));
        let second = play.reply_to_key(&error(status));
        assert_ne!(first, second);
        assert_eq!(play.answer(client).status(), status);
        // Nobody is asked any more.
        let client = play.ask(Dialect::Anthropic, true);
        assert!(play.pending().is_empty());
        assert_eq!(play.answer(client).status(), status);
        // After a while one request finds out.
        play.world.pass(Duration::from_secs(11));
        let client = play.ask(Dialect::OpenAiChat, false);
        assert_eq!(play.reply_to_key(&well(Dialect::OpenAiChat, false)), first);
        assert_eq!(play.answer(client).status(), 200);
    }
}

#[test]
fn an_only_key_that_is_refused_is_left_alone_too_and_longer_each_time() {
    for status in [401, 402, 403] {
        let mut play = Play::new(&alone());
        for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
            let client = play.ask(Dialect::Anthropic, false);
            play.reply(&error(status));
            assert_eq!(play.answer(client).status(), status);
            // Each is told the same at once, by the gateway.
            for is_last in [false, true] {
                let left = if is_last { 1 } else { seconds };
                play.world
                    .pass(Duration::from_secs((seconds - 1) * u64::from(is_last)));
                let client = play.ask(Dialect::Anthropic, is_last);
                assert!(play.pending().is_empty());
                let answer = play.answer(client);
                assert_eq!(answer.status(), status);
                let message = format!(
                    "the provider `first` refuses its keys: they are left alone, and tried again \
                     in {left} s"
                );
                assert!(answer.text().contains(&message), "{}", answer.text());
            }
            play.world.pass(Duration::from_secs(1));
        }
        // One request finds out, and others wait for what comes of it.
        let clients = [0; 5].map(|_| play.ask(Dialect::Anthropic, false));
        assert_eq!(play.pending().len(), 1);
        while !play.pending().is_empty() {
            play.reply_well_to_all(false);
        }
        for client in clients {
            play.answered_well(Dialect::Anthropic, client);
        }
        play.world.finish();
    }
}

#[test]
fn a_new_key_is_not_left_alone_for_the_old_one() {
    let mut play = Play::new(&alone());
    play.ask(Dialect::Anthropic, false);
    play.reply(&error(401));
    // The config is read again: the same key is as it was.
    play.world.reload(Arc::new(loaded(&alone())));
    let client = play.ask(Dialect::Anthropic, false);
    assert!(play.pending().is_empty());
    assert_eq!(play.answer(client).status(), 401);
    let replaced = alone().replace("\"key-1\"", "\"key-9\"");
    play.world.reload(Arc::new(loaded(&replaced)));
    let client = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply_well(false), FIRST);
    play.answered_well(Dialect::Anthropic, client);
}

#[test]
fn a_thousand_requests_on_a_cooling_key_are_no_call_and_then_one() {
    let mut play = Play::new(&one_key(""));
    play.ask(Dialect::OpenAiChat, false);
    play.reply_to_key(&error(429).field("retry-after", "5"));
    let clients: Vec<_> = (0..1_000)
        .map(|_| play.ask(Dialect::OpenAiChat, false))
        .collect();
    play.world.pass(Duration::from_millis(4_999));
    assert!(play.pending().is_empty());
    play.world.pass(Duration::from_millis(2));
    assert_eq!(play.pending().len(), 1, "one finds out");
    play.reply_well(false);
    // Now all go.
    while !play.pending().is_empty() {
        play.reply_well_to_all(false);
    }
    for client in clients {
        assert_eq!(play.answer(client).status(), 200);
    }
    assert_eq!(play.world.finish().len(), 1_001);
}

#[test]
fn a_long_cool_down_is_told_at_once_with_its_time() {
    let mut play = Play::new(&one_key(""));
    let client = play.ask(Dialect::Anthropic, false);
    play.reply_to_key(&error(429).field("retry-after", "60"));
    let answer = play.answer(client);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.field("retry-after"), Some("60"));
    play.world.pass(Duration::from_secs(20));
    let client = play.ask(Dialect::Anthropic, false);
    assert!(play.pending().is_empty());
    let answer = play.answer(client);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.field("retry-after"), Some("40"));
}

#[test]
fn a_key_of_which_nothing_is_said_cools_longer_each_time() {
    let mut play = Play::new(&one_key(""));
    for seconds in [1, 2, 4, 5, 5] {
        // How long is only guessed: whoever met the limit is told at once.
        let client = play.ask(Dialect::OpenAiChat, false);
        play.reply_to_key(&error(429));
        assert_eq!(play.answer(client).status(), 429);
        // Whoever comes later waits.
        let later = play.ask(Dialect::OpenAiChat, false);
        play.world.pass(Duration::from_millis(seconds * 1_000 - 1));
        assert!(play.pending().is_empty(), "{seconds}");
        play.world.hang_up(later, End::Fin);
        play.world.pass(Duration::from_millis(2));
    }
    play.ask(Dialect::OpenAiChat, false);
    play.reply_to_key(&well(Dialect::OpenAiChat, false));
    // It was accepted: the time begins anew.
    play.ask(Dialect::OpenAiChat, false);
    play.reply_to_key(&error(429));
    play.ask(Dialect::OpenAiChat, false);
    play.world.pass(Duration::from_millis(1_001));
    assert_eq!(play.pending().len(), 1);
}

#[test]
fn requests_per_minute_are_kept_to() {
    let mut play = Play::new(&one_key("key_limits.requests_per_minute = 3"));
    let good = well(Dialect::OpenAiChat, false);
    for _ in 0..3 {
        play.ask(Dialect::OpenAiChat, false);
        play.reply_to_key(&good);
    }
    let client = play.ask(Dialect::OpenAiChat, false);
    assert!(play.pending().is_empty());
    let answer = play.answer(client);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.field("retry-after"), Some("65"));
    // Near the end of the minute it is worth waiting.
    play.world.pass(Duration::from_secs(57));
    let client = play.ask(Dialect::OpenAiChat, false);
    assert!(play.pending().is_empty());
    play.world.pass(Duration::from_secs(8));
    play.reply_to_key(&good);
    assert_eq!(play.answer(client).status(), 200);
}

#[test]
fn tokens_per_minute_are_kept_to() {
    let good = well(Dialect::OpenAiChat, false);
    let body = request(Dialect::OpenAiChat, false).to_string();
    let used = whole(Dialect::OpenAiChat, "well")["usage"]["total_tokens"]
        .as_u64()
        .unwrap();
    let expected = (body.len() / 4) as u64;
    // Answers count with what they really used; a request that goes out, with what it may use.
    for tokens in [expected, used + expected, 4 * used + expected] {
        let limit = format!("key_limits.tokens_per_minute = {tokens}");
        let mut play = Play::new(&one_key(&limit));
        for _ in 0..=(tokens - expected) / used {
            let client = play.ask(Dialect::OpenAiChat, false);
            play.reply_to_key(&good);
            assert_eq!(play.answer(client).status(), 200);
        }
        let client = play.ask(Dialect::OpenAiChat, false);
        assert!(play.pending().is_empty());
        assert_eq!(play.answer(client).status(), 429);
        play.world.pass(Duration::from_secs(65));
        let client = play.ask(Dialect::OpenAiChat, false);
        play.reply_to_key(&good);
        assert_eq!(play.answer(client).status(), 200);
    }
}

#[test]
fn requests_at_the_same_time_wait_their_turn() {
    let mut play = Play::new(&one_key("key_limits.concurrent = 2"));
    let clients: Vec<_> = (0..4)
        .map(|_| play.ask(Dialect::OpenAiChat, false))
        .collect();
    let good = well(Dialect::OpenAiChat, false);
    for left in [2, 2, 2, 1] {
        let pending = play.pending();
        assert_eq!(pending.len(), left);
        play.reply_on(pending[0].0, &good);
    }
    for client in &clients {
        assert_eq!(play.answer(*client).status(), 200);
    }
    // One that waits in vain is told so; one that leaves takes no turn.
    let held: Vec<_> = (0..2)
        .map(|_| play.ask(Dialect::OpenAiChat, false))
        .collect();
    let vain = play.ask(Dialect::OpenAiChat, false);
    let gone = play.ask(Dialect::OpenAiChat, false);
    play.world.hang_up(gone, End::Fin);
    play.world.pass(Duration::from_secs(10));
    assert_eq!(play.answer(vain).status(), 429);
    for _ in held {
        let pending = play.pending();
        play.reply_on(pending[0].0, &good);
    }
    assert!(play.pending().is_empty());
    let usage = play.world.usage();
    assert_eq!(usage.exchanges, 0);
    play.world.finish();
}

#[test]
fn a_reload_keeps_what_is_known_of_keys() {
    let mut play = Play::new(&one_key(""));
    play.ask(Dialect::OpenAiChat, false);
    play.reply_to_key(&error(429).field("retry-after", "60"));
    play.reload(&one_key("timers.idle = \"1m\""));
    let client = play.ask(Dialect::OpenAiChat, false);
    assert!(play.pending().is_empty());
    assert_eq!(play.answer(client).status(), 429);
}

#[test]
fn a_request_whose_key_cools_while_it_connects_goes_out_with_another() {
    let named = TWO_KEYS.replace("127.0.0.1:9002", "first.test:9002");
    let mut play = Play::new(&named);
    play.ask(Dialect::OpenAiChat, false);
    play.world.resolves = false;
    // The address is too old for a second connection.
    play.world.pass(Duration::from_secs(61));
    let client = play.ask(Dialect::OpenAiChat, false);
    let own = play.reply_to_key(&error(429).field("retry-after", "30"));
    play.world.resolve(9002);
    // Both the repetition and the request that was to have the same key.
    let good = well(Dialect::OpenAiChat, false);
    for (conn, _, request) in play.pending() {
        let other = request.field("authorization").unwrap();
        assert_ne!(other, format!("Bearer {own}"), "the key cools");
        play.send(conn, &good);
    }
    let answer = play.answer(client);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("x-tollgate-attempts"), Some("1"));
    assert_eq!(play.world.finish().len(), 2);
}

#[test]
fn a_key_that_cools_no_longer_is_used_while_another_one_is_busy() {
    let busy = "\"key-2\"]\nkey_limits.concurrent = 1";
    let mut play = Play::new(&TWO_KEYS.replace("\"key-2\"]", busy));
    play.ask(Dialect::OpenAiChat, false);
    let (_, _, held) = play.asked();
    let client = play.ask(Dialect::OpenAiChat, false);
    let (conn, _, request) = play.asked();
    assert_ne!(request.field("authorization"), held.field("authorization"));
    play.send(conn, &error(429).field("retry-after", "2"));
    let later = play.ask(Dialect::OpenAiChat, false);
    assert!(play.pending().is_empty());
    play.world.pass(Duration::from_secs(2));
    let good = well(Dialect::OpenAiChat, false);
    for client in [client, later] {
        let cooled = play.reply_to_key(&good);
        assert_eq!(
            request.field("authorization"),
            Some(&*format!("Bearer {cooled}"))
        );
        assert_eq!(play.answer(client).status(), 200);
    }
    play.world.finish();
}

#[test]
fn a_limit_met_under_an_earlier_config_sends_nobody_to_the_same_key_at_once() {
    for status in [429, 401] {
        let mut play = Play::new(TWO_KEYS);
        let client = play.ask(Dialect::OpenAiChat, false);
        play.reload(TWO_KEYS);
        let limited = error(status).field("retry-after", "30");
        let own = play.reply_to_key(&limited);
        let other = play.reply_to_key(&well(Dialect::OpenAiChat, false));
        assert_ne!(own, other, "the key cools");
        assert_eq!(play.answer(client).status(), 200);
        // That is known to those who come under the new one, too.
        for _ in 0..5 {
            play.ask(Dialect::OpenAiChat, false);
            let key = play.reply_to_key(&well(Dialect::OpenAiChat, false));
            assert_eq!(key, other);
        }
    }
}

#[test]
fn a_probe_that_was_answered_holds_up_nobody_however_long_its_answer_is() {
    let mut play = Play::new(&one_key(""));
    play.ask(Dialect::OpenAiChat, true);
    play.reply_to_key(&error(429).field("retry-after", "0"));
    play.back_off();
    let (conn, ..) = play.asked();
    play.world.send(conn, HEAD);
    play.ask(Dialect::OpenAiChat, true);
    play.ask(Dialect::OpenAiChat, true);
    assert_eq!(play.pending().len(), 2);
    play.world.finish();
}

#[test]
fn who_waits_for_another_target_finds_out_whether_a_refused_key_works_again() {
    let targets = "[\"first/one\", { target = \"second/two\", concurrent = 1 }]";
    let mut play = Play::new(&chain_of(targets));
    play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&error(401)), FIRST);
    assert_eq!(play.reply_well(false), SECOND);
    play.world.pass(Duration::from_secs(5));
    play.ask(Dialect::Anthropic, false);
    assert_eq!(play.asked().1, SECOND);
    let client = play.ask(Dialect::Anthropic, false);
    assert!(play.pending().is_empty());
    play.world.pass(Duration::from_millis(5_001));
    assert_eq!(play.reply_well(false), FIRST, "ten seconds are over");
    play.answered_well(Dialect::Anthropic, client);
    play.world.finish();
}

#[test]
fn when_to_come_back_is_told_by_the_last_answer_not_the_first() {
    for name in ["retry-after", "retry-after-ms"] {
        let limited = |seconds: u64| {
            let time = if name == "retry-after" {
                seconds
            } else {
                seconds * 1_000
            };
            error(429).field(name, &time.to_string())
        };
        for dialect in [Dialect::OpenAiChat, Dialect::Anthropic] {
            let mut play = Play::new(&one_key(""));
            let client = play.ask(dialect, false);
            play.reply_to_key(&limited(2));
            play.world.pass(Duration::from_millis(2_001));
            play.reply_to_key(&limited(30));
            let answer = play.answer(client);
            assert_eq!(answer.status(), 429);
            assert_eq!(answer.field("retry-after"), Some("30"), "{name}");
            assert_eq!(answer.field("retry-after-ms"), None);
        }
    }
}

#[test]
fn when_to_come_back_is_told_by_the_last_of_as_many_attempts_as_may_be() {
    let settings = "retry.attempts_max = 2\n";
    let mut play = Play::new(&format!("{settings}{}", one_key("")));
    let client = play.ask(Dialect::OpenAiChat, false);
    play.reply_to_key(&error(429).field("retry-after", "2"));
    play.world.pass(Duration::from_millis(2_001));
    play.reply_to_key(&error(429).field("retry-after", "7"));
    let answer = play.answer(client);
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.field("retry-after"), Some("7"));
}

#[test]
fn a_limit_that_is_met_within_an_answer_is_the_keys_too() {
    for (kind, is_key) in [
        ("rate_limit_exceeded", true),
        ("insufficient_quota", true),
        ("server_error", false),
    ] {
        let mut play = Play::new(TWO_KEYS);
        let client = play.ask(Dialect::OpenAiChat, true);
        let (conn, request) = play.begins(SECOND, &["some"]);
        let broken = error_event(Dialect::OpenAiChat, kind, "no more");
        play.world.send(conn, broken);
        assert!(play.said(Dialect::OpenAiChat, client).error.is_some());
        play.ask(Dialect::OpenAiChat, false);
        let other = play.reply_to_key(&well(Dialect::OpenAiChat, false));
        let own = format!("Bearer {other}");
        let is_same = request.field("authorization") == Some(&*own);
        assert_eq!(is_same, !is_key, "{kind}");
    }
}

#[test]
fn a_limit_that_is_over_at_once_and_is_not_is_no_storm() {
    let mut play = Play::new(&alone());
    let client = play.ask(Dialect::Anthropic, false);
    let (mut asked, mut waited) = (0, Duration::ZERO);
    while play.world.written(client).is_empty() {
        if play.pending().is_empty() {
            play.world.pass(Duration::from_millis(5));
            waited += Duration::from_millis(5);
            continue;
        }
        asked += 1;
        play.reply(&error(429).field("retry-after", "0"));
    }
    assert_eq!(asked, 4);
    // 25, 50 and 100 ms.
    assert!(waited >= Duration::from_millis(175), "{waited:?}");
    assert_eq!(play.answer(client).status(), 429);
}

#[test]
fn a_guess_at_one_provider_makes_what_is_known_of_another_no_guess() {
    for told in [false, true] {
        let mut play = Play::new(&chain_of("[\"first/one\", \"second/two\"]"));
        // The first one's key rests for three seconds, as its provider says.
        let before = play.ask(Dialect::Anthropic, false);
        play.reply(&error(429).field("retry-after", "3"));
        play.reply_well(false);
        play.answered_well(Dialect::Anthropic, before);
        let client = play.ask(Dialect::Anthropic, false);
        let limited = error(429);
        let limited = match told {
            true => limited.field("retry-after", "20"),
            false => limited,
        };
        assert_eq!(play.reply(&limited), SECOND);
        assert!(play.is_silent(client), "it is worth waiting");
        play.world.pass(Duration::from_millis(3_001));
        while play.pending().len() == 1 {
            play.reply_well(false);
        }
        play.answered_well(Dialect::Anthropic, client);
    }
}

#[test]
fn who_waits_for_one_key_looks_when_another_that_was_refused_may_work_again() {
    let mut play = Play::new(&format!("retry.wait_max = \"15s\"\n{TWO_KEYS}"));
    play.ask(Dialect::OpenAiChat, false);
    let refused = play.reply_to_key(&error(401));
    let other = play.reply_to_key(&well(Dialect::OpenAiChat, false));
    play.world.pass(Duration::from_secs(5));
    let client = play.ask(Dialect::OpenAiChat, false);
    assert_eq!(
        play.reply_to_key(&error(429).field("retry-after", "14")),
        other
    );
    assert!(play.pending().is_empty() && play.is_silent(client));
    play.world.pass(Duration::from_millis(5_001));
    assert_eq!(
        play.reply_to_key(&well(Dialect::OpenAiChat, false)),
        refused
    );
    play.answered_well(Dialect::OpenAiChat, client);
    play.world.finish();
}
