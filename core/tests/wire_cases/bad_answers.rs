//! Nonsense of upstreams: a clear error of the right class, never half an answer shown as whole.

use serde_json::json;
use tollgate_core::dialect::Dialect;

use super::fixtures::{Live, ask_once, error_body, fault, hi, request_bytes, stream, whole};
use super::support::events::Cuts;
use super::support::http::Framing;
use super::support::talk::{self, Reply, Talk};
use super::support::world::{End, World};
use super::support::{DIALECTS, config, http, pairs};

fn send(client: Dialect, upstream: Dialect, stream: bool, reply: &Reply) -> Talk {
    ask_once(client, upstream, stream, reply, Cuts::Seeded(2))
}

fn assert_bad_gateway(client: Dialect, talk: &Talk, what: &str) {
    assert_eq!(talk.answer.status(), 502, "{what}: {}", talk.answer.text());
    let kind = fault(client, &talk.answer).kind;
    let is_right = client == Dialect::OpenAiChat || kind == "api_error";
    assert!(is_right, "{what}: {kind}");
}

#[test]
fn a_200_that_is_no_answer_is_a_502() {
    let page = "<html><head><title>Sign in</title></head></html>";
    for (client, upstream) in pairs() {
        for stream in [false, true] {
            let truncated = whole(upstream, "Hello").to_string();
            let truncated = &truncated[..truncated.len() - 20];
            let bodies = [
                ("text/html", page),
                ("application/json", page),
                ("application/json", truncated),
                ("application/json", ""),
                ("application/json", "{}"),
                ("application/json", "null"),
                ("application/json", "[]"),
                ("application/json", "{\"status\": \"ok\"}"),
                ("text/plain", "Service is starting"),
            ];
            for (content_type, body) in bodies {
                let what = format!("{client:?} {upstream:?} {stream} {content_type} {body:?}");
                let reply = Reply::new(200, content_type, body, Framing::Length);
                let talk = send(client, upstream, stream, &reply);
                assert_bad_gateway(client, &talk, &what);
            }
        }
    }
}

#[test]
fn an_error_in_a_whole_200_is_a_status() {
    for (client, upstream) in pairs() {
        let body = error_body(upstream, "rate_limit_error", "Slow down.");
        for stream in [false, true] {
            let reply = Reply::json(200, body.to_string());
            let talk = send(client, upstream, stream, &reply);
            assert_eq!(
                talk.answer.status(),
                429,
                "{client:?} {upstream:?} {stream}"
            );
            assert!(fault(client, &talk.answer).message.contains("Slow down."));
        }
    }
}

#[test]
fn events_that_are_no_answer_are_an_error() {
    for (client, upstream) in pairs() {
        for body in [
            "",
            ": comment\n\n",
            "data: [DONE]\n\n",
            "data: {}\n\n",
            "hello\n\n",
        ] {
            for stream in [true, false] {
                let what = format!("{client:?} {upstream:?} {stream} {body:?}");
                let talk = send(client, upstream, stream, &Reply::stream(body));
                assert_bad_gateway(client, &talk, &what);
            }
        }
    }
}

