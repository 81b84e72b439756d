//! What an upstream is asked beyond the conversation: headers, parameters, credentials, codings.

use serde_json::json;
use tollgate_core::base::{JsonStr, Limits, RawJson};
use tollgate_core::config::{Caller, Credentials, Snapshot, Upstream};
use tollgate_core::dialect::Dialect;

use super::fixtures::{ask_once, error_body, fault, gzip, hi, request, stream};
use super::support::events::Cuts;
use super::support::http::Message;
use super::support::talk::{self, Reply, Talk};
use super::support::{DIALECTS, config, http, pairs};

/// The snapshot of one provider, whose only model is changed.
fn with_model(dialect: Dialect, change: impl Fn(&mut Upstream)) -> Snapshot {
    let mut snapshot = config::one(dialect);
    change(config::target(&mut snapshot));
    snapshot
}

fn all<'a>(message: &'a Message, name: &str) -> Vec<&'a str> {
    let of = message.fields.iter().filter(|field| field.0 == name);
    of.map(|field| field.1.as_str()).collect()
}

#[test]
fn headers_of_the_provider_and_of_the_model_are_sent() {
    for (client, upstream) in pairs() {
        let mut snapshot = with_model(upstream, |model| {
            model.headers = vec![("x-model".into(), "m".into())];
        });
        let headers = &mut snapshot.providers[0].headers;
        headers.push(("x-provider".into(), "p".into()));
        let body = request(client, false).to_string();
        let reply = hi(upstream);
        let talk = talk::once(snapshot, client, body.as_bytes(), &reply, Cuts::Whole);
        let asked = talk.asked.unwrap();
        assert_eq!(all(&asked, "x-model"), ["m"], "{client:?} {upstream:?}");
        assert_eq!(all(&asked, "x-provider"), ["p"], "{client:?} {upstream:?}");
    }
}

#[test]
fn parameters_of_the_model_stand_in_every_request() {
    let raw = |text: &'static str| RawJson::from_checked(text.into());
    for (client, upstream) in pairs() {
        let snapshot = with_model(upstream, |model| {
            model.extra = vec![
                (JsonStr::from_static("temperature"), raw("0.50")),
                (JsonStr::from_static("a_new_one"), raw("[1, null]")),
            ];
        });
        let mut body = request(client, false);
        body["temperature"] = json!(0.9);
        let body = body.to_string();
        let reply = hi(upstream);
        let talk = talk::once(snapshot, client, body.as_bytes(), &reply, Cuts::Whole);
        let asked = talk.asked.unwrap();
        let text = asked.text();
        assert_eq!(text.matches("\"temperature\"").count(), 1, "{text}");
        assert!(text.contains("\"temperature\":0.50"), "{text}");
        assert_eq!(asked.json()["a_new_one"], json!([1, null]), "{text}");
    }
}

#[test]
fn a_chat_request_without_a_limit_gets_the_models_own_toward_messages() {
    let snapshot = with_model(Dialect::Anthropic, |model| {
        model.traits.output_tokens_default = 7777;
    });
    let body = request(Dialect::OpenAiChat, false).to_string();
    let reply = hi(Dialect::Anthropic);
    let client = Dialect::OpenAiChat;
    let talk = talk::once(snapshot, client, body.as_bytes(), &reply, Cuts::Whole);
    assert_eq!(talk.asked.unwrap().json()["max_tokens"], 7777);
}

/// Asks with these fields; what the upstream saw of credentials.
fn credentials(snapshot: Snapshot, client: Dialect, fields: &[(&str, &str)]) -> Vec<String> {
    let upstream = snapshot.providers[0].dialect;
    let bytes = talk::request(client, fields, &request(client, false));
    let asked = talk::send(snapshot, bytes, &hi(upstream), Cuts::Whole).asked;
    let asked = asked.expect("the upstream was asked");
    let names = ["authorization", "x-api-key", "api-key", "cookie"];
    let sent = names.into_iter().flat_map(|name| {
        let values = all(&asked, name).into_iter();
        values.map(move |value| format!("{name}: {value}"))
    });
    sent.collect()
}

#[test]
fn a_clients_credentials_go_on_where_the_config_says_so_and_nowhere_else() {
    let fields = [
        ("authorization", "Bearer sk-of-the-client"),
        ("x-api-key", "sk-too"),
        ("cookie", "secret"),
    ];
    for (client, upstream) in pairs() {
        let own = match upstream {
            Dialect::Anthropic => "x-api-key: sk-of-the-provider",
            Dialect::OpenAiChat => "authorization: Bearer sk-of-the-provider",
        };
        let sent = credentials(config::one(upstream), client, &fields);
        assert_eq!(sent, [own], "{client:?} {upstream:?}");

        let mut snapshot = config::one(upstream);
        snapshot.providers[0].credentials = Credentials::Client;
        let sent = credentials(snapshot, client, &fields);
        let passed = [
            "authorization: Bearer sk-of-the-client",
            "x-api-key: sk-too",
        ];
        assert_eq!(sent, passed, "{client:?} {upstream:?}");

        let mut snapshot = config::one(upstream);
        snapshot.providers[0].credentials = Credentials::None;
        let sent = credentials(snapshot, client, &fields);
        assert!(sent.is_empty(), "{client:?} {upstream:?}: {sent:?}");

        // The gateway's own key goes no further.
        let mut snapshot = config::one(upstream);
        snapshot.providers[0].credentials = Credentials::Client;
        snapshot.callers = vec![Caller::new("me", "sk-too")];
        let sent = credentials(snapshot, client, &fields);
        assert_eq!(sent, [passed[0]], "{client:?} {upstream:?}");
    }
}

