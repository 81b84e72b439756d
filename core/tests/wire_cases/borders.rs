//! Bytes at the borders of chunks, lines and events.

use serde_json::json;
use tollgate_core::base::Limits;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Outcome;

use super::fixtures::{Live, ask_once, ending, error_event, frame, piece, request, stream};
use super::support::events::Cuts;
use super::support::http::Message;
use super::support::talk::{self, Reply};
use super::support::{DIALECTS, config, pairs};

const TEXT: &str =
    "Gr\u{00fc}\u{00df}e \u{4f60}\u{597d} \u{1f980}\u{1f3f4}\u{200d}\u{2620}\u{fe0f}!";

/// The ways of vendors to write one and the same stream.
fn spellings(stream: &str) -> Vec<(&'static str, String)> {
    let no_event_lines = |text: &str| {
        let lines = text.split_inclusive('\n');
        lines
            .filter(|line| !line.starts_with("event:"))
            .collect::<String>()
    };
    vec![
        ("plain", stream.to_owned()),
        ("CRLF", stream.replace('\n', "\r\n")),
        ("CR", stream.replace('\n', "\r")),
        (
            "no space",
            stream
                .replace("data: ", "data:")
                .replace("event: ", "event:"),
        ),
        (
            "comments",
            stream.replace("\n\n", "\n\n: a comment\n\n:\n\n"),
        ),
        ("BOM", format!("\u{feff}{stream}")),
        ("BOM and comment", format!("\u{feff}: comment\n\n{stream}")),
        ("no last newline", stream.trim_end_matches('\n').to_owned()),
        (
            "one last newline",
            format!("{}\n", stream.trim_end_matches('\n')),
        ),
        ("blank lines", stream.replace("\n\n", "\n\n\n\n")),
        ("no event lines", no_event_lines(stream)),
        (
            "other fields",
            stream.replace("data: ", "id: 7\nretry: 100\nx: y\ndata: "),
        ),
        // A line end within the JSON, where it may stand, makes two lines of data.
        ("lines of data", stream.replace(",\"", ",\ndata: \"")),
    ]
}

fn send(client: Dialect, upstream: Dialect, body: &str, cuts: Cuts) -> Message {
    ask_once(client, upstream, true, &Reply::stream(body), cuts).answer
}

#[test]
fn case_09_any_spelling_cut_anywhere_says_the_same() {
    for (client, upstream) in pairs() {
        for (spelling, body) in spellings(&stream(upstream, TEXT)) {
            let what = format!("{client:?} {upstream:?} {spelling}");
            let whole = send(client, upstream, &body, Cuts::Whole);
            if client != upstream {
                let answer = talk::read(client, &whole, false);
                assert!(answer.is_complete, "{what}: {answer:?}");
                assert_eq!(answer.said().text, TEXT, "{what}");
            }
            assert!(!whole.text().contains('\u{fffd}'), "{what}");
            let seeds = (0..64).map(Cuts::Seeded);
            for cuts in seeds.chain([Cuts::Bytes]) {
                let other = send(client, upstream, &body, cuts);
                assert_eq!(other.text(), whole.text(), "{what} {cuts:?}");
            }
        }
    }
}

#[test]
fn case_09_bytes_pass_untouched_in_the_same_api() {
    for dialect in DIALECTS {
        for (spelling, body) in spellings(&stream(dialect, TEXT)) {
            // The usage chunk is hidden; here it is asked for.
            let mut request = request(dialect, true);
            if dialect == Dialect::OpenAiChat {
                request["stream_options"] = json!({"include_usage": true});
            }
            let request = request.to_string();
            let reply = Reply::stream(body.clone());
            let snapshot = config::one(dialect);
            let talk = talk::once(
                snapshot,
                dialect,
                request.as_bytes(),
                &reply,
                Cuts::Seeded(9),
            );
            let got = talk.answer.text();
            // A byte order mark is no part of any event, and breaks Anthropic's own SDK.
            let body = body.trim_start_matches('\u{feff}');
            // What follows the answer's own end means nothing.
            // And an event that is cut off behind its data is none without a blank line.
            let trimmed = got.trim_end_matches('\n');
            let is_same = body.starts_with(trimmed) && got.len() + 64 > body.len();
            assert!(is_same, "{dialect:?} {spelling}: {got:?}\n{body:?}");
            assert!(
                got.contains("[DONE]") || got.contains("message_stop"),
                "{got}"
            );
            let ends = ["\n\n", "\r\r", "\r\n\r\n"];
            assert!(
                ends.iter().any(|end| got.ends_with(end)),
                "{spelling}: {got:?}"
            );
        }
    }
}

#[test]
fn case_09_an_error_that_is_cut_off_behind_its_data_is_an_event_too() {
    for (client, upstream) in pairs() {
        let kind = "overloaded_error";
        let body = frame(upstream) + &piece(upstream, "one") + &error_event(upstream, kind, "O");
        for end in ["", "\n"] {
            let body = format!("{}{end}", body.trim_end_matches('\n'));
            let got = send(client, upstream, &body, Cuts::Whole);
            assert!(got.text().ends_with("\n\n"), "{:?}", got.text());
            let told = talk::read(client, &got, false).error.unwrap();
            assert_eq!(told.message, "O");
        }
    }
}

#[test]
fn case_09_every_offset_of_a_short_stream_can_be_a_border() {
    for (client, upstream) in pairs() {
        let body = stream(upstream, TEXT);
        let whole = send(client, upstream, &body, Cuts::Whole);
        for at in 1..Reply::stream(body.clone()).bytes(usize::MAX).len() {
            let other = send(client, upstream, &body, Cuts::At(at));
            assert_eq!(
                other.text(),
                whole.text(),
                "{client:?} {upstream:?} at {at}"
            );
        }
    }
}

#[test]
fn case_09_a_large_event_passes_and_one_over_the_cap_is_a_clean_error() {
    let mut limits = Limits::default();
    limits.sse.event_bytes_max = 64 * 1024;
    for (client, upstream) in pairs() {
        let fits = "x".repeat(60 * 1024);
        let too_long = "x".repeat(70 * 1024);
        for (text, is_whole) in [(&fits, true), (&too_long, false)] {
            let what = format!("{client:?} {upstream:?} {is_whole}");
            let snapshot = config::with(upstream, limits.clone());
            let mut live = Live::with(snapshot, client, &request(client, true));
            live.begin(upstream, "Begin. ");
            for part in piece(upstream, text).as_bytes().chunks(1500) {
                live.feed(core::str::from_utf8(part).unwrap());
            }
            if is_whole {
                live.feed(&ending(upstream)).end();
            }
            assert!(live.world.usage().buffered_bytes < 512 * 1024, "{what}");
            let (said, _, record) = live.finish();
            assert_eq!(said.is_complete, is_whole, "{what}");
            assert_eq!(said.error.is_none(), is_whole, "{what}");
            assert_eq!(record.outcome == Outcome::Complete, is_whole, "{what}");
            assert_eq!(said.said().text.len() > 60 * 1024, is_whole, "{what}");
        }
    }
}
