//! Requests that cannot be answered: a clear error in the caller's API, with the right status and
//! the JSON path of the fault; the connection stays usable where the framing is intact.

use serde_json::{Value as Json, json};
use tollgate_core::base::Limits;
use tollgate_core::dialect::Dialect;

use super::bodies::check_next;
use super::fixtures::{fault, hi, request, request_bytes};
use super::support::http::Message;
use super::support::talk;
use super::support::world::World;
use super::support::{DIALECTS, config, http, pairs};

/// Sends bytes on a connection of its own; it must be of use afterwards, and nobody may be asked.
fn refused(client: Dialect, upstream: Dialect, bytes: Vec<u8>) -> Message {
    let mut snapshot = config::one(upstream);
    // Names that begin with `unknown` lead nowhere.
    let route = snapshot.routes.last_mut().unwrap();
    route.pattern = tollgate_core::config::Pattern("asked*".into());
    let mut world = World::new(snapshot);
    let conn = world.client();
    world.send(conn, bytes);
    assert!(world.upstreams().is_empty(), "an upstream was asked");
    let answer = http::only(world.written(conn));
    assert!(answer.is_complete);
    check_next(&mut world, conn, client);
    assert_eq!(world.records.len(), 2);
    world.finish();
    answer
}

fn post(client: Dialect, body: &[u8]) -> Vec<u8> {
    http::request(talk::path(client), &[], body)
}

#[test]
fn bodies_that_are_no_json_are_400() {
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"hello",
        b"{\"model\": \"asked\",}",
        b"{\"model\": \"asked\"} {}",
        b"\xff\xfe",
        b"{\"model\": \"\xc3\"}",
        b"null",
        b"[1, 2]",
    ];
    for (client, upstream) in pairs() {
        for body in bodies {
            let what = format!("{client:?} {upstream:?} {}", String::from_utf8_lossy(body));
            let answer = refused(client, upstream, post(client, body));
            assert_eq!(answer.status(), 400, "{what}");
            let fault = fault(client, &answer);
            assert_eq!(fault.kind, "invalid_request_error", "{what}");
            assert!(fault.message.contains("JSON"), "{what}: {}", fault.message);
        }
    }
}

#[test]
fn json_that_nests_too_deep_is_400() {
    for client in DIALECTS {
        let deep = format!(
            "{{\"model\": {}1{}}}",
            "[".repeat(50_000),
            "]".repeat(50_000)
        );
        let answer = refused(client, client, post(client, deep.as_bytes()));
        assert_eq!(answer.status(), 400, "{client:?}");
        fault(client, &answer);
    }
}

#[test]
fn an_unknown_model_is_404_and_names_it() {
    for (client, upstream) in pairs() {
        let mut body = request(client, true);
        body["model"] = json!("unknown-model");
        let answer = refused(client, upstream, post(client, body.to_string().as_bytes()));
        assert_eq!(answer.status(), 404, "{client:?} {upstream:?}");
        let fault = fault(client, &answer);
        assert!(fault.message.contains("unknown-model"), "{}", fault.message);
        if client == Dialect::OpenAiChat {
            assert_eq!(answer.json()["error"]["param"], "model");
            assert_eq!(answer.json()["error"]["code"], "model_not_found");
        } else {
            assert_eq!(fault.kind, "not_found_error");
        }
    }
}

