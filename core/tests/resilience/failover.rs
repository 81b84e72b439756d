//! The sixteen faults of FailoverBench, as far as they come before content; and what must never be
//! asked of another target.

use std::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;
use tollgate_core::ir::Class;

use super::fixtures::{error_body, error_event, request, request_with, start, whole};
use super::play::{CHAIN, FIRST, Play, SECOND, alone, chain_of, error, well, with_first};
use super::support::DIALECTS;
use super::support::http::Framing;
use super::support::talk::Reply;
use super::support::world::{Conn, End, Reach};

/// The client got the good answer, and the record tells who was asked in vain.
fn is_rescued(play: Play, client: Conn, dialect: Dialect, failed: &[Class]) {
    let answer = play.answered_well(dialect, client);
    let attempts = (failed.len() + 1).to_string();
    assert_eq!(answer.field("x-tollgate-attempts"), Some(attempts.as_str()));
    let records = play.world.finish();
    assert_eq!(records.len(), 1);
    let told: Vec<_> = records[0].attempts.iter().map(|it| it.failed()).collect();
    let mut expected: Vec<_> = failed.iter().copied().map(Some).collect();
    expected.push(None);
    assert_eq!(told, expected);
}

fn each(test: impl Fn(Dialect, bool)) {
    for dialect in DIALECTS {
        for is_stream in [false, true] {
            test(dialect, is_stream);
        }
    }
}

#[test]
fn fault_1_and_2_a_rate_limit_goes_to_the_next_target() {
    each(|dialect, is_stream| {
        let mut play = Play::new(CHAIN);
        let client = play.ask(dialect, is_stream);
        assert_eq!(play.reply(&error(429).field("retry-after", "2")), FIRST);
        assert_eq!(play.reply_well(is_stream), SECOND);
        is_rescued(play, client, dialect, &[Class::RateLimit]);
    });
}

#[test]
fn fault_1_alone_a_short_wait_is_waited_out() {
    let alone = alone();
    each(|dialect, is_stream| {
        let mut play = Play::new(&alone);
        let client = play.ask(dialect, is_stream);
        assert_eq!(play.reply(&error(429).field("retry-after", "2")), FIRST);
        play.world.pass(Duration::from_millis(1_999));
        assert!(play.pending().is_empty(), "the key cools");
        play.world.pass(Duration::from_millis(100));
        assert_eq!(play.reply_well(is_stream), FIRST);
        is_rescued(play, client, dialect, &[Class::RateLimit]);
    });
}

#[test]
fn fault_3_one_500_is_tried_again_in_place() {
    each(|dialect, is_stream| {
        let mut play = Play::new(CHAIN);
        let client = play.ask(dialect, is_stream);
        assert_eq!(play.reply(&error(500)), FIRST);
        play.back_off();
        assert_eq!(play.reply_well(is_stream), FIRST);
        is_rescued(play, client, dialect, &[Class::Internal]);
    });
}

#[test]
fn fault_4_503_always_goes_to_the_next_target() {
    each(|dialect, is_stream| {
        let mut play = Play::new(CHAIN);
        let client = play.ask(dialect, is_stream);
        assert_eq!(play.reply(&error(503)), FIRST);
        play.back_off();
        assert_eq!(play.reply(&error(503)), FIRST);
        assert_eq!(play.reply_well(is_stream), SECOND);
        is_rescued(play, client, dialect, &[Class::Overloaded; 2]);
    });
}

#[test]
fn fault_5_a_reset_before_the_head_is_tried_again() {
    each(|dialect, is_stream| {
        let mut play = Play::new(CHAIN);
        let client = play.ask(dialect, is_stream);
        assert_eq!(play.cut(End::Reset), FIRST);
        play.back_off();
        assert_eq!(play.reply_well(is_stream), FIRST);
        is_rescued(play, client, dialect, &[Class::BadGateway]);
    });
}

#[test]
fn fault_6_and_7_no_content_in_time_is_one_attempt_and_the_next_target() {
    let quick = with_first(CHAIN, "timers.first_content = \"8s\"");
    each(|dialect, is_stream| {
        let mut play = Play::new(&quick);
        let client = play.ask(dialect, is_stream);
        let (conn, port, _) = play.asked();
        assert_eq!(port, FIRST);
        play.world.pass(Duration::from_secs(8));
        assert!(play.world.is_closed(conn));
        assert_eq!(play.reply_well(is_stream), SECOND);
        is_rescued(play, client, dialect, &[Class::Timeout]);
    });
}

