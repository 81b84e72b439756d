//! `[limits]`: of messages, and of what a shard holds.

use serde_json::json;
use tollgate_core::config::Snapshot;
use tollgate_core::dialect::Dialect;

use super::fixtures::{Live, chunk, frame, piece, request, whole};
use super::support::http;
use super::support::talk::Reply;
use super::support::world::World;
use super::{PROVIDER, answer, asking, live, more, notices, posting, sent, snapshot, status};

/// The status for a GET with this target and these field lines.
fn got(snapshot: Snapshot, target: &str, fields: &str) -> Option<u16> {
    let request = format!("GET {target} HTTP/1.1\r\nhost: h\r\n{fields}\r\n");
    let (world, client) = sent(snapshot, request);
    status(world, client)
}

/// The status for a request in one chunk with this extension and these trailers; none where it is
/// passed on.
fn chunked(snapshot: Snapshot, extension: &str, trailers: &str) -> Option<u16> {
    let body = request(Dialect::OpenAiChat, false).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}{extension}\r\n{body}\r\n0\r\n{trailers}\r\n",
        body.len()
    );
    let (world, client) = sent(snapshot, request);
    status(world, client)
}

#[test]
fn of_heads() {
    let lines = "x: y\r\n".repeat(20);
    let long = format!("x: {}\r\n", "y".repeat(2000));
    let target = format!("/health?{}", "x".repeat(300));
    let statuses = |limited| [Some(200), Some(limited)];
    notices("limits.head_bytes_max = \"1KiB\"", statuses(431), |it| {
        got(it, "/health", &long)
    });
    notices("limits.target_bytes_max = 256", statuses(414), |it| {
        got(it, &target, "")
    });
    notices("limits.fields_max = 16", statuses(431), |it| {
        got(it, "/health", &lines)
    });
    let line = "limits.chunk_extension_bytes_max = 4";
    notices(line, [None, Some(400)], |it| chunked(it, ";a=bcde", ""));
    notices("limits.trailer_bytes_max = 8", [None, Some(413)], |it| {
        chunked(it, "", "x: yyyyyyyy\r\n")
    });
}

