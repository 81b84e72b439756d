//! Client and upstream speak the same API: each gets the other's bytes.

use serde_json::Value as Json;
use serde_json::value::RawValue;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Outcome;

use super::corpus::Recording;
use super::support::config::{self, MODEL};
use super::support::events::{self, Cuts};
use super::support::http::Message;
use super::support::said::{list, text};
use super::support::talk::{self, Talk};
use super::table;

/// Sends the recording through, cut in every way.
pub(crate) fn check(recording: &Recording) -> table::Outcome {
    let first = send(recording, Cuts::Whole);
    check_request(
        recording,
        first.asked.as_ref().expect("the upstream was asked"),
    );
    check_answer(recording, &first);
    check_around(recording, &first);
    for cuts in cuts(recording) {
        let other = send(recording, cuts);
        assert_eq!(other.answer.start, first.answer.start, "{cuts:?}");
        let is_same = other.answer.body == first.answer.body;
        assert!(
            is_same,
            "{cuts:?} change the answer: {}",
            other.answer.text()
        );
    }
    match recording.is_made {
        true => table::Outcome::PassedMade,
        false => table::Outcome::Passed,
    }
}

/// The cuts under which a recording must say the same as whole.
pub(crate) fn cuts(recording: &Recording) -> Vec<Cuts> {
    let seeds = recording.id.bytes().map(u64::from).sum::<u64>();
    let mut cuts: Vec<Cuts> = (0..3).map(|at| Cuts::Seeded(seeds * 8 + at)).collect();
    cuts.push(Cuts::Bytes);
    if !recording.is_streamed {
        cuts.truncate(1);
    }
    cuts
}

fn send(recording: &Recording, cuts: Cuts) -> Talk {
    let snapshot = config::one(recording.dialect);
    let request = recording.request.as_bytes();
    talk::once(snapshot, recording.dialect, request, &recording.reply, cuts)
}

/// The upstream gets the client's bytes, with the model's name replaced and usage asked for.
fn check_request(recording: &Recording, asked: &Message) {
    assert!(asked.is_complete);
    let sent = &recording.request;
    let members: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(sent).unwrap();
    let model = members["model"].get();
    // Both lie in one text.
    let from = model.as_ptr() as usize - sent.as_ptr() as usize;
    let mut expected = sent.clone();
    expected.replace_range(from..from + model.len(), &format!("\"{MODEL}\""));
    let got = asked.text();
    let asks_usage = recording.dialect == Dialect::OpenAiChat && recording.stream;
    let mut wanted: Json = serde_json::from_str(&expected).unwrap();
    if !asks_usage || wanted["stream_options"]["include_usage"] == true {
        assert_eq!(got, expected);
        return;
    }
    let is_insertion = wanted["stream_options"]["include_usage"].is_null();
    wanted["stream_options"]["include_usage"] = true.into();
    assert_eq!(asked.json(), wanted);
    if is_insertion {
        let same =
            |one: &mut dyn Iterator<Item = (u8, u8)>| one.take_while(|(a, b)| a == b).count();
        let front = same(&mut got.bytes().zip(expected.bytes()));
        let back = same(&mut got.bytes().rev().zip(expected.bytes().rev()));
        assert!(
            front + back >= expected.len(),
            "more than an insertion: {got}"
        );
    }
}