#[test]
fn what_one_has_not_or_says_took_too_long_the_next_is_asked_at_once() {
    each(|dialect, is_stream| {
        for (status, class) in [
            (404, Class::NotFound),
            (408, Class::Timeout),
            (504, Class::Timeout),
        ] {
            let mut play = Play::new(CHAIN);
            let client = play.ask(dialect, is_stream);
            assert_eq!(play.reply(&error(status)), FIRST);
            assert_eq!(play.reply_well(is_stream), SECOND);
            is_rescued(play, client, dialect, &[class]);
        }
    });
}

#[test]
fn silence_within_a_whole_answer_goes_to_the_next_target() {
    let quick = with_first(CHAIN, "timers.idle = \"3s\"");
    each(|dialect, is_stream| {
        let mut play = Play::new(&quick);
        let client = play.ask(dialect, is_stream);
        let (conn, port, _) = play.asked();
        assert_eq!(port, FIRST);
        let whole = well(Dialect::Anthropic, false).bytes(1 << 20);
        play.world.send(conn, whole[..whole.len() - 1].to_vec());
        play.world.pass(Duration::from_secs(3));
        assert!(play.world.is_closed(conn));
        assert_eq!(play.reply_well(is_stream), SECOND);
        is_rescued(play, client, dialect, &[Class::Timeout]);
    });
}

#[test]
fn when_the_whole_time_is_over_nobody_else_is_asked() {
    let quick = with_first(CHAIN, "timers = { total = \"5s\", total_stream = \"5s\" }");
    each(|dialect, is_stream| {
        let mut play = Play::new(&quick);
        let client = play.ask(dialect, is_stream);
        play.asked();
        play.world.pass(Duration::from_secs(5));
        assert_eq!(play.answer(client).status(), 504);
        play.world.pass(Duration::from_secs(60));
        assert!(play.pending().is_empty());
    });
}

#[test]
fn nobody_listens_at_the_first() {
    let mut play = Play::new(CHAIN);
    play.world.reach = Reach::Refuses;
    let client = play.ask(Dialect::OpenAiChat, false);
    assert!(play.pending().is_empty());
    play.world.reach = Reach::Accepts;
    play.back_off();
    assert_eq!(play.reply_well(false), FIRST);
    is_rescued(play, client, Dialect::OpenAiChat, &[Class::BadGateway]);
}

#[test]
fn the_first_cannot_be_reached_in_time() {
    let mut play = Play::new(CHAIN);
    play.world.reach = Reach::Silent;
    let client = play.ask(Dialect::Anthropic, false);
    play.world.pass(Duration::from_millis(9_999));
    play.world.reach = Reach::Accepts;
    assert!(play.pending().is_empty());
    play.world.pass(Duration::from_millis(1));
    assert_eq!(play.reply_well(false), SECOND);
    is_rescued(play, client, Dialect::Anthropic, &[Class::Timeout]);
}

#[test]
fn answers_that_are_none_go_to_the_next_target() {
    each(|dialect, is_stream| {
        let html = Reply::new(200, "text/html", "<h1>hello</h1>", Framing::Length);
        let empty = Reply::new(200, "text/event-stream", "", Framing::Length);
        let cut = well(Dialect::Anthropic, false);
        let cut = Reply::json(200, &String::from_utf8(cut.body).unwrap()[..40]);
        for nonsense in [html, empty, cut] {
            let mut play = Play::new(CHAIN);
            let client = play.ask(dialect, is_stream);
            assert_eq!(play.reply(&nonsense), FIRST);
            play.back_off();
            assert_eq!(play.reply(&nonsense), FIRST);
            assert_eq!(play.reply_well(is_stream), SECOND);
            is_rescued(play, client, dialect, &[Class::BadGateway; 2]);
        }
    });
}

#[test]
fn an_error_inside_a_200_before_content_goes_to_the_next_target() {
    each(|dialect, is_stream| {
        let event = error_event(Dialect::Anthropic, "overloaded_error", "busy");
        for body in [event.clone(), start() + &event] {
            let mut play = Play::new(CHAIN);
            let client = play.ask(dialect, is_stream);
            assert_eq!(play.reply(&Reply::stream(body.clone())), FIRST);
            play.back_off();
            assert_eq!(play.reply(&Reply::stream(body)), FIRST);
            assert_eq!(play.reply_well(is_stream), SECOND);
            is_rescued(play, client, dialect, &[Class::Overloaded; 2]);
        }
    });
}

#[test]
fn fault_12_an_overflow_goes_to_another_model_once_and_is_told_exactly() {
    let message = "prompt is too long: 205000 tokens > 200000 maximum";
    let overflow = error_body(Dialect::Anthropic, "invalid_request_error", message);
    let overflow = Reply::json(400, overflow.to_string());
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&overflow), FIRST);
    assert_eq!(play.reply_well(false), SECOND);
    is_rescued(play, client, Dialect::Anthropic, &[Class::ContextLength]);
    let mut play = Play::new(&alone());
    let client = play.ask(Dialect::Anthropic, false);
    play.reply(&overflow);
    let answer = play.answer(client);
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains(message), "{}", answer.text());
    assert!(play.pending().is_empty());
}