#[test]
fn an_early_close_is_a_502() {
    let heads: [&[u8]; 5] = [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{",
    ];
    for (client, upstream) in pairs() {
        for head in heads {
            for end in [End::Fin, End::Reset] {
                let what = format!("{client:?} {upstream:?} {end:?} {}", head.len());
                let mut live = Live::new(client, upstream, true);
                live.world.send(live.upstream, head);
                live.cut(end);
                let (said, answer, _) = live.finish();
                assert_eq!(answer.status(), 502, "{what}");
                assert!(said.error.is_some(), "{what}");
            }
        }
    }
}

#[test]
fn an_answer_that_is_no_http_is_a_502() {
    let answers: [&[u8]; 6] = [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: https://elsewhere\r\ncontent-length: 0\r\n\r\n",
    ];
    for (client, upstream) in pairs() {
        for answer in answers {
            let what = format!(
                "{client:?} {upstream:?} {}",
                String::from_utf8_lossy(answer)
            );
            let mut live = Live::new(client, upstream, true);
            live.world.send(live.upstream, answer);
            assert!(live.world.is_closed(live.upstream), "{what}: kept");
            let (_, answer, _) = live.finish();
            assert_eq!(answer.status(), 502, "{what}");
            fault(client, &answer);
        }
    }
}

#[test]
fn a_stream_of_the_wrong_content_type_is_still_understood_or_refused() {
    for (client, upstream) in pairs() {
        for content_type in ["application/octet-stream", "text/plain", "application/json"] {
            let what = format!("{client:?} {upstream:?} {content_type}");
            let body = stream(upstream, "Hello");
            let reply = Reply::new(200, content_type, body, Framing::Chunked);
            let talk = send(client, upstream, true, &reply);
            if talk.answer.status() == 200 {
                let said = talk::read(client, &talk.answer, false);
                assert!(said.is_complete, "{what}");
                assert_eq!(said.said().text, "Hello", "{what}");
            } else {
                assert_bad_gateway(client, &talk, &what);
            }
        }
    }
}

#[test]
fn a_stream_to_a_client_that_wants_none_is_put_together() {
    for (client, upstream) in pairs() {
        let talk = send(
            client,
            upstream,
            false,
            &Reply::stream(stream(upstream, "Hello there")),
        );
        assert_eq!(talk.answer.status(), 200, "{client:?} {upstream:?}");
        assert_eq!(talk.answer.field("content-type"), Some("application/json"));
        let said = talk::read(client, &talk.answer, false);
        assert_eq!(said.said().text, "Hello there", "{client:?} {upstream:?}");
        // Cut off, it is no answer.
        let mut live = Live::new(client, upstream, false);
        live.begin(upstream, "Hel").end();
        let (said, answer, _) = live.finish();
        assert_eq!(answer.status(), 502, "{client:?} {upstream:?}");
        assert!(said.error.is_some());
    }
}

#[test]
fn a_whole_answer_to_a_client_that_wants_a_stream_is_streamed() {
    for (client, upstream) in pairs() {
        let reply = Reply::json(200, whole(upstream, "Hello there").to_string());
        let talk = send(client, upstream, true, &reply);
        assert_eq!(talk.answer.field("content-type"), Some("text/event-stream"));
        let said = talk::read(client, &talk.answer, false);
        assert!(said.is_complete, "{client:?} {upstream:?}");
        assert_eq!(said.said().text, "Hello there", "{client:?} {upstream:?}");
    }
}

#[test]
fn unknown_members_of_an_answer_are_no_fault() {
    for (client, upstream) in pairs() {
        let mut body = whole(upstream, "Hello");
        body["a_new_member"] = json!({"x": [1, null]});
        body["usage"]["a_new_count"] = json!(7);
        let reply = Reply::json(200, body.to_string());
        let talk = send(client, upstream, false, &reply);
        let said = talk::read(client, &talk.answer, false);
        assert_eq!(said.said().text, "Hello", "{client:?} {upstream:?}");
    }
}

#[test]
fn case_24_a_kept_connection_serves_the_next_request_and_a_stale_one_is_replaced() {
    for client in DIALECTS {
        let mut world = World::new(config::one(client));
        let conn = world.client();
        let bytes = request_bytes(client, false);
        let reply = hi(client).bytes(0);
        world.send(conn, bytes.clone());
        let first = world.upstream();
        world.send(first, reply.clone());
        world.send(conn, bytes.clone());
        assert_eq!(world.upstreams().len(), 1, "{client:?}: not kept");
        world.send(first, reply.clone());
        // The third finds it closed under its hand: one silent try on a fresh one.
        world.send(conn, bytes);
        assert_eq!(http::read(world.written(first)).len(), 3, "{client:?}");
        world.hang_up(first, End::Reset);
        let second = world.upstreams()[1];
        assert_eq!(http::read(world.written(second)).len(), 1, "{client:?}");
        // On the fresh one there is no second try.
        world.hang_up(second, End::Reset);
        assert_eq!(world.upstreams().len(), 2, "{client:?}");
        let all = http::read(world.written(conn));
        let statuses: Vec<u16> = all.iter().map(http::Message::status).collect();
        assert_eq!(statuses, [200, 200, 502], "{client:?}");
        world.finish();
    }
}