fn check_answer(recording: &Recording, talk: &Talk) {
    let (reply, answer) = (&recording.reply, &talk.answer);
    let body = core::str::from_utf8(&reply.body).unwrap();
    if reply.status >= 400 {
        assert_eq!(answer.status(), reply.status);
        assert_eq!(answer.text(), body);
        return;
    }
    let told = recording.told();
    if !recording.is_streamed {
        let is_answer = match recording.dialect {
            Dialect::Anthropic => answer.json()["content"].is_array(),
            Dialect::OpenAiChat => answer.json()["choices"].is_array(),
        };
        if told.error.is_none() && is_answer {
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.text(), body);
            return;
        }
        check_fault(recording, answer);
        return;
    }
    if told.error.is_some() && told.choices.iter().all(|said| said.is_empty()) {
        check_fault(recording, answer);
        return;
    }
    assert_eq!(answer.status(), 200);
    let expected = expected_stream(recording, body);
    let is_told = told.error.is_some_and(|error| !error.message.is_empty());
    if told.is_complete || is_told {
        // Some vendors leave out what ends every stream; nothing else is added.
        let (name, mark) = match recording.dialect {
            Dialect::Anthropic => (
                "message_stop",
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            ),
            Dialect::OpenAiChat => ("[DONE]", "data: [DONE]\n\n"),
        };
        let is_ended = is_told || expected.contains(name);
        let mark = if is_ended { "" } else { mark };
        // Without a blank line the last event would be none for a client.
        let is_whole = ["\n\n", "\r\n\r\n"].iter().any(|it| expected.ends_with(it));
        let blank = match is_whole {
            true => "",
            false if expected.ends_with('\n') => "\n",
            false => "\n\n",
        };
        assert_eq!(answer.text(), expected + blank + mark);
    } else {
        // Cut off: the terminal error follows.
        let tail = answer
            .text()
            .strip_prefix(&expected)
            .expect("the upstream's bytes");
        let last = events::read(tail);
        assert_eq!(last.len(), 1, "{tail}");
        let error: Json = serde_json::from_str(&last[0].data).unwrap();
        assert!(error["error"]["message"].is_string(), "{tail}");
    }
}

/// What is around an answer: the fields of its head, and the record of it.
pub(crate) fn check_around(recording: &Recording, talk: &Talk) {
    let (answer, record) = (&talk.answer, &talk.record);
    let id = answer.field("x-request-id").expect("an id of the request");
    assert_eq!(record.request_id, id.as_bytes());
    assert_eq!(record.status, Some(answer.status()));
    assert_eq!(record.response_bytes, answer.body.len() as u64);
    assert_eq!((record.attempts.len(), record.broken_events), (1, 0));
    if answer.field("content-type") == Some("text/event-stream") {
        assert_eq!(answer.field("cache-control"), Some("no-cache"));
        assert_eq!(answer.field("x-accel-buffering"), Some("no"));
    }
    let told = recording.told();
    let is_whole = told.error.is_none() && told.is_complete && !told.choices.is_empty();
    assert_eq!(
        record.outcome == Outcome::Complete,
        is_whole,
        "{:?}",
        record.outcome
    );
    if let (true, Some(usage)) = (is_whole, told.usage) {
        let cached = usage.cache_read + usage.cache_write;
        let input = record.usage.input.map(|input| input.max(cached));
        assert_eq!(input, Some(usage.input), "recorded input");
        assert_eq!(record.usage.output, Some(usage.output), "recorded output");
    }
}

/// An error that came in a 200 is a status, in the client's envelope and with the upstream's words.
fn check_fault(recording: &Recording, answer: &Message) {
    assert!(
        answer.status() >= 400,
        "{}: {}",
        answer.start,
        answer.text()
    );
    let fault = talk::fault(recording.dialect, answer);
    if let Some(told) = recording.told().error {
        assert!(fault.message.contains(&told.message), "{fault:?} {told:?}");
    }
}

/// The upstream's stream up to its own end, less the usage chunk where it was not asked for.
fn expected_stream(recording: &Recording, body: &str) -> String {
    let sent: Json = serde_json::from_str(&recording.request).unwrap();
    let is_wanted = sent["stream_options"]["include_usage"] == true;
    let (mut expected, mut begun) = (String::new(), None);
    let mut at = 0;
    for event in events::read(body) {
        let data: Json = serde_json::from_str(&event.data).unwrap_or(Json::Null);
        if data["type"] == "message_start" {
            let id = text(&data["message"]["id"]);
            // Another answer begins in the middle of this one: nothing of it is for the client.
            if *begun.get_or_insert_with(|| id.clone()) != id {
                expected.push_str(&body[at..event.range.start]);
                return expected;
            }
        }
        let is_usage = recording.dialect == Dialect::OpenAiChat
            && data["choices"].is_array()
            && list(&data["choices"]).count() == 0
            && data["usage"].is_object();
        let until = if is_usage && !is_wanted {
            event.range.start
        } else {
            event.range.end
        };
        expected.push_str(&body[at..until]);
        at = event.range.end;
        let kind = text(&data["type"]);
        let is_error = data.get("error").is_some_and(|error| !error.is_null());
        if event.data.trim() == "[DONE]" || kind == "message_stop" || kind == "error" || is_error {
            return expected;
        }
    }
    expected.push_str(&body[at..]);
    expected
}
