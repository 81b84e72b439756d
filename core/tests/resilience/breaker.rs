//! Targets that fail again and again.

use std::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;

use super::fixtures::request_with;
use super::play::{CHAIN, FIRST, Play, SECOND, alone, chain_of, error, well};
use super::support::world::End;

#[test]
fn fault_15_in_an_outage_three_attempts_open_it_and_probes_are_few() {
    let mut play = Play::new(CHAIN);
    let mut asked = [0, 0];
    // A minute of 503 at the first target, a request each half second.
    for _ in 0..120 {
        let client = play.ask(Dialect::Anthropic, false);
        let mut waited = Duration::ZERO;
        while let Some((_, port, _)) = play.pending().first().cloned() {
            asked[usize::from(port == SECOND)] += 1;
            if port == SECOND {
                play.reply(&well(Dialect::OpenAiChat, false));
                break;
            }
            play.reply(&error(503));
            if play.pending().is_empty() {
                play.back_off();
                waited += Duration::from_millis(100);
            }
        }
        assert_eq!(play.answer(client).status(), 200);
        play.world
            .pass(Duration::from_millis(500).saturating_sub(waited));
    }
    assert_eq!(asked[1], 120);
    // Three to open it, then a probe after 5, 10, 20 and 40 seconds at the earliest.
    assert!((5..=7).contains(&asked[0]), "{asked:?}");
    // It is well again: one probe, and then everybody.
    play.world.pass(Duration::from_secs(70));
    let probe = play.ask(Dialect::Anthropic, false);
    let others: Vec<_> = (0..20)
        .map(|_| play.ask(Dialect::Anthropic, false))
        .collect();
    let pending = play.pending();
    let at_first = pending.iter().filter(|(_, port, _)| *port == FIRST);
    assert_eq!(at_first.count(), 1);
    play.reply_well_to_all(false);
    for client in others.into_iter().chain([probe]) {
        assert_eq!(play.answer(client).status(), 200);
    }
    play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply_well(false), FIRST);
    play.world.finish();
}

#[test]
fn when_all_are_open_that_is_told_at_once_with_the_time_until_the_next_probe() {
    let mut play = Play::new(CHAIN);
    for _ in 0..3 {
        play.ask(Dialect::Anthropic, false);
        while !play.pending().is_empty() {
            play.reply(&error(500));
            play.back_off();
        }
    }
    let client = play.ask(Dialect::Anthropic, false);
    assert!(play.pending().is_empty(), "both are open");
    let answer = play.answer(client);
    assert_eq!(answer.status(), 529);
    let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((4..=6).contains(&wait), "{wait}");
}

#[test]
fn a_target_that_is_alone_is_asked_all_the_same() {
    let mut play = Play::new(&alone());
    for status in [500, 503, 401, 500, 529, 403, 502] {
        let client = play.ask(Dialect::Anthropic, false);
        play.reply(&error(status));
        play.back_off();
        if !play.pending().is_empty() {
            play.reply(&error(status));
        }
        assert_eq!(play.answer(client).status(), status);
    }
    let client = play.ask(Dialect::Anthropic, false);
    play.reply_well(false);
    assert_eq!(play.answer(client).status(), 200);
}

#[test]
fn the_faults_of_clients_and_keys_do_not_open_it() {
    let mut play = Play::new(CHAIN);
    for status in [400, 404, 413, 429, 400, 400] {
        play.ask(Dialect::Anthropic, false);
        play.reply(&error(status).field("retry-after", "0"));
        while !play.pending().is_empty() {
            play.reply_well(false);
        }
        play.world.pass(Duration::from_millis(10));
    }
    for _ in 0..5 {
        let client = play.ask(Dialect::Anthropic, true);
        play.asked();
        play.world.hang_up(client, End::Reset);
    }
    let client = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply_well(false), FIRST);
    assert_eq!(play.answer(client).status(), 200);
}

#[test]
fn a_probe_whose_client_leaves_gives_way_to_another() {
    let mut play = Play::new(CHAIN);
    play.first_fails(2);
    play.world.pass(Duration::from_secs(6));
    let probe = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.asked().1, FIRST);
    play.world.hang_up(probe, End::Fin);
    let client = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply_well(false), FIRST);
    assert_eq!(play.answer(client).status(), 200);
}

#[test]
fn streams_that_break_count() {
    let mut play = Play::new(CHAIN);
    let mut at_first = 0;
    for _ in 0..40 {
        let client = play.ask(Dialect::Anthropic, true);
        let (conn, port, _) = play.asked();
        if port == SECOND {
            break;
        }
        at_first += 1;
        play.begin(conn, port, &["we", "ll"]);
        play.world.hang_up(conn, End::Reset);
        let answer = play.answer(client);
        assert!(answer.text().contains("event: error"), "{}", answer.text());
    }
    assert_eq!(at_first, 3);
}

#[test]
fn a_model_that_fails_is_the_same_whatever_name_leads_to_it() {
    let config = chain_of(
        "[\"first/one\", \"second/two\"]\n\
         other = [{ target = \"first/one\", max_tokens = 9 }, \"second/two\"]",
    );
    let mut play = Play::new(&format!("retry.repeats_max = 0\n{config}"));
    let mut at_first = 0;
    for name in ["asked", "other"].repeat(5) {
        let body = request_with(Dialect::Anthropic, false, &json!({"model": name}));
        play.ask_body(Dialect::Anthropic, &body, &[]);
        if play.pending()[0].1 == FIRST {
            at_first += 1;
            play.reply(&error(500));
        }
        assert_eq!(play.reply_well(false), SECOND);
    }
    assert_eq!(at_first, 3);
    play.world.finish();
}

#[test]
fn who_waits_for_another_target_finds_out_whether_the_broken_one_is_well() {
    let mut play = Play::new(CHAIN);
    play.first_fails(2);
    let client = play.ask(Dialect::Anthropic, false);
    let limited = error(429).field("retry-after", "9");
    assert_eq!(play.reply(&limited), SECOND);
    let later = play.ask(Dialect::Anthropic, false);
    play.world.pass(Duration::from_millis(5_600));
    assert_eq!(play.reply_well(false), FIRST);
    assert_eq!(play.answer(client).status(), 200);
    play.world.pass(Duration::from_millis(1));
    assert_eq!(play.reply_well(false), FIRST);
    assert_eq!(play.answer(later).status(), 200);
}
