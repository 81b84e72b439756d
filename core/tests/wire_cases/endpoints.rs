//! What the gateway answers itself, and the manners of HTTP toward its clients.

use core::time::Duration;
use std::sync::Arc;

use tollgate_core::config::{ListedModel, Snapshot};
use tollgate_core::dialect::Dialect;

use super::fixtures::{Live, ending, fault, frame, hi, piece, request, request_bytes, stream};
use super::support::http::Message;
use super::support::talk::{self, Reply};
use super::support::world::{Conn, World};
use super::support::{DIALECTS, config, http, pairs};

const MESSAGES: &str = "anthropic-version: 2023-06-01\r\n";

/// A config that lists two models.
fn listing() -> Snapshot {
    let mut snapshot = config::one(Dialect::OpenAiChat);
    snapshot.routes[0].pattern = tollgate_core::config::Pattern("m*".into());
    let listed = ["m-1", "maker/m-2"].map(|id| ListedModel {
        id: id.into(),
        owner: "provider".into(),
    });
    snapshot.listed = listed.to_vec();
    snapshot
}

fn ask(world: &mut World, conn: Conn, start: &str, fields: &str) -> Message {
    let before = world.written(conn).len();
    world.send(conn, format!("{start} HTTP/1.1\r\nhost: g\r\n{fields}\r\n"));
    let answer = world.written(conn)[before..].to_vec();
    if start.starts_with("HEAD") {
        assert!(answer.ends_with(b"\r\n\r\n"), "a body");
        return http::read(&answer).remove(0);
    }
    let answer = http::only(&answer);
    assert!(answer.is_complete && answer.field("x-request-id").is_some());
    answer
}

#[test]
fn models_are_listed_in_the_shape_that_the_caller_expects() {
    let mut world = World::new(listing());
    let conn = world.client();
    let list = ask(&mut world, conn, "GET /v1/models", MESSAGES).json();
    assert_eq!(list["data"][0]["type"], "model");
    assert_eq!(list["data"][1]["id"], "maker/m-2");
    assert_eq!(
        (&list["has_more"], &list["first_id"]),
        (&false.into(), &"m-1".into())
    );
    let list = ask(&mut world, conn, "GET /v1/models", "x-api-key: k\r\n").json();
    assert_eq!(list["object"], "list");
    let list = ask(&mut world, conn, "GET /v1/models", "").json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["object"], "model");
    assert_eq!(list["data"][1]["id"], "maker/m-2");
    assert_eq!(list["data"][1]["owned_by"], "provider");
    world.finish();
}

#[test]
fn one_model_is_shown_in_the_callers_shape_or_is_404() {
    let mut world = World::new(listing());
    let conn = world.client();
    for id in ["m-1", "maker/m-2", "maker%2Fm-2", "m-not-listed"] {
        let path = format!("GET /v1/models/{id}");
        let model = ask(&mut world, conn, &path, MESSAGES).json();
        let id = id.replace("%2F", "/");
        assert_eq!(
            (&model["type"], &model["id"]),
            (&"model".into(), &id.clone().into())
        );
        let model = ask(&mut world, conn, &path, "").json();
        assert_eq!(
            (&model["object"], &model["id"]),
            (&"model".into(), &id.into())
        );
    }
    for (fields, dialect) in [(MESSAGES, Dialect::Anthropic), ("", Dialect::OpenAiChat)] {
        let answer = ask(&mut world, conn, "GET /v1/models/nobody", fields);
        assert_eq!(answer.status(), 404);
        assert!(fault(dialect, &answer).message.contains("nobody"));
    }
    world.finish();
}

#[test]
fn heads_are_answered_without_a_body_and_the_connection_goes_on() {
    let mut world = World::new(listing());
    let conn = world.client();
    for path in [
        "/",
        "/health",
        "/metrics",
        "/ready",
        "/v1/models",
        "/v1/models/m-1",
    ] {
        let head = ask(&mut world, conn, &format!("HEAD {path}"), "");
        assert_eq!(head.status(), 200, "{path}");
        assert!(head.field("x-request-id").is_some(), "{path}");
        let get = ask(&mut world, conn, &format!("GET {path}"), "");
        assert_eq!(get.status(), 200, "{path}");
        let length = get.field("content-length");
        assert_eq!(head.field("content-length"), length, "{path}");
    }
    let head = ask(&mut world, conn, "HEAD /nothing", "");
    assert_eq!(head.status(), 404);
    assert!(!world.is_ended(conn));
    world.finish();
}

