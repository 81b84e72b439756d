//! Failures: what an upstream answers, and what a client is told.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tollgate_core::base::{Limits, OutBuf};
use tollgate_core::dialect::anthropic::failure;
use tollgate_core::ir::{Class, Failure};

fn decode(status: u16, body: &str) -> Failure {
    let body = Bytes::copy_from_slice(body.as_bytes());
    failure::decode(status, &body, &Limits::default())
}

fn encode(failure: &Failure) -> (u16, Json) {
    let mut out = OutBuf::new();
    let status = failure::encode(failure, "req_7", &mut out);
    (status, serde_json::from_slice(&out.take_all()).unwrap())
}

#[test]
fn each_class_has_its_status_and_type() {
    for (class, status, kind) in [
        (Class::Authentication, 401, "authentication_error"),
        (Class::BadGateway, 502, "api_error"),
        (Class::Billing, 402, "billing_error"),
        (Class::ContentFilter, 400, "invalid_request_error"),
        (Class::ContextLength, 400, "invalid_request_error"),
        (Class::Internal, 500, "api_error"),
        (Class::InvalidRequest, 400, "invalid_request_error"),
        (Class::MethodNotAllowed, 405, "invalid_request_error"),
        (Class::NotFound, 404, "not_found_error"),
        (Class::Overloaded, 529, "overloaded_error"),
        (Class::Permission, 403, "permission_error"),
        (Class::RateLimit, 429, "rate_limit_error"),
        (Class::RequestTimeout, 408, "timeout_error"),
        (Class::RequestTooLarge, 413, "request_too_large"),
        (Class::Timeout, 504, "timeout_error"),
        (Class::ToolGeneration, 400, "invalid_request_error"),
        (Class::Unavailable, 503, "api_error"),
        (Class::UnsupportedMediaType, 415, "invalid_request_error"),
    ] {
        let (told, body) = encode(&Failure::new(class, "why \"so\""));
        assert_eq!(told, status);
        assert_eq!(body["type"], "error");
        assert_eq!(body["error"]["type"], kind);
        assert!(
            body["error"]["message"]
                .as_str()
                .unwrap()
                .contains("why \"so\"")
        );
        assert_eq!(body["request_id"], "req_7");
    }
}

#[test]
fn what_was_told_as_messages_does_is_told_the_same_again() {
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ] {
        let error = json!({"type":kind,"message":"the vendor's words"});
        let body = json!({"type":"error","error":error,"request_id":"req_7"});
        assert_eq!(encode(&decode(status, &body.to_string())), (status, body));
    }
}

#[test]
fn any_body_is_read() {
    let page = "<!DOCTYPE html><html><head><TITLE>502 Bad Gateway</title></head></html>";
    for (status, body, class, message) in [
        (
            502,
            page,
            Class::BadGateway,
            "the upstream answered 502 with an HTML page: 502 Bad Gateway",
        ),
        (
            503,
            "",
            Class::Overloaded,
            "the upstream answered 503 and did not say why",
        ),
        (500, "oops\n", Class::Internal, "oops"),
        (
            400,
            "{\"detail\":[{\"a\":1}]}",
            Class::InvalidRequest,
            "[{\"a\":1}]",
        ),
        (
            401,
            "{\"error\":\"no key\"}",
            Class::Authentication,
            "no key",
        ),
        (403, "{\"message\":\"no\"}", Class::Permission, "no"),
        (
            404,
            "[{\"error\":{\"message\":\"gone\"}}]",
            Class::NotFound,
            "gone",
        ),
        (524, "null", Class::Timeout, "null"),
        (
            429,
            r#"{"error":{"type":"invalid_request_error","message":"slow"}}"#,
            Class::RateLimit,
            "slow",
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error",
                "message":"Your credit balance is too low to access the Anthropic API."}}"#,
            Class::Billing,
            "Your credit balance is too low to access the Anthropic API.",
        ),
        (
            400,
            r#"{"error":{"type":"invalid_request_error",
                "message":"Output blocked by content filtering policy"}}"#,
            Class::ContentFilter,
            "Output blocked by content filtering policy",
        ),
        (
            400,
            r#"{"error":{"message":
                "input length and `max_tokens` exceed context limit: 5 + 4 > 8"}}"#,
            Class::ContextLength,
            "input length and `max_tokens` exceed context limit: 5 + 4 > 8",
        ),
    ] {
        let failure = decode(status, body);
        assert_eq!(failure.class, class, "{body}");
        assert_eq!(failure.message.unescape(), message);
        assert_eq!(failure.upstream_status, Some(status));
    }
}
