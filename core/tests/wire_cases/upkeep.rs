//! What must be given back, must come to rest, and must come to an end.

use std::time::Duration;

use tollgate_core::dialect::Dialect;
use tollgate_core::gateway::io::IoFailure;
use tollgate_core::record::{Access, Outcome};

use super::fixtures::{Live, ending, error_event, frame, piece, request_bytes, stream};
use super::play::{FIRST, HEAD, Play, alone, error, with_first};
use super::support::talk::{self, Reply};
use super::support::world::{Conn, End, Reach, World};
use super::support::{DIALECTS, config, http, pairs};

/// One provider that takes one request at a time.
fn narrow() -> String {
    let limits = "key_limits.concurrent = 1\ntimers.first_content = \"30s\"";
    with_first(&alone(), limits)
}

/// Ways for a request to end that has the place.
const WAYS_OUT: [fn(&mut Play, Conn, Conn); 9] = [
    |play, _, conn| play.send(conn, &error(400)),
    |play, _, conn| {
        play.send(conn, &error(500));
        play.back_off();
        play.reply(&error(500));
    },
    |play, _, conn| {
        play.world.hang_up(conn, End::Reset);
        play.back_off();
        play.cut(End::Fin);
    },
    |play, client, _| play.world.hang_up(client, End::Fin),
    |play, client, _| play.world.hang_up(client, End::Reset),
    |play, _, _| play.world.pass(Duration::from_secs(31)),
    |play, _, conn| {
        play.begin(conn, FIRST, &["begun"]);
        play.world.hang_up(conn, End::Fin);
    },
    |play, _, conn| {
        play.begin(conn, FIRST, &["begun"]);
        play.world.pass(Duration::from_secs(121));
    },
    |play, _, conn| {
        play.world.send(conn, "no HTTP at all\r\n\r\n");
        play.back_off();
        let (conn, ..) = play.asked();
        play.world.send(conn, "no HTTP at all\r\n\r\n");
    },
];

#[test]
fn case_24_every_way_out_gives_the_place_back() {
    for (at, way_out) in WAYS_OUT.into_iter().enumerate() {
        let mut play = Play::new(&narrow());
        let client = play.ask(Dialect::Anthropic, true);
        let (conn, ..) = play.asked();
        way_out(&mut play, client, conn);
        assert!(play.pending().is_empty(), "way {at}");
        let next = play.ask(Dialect::Anthropic, true);
        play.reply_well(true);
        assert_eq!(play.answer(next).status(), 200, "way {at}");
        assert_eq!(play.world.finish().len(), 2, "way {at}");
    }
}

#[test]
fn case_24_without_descriptors_clients_wait_and_requests_are_told() {
    for client in DIALECTS {
        let mut world = World::new(config::one(client));
        let conn = world.client();
        // Nobody can be accepted: it is tried again, but not without a pause.
        world.exhaust();
        assert!(!world.is_accepting());
        let mut tries = 0;
        for _ in 0..1_000 {
            world.pass(Duration::from_millis(1));
            if world.is_accepting() {
                tries += 1;
                world.exhaust();
            }
        }
        assert!((5..=20).contains(&tries), "{client:?}: {tries} a second");
        world.pass(Duration::from_secs(1));
        // A request that can have no connection is told so, and no upstream is blamed.
        world.reach = Reach::Exhausted;
        let asked = request_bytes(client, true);
        world.send(conn, asked.clone());
        let expected = match client {
            Dialect::Anthropic => 529,
            Dialect::OpenAiChat => 503,
        };
        assert_eq!(http::only(world.written(conn)).status(), expected);
        world.reach = Reach::Accepts;
        let other = world.client();
        world.send(other, asked);
        let upstream = *world.upstreams().last().unwrap();
        let reply = Reply::stream(stream(client, "Hi"));
        world.send(upstream, reply.bytes(1 << 20));
        assert_eq!(http::only(world.written(other)).status(), 200);
        world.finish();
    }
}

#[test]
fn case_36_a_drain_waits_for_no_lookup() {
    for client in DIALECTS {
        let mut snapshot = config::one(client);
        snapshot.providers[0].base.host = "provider.example".into();
        let mut world = World::new(snapshot);
        world.resolves = false;
        let conn = world.client();
        world.send(conn, request_bytes(client, true));
        world.drain(Duration::from_secs(1));
        world.pass(Duration::from_secs(1));
        let answer = http::only(world.written(conn));
        assert!(answer.status() >= 500, "{client:?}: {}", answer.status());
        assert_eq!(world.usage().tickets, 1, "{client:?}");
        world.finish();
    }
}

