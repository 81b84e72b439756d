//! `[timers]`, and those of a provider. `drain` is the program's: `server/tests` has it.

use core::time::Duration;

use tollgate_core::config::Snapshot;
use tollgate_core::dialect::Dialect;

use super::fixtures::{frame, piece};
use super::support::world::Reach;
use super::{PROVIDER, World, answer, asking, live, notices, sent, snapshot, status};

const SECOND: Duration = Duration::from_secs(1);
const POST: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\n\
                    content-type: application/json\r\ncontent-length: 100\r\n\r\n";

/// The status after `bytes` and silence.
fn silence(snapshot: Snapshot, bytes: impl Into<Vec<u8>>) -> Option<u16> {
    let (mut world, client) = sent(snapshot, bytes);
    world.pass(2 * SECOND);
    status(world, client)
}

#[test]
fn of_requests() {
    let statuses = [None, Some(408)];
    notices("timers.request_head = \"1s\"", statuses, |it| {
        silence(it, "GET / HT")
    });
    notices("timers.request_body_idle = \"1s\"", statuses, |it| {
        silence(it, POST)
    });
    notices("timers.request_body = \"3s\"", statuses, |it| {
        let (mut world, client) = sent(it, POST);
        for _ in 0..5 {
            world.pass(SECOND);
            world.send(client, &b" "[..]);
        }
        status(world, client)
    });
}

/// Who has sent half a head is not idle, also where the rest is awaited.
#[test]
fn half_a_head_outlives_the_beginning_of_a_drain() {
    let (mut world, client) = sent(snapshot(PROVIDER), "GET /health HT");
    world.drain(10 * SECOND);
    assert!(!world.is_closed(client));
    world.send(client, &b"TP/1.1\r\nhost: h\r\n\r\n"[..]);
    assert_eq!(status(world, client), Some(200));
}

#[test]
fn of_clients() {
    notices("timers.client_idle = \"1s\"", [false, true], |it| {
        let (mut world, client) = sent(it, "");
        world.pass(2 * SECOND);
        let is_closed = world.is_closed(client);
        world.finish();
        is_closed
    });
    notices("timers.client_write = \"1s\"", [false, true], |it| {
        let mut world = World::new(it);
        let client = world.client();
        world.stall(client, true);
        world.send(client, &b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n"[..]);
        world.pass(2 * SECOND);
        let is_closed = world.is_closed(client);
        world.finish();
        is_closed
    });
    notices("timers.linger = \"250ms\"", [false, true], |it| {
        let (mut world, client) = sent(it, "nonsense\r\n\r\n");
        assert!(world.is_ended(client));
        world.pass(SECOND);
        let is_closed = world.is_closed(client);
        world.finish();
        is_closed
    });
    notices("timers.commit_hold = \"1s\"", [None, Some(200)], |it| {
        let mut live = live(it);
        live.head().world.pass(2 * SECOND);
        status(live.world, live.client)
    });
    notices("timers.keep_alive = \"1s\"", [false, true], |it| {
        let mut live = live(it);
        live.head().feed(&piece(Dialect::OpenAiChat, "Hello"));
        live.world.pass(5 * SECOND);
        let is_kept = live.text().contains(": keep-alive");
        live.world.finish();
        is_kept
    });
    notices("timers.upstream_idle = \"1s\"", [false, true], |it| {
        let (mut world, _) = sent(it, asking(false));
        let upstream = answer(&mut world);
        world.pass(2 * SECOND);
        let is_closed = world.is_closed(upstream);
        world.finish();
        is_closed
    });
}

/// What ends the waiting for an upstream, in `[timers]` or for one provider.
#[test]
fn of_upstreams() {
    for (key, probe) in [
        ("connect", unreachable as fn(Snapshot) -> bool),
        ("first_content", |it| {
            silence(it, asking(false)) == Some(504)
        }),
        ("idle", |it| streamed(it, 1, 2 * SECOND)),
        ("total", |it| silence(it, asking(false)) == Some(504)),
        ("total_stream", |it| streamed(it, 20, SECOND / 10)),
    ] {
        let line = format!("timers.{key} = \"1s\"");
        notices(&line, [false, true], probe);
        assert!(
            probe(snapshot(&format!("{PROVIDER}\n{line}"))),
            "{line} of a provider"
        );
    }
}

/// The time for TLS begins when the connection stands.
#[test]
fn of_handshakes() {
    let secure = PROVIDER.replace("http:", "https:");
    let fails = |line: &str| silence(snapshot(&format!("{line}\n{secure}")), asking(false));
    assert_eq!(fails("timers.connect = \"1s\""), None);
    assert_eq!(fails("timers.tls = \"1s\""), Some(504));
}

/// Whether a request fails within two seconds that nobody takes.
fn unreachable(snapshot: Snapshot) -> bool {
    let mut world = World::new(snapshot);
    world.reach = Reach::Silent;
    let client = super::more(&mut world, asking(false));
    world.pass(2 * SECOND);
    status(world, client) == Some(504)
}

/// Whether an upstream is given up that says `count` words with such pauses.
fn streamed(snapshot: Snapshot, count: usize, pause: Duration) -> bool {
    let mut live = live(snapshot);
    live.head().feed(&frame(Dialect::OpenAiChat));
    for _ in 0..count {
        if !live.world.is_closed(live.upstream) {
            live.feed(&piece(Dialect::OpenAiChat, "word "));
        }
        live.world.pass(pause);
    }
    let is_closed = live.world.is_closed(live.upstream);
    live.world.finish();
    is_closed
}
