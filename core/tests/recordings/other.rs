//! The client speaks the other API than the upstream: what it is told is what the recording says.

use bytes::Bytes;
use serde_json::Value as Json;
use tollgate_core::base::{JsonStr, Limits};
use tollgate_core::dialect::{Dialect, Target};
use tollgate_core::wire::json::Tape;

use super::corpus::{self, Recording};
use super::requests::{self, other};
use super::same::{check_around, cuts};
use super::support::config;
use super::support::events::Cuts;
use super::support::said::{Answer, Said, Usage};
use super::support::talk::{self, Talk};
use super::table::Outcome;

/// A client's request, and why it had to be made by rule.
struct Request {
    body: String,
    made: Option<String>,
}

/// The upstream is asked what the recorded request asks, by a client of the other API.
pub(crate) fn check_request(recording: &Recording) -> Outcome {
    let request = translated(recording);
    if let Some(why) = request.made {
        return Outcome::Refused(why);
    }
    let talk = send(recording, &request, Cuts::Whole);
    let Some(got) = &talk.asked else {
        let fault = talk::fault(other(recording.dialect), &talk.answer);
        return Outcome::Refused(fault.message);
    };
    let recorded: Json = serde_json::from_str(&recording.request).unwrap();
    let told = requests::read(recording.dialect, &recorded);
    let got = requests::read(recording.dialect, &got.json());
    requests::compare(&told, &got, recording.dialect);
    match recording.is_made {
        true => Outcome::PassedMade,
        false => Outcome::Passed,
    }
}

/// The client is told what the recorded answer says, however its bytes come.
pub(crate) fn check_answer(recording: &Recording) -> Outcome {
    let mut request = translated(recording);
    let mut first = send(recording, &request, Cuts::Whole);
    if first.asked.is_none() {
        request.body = corpus::minimal(other(recording.dialect), recording.stream);
        request.made = Some("refused by the gateway".to_owned());
        first = send(recording, &request, Cuts::Whole);
    }
    assert!(first.asked.is_some(), "the upstream was not asked");
    let client = other(recording.dialect);
    let wanted = request.body.contains("include_usage");
    let answer = talk::read(client, &first.answer, wanted);
    compare(recording, &first, &answer, wanted);
    check_around(recording, &first);
    for cuts in cuts(recording) {
        let other = send(recording, &request, cuts);
        assert_eq!(other.answer.start, first.answer.start, "{cuts:?}");
        let is_same = other.answer.body == first.answer.body;
        assert!(
            is_same,
            "{cuts:?} change the answer: {}",
            other.answer.text()
        );
    }
    match recording.is_made || request.made.is_some() {
        true => Outcome::PassedMade,
        false => Outcome::Passed,
    }
}

fn send(recording: &Recording, request: &Request, cuts: Cuts) -> Talk {
    let snapshot = config::one(recording.dialect);
    let client = other(recording.dialect);
    talk::once(
        snapshot,
        client,
        request.body.as_bytes(),
        &recording.reply,
        cuts,
    )
}

/// The recorded request in the other API, as the library writes it; where it refuses, one by rule.
fn translated(recording: &Recording) -> Request {
    let text = Bytes::from(recording.request.clone());
    let mut tape = Tape::new();
    let root = tape.parse(&text, &Limits::default().json).unwrap();
    let model = JsonStr::from_static("asked-model");
    let traits = config::traits();
    let target = Target {
        model: &model,
        traits: &traits,
        extra: &[],
    };
    let client = other(recording.dialect);
    let encoded = recording.dialect.decode_request(root);
    match encoded.and_then(|request| client.encode_request(&request, &target)) {
        Ok(mut encoded) => Request {
            body: String::from_utf8(encoded.body.take_all().to_vec()).unwrap(),
            made: None,
        },
        Err(failure) => Request {
            body: corpus::minimal(client, recording.stream),
            made: Some(failure.message.unescape().into_owned()),
        },
    }
}

fn compare(recording: &Recording, talk: &Talk, got: &Answer, usage_wanted: bool) {
    let told = recording.told();
    let client = other(recording.dialect);
    let has_content = told.choices.iter().any(|said| !said.is_empty());
    if let Some(error) = &told.error {
        let got = got.error.as_ref().expect("an error");
        assert!(
            is_told(&got.message, &error.message, client),
            "{got:?} {error:?}"
        );
        let is_early = !has_content || !recording.is_streamed;
        assert_eq!(
            talk.answer.status() >= 400,
            is_early,
            "{}",
            talk.answer.start
        );
        if recording.reply.status >= 400 {
            check_status(recording.reply.status, talk.answer.status(), client);
        }
        return;
    }
    if !told.is_complete || told.choices.is_empty() {
        assert!(got.error.is_some(), "a cut-off answer without an error");
        return;
    }
    assert_eq!(got.error, None);
    assert_eq!(talk.answer.status(), 200);
    assert!(got.is_complete);
    // Messages has one answer.
    let count = match client {
        Dialect::Anthropic => 1,
        Dialect::OpenAiChat => told.choices.len(),
    };
    assert_eq!(got.choices.len(), count);
    for (got, told) in got.choices.iter().zip(&told.choices) {
        compare_said(got, told, client);
    }
    compare_usage(
        got.usage,
        told.usage,
        client,
        !recording.stream || usage_wanted,
    );
}

/// The message is kept. An overflow is told to Messages clients as they parse it.
fn is_told(got: &str, told: &str, client: Dialect) -> bool {
    let is_overflow = told.contains("maximum context length");
    let is_parsed = got.starts_with("prompt is too long: ") && got.ends_with(" maximum");
    got.contains(told) || (client == Dialect::Anthropic && is_overflow && is_parsed)
}

/// A status stays as it is, but for overload, which each API has its own number for.
fn check_status(told: u16, got: u16, client: Dialect) {
    let expected = match (told, client) {
        (529, Dialect::OpenAiChat) => 503,
        (told, _) => told,
    };
    assert_eq!(got, expected);
}

fn compare_said(got: &Said, told: &Said, client: Dialect) {
    match client {
        // Messages has no place for a refusal but the text.
        Dialect::Anthropic => assert_eq!(got.text, told.text.clone() + &told.refusal),
        Dialect::OpenAiChat => assert_eq!(got.text, told.text),
    }
    assert_eq!(got.thinking, told.thinking, "thinking");
    assert_eq!(got.signatures, told.signatures, "signatures");
    assert_eq!(got.redacted, told.redacted, "redacted thinking");
    assert_eq!(
        got.calls.len(),
        told.calls.len(),
        "{:?} {:?}",
        got.calls,
        told.calls
    );
    for (got, told) in got.calls.iter().zip(&told.calls) {
        assert!(got.is_like(told), "{got:?} {told:?}");
        assert!(got.id == told.id || told.id.is_empty(), "{got:?} {told:?}");
    }
    assert_eq!(got.finish, told.finish, "why it ended");
}

fn compare_usage(got: Option<Usage>, told: Option<Usage>, client: Dialect, is_wanted: bool) {
    let Some(told) = told else { return };
    if client == Dialect::OpenAiChat && !is_wanted {
        return;
    }
    let got = got.expect("usage");
    assert_eq!(got, told, "usage");
}
