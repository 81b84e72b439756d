//! Large bodies.

use serde_json::json;
use tollgate_core::base::Limits;
use tollgate_core::dialect::Dialect;

use super::fixtures::{Live, ending, fault, frame, piece, request, whole};
use super::support::events::Cuts;
use super::support::talk::{self, Reply};
use super::support::world::{Conn, World};
use super::support::{DIALECTS, config, http, pairs};

const MIB: usize = 1024 * 1024;

#[test]
fn case_25_32_mib_are_taken_by_default_both_ways() {
    let limits = Limits::default().shard;
    assert!(limits.request_bytes_max >= 32 * MIB);
    assert!(limits.response_bytes_max >= 32 * MIB);
}

#[test]
fn case_25_large_requests_and_answers_pass() {
    let text = "x".repeat(3 * MIB);
    for (client, upstream) in pairs() {
        let mut body = request(client, false);
        body["messages"] = json!([{"role": "user", "content": text}]);
        let reply = Reply::json(200, whole(upstream, &text).to_string());
        let body = body.to_string();
        let snapshot = config::one(upstream);
        let talk = talk::once(snapshot, client, body.as_bytes(), &reply, Cuts::Whole);
        let asked = talk.asked.unwrap().json();
        assert!(asked.to_string().contains(&text), "{client:?} {upstream:?}");
        let answer = talk::read(client, &talk.answer, false);
        assert_eq!(
            answer.said().text.len(),
            text.len(),
            "{client:?} {upstream:?}"
        );
    }
}

#[test]
fn case_25_a_request_over_the_limit_is_413_and_the_connection_ends_well() {
    let mut limits = Limits::default();
    limits.shard.request_bytes_max = 64 * 1024;
    for dialect in DIALECTS {
        // Declared: refused by its head alone, unless it is little enough to be read and dropped.
        for (length, is_read) in [(100 * 1024, true), (100 * MIB, false)] {
            let mut world = World::new(config::with(dialect, limits.clone()));
            let conn = world.client();
            let head = format!(
                "POST {} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n",
                talk::path(dialect)
            );
            world.send(conn, head);
            if is_read {
                world.send(conn, vec![b' '; length]);
            } else {
                world.send(conn, vec![b' '; 10_000]);
            }
            let answer = http::only(world.written(conn));
            assert_eq!(answer.status(), 413, "{dialect:?}");
            let message = fault(dialect, &answer).message;
            assert!(message.contains("65536"), "{message}");
            let is_closing = answer.field("connection") == Some("close");
            assert_eq!(is_closing, !is_read, "{dialect:?} {length}");
            if is_read {
                // The framing is intact: the next request is answered.
                check_next(&mut world, conn, dialect);
            } else {
                // The error is not destroyed by a reset: FIN first, and then some reading.
                assert!(world.is_ended(conn), "{dialect:?}");
                // Much of it: many clients look for the answer only once all is written.
                for _ in 0..80 {
                    world.send(conn, vec![b' '; 100_000]);
                }
                assert!(!world.is_closed(conn), "{dialect:?}");
                world.pass(core::time::Duration::from_secs(5));
                assert!(world.is_closed(conn), "{dialect:?}");
            }
            world.finish();
        }
    }
}

#[test]
fn case_25_a_chunked_request_over_the_limit_is_413() {
    let mut limits = Limits::default();
    limits.shard.request_bytes_max = 64 * 1024;
    for dialect in DIALECTS {
        let mut world = World::new(config::with(dialect, limits.clone()));
        let conn = world.client();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n",
            talk::path(dialect)
        );
        world.send(conn, head);
        for _ in 0..100 {
            if world.is_ended(conn) {
                break;
            }
            world.send(conn, format!("2710\r\n{}\r\n", " ".repeat(10_000)));
        }
        let answer = http::only(world.written(conn));
        assert_eq!(answer.status(), 413, "{dialect:?}");
        fault(dialect, &answer);
        assert!(world.usage().buffered_bytes < 512 * 1024);
        world.finish();
    }
}

/// Another request on the same connection is answered.
pub(crate) fn check_next(world: &mut World, conn: Conn, dialect: Dialect) {
    let before = http::read(world.written(conn)).len();
    world.send(conn, &b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n"[..]);
    let all = http::read(world.written(conn));
    assert_eq!(
        all.len(),
        before + 1,
        "{dialect:?}: the connection is of no use"
    );
    assert_eq!(all[before].status(), 200, "{dialect:?}");
}

#[test]
fn case_25_streams_have_no_limit_but_whole_answers_do() {
    let mut limits = Limits::default();
    limits.shard.response_bytes_max = 64 * 1024;
    let text = "x".repeat(1000);
    for (client, upstream) in pairs() {
        let snapshot = config::with(upstream, limits.clone());
        let mut live = Live::with(snapshot, client, &request(client, true));
        live.head().feed(&frame(upstream));
        for _ in 0..300 {
            live.feed(&piece(upstream, &text));
        }
        live.feed(&ending(upstream)).end();
        let (said, _, _) = live.finish();
        assert_eq!(said.said().text.len(), 300_000, "{client:?} {upstream:?}");
        let reply = Reply::json(200, whole(upstream, &"x".repeat(70 * 1024)).to_string());
        let body = request(client, false).to_string();
        let snapshot = config::with(upstream, limits.clone());
        let talk = talk::once(snapshot, client, body.as_bytes(), &reply, Cuts::Whole);
        assert_eq!(talk.answer.status(), 502, "{client:?} {upstream:?}");
        fault(client, &talk.answer);
    }
}
