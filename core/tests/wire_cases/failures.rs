//! Errors of upstreams, as each API tells them.

use serde_json::json;
use tollgate_core::dialect::Dialect;

use super::fixtures::{ask_once, error_body, fault};
use super::support::events::Cuts;
use super::support::http::Framing;
use super::support::pairs;
use super::support::talk::{Reply, Talk};

/// A status of an upstream, its type at Anthropic, and what each client is told: status and type.
struct Row {
    status: u16,
    kind: &'static str,
    messages: (u16, &'static str),
    chat: u16,
}

const fn row(status: u16, kind: &'static str, messages: (u16, &'static str), chat: u16) -> Row {
    Row {
        status,
        kind,
        messages,
        chat,
    }
}

const ROWS: [Row; 12] = [
    row(
        400,
        "invalid_request_error",
        (400, "invalid_request_error"),
        400,
    ),
    row(
        401,
        "authentication_error",
        (401, "authentication_error"),
        401,
    ),
    row(403, "permission_error", (403, "permission_error"), 403),
    row(404, "not_found_error", (404, "not_found_error"), 404),
    row(408, "timeout_error", (504, "timeout_error"), 504),
    row(413, "request_too_large", (413, "request_too_large"), 413),
    row(429, "rate_limit_error", (429, "rate_limit_error"), 429),
    row(500, "api_error", (500, "api_error"), 500),
    row(502, "api_error", (502, "api_error"), 502),
    // At OpenAI, "the engine is overloaded": overload is 529 to Messages clients.
    row(503, "api_error", (529, "overloaded_error"), 503),
    row(504, "timeout_error", (504, "timeout_error"), 504),
    row(529, "overloaded_error", (529, "overloaded_error"), 503),
];

fn send(client: Dialect, upstream: Dialect, stream: bool, reply: &Reply) -> Talk {
    ask_once(client, upstream, stream, reply, Cuts::Whole)
}

#[test]
fn case_17_every_error_is_told_in_the_callers_shape() {
    for (client, upstream) in pairs() {
        for stream in [false, true] {
            for row in &ROWS {
                let what = format!("{client:?} {upstream:?} {} {stream}", row.status);
                let message = format!("What went wrong: {}.", row.status);
                let body = error_body(upstream, row.kind, &message).to_string();
                let reply = Reply::json(row.status, body.clone()).field("retry-after", "7");
                let talk = send(client, upstream, stream, &reply);
                let fault = fault(client, &talk.answer);
                assert!(fault.message.contains(&message), "{what}: {fault:?}");
                assert_eq!(talk.answer.field("retry-after"), Some("7"), "{what}");
                if client == upstream {
                    assert_eq!(talk.answer.status(), row.status, "{what}");
                    assert_eq!(talk.answer.text(), body, "{what}");
                } else if client == Dialect::Anthropic {
                    assert_eq!(talk.answer.status(), row.messages.0, "{what}");
                    assert_eq!(fault.kind, row.messages.1, "{what}");
                } else {
                    assert_eq!(talk.answer.status(), row.chat, "{what}");
                }
                if client == Dialect::Anthropic {
                    assert!(talk.answer.field("request-id").is_some(), "{what}");
                }
            }
        }
    }
}

#[test]
fn case_17_the_vendors_request_id_reaches_a_client_of_its_api() {
    let body = error_body(Dialect::Anthropic, "rate_limit_error", "Slow down.").to_string();
    let reply = Reply::json(429, body).field("request-id", "req_upstream");
    let talk = send(Dialect::Anthropic, Dialect::Anthropic, true, &reply);
    assert_eq!(talk.answer.field("request-id"), Some("req_upstream"));
}

#[test]
fn case_17_bodies_that_are_no_json_are_wrapped() {
    let page = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>";
    for (client, upstream) in pairs() {
        for (status, body) in [
            (502, page),
            (503, ""),
            (500, "upstream connect error"),
            (504, page),
        ] {
            let what = format!("{client:?} {upstream:?} {status} {body:?}");
            let reply = Reply::new(status, "text/html", body, Framing::Length);
            let talk = send(client, upstream, true, &reply);
            let fault = fault(client, &talk.answer);
            let expected = match (client, status) {
                (Dialect::Anthropic, 503) => 529,
                _ => status,
            };
            assert_eq!(talk.answer.status(), expected, "{what}");
            assert!(!fault.message.contains("<html"), "{what}: {fault:?}");
            let has_title = body != page || fault.message.contains("502 Bad Gateway");
            assert!(has_title, "{what}: {fault:?}");
        }
    }
}

#[test]
fn case_17_every_vendors_shape_of_an_error_keeps_its_message() {
    let bodies = [
        json!({"error": {"code": 401, "message": "No key."}, "user_id": "u"}),
        json!({"error": {"code": "401", "message": "No key.", "details": "x"}}),
        json!({"error": "No key.", "code": "x"}),
        json!({"detail": "No key."}),
        json!({"message": "No key."}),
        json!([{"error": {"code": 401, "message": "No key.", "status": "UNAUTHENTICATED"}}]),
        json!("No key."),
    ];
    for body in bodies {
        let reply = Reply::json(401, body.to_string());
        let talk = send(Dialect::Anthropic, Dialect::OpenAiChat, false, &reply);
        let fault = fault(Dialect::Anthropic, &talk.answer);
        assert_eq!(talk.answer.status(), 401, "{body}");
        assert_eq!(fault.kind, "authentication_error", "{body}");
        assert!(fault.message.contains("No key."), "{body}: {fault:?}");
    }
}

#[test]
fn case_17_a_wait_in_milliseconds_is_told_in_seconds_too() {
    for (client, upstream) in pairs() {
        let body = error_body(upstream, "rate_limit_error", "Not so fast").to_string();
        let reply = Reply::json(429, body).field("retry-after-ms", "1500");
        let talk = send(client, upstream, true, &reply);
        assert_eq!(talk.answer.status(), 429, "{client:?} {upstream:?}");
        let field = |name| talk.answer.field(name);
        assert_eq!(field("retry-after-ms"), Some("1500"));
        // Within one API fields pass as they are.
        let seconds = (client != upstream).then_some("2");
        assert_eq!(field("retry-after"), seconds, "{client:?} {upstream:?}");
    }
}

#[test]
fn case_17_an_error_that_calls_itself_a_stream_is_an_error() {
    for (client, upstream) in pairs() {
        let body = error_body(upstream, "rate_limit_error", "Not so fast").to_string();
        let reply = Reply::new(429, "text/event-stream", body, Framing::Length);
        let talk = send(client, upstream, true, &reply);
        assert_eq!(talk.answer.status(), 429, "{client:?} {upstream:?}");
        let message = fault(client, &talk.answer).message;
        assert!(
            message.contains("Not so fast"),
            "{client:?} {upstream:?}: {message}"
        );
    }
}
