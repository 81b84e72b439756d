//! Targets that fail again and again.

use std::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;

use super::fixtures::request_with;
use super::play::{CHAIN, FIRST, Play, SECOND, alone, chain_of, error, well};
use super::support::world::{Conn, End};

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
fn a_target_that_is_alone_is_left_alone_like_others() {
    for (dialect, status) in [(Dialect::Anthropic, 529), (Dialect::OpenAiChat, 503)] {
        let mut play = Play::new(&alone());
        // What fails is told as it is; three attempts in all, the repetition included.
        for failures in [2, 1] {
            let client = play.ask(dialect, false);
            for _ in 0..failures {
                play.reply(&error(502));
                play.back_off();
            }
            assert!(play.pending().is_empty());
            let answer = play.answer(client);
            assert_eq!(answer.status(), 502);
            assert!(answer.text().contains("told by the upstream"));
        }
        // From then on nobody asks it, and each is told so at once, and until when.
        for is_stream in [false, true] {
            let client = play.ask(dialect, is_stream);
            assert!(play.pending().is_empty());
            let answer = play.answer(client);
            assert_eq!(answer.status(), status);
            let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
            assert!((4..=6).contains(&wait), "{wait}");
            let message = format!(
                "`first/one` has failed repeatedly, the last time with `bad_gateway`: it is left \
                 alone, and asked again in {wait} s"
            );
            assert!(answer.text().contains(&message), "{}", answer.text());
        }
        // Who comes back as late as that finds out, and nobody else meanwhile.
        play.world.pass(Duration::from_secs(6));
        let probe = play.ask(dialect, false);
        let other = play.ask(dialect, false);
        assert_eq!(play.pending().len(), 1);
        let answer = play.answer(other);
        assert_eq!(answer.status(), status);
        assert!(answer.text().contains("finds out at this moment"));
        play.reply_well(false);
        play.answered_well(dialect, probe);
        let client = play.ask(dialect, false);
        play.reply_well(false);
        play.answered_well(dialect, client);
        play.world.finish();
    }
}

#[test]
fn a_target_that_begins_each_stream_and_ends_none_is_asked_as_seldom_as_one_that_is_silent() {
    let mut play = Play::new(CHAIN);
    let mut asked = 0;
    for _ in 0..600 {
        play.ask(Dialect::Anthropic, true);
        let (conn, port, _) = play.asked();
        if port == FIRST {
            asked += 1;
            play.begin(conn, FIRST, &["some"]);
            play.world.hang_up(conn, End::Reset);
        } else {
            play.send(conn, &well(Dialect::OpenAiChat, true));
        }
        play.back_off();
    }
    // Three, and then after 5, 10, 20 and 40 seconds at the earliest.
    assert!((5..=7).contains(&asked), "{asked}");
    // A whole answer is what it takes to be trusted with three failures again.
    play.world.pass(Duration::from_secs(70));
    play.ask(Dialect::Anthropic, true);
    assert_eq!(play.reply_well(true), FIRST);
    for _ in 0..3 {
        play.ask(Dialect::Anthropic, true);
        play.begins_and_breaks(FIRST, &["some"]);
    }
    play.ask(Dialect::Anthropic, true);
    assert_eq!(play.reply_well(true), SECOND);
}

#[test]
fn in_an_outage_of_all_there_is_one_probe_goes_out_for_each_time() {
    let mut play = Play::new(&alone());
    let mut asked = 0;
    // A minute in which everybody comes back at once.
    for _ in 0..600 {
        let client = play.ask(Dialect::Anthropic, false);
        play.world.pass(Duration::from_millis(100));
        while !play.pending().is_empty() {
            asked += 1;
            play.reply(&error(500));
            play.back_off();
        }
        assert!(matches!(play.answer(client).status(), 500 | 529));
    }
    // Three, and then after 5, 10, 20 and 40 seconds at the earliest.
    assert!((5..=7).contains(&asked), "{asked}");
}

#[test]
fn requests_that_were_not_sent_yet_when_it_opens_are_not_sent() {
    let config = alone().replace("127.0.0.1:9001", "first.test:9001");
    let mut play = Play::new(&format!(
        "breaker.failures_in_row = 1\nretry.repeats_max = 0\n{config}"
    ));
    let first = play.ask(Dialect::Anthropic, false);
    play.world.resolves = false;
    play.world.pass(Duration::from_secs(90));
    let late = play.ask(Dialect::Anthropic, false);
    play.reply(&error(500));
    assert_eq!(play.answer(first).status(), 500);
    play.world.resolve(FIRST);
    assert!(play.pending().is_empty(), "the breaker is open");
    assert_eq!(play.answer(late).status(), 529);
    play.world.finish();
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

#[test]
fn a_target_that_will_be_left_alone_is_not_waited_for() {
    let mut play = Play::new(&format!("breaker.failures_in_row = 1\n{CHAIN}"));
    let client = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&error(500)), FIRST);
    assert_eq!(play.reply_well(false), SECOND, "in the same instant");
    assert_eq!(play.answer(client).status(), 200);
    // Nor after the probe that fails.
    play.world.pass(Duration::from_secs(6));
    let client = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&error(500)), FIRST);
    assert_eq!(play.reply_well(false), SECOND, "in the same instant");
    assert_eq!(play.answer(client).status(), 200);
}

/// The first target is broken, one request is with the second, where there is no more than one
/// place, and another waits for that.
fn waits_for_the_second(settings: &str) -> (Play, [Conn; 2]) {
    let targets = "[\"first/one\", { target = \"second/two\", concurrent = 1 }]";
    let mut play = Play::new(&format!("{settings}\n{}", chain_of(targets)));
    play.first_fails(2);
    play.world.pass(Duration::from_secs(6));
    let probe = play.ask(Dialect::Anthropic, false);
    play.ask(Dialect::Anthropic, false);
    let waits = play.ask(Dialect::Anthropic, false);
    let ports: Vec<_> = play.pending().iter().map(|it| it.1).collect();
    assert_eq!(ports, [FIRST, SECOND]);
    (play, [probe, waits])
}

#[test]
fn who_waits_for_another_target_takes_the_place_of_a_probe_whose_client_left() {
    let (mut play, [probe, waits]) = waits_for_the_second("");
    play.world.hang_up(probe, End::Fin);
    let conn = play.asked_at(FIRST);
    play.send(conn, &well(Dialect::Anthropic, false));
    play.answered_well(Dialect::Anthropic, waits);
    play.world.finish();
}

#[test]
fn who_waits_for_another_target_knows_when_the_broken_one_is_asked_after_a_probe_that_failed() {
    let (mut play, [_, waits]) = waits_for_the_second("retry.wait_max = \"1m\"");
    let conn = play.asked_at(FIRST);
    play.send(conn, &error(500));
    // Ten seconds, and up to a tenth more.
    play.world.pass(Duration::from_secs(11));
    let conn = play.asked_at(FIRST);
    play.send(conn, &well(Dialect::Anthropic, false));
    while play.is_silent(waits) {
        let conn = play.asked_at(FIRST);
        play.send(conn, &well(Dialect::Anthropic, false));
    }
    play.answered_well(Dialect::Anthropic, waits);
    play.world.finish();
}
