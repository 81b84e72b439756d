//! Error bodies: the vendors' shapes, and OpenAI's envelope.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tollgate_core::base::{Limits, OutBuf};
use tollgate_core::dialect::openai_chat::failure;
use tollgate_core::ir::{Class, Failure};

fn read(status: u16, body: &str) -> Failure {
    failure::decode(
        status,
        &Bytes::copy_from_slice(body.as_bytes()),
        &Limits::default(),
    )
}

#[test]
fn every_shape_of_error_is_understood() {
    for (status, body, class, message) in [
        (
            401,
            json!({"detail": "Invalid API Key"}),
            Class::Authentication,
            "Invalid API Key",
        ),
        (
            422,
            json!({"detail": [{"loc": ["body"], "msg": "bad", "type": "x"}]}),
            Class::InvalidRequest,
            "bad",
        ),
        (
            400,
            json!({"error": {"code": null, "message": "prompt too long; exceeded max context length by 5", "type": "invalid_request_error"}}),
            Class::ContextLength,
            "prompt too long; exceeded max context length by 5",
        ),
        (
            429,
            json!({"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "slow down"}}, "user_id": "u"}),
            Class::RateLimit,
            "Provider returned error: slow down",
        ),
        (
            400,
            json!({"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xx"}),
            Class::Authentication,
            "Incorrect API key provided: xx",
        ),
        (
            401,
            json!({"error": {"message": "no", "type": "invalid_api_key", "code": 401}}),
            Class::Authentication,
            "no",
        ),
        (
            400,
            json!({"error": {"code": "tool_use_failed", "failed_generation": "x", "message": "m"}}),
            Class::ToolGeneration,
            "m",
        ),
        (
            429,
            json!({"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}}),
            Class::Billing,
            "m",
        ),
        (
            402,
            json!({"error": {"message": "Insufficient Balance"}}),
            Class::Billing,
            "Insufficient Balance",
        ),
        (
            400,
            json!({"error": {"code": "content_filter", "message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
            Class::ContentFilter,
            "m",
        ),
        (
            404,
            json!({"error": {"code": "model_not_found", "message": "m"}}),
            Class::NotFound,
            "m",
        ),
        (
            503,
            json!({"error": {"message": "m", "type": "server_error"}}),
            Class::Unavailable,
            "m",
        ),
        (
            503,
            json!({"error": {"message": "The model is overloaded", "code": null}}),
            Class::Overloaded,
            "The model is overloaded",
        ),
        (
            500,
            json!({"error": {"message": "m", "type": "overloaded_error"}}),
            Class::Overloaded,
            "m",
        ),
        (
            400,
            json!([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}]),
            Class::InvalidRequest,
            "m",
        ),
        (
            400,
            json!({"object": "error", "message": "This model's maximum context length is 10 tokens", "type": "BadRequestError"}),
            Class::ContextLength,
            "This model's maximum context length is 10 tokens",
        ),
        (
            502,
            json!({"error": {"message": "maximum context length"}}),
            Class::BadGateway,
            "maximum context length",
        ),
        (
            403,
            json!({"error": {"message": "m"}}),
            Class::Permission,
            "m",
        ),
        (
            529,
            json!({"error": {"message": "m"}}),
            Class::Overloaded,
            "m",
        ),
        (
            500,
            json!({}),
            Class::Internal,
            "the upstream answered 500 and did not say why",
        ),
        (
            500,
            json!(null),
            Class::Internal,
            "the upstream answered 500 and did not say why",
        ),
    ] {
        let failure = read(status, &body.to_string());
        assert_eq!(
            (failure.class, failure.message.to_string().as_str()),
            (class, message),
            "{body}"
        );
        assert_eq!(failure.upstream_status, Some(status));
    }
}

#[test]
fn bodies_that_are_no_json() {
    let html =
        "<html><head><title>502 Bad Gateway</title></head><body>context length</body></html>";
    let failure = read(502, html);
    assert_eq!(failure.class, Class::BadGateway);
    assert_eq!(
        failure.message.to_string(),
        "the upstream answered 502 with an HTML page: 502 Bad Gateway"
    );
    assert_eq!(
        read(504, "upstream timed out\n").message.to_string(),
        "upstream timed out"
    );
    assert_eq!(read(504, "").class, Class::Timeout);
    assert_eq!(read(413, "").class, Class::RequestTooLarge);
    let failure = failure::decode(500, &Bytes::from(vec![0xFF; 100_000]), &Limits::default());
    assert!(failure.message.len() < 2048);
}

#[test]
fn the_envelope_is_openais() {
    let told = |failure: &Failure| {
        let mut out = OutBuf::new();
        let status = failure::encode(failure, "req_1", &mut out);
        let json: Json = serde_json::from_slice(&out.take_all()).unwrap();
        (status, json["error"].clone())
    };
    let (status, error) = told(&Failure::invalid("messages[0].role", "is required"));
    assert_eq!(status, 400);
    assert_eq!(
        error,
        json!({"message": "messages[0].role: is required", "type": "invalid_request_error",
            "param": "messages[0].role", "code": null})
    );
    for (class, status, kind, code) in [
        (
            Class::Authentication,
            401,
            "invalid_request_error",
            "invalid_api_key",
        ),
        (
            Class::Billing,
            402,
            "insufficient_quota",
            "insufficient_quota",
        ),
        (
            Class::ContextLength,
            400,
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (
            Class::RateLimit,
            429,
            "rate_limit_error",
            "rate_limit_exceeded",
        ),
        (Class::Overloaded, 503, "server_error", "overloaded"),
        (Class::BadGateway, 502, "server_error", "bad_gateway"),
        (
            Class::RequestTooLarge,
            413,
            "invalid_request_error",
            "request_too_large",
        ),
    ] {
        let (own, error) = told(&Failure::new(class, "m"));
        assert_eq!(own, status);
        assert_eq!(
            error,
            json!({"message": "m", "type": kind, "param": null, "code": code})
        );
    }
    let model = read(404, r#"{"error":{"message":"no such model"}}"#);
    assert_eq!(told(&model).1["code"], "model_not_found");
    assert_eq!(
        told(&Failure::new(Class::NotFound, "no such path")).1["code"],
        Json::Null
    );
}