/// Faults of a request: what to set, where, and the path that the error must name.
fn faults(client: Dialect) -> Vec<(&'static str, Json, &'static str)> {
    let common = vec![
        ("model", Json::Null, "model"),
        ("model", json!(7), "model"),
        ("model", json!(""), "model"),
        ("messages", json!("hello"), "messages"),
        ("messages", json!([7]), "messages[0]"),
        ("messages", json!([{"role": "user"}]), "messages[0].content"),
        (
            "messages",
            json!([{"role": "user", "content": 7}]),
            "messages[0].content",
        ),
        ("messages", json!([{"content": "x"}]), "messages[0].role"),
        (
            "messages",
            json!([{"role": "nobody", "content": "x"}]),
            "messages[0].role",
        ),
        ("temperature", json!("hot"), "temperature"),
        ("stream", json!("yes"), "stream"),
        ("tools", json!({}), "tools"),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "text"}]}]),
            "messages[0].content[0].text",
        ),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "nothing"}]}]),
            "messages[0].content[0]",
        ),
    ];
    let own = match client {
        Dialect::Anthropic => vec![
            ("max_tokens", json!("many"), "max_tokens"),
            ("system", json!(7), "system"),
            ("tools", json!([{"input_schema": {}}]), "tools[0].name"),
            ("tool_choice", json!({"type": "tool"}), "tool_choice.name"),
            ("thinking", json!({"type": "perhaps"}), "thinking.type"),
        ],
        Dialect::OpenAiChat => vec![
            ("max_tokens", json!("many"), "max_tokens"),
            ("tools", json!([{"type": "function"}]), "tools[0].function"),
            ("tool_choice", json!("perhaps"), "tool_choice"),
            (
                "response_format",
                json!({"type": "poem"}),
                "response_format.type",
            ),
            ("stop", json!(7), "stop"),
        ],
    };
    common.into_iter().chain(own).collect()
}