#[test]
fn fault_13_a_plain_400_or_a_filter_is_never_routed_around() {
    each(|dialect, is_stream| {
        for message in [
            "max_tokens: must be positive",
            "Output blocked by content filtering policy",
        ] {
            let body = error_body(Dialect::Anthropic, "invalid_request_error", message);
            let mut play = Play::new(CHAIN);
            let client = play.ask(dialect, is_stream);
            assert_eq!(play.reply(&Reply::json(400, body.to_string())), FIRST);
            let answer = play.answer(client);
            assert_eq!(answer.status(), 400);
            assert!(answer.text().contains(message), "{}", answer.text());
            play.world.pass(Duration::from_secs(60));
            assert!(play.pending().is_empty());
            assert_eq!(play.world.upstreams().len(), 1);
        }
    });
}

#[test]
fn fault_16_the_answer_names_the_model_that_answered() {
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::OpenAiChat, false);
    play.reply(&error(429));
    let (conn, port, request) = play.asked();
    assert_eq!(
        (port, request.json()["model"].as_str()),
        (SECOND, Some("two"))
    );
    let mut body = whole(Dialect::OpenAiChat, "well");
    body["model"] = "two-0613".into();
    play.send(conn, &Reply::json(200, body.to_string()));
    let answer = play.answer(client);
    assert_eq!(answer.json()["model"], "two-0613");
    assert_eq!(answer.field("x-tollgate-target"), Some("second/two"));
    assert_eq!(answer.field("x-tollgate-attempts"), Some("2"));
    let record = play.record();
    assert_eq!(record.answered_by.as_ref().unwrap().unescape(), "two-0613");
    assert_eq!(&*record.provider.unwrap(), "second");
    assert_eq!(&*record.attempts[0].provider, "first");
}

#[test]
fn when_all_fail_the_first_error_is_told_and_never_masked() {
    // FailoverBench 14 and wire case 30: what the last resort says hides what went wrong.
    each(|dialect, is_stream| {
        let mut play = Play::new(CHAIN);
        let client = play.ask(dialect, is_stream);
        let busy = error_body(Dialect::Anthropic, "overloaded_error", "told by the first");
        let busy = Reply::json(529, busy.to_string());
        play.reply(&busy);
        play.back_off();
        play.reply(&busy);
        let refused = error_body(Dialect::OpenAiChat, "invalid_request_error", "no prefill");
        assert_eq!(play.reply(&Reply::json(400, refused.to_string())), SECOND);
        let answer = play.answer(client);
        assert!(
            answer.text().contains("told by the first"),
            "{}",
            answer.text()
        );
        let expected = match dialect {
            Dialect::Anthropic => 529,
            Dialect::OpenAiChat => 503,
        };
        assert_eq!(answer.status(), expected);
    });
}

#[test]
fn attempts_are_bounded_over_all_targets() {
    let bounded = format!("retry.attempts_max = 3\nretry.repeats_max = 9\n{CHAIN}");
    let mut play = Play::new(&bounded);
    let client = play.ask(Dialect::OpenAiChat, true);
    for _ in 0..3 {
        play.reply(&error(500));
        play.world.pass(Duration::from_secs(2));
    }
    assert!(play.pending().is_empty());
    assert_eq!(play.answer(client).status(), 500);
    let record = play.record();
    assert_eq!(record.attempts.len(), 3);
}