#[test]
fn case_36_a_gateway_that_drains_is_alive_and_not_ready() {
    for (path, status) in [("/health", 200), ("/ready", 503)] {
        let mut world = World::new(listing());
        let conn = world.client();
        assert_eq!(
            ask(&mut world, conn, &format!("GET {path}"), "").status(),
            200
        );
        let before = world.written(conn).len();
        world.send(conn, format!("GET {path} HTTP/1.1\r\n"));
        world.drain(Duration::from_secs(10));
        world.send(conn, "host: g\r\n\r\n");
        let answer = http::only(&world.written(conn)[before..]);
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(world.is_ended(conn));
        world.finish();
    }
}

#[test]
fn case_36_idle_connections_end_at_once_when_the_gateway_drains() {
    for client in DIALECTS {
        let mut world = World::new(config::one(client));
        let (fresh, used, busy) = (world.client(), world.client(), world.client());
        let bytes = request_bytes(client, false);
        let reply = hi(client).bytes(0);
        world.send(used, bytes.clone());
        let first = world.upstream();
        world.send(first, reply.clone());
        world.send(busy, bytes);
        world.drain(Duration::from_secs(10));
        assert!(world.is_ended(fresh) && world.is_ended(used), "{client:?}");
        assert!(!world.is_ended(busy), "{client:?}");
        // What runs is answered, and its connections are not kept.
        world.send(first, reply);
        let answer = http::only(world.written(busy));
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(world.is_ended(busy) && world.is_closed(first), "{client:?}");
        world.finish();
    }
}

#[test]
fn only_a_welcome_request_is_told_to_continue() {
    for client in DIALECTS {
        let body = request(client, false).to_string();
        let head = |path: &str, length: usize| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n\
                 expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
            )
        };
        let mut world = World::new(config::one(client));
        let conn = world.client();
        world.send(conn, head(talk::path(client), body.len()));
        let first = world.written(conn).to_vec();
        assert_eq!(first, b"HTTP/1.1 100 Continue\r\n\r\n");
        world.send(conn, body.clone());
        let upstream = world.upstream();
        world.send(upstream, hi(client).bytes(0));
        assert_eq!(http::only(world.written(conn)).status(), 200);
        world.finish();
        for (path, length, status) in [
            ("/v1/nothing", body.len(), 404),
            (talk::path(client), usize::MAX >> 1, 413),
        ] {
            let mut world = World::new(config::one(client));
            let conn = world.client();
            world.send(conn, head(path, length));
            let answers = http::read(world.written(conn));
            assert_eq!(answers.len(), 1, "{path}");
            assert_eq!(answers[0].status(), status, "{path}");
            world.finish();
        }
    }
}

#[test]
fn a_client_of_http_1_0_gets_its_stream_to_the_end_of_the_connection() {
    for (client, upstream) in pairs() {
        let mut world = World::new(config::one(upstream));
        let conn = world.client();
        let text = String::from_utf8(request_bytes(client, true)).unwrap();
        world.send(conn, text.replacen("HTTP/1.1", "HTTP/1.0", 1));
        let reply = Reply::stream(stream(upstream, "Hello"));
        let from = world.upstream();
        world.send(from, reply.bytes(40));
        let mut answer = http::only(world.written(conn));
        assert_eq!(answer.field("transfer-encoding"), None);
        assert_eq!(answer.field("content-length"), None);
        assert!(world.is_ended(conn), "{client:?} {upstream:?}");
        answer.is_complete = true;
        let said = talk::read(client, &answer, false);
        assert_eq!(said.said().text, "Hello", "{client:?} {upstream:?}");
        world.finish();
    }
}

#[test]
fn interim_answers_and_trailers_of_an_upstream_change_nothing() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        let from = live.upstream;
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n";
        live.world.send(from, interim);
        live.head();
        live.feed(&frame(upstream)).feed(&piece(upstream, "Hello"));
        live.feed(&ending(upstream));
        live.world.send(from, "0\r\nx-checksum: 7\r\n\r\n");
        let (said, answer, _) = live.finish();
        assert_eq!(said.said().text, "Hello", "{client:?} {upstream:?}");
        assert_eq!(answer.field("x-checksum"), None);
    }
}

#[test]
fn case_24_kept_connections_grow_neither_old_nor_many() {
    for client in DIALECTS {
        let mut snapshot = config::one(client);
        snapshot.limits.shard.idle_per_target_max = 1;
        snapshot.limits.timers.upstream_idle = Duration::from_secs(50);
        let mut world = World::new(snapshot);
        let bytes = request_bytes(client, false);
        for _ in 0..2 {
            let conn = world.client();
            world.send(conn, bytes.clone());
        }
        let all = world.upstreams();
        assert_eq!(all.len(), 2);
        for upstream in &all {
            world.send(*upstream, hi(client).bytes(0));
        }
        let open = |world: &World| all.iter().filter(|it| !world.is_closed(**it)).count();
        assert_eq!(open(&world), 1, "{client:?}");
        world.pass(Duration::from_secs(49));
        assert_eq!(open(&world), 1, "{client:?}");
        world.pass(Duration::from_secs(2));
        assert_eq!(open(&world), 0, "{client:?}");
        world.finish();
    }
}