#[test]
fn of_answers_and_events() {
    let line = "limits.interim_responses_max = 1";
    notices(line, [Some(200), Some(502)], |it| {
        let (mut world, client) = sent(it, asking(false));
        let upstream = world.upstream();
        world.send(upstream, "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(2));
        if !world.is_closed(upstream) {
            answer(&mut world);
        }
        status(world, client)
    });
    let line = "limits.response_bytes_max = \"1KiB\"";
    notices(line, [Some(200), Some(502)], |it| {
        let asked = request(Dialect::Anthropic, false);
        let Live {
            mut world,
            client,
            upstream,
            ..
        } = Live::with(it, Dialect::Anthropic, &asked);
        let body = whole(Dialect::OpenAiChat, &"x".repeat(2000)).to_string();
        world.send(upstream, Reply::json(200, body).bytes(0));
        status(world, client)
    });
    let closed = |it, event: &str| {
        let mut live = live(it);
        live.head().feed(&frame(Dialect::OpenAiChat)).feed(event);
        let is_closed = live.world.is_closed(live.upstream);
        live.world.finish();
        is_closed
    };
    notices("limits.event_bytes_max = \"1KiB\"", [false, true], |it| {
        closed(it, &piece(Dialect::OpenAiChat, &"x".repeat(2000)))
    });
    notices("limits.broken_events_max = 1", [false, true], |it| {
        closed(it, "data: {]\n\n")
    });
    let line = "limits.held_delta_bytes_max = \"1KiB\"";
    notices(line, [false, true], |it| {
        let asked = request(Dialect::Anthropic, true);
        let mut live = Live::with(it, Dialect::Anthropic, &asked);
        live.head();
        // The second call waits for the first to end.
        for (index, arguments) in [(0, "["), (1, "["), (1, &"1,".repeat(1000))] {
            let function = json!({"name": "f", "arguments": arguments});
            let call = json!({"index": index, "id": "i", "type": "function", "function": function});
            live.feed(&chunk(json!({"tool_calls": [call]}), None));
        }
        let is_closed = live.world.is_closed(live.upstream);
        live.world.finish();
        is_closed
    });
}

#[test]
fn of_documents() {
    let asked = |it, value| {
        let mut body = request(Dialect::OpenAiChat, false);
        body["metadata"] = value;
        let (world, client) = sent(it, posting(&body));
        status(world, client)
    };
    let deep = (0..10).fold(json!(1), |inner, _| json!([inner]));
    notices("limits.depth_max = 8", [None, Some(400)], |it| {
        asked(it, deep.clone())
    });
    notices("limits.values_max = 1024", [None, Some(400)], |it| {
        asked(it, json!(vec![0; 2000]))
    });
    let line = "limits.request_bytes_max = \"1KiB\"";
    notices(line, [None, Some(413)], |it| {
        asked(it, json!("x".repeat(2000)))
    });
}

#[test]
fn of_connections() {
    notices("limits.clients_max = 1", [true, false], |it| {
        let (world, _) = sent(it, "");
        let is_accepting = world.is_accepting();
        world.finish();
        is_accepting
    });
    let second = |it| {
        let (mut world, _) = sent(it, asking(false));
        let second = more(&mut world, asking(false));
        status(world, second)
    };
    notices("limits.exchanges_max = 1", [None, Some(503)], second);
    notices("limits.upstreams_max = 1", [None, Some(503)], second);
    notices("limits.idle_per_target_max = 0", [false, true], |it| {
        let (mut world, _) = sent(it, asking(false));
        let upstream = answer(&mut world);
        let is_closed = world.is_closed(upstream);
        world.finish();
        is_closed
    });
}

#[test]
fn of_models_that_clients_name() {
    notices("limits.models_max = 0", [true, false], |it| {
        let (mut world, _) = sent(it, asking(false));
        answer(&mut world);
        let client = more(&mut world, "GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n");
        let page = http::only(world.written(client)).text().to_owned();
        page.contains("model=\"asked\",state=\"closed\"} 1")
    });
}

#[test]
fn of_bodies_together() {
    let line = "limits.request_bytes_max = \"1KiB\"\nlimits.bodies_bytes_max = \"1KiB\"";
    notices(line, [None, Some(503)], |it| {
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\n\
                    content-type: application/json\r\ncontent-length: 800\r\n\r\n";
        let (mut world, _) = sent(it, head);
        let second = more(&mut world, [head.as_bytes(), &[b' '; 800]].concat());
        let refused = status(world, second);
        // Blanks are no request: 400 where there is room for them.
        refused.filter(|status| *status != 400)
    });
}

#[test]
fn of_what_waits_for_a_client() {
    let line = "limits.client_queue_bytes_max = \"1KiB\"";
    notices(line, [true, false], |it| {
        let mut live = live(it);
        live.world.stall(live.client, true);
        live.head().feed(&frame(Dialect::OpenAiChat));
        live.feed(&piece(Dialect::OpenAiChat, &"x".repeat(4000)));
        let is_read = live.world.is_read(live.upstream);
        live.world.finish();
        is_read
    });
    notices("limits.pipelined_bytes_max = 0", [true, false], |it| {
        let (mut world, client) = sent(it, asking(false));
        world.send(client, &b"GET"[..]);
        let is_read = world.is_read(client);
        world.finish();
        is_read
    });
    // Two events that wait while a third is being written: several slices, more than 1 KiB.
    let largest = |it| {
        let mut live = live(it);
        live.world.stall(live.client, true);
        live.head();
        for _ in 0..3 {
            live.feed(&piece(Dialect::OpenAiChat, &"x".repeat(4000)));
        }
        live.world.stall(live.client, false);
        let largest = live.world.largest_write(live.client);
        live.world.finish();
        largest
    };
    let line = "limits.write_bytes_max = \"1KiB\"";
    notices(line, [true, false], |it| largest(it).0 > 1024);
    let line = "limits.write_slices_max = 2";
    notices(line, [true, false], |it| largest(it).1 > 2);
    let line = "limits.lingering_bytes_max = \"1KiB\"";
    notices(line, [None, Some(404)], |it| {
        let head = "POST /nowhere HTTP/1.1\r\nhost: h\r\ncontent-length: 2000\r\n\r\n ";
        let (world, client) = sent(it, head);
        status(world, client)
    });
}

#[test]
fn of_work() {
    let line = "limits.turn_bytes_max = \"4KiB\"";
    notices(line, [0, 1], |it| {
        let mut body = request(Dialect::OpenAiChat, false);
        body["user"] = "x".repeat(8000).into();
        let (world, _) = sent(it, posting(&body));
        let host_jobs = world.host_jobs;
        world.finish();
        host_jobs
    });
    let named = PROVIDER.replace("127.0.0.1", "upstream.test");
    let other = named.replace(".p]", ".q]").replace("\"*\"", "\"other\"");
    let looked_up = |line: &str| {
        let mut world = World::new(snapshot(&format!("{line}\n{other}{named}")));
        world.resolves = false;
        more(&mut world, asking(false));
        let mut body = request(Dialect::OpenAiChat, false);
        body["model"] = "other".into();
        let second = more(&mut world, posting(&body));
        status(world, second)
    };
    assert_eq!(looked_up(""), None);
    assert_eq!(looked_up("limits.host_jobs_max = 1"), Some(503));
    let secure = PROVIDER.replace("http:", "https:");
    let greeted = |line: &str| {
        let (mut world, _) = sent(snapshot(&format!("{line}\n{secure}")), asking(false));
        more(&mut world, asking(false));
        let second = world.upstreams()[1];
        let is_greeted = !world.written(second).is_empty();
        world.finish();
        is_greeted
    };
    assert!(greeted(""));
    assert!(!greeted("limits.handshakes_max = 1"));
}