#[test]
fn a_target_that_cannot_be_told_what_is_asked_is_passed_over() {
    // Audio is something that Messages has no place for.
    let body = json!({"model": "asked", "messages": [{"role": "user", "content": [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]});
    let mut play = Play::new(CHAIN);
    let client = play.ask_body(Dialect::OpenAiChat, &body, &[]);
    let (port, asked) = play.serve(false);
    assert_eq!(port, SECOND);
    assert_eq!(asked.json()["messages"], body["messages"]);
    is_rescued(play, client, Dialect::OpenAiChat, &[]);
}

#[test]
fn a_conversation_keeps_its_target_within_a_step() {
    let step = chain_of("[[{ target = \"first/one\", weight = 3 }, \"second/two\"]]");
    let mut counts = [0, 0];
    for session in 0..200 {
        let mut ports = Vec::new();
        let mut play = Play::new(&step);
        for turn in 0..2 {
            let name = format!("session-{session}");
            let members = json!({"prompt_cache_key": name, "seed": turn});
            let body = request_with(Dialect::OpenAiChat, false, &members);
            play.ask_body(Dialect::OpenAiChat, &body, &[]);
            ports.push(play.reply_well(false));
        }
        assert_eq!(ports[0], ports[1]);
        counts[usize::from(ports[0] == SECOND)] += 1;
    }
    assert!(counts[0] > 120 && counts[1] > 25, "{counts:?}");
    // And where its own cannot answer, the other does.
    let mut play = Play::new(&step);
    let client = play.ask(Dialect::OpenAiChat, true);
    let own = play.reply(&error(429));
    assert_ne!(play.reply_well(true), own);
    is_rescued(play, client, Dialect::OpenAiChat, &[Class::RateLimit]);
}

#[test]
fn addresses_that_come_too_late_are_not_taken_for_those_of_the_next_target() {
    let named = CHAIN
        .replace("127.0.0.1:9001", "first.test:9001")
        .replace("127.0.0.1:9002", "second.test:9002");
    for is_reloaded in [false, true] {
        let mut play = Play::new(&named);
        play.world.resolves = false;
        let client = play.ask(Dialect::OpenAiChat, false);
        if is_reloaded {
            play.reload(&named);
            // The lookup of the old config.
            play.world.resolve(FIRST);
        }
        play.world.pass(Duration::from_secs(10));
        // The second target's name is looked up, and now the first one's is found.
        play.world.resolve(FIRST);
        assert!(play.world.upstreams().is_empty(), "another's address");
        play.world.resolve(SECOND);
        assert_eq!(play.reply_well(false), SECOND);
        is_rescued(play, client, Dialect::OpenAiChat, &[Class::Timeout]);
    }
}

#[test]
fn a_target_whose_key_cools_for_a_known_time_is_waited_for_when_the_other_one_fails() {
    let mut play = Play::new(CHAIN);
    play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&error(429).field("retry-after", "3")), FIRST);
    assert_eq!(play.reply_well(false), SECOND);
    let client = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&error(500)), SECOND);
    play.back_off();
    assert_eq!(play.reply(&error(500)), SECOND);
    assert!(play.pending().is_empty());
    play.world.pass(Duration::from_secs(3));
    assert_eq!(play.reply_well(false), FIRST);
    assert_eq!(play.answer(client).status(), 200);
}

#[test]
fn a_target_is_asked_once_more_though_the_one_before_it_was() {
    let mut play = Play::new(CHAIN);
    let client = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply(&error(500)), FIRST);
    play.back_off();
    let limited = error(429).field("retry-after", "30");
    assert_eq!(play.reply(&limited), FIRST);
    assert_eq!(play.reply(&error(500)), SECOND);
    play.back_off();
    assert_eq!(play.reply_well(false), SECOND);
    play.answered_well(Dialect::Anthropic, client);
}

#[test]
fn what_is_not_the_requests_fault_is_tried_again_whatever_its_number() {
    // Once more here, and then at the next target; a model that is gone is asked for elsewhere.
    for (status, asked) in [(407, 2), (409, 2), (421, 2), (423, 2), (425, 2), (410, 1)] {
        let mut play = Play::new(CHAIN);
        let client = play.ask(Dialect::Anthropic, false);
        for _ in 0..asked {
            assert_eq!(play.reply(&error(status)), FIRST, "{status}");
            if play.pending().is_empty() {
                play.back_off();
            }
        }
        assert_eq!(play.reply_well(false), SECOND, "{status}");
        assert_eq!(play.answer(client).status(), 200);
    }
}

#[test]
fn what_could_not_be_written_for_a_target_was_not_sent_to_it() {
    let named = "[providers.named]\ndialect = \"anthropic\"\nbase_url = \"http://up.test:9003\"\n\
                 credentials = \"none\"";
    let config = CHAIN.replace("[models]", "[models]\nnamed = \"named/one\"");
    let limits = "limits.host_jobs_max = 1\nlimits.turn_bytes_max = \"4KiB\"";
    let mut play = Play::new(&format!("{limits}\n{config}\n{named}"));
    let mut body = request(Dialect::Anthropic, false);
    body["system"] = "word ".repeat(2_000).into();
    let client = play.ask_body(Dialect::Anthropic, &body, &[]);
    play.world.resolves = false;
    // A name is looked up: the host has no time for more.
    let mut other = request(Dialect::Anthropic, false);
    other["model"] = "named".into();
    play.ask_body(Dialect::Anthropic, &other, &[]);
    assert_eq!(play.reply(&error(404)), FIRST);
    let answer = play.answer(client);
    assert!(
        answer.text().contains("large requests"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.field("x-tollgate-attempts"), Some("1"));
    play.world.resolve(9003);
    play.world.finish();
}
