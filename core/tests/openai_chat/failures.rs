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

fn expect(status: u16, body: &str, class: Class, message: &str) {
    let failure = read(status, body);
    let told = (failure.class, failure.message.to_string());
    assert_eq!(told, (class, message.to_owned()), "{body}");
    assert_eq!(failure.upstream_status, Some(status));
}

/// Shapes: where the message, the type and the code stand.
#[test]
fn every_shape_of_error_is_understood() {
    use Class::*;
    expect(
        401,
        r#"{"detail":"Invalid API Key"}"#,
        Authentication,
        "Invalid API Key",
    );
    let list = r#"{"detail":[{"loc":["body"],"msg":"bad","type":"x"}]}"#;
    expect(422, list, InvalidRequest, "bad");
    let openrouter = r#"{"error":{"code":429,"message":"Provider returned error",
        "metadata":{"raw":"slow down"}},"user_id":"u"}"#;
    expect(
        429,
        openrouter,
        RateLimit,
        "Provider returned error: slow down",
    );
    let behind = r#"{"error":{"code":400,"message":"Provider returned error",
        "metadata":{"raw":"prompt is too long: 9 tokens > 8 maximum"}}}"#;
    expect(
        400,
        behind,
        ContextLength,
        "Provider returned error: prompt is too long: 9 tokens > 8 maximum",
    );
    let xai = r#"{"code":"Client specified an invalid argument",
        "error":"Incorrect API key provided: xx"}"#;
    expect(400, xai, Authentication, "Incorrect API key provided: xx");
    let perplexity = r#"{"error":{"message":"no","type":"invalid_api_key","code":401}}"#;
    expect(401, perplexity, Authentication, "no");
    let google = r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#;
    expect(400, google, InvalidRequest, "m");
    let vllm = r#"{"object":"error","message":"maximum context length is 10","type":"x"}"#;
    expect(400, vllm, ContextLength, "maximum context length is 10");
    let nothing = "the upstream answered 500 and did not say why";
    expect(500, "{}", Internal, nothing);
    expect(500, "null", Internal, nothing);
}

/// Words by which the class is known.
#[test]
fn every_kind_of_error_is_told_apart() {
    use Class::*;
    let coded = |status, code: &str, class| {
        let body = json!({"error": {"message": "m", "code": code}}).to_string();
        expect(status, &body, class, "m");
    };
    coded(400, "tool_use_failed", ToolGeneration);
    coded(429, "insufficient_quota", Billing);
    coded(404, "model_not_found", NotFound);
    coded(400, "context_length_exceeded", ContextLength);
    coded(429, "RateLimitReached", RateLimit);
    coded(503, "unknown", Overloaded);
    coded(403, "unknown", Permission);
    coded(529, "unknown", Overloaded);
    let typed = |status, kind: &str, class| {
        let body = json!({"error": {"message": "m", "type": kind, "code": null}}).to_string();
        expect(status, &body, class, "m");
    };
    typed(503, "server_error", Overloaded);
    typed(500, "overloaded_error", Overloaded);
    let said = |status, message: &str, class| {
        let body = json!({"error": {"message": message}}).to_string();
        expect(status, &body, class, message);
    };
    said(402, "Insufficient Balance", Billing);
    said(
        400,
        "prompt too long; exceeded max context length by 5",
        ContextLength,
    );
    said(503, "The model is overloaded", Overloaded);
    // A server's fault is not the prompt's, whatever its words.
    said(502, "maximum context length", BadGateway);
    let azure = r#"{"error":{"code":"x","message":"m",
        "innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
    expect(400, azure, ContentFilter, "m");
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