#[test]
fn a_caller_without_a_key_of_the_gateway_is_refused() {
    for client in DIALECTS {
        let ask = |fields: &[(&str, &str)]| {
            let mut snapshot = config::one(client);
            snapshot.callers = vec![Caller::new("me", "the-key")];
            let bytes = talk::request(client, fields, &request(client, false));
            talk::send(snapshot, bytes, &hi(client), Cuts::Whole)
        };
        for fields in [&[][..], &[("x-api-key", "wrong")]] {
            let talk = ask(fields);
            assert!(talk.asked.is_none());
            assert_eq!(talk.answer.status(), 401);
            fault(client, &talk.answer);
        }
        for field in [
            ("x-api-key", "the-key"),
            ("authorization", "Bearer the-key"),
            ("authorization", "bearer the-key"),
        ] {
            let talk = ask(&[field]);
            assert_eq!(talk.answer.status(), 200, "{client:?} {field:?}");
            assert_eq!(talk.record.caller.as_deref(), Some("me"));
        }
    }
}

#[test]
fn the_accepted_codings_are_the_gateways_own() {
    for (client, upstream) in pairs() {
        let fields = [("accept-encoding", "br;q=1.0"), ("accept", "image/png")];
        let bytes = talk::request(client, &fields, &request(client, false));
        let talk = talk::send(config::one(upstream), bytes, &hi(upstream), Cuts::Whole);
        let asked = talk.asked.unwrap();
        assert_eq!(all(&asked, "accept-encoding"), ["identity"]);
        assert_eq!(all(&asked, "accept"), ["application/json"]);
    }
}

fn zstd(text: &[u8]) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(text, level)
}

type Coder = fn(&[u8]) -> Vec<u8>;
const CODERS: [(&str, Coder); 2] = [("gzip", gzip), ("zstd", zstd)];

#[test]
fn an_answer_that_comes_compressed_all_the_same_is_decoded() {
    for (client, upstream) in pairs() {
        for (coding, coder) in CODERS {
            let ask = |is_stream: bool, reply: &Reply, cuts: Cuts| -> Talk {
                let mut reply = reply.clone().field("content-encoding", coding);
                reply.body = coder(&reply.body);
                ask_once(client, upstream, is_stream, &reply, cuts)
            };
            let what = format!("{client:?} {upstream:?} {coding}");
            let replies = [
                (false, hi(upstream)),
                (true, Reply::stream(stream(upstream, "Hi"))),
            ];
            for (is_stream, reply) in replies {
                for cuts in [Cuts::Whole, Cuts::Bytes] {
                    let talk = ask(is_stream, &reply, cuts);
                    assert_eq!(talk.answer.field("content-encoding"), None, "{what}");
                    let said = talk::read(client, &talk.answer, false);
                    assert!(said.is_complete, "{what}");
                    assert_eq!(said.said().text, "Hi", "{what}");
                }
            }
            let body = error_body(upstream, "rate_limit_error", "Not so fast");
            let talk = ask(false, &Reply::json(429, body.to_string()), Cuts::Whole);
            assert_eq!(talk.answer.status(), 429, "{what}");
            let message = fault(client, &talk.answer).message;
            assert!(message.contains("Not so fast"), "{what}: {message}");
        }
    }
}

#[test]
fn a_request_that_comes_compressed_is_decoded_within_the_limits() {
    for (client, upstream) in pairs() {
        for (coding, coder) in CODERS {
            let send = |bytes: &[u8], bytes_max: usize| {
                let mut limits = Limits::default();
                limits.shard.request_bytes_max = bytes_max;
                let fields = [("content-encoding", coding)];
                let bytes = http::request(talk::path(client), &fields, bytes);
                let snapshot = config::with(upstream, limits);
                talk::send(snapshot, bytes, &hi(upstream), Cuts::Whole)
            };
            let what = format!("{client:?} {upstream:?} {coding}");
            let mut body = request(client, false);
            body["messages"][0]["content"] = "x".repeat(10_000).into();
            let text = body.to_string();
            let small = coder(text.as_bytes());
            assert!(small.len() < 2000, "{what}");
            let talk = send(&small, 20_000);
            let asked = talk.asked.expect("the upstream was asked");
            assert_eq!(asked.field("content-encoding"), None, "{what}");
            assert!(asked.text().contains(&"x".repeat(10_000)), "{what}");
            // What it becomes is bounded, not what it is.
            let talk = send(&small, 5000);
            assert_eq!(talk.answer.status(), 413, "{what}");
            fault(client, &talk.answer);
            let talk = send(&small[..small.len() - 3], 20_000);
            assert_eq!(talk.answer.status(), 400, "{what}");
            fault(client, &talk.answer);
        }
    }
}

#[test]
fn an_upstream_that_repeats_the_key_does_not_tell_it_to_the_client() {
    for (client, upstream) in pairs() {
        for stream in [false, true] {
            let body = error_body(
                upstream,
                "authentication_error",
                "the key sk-of-the-provider is wrong, sk-of-the-provider!",
            );
            let reply = Reply::json(401, body.to_string());
            let talk = ask_once(client, upstream, stream, &reply, Cuts::Whole);
            assert_eq!(talk.answer.status(), 401, "{client:?} {upstream:?}");
            let message = fault(client, &talk.answer).message;
            let expected = "the key [redacted] is wrong, [redacted]!";
            assert!(
                message.contains(expected),
                "{client:?} {upstream:?}: {message}"
            );
            let record = format!("{:?}", talk.record.outcome);
            assert!(!record.contains("sk-of"), "{record}");
        }
    }
}