#[test]
fn an_accept_that_fails_is_tried_again_but_does_not_spin() {
    const ENOMEM: i32 = 12;
    for (failure, expected) in [
        (IoFailure::Other(ENOMEM), 5..=20),
        // Of the one connection that is gone: the next one need not wait for it.
        (IoFailure::Reset, 1_000..=1_000),
    ] {
        let mut world = World::new(config::one(Dialect::Anthropic));
        let mut tries = 0;
        for _ in 0..1_000 {
            if world.is_accepting() {
                tries += 1;
                world.fail_accept(failure);
            }
            world.pass(Duration::from_millis(1));
        }
        assert!(expected.contains(&tries), "{failure}: {tries} a second");
        world.pass(Duration::from_secs(1));
        assert!(world.is_accepting(), "{failure}");
        world.finish();
    }
}

#[test]
fn case_33_an_error_in_mid_stream_leaves_nothing_running() {
    for (client, upstream) in pairs() {
        let what = format!("{client:?} {upstream:?}");
        let mut live = Live::new(client, upstream, true);
        live.begin(upstream, "Well, ");
        live.feed(&error_event(upstream, "rate_limit_error", "Slow down."));
        assert!(live.world.is_closed(live.upstream), "{what}");
        assert!(live.answer().unwrap().is_complete, "{what}");
        let before = live.world.wakes;
        live.world.pass(Duration::from_secs(60));
        let wakes = live.world.wakes - before;
        assert!(wakes < 100, "{what}: woken {wakes} times in a minute");
        assert_eq!(live.world.upstreams().len(), 1, "{what}: asked again");
        let alive = live.world.client();
        let probe = "GET /health HTTP/1.1\r\nhost: g\r\n\r\n";
        live.world.send(alive, probe);
        assert_eq!(http::only(live.world.written(alive)).status(), 200);
        live.world.finish();
    }
}

#[test]
fn case_36_draining_streams_run_to_the_deadline_and_are_told_of_it() {
    for (client, upstream) in pairs() {
        let what = format!("{client:?} {upstream:?}");
        let mut live = Live::new(client, upstream, true);
        live.head().feed(&frame(upstream));
        let late = live.world.client();
        live.world.send(late, request_bytes(client, true));
        let other = *live.world.upstreams().last().unwrap();
        let begun = frame(upstream) + &piece(upstream, "Hel");
        live.world.send(other, format!("{HEAD}{begun}"));
        live.world.drain(Duration::from_secs(30));
        // Who comes now is told that the gateway is not ready, and no more is done for them.
        for (path, status) in [("/health", 200), ("/ready", 503), ("/v1/models", 503)] {
            let newcomer = live.world.client();
            let asked = format!("GET {path} HTTP/1.1\r\nhost: g\r\n\r\n");
            live.world.send(newcomer, asked);
            let answer = http::only(live.world.written(newcomer));
            assert_eq!(answer.status(), status, "{what}: {path}");
            assert_eq!(answer.field("connection"), Some("close"));
        }
        let newcomer = live.world.client();
        live.world.send(newcomer, request_bytes(client, true));
        let answer = http::only(live.world.written(newcomer));
        assert_eq!(answer.status(), 503, "{what}");
        assert!(live.world.is_accepting(), "{what}");
        // One that ends in time ends as if nothing had been.
        live.world.pass(Duration::from_secs(20));
        live.feed(&piece(upstream, "Hello"));
        live.feed(&ending(upstream)).end();
        let said = talk::read(client, &live.answer().unwrap(), false);
        assert!(said.is_complete && said.error.is_none(), "{what}");
        // The other is told why it ends, and never shown as complete.
        live.world.pass(Duration::from_millis(10_001));
        assert!(live.world.is_closed(other), "{what}");
        assert!(!live.world.is_accepting(), "{what}: still accepting");
        let answer = http::only(live.world.written(late));
        assert!(answer.is_complete, "{what}: a bare break");
        let said = talk::read(client, &answer, false);
        assert!(!said.is_complete, "{what}");
        assert_eq!(said.error.unwrap().message, "the gateway is shutting down");
        let outcomes = live.world.finish();
        let failed = |it: &&Access| it.stream && it.outcome != Outcome::Complete;
        assert_eq!(outcomes.iter().filter(failed).count(), 1, "{what}");
    }
}

#[test]
fn case_36_a_drain_lets_go_of_those_who_wait_in_time() {
    // Who waits for a place is served if the place is freed before the deadline.
    let mut play = Play::new(&narrow());
    let first = play.ask(Dialect::Anthropic, false);
    let second = play.ask(Dialect::Anthropic, false);
    play.world.drain(Duration::from_secs(30));
    play.reply_well(false);
    play.reply_well(false);
    for client in [first, second] {
        assert_eq!(play.answer(client).status(), 200);
    }
    play.world.finish();
}