#[test]
fn a_head_that_cannot_be_read_is_refused_in_the_callers_shape() {
    let broken = "content-length: 1\r\ncontent-length: 2\r\n";
    for (start, fields, dialect) in [
        ("POST /v1/messages?beta=true", "", Dialect::Anthropic),
        ("POST /v1/chat/completions", MESSAGES, Dialect::OpenAiChat),
        (
            "GET /v1/models",
            "Anthropic-Version: 1\r\n",
            Dialect::Anthropic,
        ),
        (
            "GET /v1/models",
            "x-anthropic-version: 1\r\n",
            Dialect::OpenAiChat,
        ),
        ("nonsense", "", Dialect::OpenAiChat),
    ] {
        let mut world = World::new(listing());
        let conn = world.client();
        world.send(
            conn,
            format!("{start} HTTP/1.1\r\nhost: g\r\n{fields}{broken}\r\n"),
        );
        let answer = http::only(world.written(conn));
        assert_eq!(answer.status(), 400, "{start}");
        fault(dialect, &answer);
        let body = answer.json();
        if dialect == Dialect::Anthropic {
            let id = answer.field("request-id").unwrap();
            assert_eq!(body["request_id"], id, "{start}");
        }
        assert!(world.is_ended(conn));
        world.finish();
    }
}

#[test]
fn an_exchange_keeps_the_config_that_it_began_with() {
    let mut live = Live::new(Dialect::Anthropic, Dialect::OpenAiChat, true);
    live.head().feed(&frame(Dialect::OpenAiChat));
    live.world.reload(Arc::new(Snapshot::default()));
    live.feed(&piece(Dialect::OpenAiChat, "Hello"));
    live.feed(&ending(Dialect::OpenAiChat)).end();
    // The next one has the new config.
    let (conn, upstream) = (live.client, live.upstream);
    live.world
        .send(conn, request_bytes(Dialect::Anthropic, false));
    let answers = http::read(live.world.written(conn));
    let statuses: Vec<u16> = answers.iter().map(Message::status).collect();
    assert_eq!(statuses, [200, 404]);
    let said = talk::read(Dialect::Anthropic, &answers[0], false);
    assert!(said.is_complete && said.said().text == "Hello");
    assert!(live.world.is_closed(upstream), "made under the old config");
    live.world.finish();
}

#[test]
fn a_client_in_the_middle_of_a_head_is_told_when_its_time_is_up() {
    let slow = config::one(Dialect::Anthropic).limits.timers.request_head;
    let mut world = World::new(config::one(Dialect::Anthropic));
    let conn = world.client();
    world.send(conn, "POST /v1/messages HTTP/1.1\r\n");
    world.pass(slow / 2);
    world.send(conn, "host: g\r\n");
    // Later bytes give no more time.
    world.pass(slow / 2 + Duration::from_millis(1));
    let answer = http::only(world.written(conn));
    assert_eq!(answer.status(), 408);
    fault(Dialect::Anthropic, &answer);
    assert!(world.is_ended(conn));
    world.finish();
    // How long it was idle before says nothing about how long a head may take.
    let timers = config::one(Dialect::Anthropic).limits.timers;
    let mut world = World::new(config::one(Dialect::Anthropic));
    let conn = world.client();
    world.pass(timers.client_idle - Duration::from_millis(1));
    world.send(conn, "GET /health HTTP/1.1\r\n");
    world.pass(slow - Duration::from_millis(1));
    world.send(conn, "host: g\r\n\r\n");
    assert_eq!(http::only(world.written(conn)).status(), 200);
    world.finish();
    // The answer to HEAD has no body, also where the request has not come whole.
    for start in [
        "HEAD /v1/models HTTP/1.1\r\n",
        "HEAD / HTTP/1.1\r\nbad field\r\n\r\n",
    ] {
        let mut world = World::new(config::one(Dialect::Anthropic));
        let conn = world.client();
        world.send(conn, start);
        world.pass(slow + Duration::from_millis(1));
        let written = String::from_utf8_lossy(world.written(conn)).into_owned();
        assert!(written.starts_with("HTTP/1.1 40"), "{written}");
        assert!(written.ends_with("\r\n\r\n"), "{written}");
        world.finish();
    }
    // A gateway that shuts down waits for it no longer than for others.
    let mut world = World::new(config::one(Dialect::Anthropic));
    let conn = world.client();
    world.send(conn, "POST /v1/messages HTTP/1.1\r\n");
    world.drain(Duration::from_secs(5));
    assert!(!world.is_closed(conn));
    world.pass(Duration::from_secs(6));
    assert!(world.is_closed(conn));
    world.finish();
}
