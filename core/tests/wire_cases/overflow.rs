//! Prompts that are longer than the model's context.

use tollgate_core::dialect::Dialect;

use super::fixtures::{ask_once, error_body, error_event, fault};
use super::support::events::Cuts;
use super::support::pairs;
use super::support::talk::Reply;

/// How vendors say it, and the numbers that they name.
const SPELLINGS: [(&str, Option<&str>); 8] = [
    (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in \
         200000 tokens. Please reduce the length of the messages.",
        Some("prompt is too long: 200000 tokens > 128000 maximum"),
    ),
    (
        "prompt is too long: 208310 tokens > 200000 maximum",
        Some("prompt is too long: 208310 tokens > 200000 maximum"),
    ),
    (
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease \
         input length or `max_tokens` and try again",
        Some("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
    ),
    (
        "This endpoint's maximum context length is 32768 tokens. However, you requested about \
         40000 tokens (39000 of text input, 1000 in the output).",
        Some("prompt is too long: "),
    ),
    (
        "The input token count (300000) exceeds the maximum number of tokens allowed (131072).",
        Some("prompt is too long: 300000 tokens > 131072 maximum"),
    ),
    (
        "the request exceeds the available context size. try increasing the context size",
        Some("prompt is too long: "),
    ),
    (
        "Your input exceeds the context window of this model.",
        Some("prompt is too long: "),
    ),
    (
        "Input is too long for requested model.",
        Some("prompt is too long: "),
    ),
];

#[test]
fn case_16_an_overflow_is_one_class_in_every_spelling() {
    for (client, upstream) in pairs() {
        for (spelling, parsed) in SPELLINGS {
            let what = format!("{client:?} {upstream:?} {spelling}");
            let body = error_body(upstream, "invalid_request_error", spelling).to_string();
            let reply = Reply::json(400, body.clone());
            let talk = ask_once(client, upstream, true, &reply, Cuts::Whole);
            assert_eq!(talk.answer.status(), 400, "{what}");
            let fault = fault(client, &talk.answer);
            assert_eq!(fault.kind, "invalid_request_error", "{what}");
            // Asked once, and never again.
            assert_eq!(talk.record.attempts.len(), 1, "{what}");
            if client == upstream {
                assert_eq!(talk.answer.text(), body, "{what}");
            } else if client == Dialect::Anthropic {
                let start = parsed.unwrap();
                assert!(
                    fault.message.starts_with(start),
                    "{what}: {}",
                    fault.message
                );
            } else {
                let code = &talk.answer.json()["error"]["code"];
                assert_eq!(code, "context_length_exceeded", "{what}");
                assert!(
                    fault.message.contains(spelling),
                    "{what}: {}",
                    fault.message
                );
            }
        }
    }
}

#[test]
fn case_16_an_overflow_within_a_stream_is_a_status_too() {
    let spelling = SPELLINGS[0].0;
    for (client, upstream) in pairs() {
        let event = error_event(upstream, "invalid_request_error", spelling);
        let reply = Reply::stream(event);
        let talk = ask_once(client, upstream, true, &reply, Cuts::Whole);
        assert_eq!(talk.answer.status(), 400, "{client:?} {upstream:?}");
        let fault = fault(client, &talk.answer);
        if client == Dialect::Anthropic {
            assert!(
                fault.message.starts_with("prompt is too long: "),
                "{}",
                fault.message
            );
        }
    }
}

#[test]
fn case_16_a_body_that_is_too_large_is_413() {
    for (client, upstream) in pairs() {
        let body = error_body(
            upstream,
            "request_too_large",
            "Request exceeds the maximum size",
        );
        let reply = Reply::json(413, body.to_string());
        let talk = ask_once(client, upstream, true, &reply, Cuts::Whole);
        assert_eq!(talk.answer.status(), 413, "{client:?} {upstream:?}");
        if client == Dialect::Anthropic {
            assert_eq!(fault(client, &talk.answer).kind, "request_too_large");
        }
    }
}