#[test]
fn wrong_types_and_missing_fields_are_400_and_name_their_path() {
    let mut bad = Vec::new();
    for (client, upstream) in pairs().filter(|(client, upstream)| client != upstream) {
        for (field, value, path) in faults(client) {
            let mut body = request(client, false);
            match value.is_null() {
                true => drop(body.as_object_mut().unwrap().remove(field)),
                false => body[field] = value.clone(),
            }
            let bytes = post(client, body.to_string().as_bytes());
            let caught = std::panic::catch_unwind(|| refused(client, upstream, bytes));
            let Ok(answer) = caught else {
                bad.push(format!("{client:?} {field}: {value}: was not refused"));
                continue;
            };
            let message = fault(client, &answer).message;
            // Anthropic writes `messages.0.content`, OpenAI `messages[0].content`.
            let dotted = path.replace('[', ".").replace(']', "");
            let is_named = message.contains(path) || message.contains(&dotted);
            if answer.status() != 400 || !is_named {
                bad.push(format!(
                    "{client:?} {field}: {value}: {} {message}",
                    answer.start
                ));
            }
            if client == Dialect::OpenAiChat && answer.json()["error"]["param"].is_null() {
                bad.push(format!("{client:?} {field}: {value}: no param"));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn in_the_same_api_only_the_model_is_looked_at() {
    for client in DIALECTS {
        for model in [Json::Null, json!(7), json!(""), json!({})] {
            let mut body = request(client, false);
            body["model"] = model.clone();
            let answer = refused(client, client, post(client, body.to_string().as_bytes()));
            assert_eq!(answer.status(), 400, "{client:?} {model}");
            assert!(fault(client, &answer).message.contains("model"));
        }
    }
}

#[test]
fn unknown_paths_wrong_methods_and_types_are_told_in_the_callers_shape() {
    let version = [("anthropic-version", "2023-06-01")];
    for client in DIALECTS {
        let body = request(client, false).to_string();
        let mut fields: Vec<(&str, &str)> = Vec::new();
        if client == Dialect::Anthropic {
            fields.extend(version);
        }
        for path in [
            "/v1/nothing",
            "/v2/messages",
            "/v1/embeddings",
            "/v1/chat/completions/x",
        ] {
            let bytes = http::request(path, &fields, body.as_bytes());
            let answer = refused(client, client, bytes);
            assert_eq!(answer.status(), 404, "{client:?} {path}");
            let is_chat = path.contains("/chat/") || client == Dialect::OpenAiChat;
            let shape = if is_chat {
                Dialect::OpenAiChat
            } else {
                Dialect::Anthropic
            };
            fault(shape, &answer);
        }
        let get = format!(
            "GET {} HTTP/1.1\r\nhost: gateway\r\n\r\n",
            talk::path(client)
        );
        let answer = refused(client, client, get.into_bytes());
        assert_eq!(answer.status(), 405, "{client:?}");
        assert_eq!(answer.field("allow"), Some("POST"), "{client:?}");
        fault(client, &answer);
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
        ] {
            let fields = [("content-type", content_type)];
            let bytes = http::request(talk::path(client), &fields, body.as_bytes());
            let answer = refused(client, client, bytes);
            assert_eq!(answer.status(), 415, "{client:?} {content_type}");
            fault(client, &answer);
        }
        for coding in ["br", "compress", "nonsense"] {
            let fields = [("content-encoding", coding)];
            let bytes = http::request(talk::path(client), &fields, body.as_bytes());
            let answer = refused(client, client, bytes);
            assert_eq!(answer.status(), 415, "{client:?} {coding}");
            fault(client, &answer);
        }
    }
}

#[test]
fn oversized_heads_are_refused_and_the_connection_ends() {
    let limits = Limits::default().http1;
    let long = "x".repeat(limits.head_bytes_max);
    let target = "x".repeat(limits.target_bytes_max + 1);
    let many: String = (0..=limits.fields_max)
        .map(|at| format!("x-{at}: 1\r\n"))
        .collect();
    let heads = [
        (
            431,
            format!("POST /v1/messages HTTP/1.1\r\nhost: g\r\nx-long: {long}\r\n\r\n"),
        ),
        (
            414,
            format!("POST /v1/messages?{target} HTTP/1.1\r\nhost: g\r\n\r\n"),
        ),
        (
            431,
            format!("POST /v1/messages HTTP/1.1\r\nhost: g\r\n{many}\r\n"),
        ),
        (400, "POST /v1/messages HTTP/1.1\r\n\r\n".to_owned()),
        (400, "nonsense\r\n\r\n".to_owned()),
        (
            400,
            "POST /v1/messages HTTP/1.1\r\nhost: g\r\ncontent-length: 1\r\n\
               transfer-encoding: chunked\r\n\r\n"
                .to_owned(),
        ),
    ];
    for (status, head) in heads {
        let mut world = World::new(config::one(Dialect::Anthropic));
        let conn = world.client();
        for part in head.as_bytes().chunks(4096) {
            world.send(conn, part.to_vec());
        }
        let answer = http::only(world.written(conn));
        assert_eq!(answer.status(), status, "{}", &head[..40.min(head.len())]);
        assert_eq!(answer.field("connection"), Some("close"), "{status}");
        // In the form of the API that the path names, also where the rest could not be read.
        let client = match head.starts_with("POST /v1/messages") {
            true => Dialect::Anthropic,
            false => Dialect::OpenAiChat,
        };
        fault(client, &answer);
        assert!(world.is_ended(conn), "{status}");
        assert!(world.usage().buffered_bytes < 256 * 1024);
        world.finish();
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_also_behind_a_bad_one() {
    for client in DIALECTS {
        let mut world = World::new(config::one(client));
        let conn = world.client();
        let bytes = [
            post(client, b"{"),
            request_bytes(client, false),
            post(client, b"[]"),
        ];
        world.send(conn, bytes.concat());
        let upstream = world.upstream();
        world.send(upstream, hi(client).bytes(0));
        let all = http::read(world.written(conn));
        let statuses: Vec<u16> = all.iter().map(Message::status).collect();
        assert_eq!(statuses, [400, 200, 400], "{client:?}");
        assert_eq!(world.finish().len(), 3);
    }
}

#[test]
fn a_clients_own_request_id_is_honoured() {
    for client in DIALECTS {
        let fields = [("x-request-id", "my-own-id.7")];
        let bytes = http::request(talk::path(client), &fields, b"{");
        let answer = refused(client, client, bytes);
        assert_eq!(
            answer.field("x-request-id"),
            Some("my-own-id.7"),
            "{client:?}"
        );
        // One that could not stand in a field or in JSON is not.
        let fields = [("x-request-id", "a \"b\" \\")];
        let bytes = http::request(talk::path(client), &fields, b"{");
        let answer = refused(client, client, bytes);
        assert_ne!(
            answer.field("x-request-id"),
            Some("a \"b\" \\"),
            "{client:?}"
        );
        fault(client, &answer);
    }
}
