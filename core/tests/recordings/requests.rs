//! The recorded request goes to an upstream of the other API: what it asks arrives there.

use serde_json::Value as Json;
use tollgate_core::dialect::Dialect;

use super::corpus::Recording;
use super::support::asked::{self, Asked, bare};
use super::support::config;
use super::support::events::Cuts;
use super::support::messages;
use super::support::said::Call;
use super::support::talk::{self, Reply};
use super::table::Outcome;

/// What the upstream's body asks is what the recorded one asked.
pub(crate) fn check(recording: &Recording) -> Outcome {
    let other = other(recording.dialect);
    let reply = Reply::json(500, "{}");
    let body = recording.request.as_bytes();
    let talk = talk::once(config::one(other), recording.dialect, body, &reply, Cuts::Whole);
    let Some(got) = &talk.asked else {
        let fault = talk::fault(recording.dialect, &talk.answer);
        assert_eq!(talk.answer.status(), 400, "{fault:?}");
        return Outcome::Refused(fault.message);
    };
    let recorded: Json = serde_json::from_str(&recording.request).unwrap();
    compare(&read(recording.dialect, &recorded), &read(other, &got.json()), other);
    match recording.is_made {
        true => Outcome::PassedMade,
        false => Outcome::Passed,
    }
}

/// The API that is not this one.
pub(crate) const fn other(dialect: Dialect) -> Dialect {
    match dialect {
        Dialect::Anthropic => Dialect::OpenAiChat,
        Dialect::OpenAiChat => Dialect::Anthropic,
    }
}

/// What a request asks.
pub(crate) fn read(dialect: Dialect, body: &Json) -> Asked {
    match dialect {
        Dialect::Anthropic => asked::messages(body),
        Dialect::OpenAiChat => asked::chat(body),
    }
}

/// Panics unless both ask the same, as far as `target` can.
pub(crate) fn compare(told: &Asked, got: &Asked, target: Dialect) {
    assert_eq!(bare(&got.system), bare(&told.system), "system");
    assert_eq!(bare(&got.user), bare(&told.user), "the user's text");
    assert_eq!(bare(&got.assistant), bare(&told.assistant), "the assistant's text");
    assert_eq!(got.tools, told.tools, "tools");
    assert_eq!(got.stream, told.stream, "stream");
    assert_eq!(got.stop, told.stop, "stop sequences");
    let sorted = |media: &[String]| {
        let mut media = media.to_vec();
        media.sort();
        media
    };
    assert_eq!(sorted(&got.media), sorted(&told.media), "images and documents");
    if told.output_tokens_max.is_some() {
        assert_eq!(got.output_tokens_max, told.output_tokens_max, "the token limit");
    }
    if !told.tools.is_empty() {
        assert_eq!(got.choice, told.choice, "tool_choice");
    }
    assert_eq!(got.calls.len(), told.calls.len(), "calls");
    let mut ids = Vec::new();
    for (got, told) in got.calls.iter().zip(&told.calls) {
        assert!(got.is_like(told), "{got:?} {told:?}");
        assert!(is_same_id(&got.id, &told.id, target), "{got:?} {told:?}");
        ids.push((told.id.clone(), got.id.clone()));
    }
    assert_eq!(got.results.len(), told.results.len(), "results");
    for (got, told) in got.results.iter().zip(&told.results) {
        let is_same = is_same_id(&got.0, &told.0, target);
        let is_mapped = ids.iter().any(|(from, to)| *from == told.0 && *to == got.0);
        assert!(is_same || is_mapped, "{got:?} {told:?}");
        assert!(bare(&got.1).starts_with(&bare(&told.1)), "{got:?} {told:?}");
    }
    check_answered(got);
}

/// Every call has a result of its own.
fn check_answered(got: &Asked) {
    for (id, _) in &got.results {
        let of = |call: &&Call| call.id == *id;
        assert_eq!(got.calls.iter().filter(of).count(), 1, "the call of {id}");
    }
}

/// An id stays as it is, unless the target has a pattern that it does not fit.
pub(crate) fn is_same_id(got: &str, told: &str, target: Dialect) -> bool {
    let must_change = target == Dialect::Anthropic && !messages::is_id(told) || told.is_empty();
    match must_change {
        true => messages::is_id(got),
        false => got == told,
    }
}
