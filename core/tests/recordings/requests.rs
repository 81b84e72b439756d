//! The recorded request goes to an upstream of the other API: what it asks arrives there.

use serde_json::Value as Json;
use tollgate_core::dialect::Dialect;

use super::corpus::Recording;
use super::support::asked::{self, Asked, bare};
use super::support::config;
use super::support::events::Cuts;
use super::support::messages;
use super::support::talk::{self, Reply};
use super::table::Outcome;

/// What the upstream's body asks is what the recorded one asked.
pub(crate) fn check(recording: &Recording) -> Outcome {
    let other = other(recording.dialect);
    let reply = Reply::json(500, "{}");
    let body = recording.request.as_bytes();
    let talk = talk::once(
        config::one(other),
        recording.dialect,
        body,
        &reply,
        Cuts::Whole,
    );
    let Some(got) = &talk.asked else {
        let fault = talk::fault(recording.dialect, &talk.answer);
        assert_eq!(talk.answer.status(), 400, "{fault:?}");
        return Outcome::Refused(fault.message);
    };
    let recorded: Json = serde_json::from_str(&recording.request).unwrap();
    compare(
        &read(recording.dialect, &recorded),
        &read(other, &got.json()),
        other,
    );
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
    compare_words(got, told);
    assert_eq!(
        bare(&got.assistant),
        bare(&told.assistant),
        "the assistant's text"
    );
    assert_eq!(got.tools, told.tools, "tools");
    assert_eq!(got.stream, told.stream, "stream");
    assert_eq!(got.stop, told.stop, "stop sequences");
    let sorted = |media: &[String]| {
        let mut media = media.to_vec();
        media.sort();
        media
    };
    assert_eq!(
        sorted(&got.media),
        sorted(&told.media),
        "images and documents"
    );
    if told.output_tokens_max.is_some() {
        assert_eq!(
            got.output_tokens_max, told.output_tokens_max,
            "the token limit"
        );
    }
    if !told.tools.is_empty() {
        assert_eq!(got.choice, told.choice, "tool_choice");
    }
    assert_eq!(got.calls.len(), told.calls.len(), "calls");
    let (mut ids, all) = (Vec::new(), told);
    for (got, told) in got.calls.iter().zip(&told.calls) {
        assert!(got.is_like(told), "{got:?} {told:?}");
        let is_twice = |id: &str| all.calls.iter().filter(|it| it.id == id).count() > 1;
        let is_same = is_same_id(&got.id, &told.id, target) || is_twice(&told.id);
        assert!(is_same, "{got:?} {told:?}");
        ids.push((told.id.clone(), got.id.clone()));
    }
    assert_eq!(got.results.len(), told.results.len(), "results");
    for (got, told) in got.results.iter().zip(&told.results) {
        let is_same = is_same_id(&got.0, &told.0, target);
        let is_mapped = ids.iter().any(|(from, to)| *from == told.0 && *to == got.0);
        assert!(is_same || is_mapped, "{got:?} {told:?}");
        // A failed call is told as one, where the API has no flag for that.
        let said = got.1.strip_prefix("Error: ").unwrap_or(&got.1);
        assert!(bare(said).starts_with(&bare(&told.1)), "{got:?} {told:?}");
    }
    check_answered(got, told);
}

/// What the gateway says itself, where the target has no field for it, less white space.
const OWN_WORDS: [&str; 3] = [
    "AnswerwithoneJSONobjectandnothingelse:nowordsaroundit,nocodefence.",
    // Around what the system says in mid-conversation, which Messages gives to the user.
    "<system>",
    "</system>",
];

/// The system and the user say the same, whoever of them a text is given to, and nothing is added
/// but the gateway's own words.
fn compare_words(got: &Asked, told: &Asked) {
    let mut left: String = got.words.iter().map(|it| bare(it)).collect();
    let mut remove = |words: &str| {
        let is_there = left.contains(words);
        left = left.replacen(words, "", 1);
        is_there
    };
    let mut texts: Vec<String> = told.words.iter().map(|it| bare(it)).collect();
    // The longest first: a short one may be a part of it.
    texts.sort_by_key(|text| core::cmp::Reverse(text.len()));
    for text in texts {
        assert!(remove(&text), "{text:?} is lost: {:?}", got.words);
    }
    for words in OWN_WORDS {
        while remove(words) {}
    }
    for (id, _) in &got.results {
        while remove(&format!("Fromtheresultoftoolcall{id}:")) {}
    }
    assert_eq!(left, "", "words that nobody said");
}

/// Every call has a result of its own, unless the client mixed that up.
fn check_answered(got: &Asked, told: &Asked) {
    let count = |asked: &Asked, id: &str| asked.calls.iter().filter(|it| it.id == id).count();
    let is_mixed_up = told.calls.iter().any(|call| count(told, &call.id) > 1);
    for (id, _) in &got.results {
        assert!(is_mixed_up || count(got, id) == 1, "the call of {id}");
    }
}

/// An id stays as it is, unless the target has a pattern that it does not fit, or others have the
/// same.
fn is_same_id(got: &str, told: &str, target: Dialect) -> bool {
    let is_changed = got != told && messages::is_id(got);
    let may_change = !messages::is_id(told);
    let must_change = may_change && target == Dialect::Anthropic;
    match must_change {
        true => messages::is_id(got),
        false => got == told || (may_change && is_changed),
    }
}
