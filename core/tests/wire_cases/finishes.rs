//! Answers whose model has finished, and whose stream has not ended; and those of several choices,
//! of which one has.

use std::time::Duration;

use serde_json::json;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Outcome;

use super::fixtures::{Live, chunk_of, ending, frame, piece, request, usage_chunk, without_end};
use super::support::config;
use super::support::pairs;
use super::support::world::End;

/// How a stream can lack its last event.
#[derive(Clone, Copy, Debug)]
enum Lack {
    /// The body ends as its framing says.
    Ended,
    /// The connection ends within the body.
    Cut(End),
    /// Nothing follows, and the connection stays.
    Open,
}

/// A whole stream without the event that ends it.
fn unended(upstream: Dialect) -> String {
    without_end(
        upstream,
        frame(upstream) + &piece(upstream, "All.") + &ending(upstream),
    )
}

#[test]
fn case_01_a_finished_answer_gets_the_end_that_its_upstream_did_not_send() {
    let lacks = [
        Lack::Ended,
        Lack::Cut(End::Fin),
        Lack::Cut(End::Reset),
        Lack::Open,
    ];
    for (client, upstream) in pairs() {
        for lack in lacks {
            let what = format!("{client:?} of {upstream:?}, {lack:?}");
            let mut live = Live::new(client, upstream, true);
            live.head().feed(&unended(upstream));
            match lack {
                Lack::Ended => live.end(),
                Lack::Cut(end) => live.cut(end),
                Lack::Open => {
                    live.world.pass(Duration::from_secs(5));
                    assert!(live.world.is_closed(live.upstream), "{what}");
                    &mut live
                }
            };
            let (said, answer, record) = live.finish();
            assert_eq!(said.error, None, "{what}");
            assert!(said.is_complete, "{what}: {}", answer.text());
            assert_eq!(record.outcome, Outcome::Complete, "{what}");
        }
    }
}

fn choice(number: u32, text: &str, finish: Option<&str>) -> String {
    let delta = json!({"content": text});
    let choice = json!({"index": number, "delta": delta, "finish_reason": finish});
    chunk_of(json!({"choices": [choice]}))
}

/// A request for two choices; the first one ends, and the second is told for longer than an end is
/// waited for.
fn two_choices() -> Live {
    let chat = Dialect::OpenAiChat;
    let mut body = request(chat, true);
    body["n"] = json!(2);
    let mut live = Live::with(config::one(chat), chat, &body);
    let begun = |number| {
        let delta = json!({"role": "assistant", "content": "Well,"});
        let choice = json!({"index": number, "delta": delta, "finish_reason": null});
        chunk_of(json!({"choices": [choice]}))
    };
    let one = begun(0) + &begun(1) + &choice(0, " one.", Some("stop"));
    live.head().feed(&one);
    for _ in 0..10 {
        live.world.pass(Duration::from_secs(4));
        live.feed(&choice(1, " and", None));
    }
    live
}

#[test]
fn case_01_a_choice_goes_on_although_another_has_finished() {
    let mut live = two_choices();
    live.feed(&choice(1, " more.", Some("stop")));
    live.feed(&usage_chunk()).feed("data: [DONE]\n\n").end();
    let (said, answer, record) = live.finish();
    assert!(said.is_complete && said.error.is_none());
    assert!(answer.text().contains(" more."));
    assert_eq!(record.outcome, Outcome::Complete);
}

#[test]
fn case_01_a_choice_that_is_cut_off_is_no_end_although_another_has_finished() {
    let mut live = two_choices();
    live.end();
    let (said, answer, record) = live.finish();
    assert!(said.error.is_some() && !said.is_complete);
    assert!(!answer.text().contains("[DONE]"));
    assert!(matches!(record.outcome, Outcome::Failed { .. }));
}
