//! Clients that go away: the upstream is let go at once, in every phase.

use core::time::Duration;

use tollgate_core::config::Snapshot;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Outcome;

use super::fixtures::{Live, frame, piece, request_bytes};
use super::play::{FIRST, Play, alone, error, well, with_first};
use super::support::world::{Conn, End, Reach, World};
use super::support::{DIALECTS, config, pairs};

const ENDS: [End; 2] = [End::Fin, End::Reset];

/// The client leaves; all that was held for it must be let go without any time passing.
fn leave(mut world: World, client: Conn, end: End, what: &str) {
    world.hang_up(client, end);
    for upstream in world.upstreams() {
        assert!(world.is_closed(upstream), "{what}: the upstream goes on");
    }
    let usage = world.usage();
    assert_eq!((usage.exchanges, usage.upstreams), (0, 0), "{what}");
    assert_eq!(usage.bodies_bytes, 0, "{what}");
    assert_eq!(world.records.len(), 1, "{what}");
    assert_eq!(world.records[0].outcome, Outcome::ClientGone, "{what}");
    let before = world.upstreams().len();
    world.pass(Duration::from_secs(700));
    assert_eq!(world.upstreams().len(), before, "{what}: asked again");
    assert_eq!(world.finish().len(), 1, "{what}: recorded again");
}

fn world(snapshot: Snapshot, client: Dialect, stream: bool) -> (World, Conn) {
    let mut world = World::new(snapshot);
    let conn = world.client();
    world.reach = Reach::Silent;
    world.resolves = false;
    world.send(conn, request_bytes(client, stream));
    (world, conn)
}

#[test]
fn case_13_leaving_while_the_name_is_looked_up_or_the_connection_is_made() {
    for (client, upstream) in pairs() {
        for end in ENDS {
            for host in ["provider.example", "127.0.0.1"] {
                let mut snapshot = config::one(upstream);
                snapshot.providers[0].base.host = host.into();
                let (world, conn) = world(snapshot, client, true);
                let is_connecting = host == "127.0.0.1";
                assert_eq!(world.upstreams().len(), usize::from(is_connecting));
                let what = format!("{client:?} {upstream:?} {end:?} {host}");
                leave(world, conn, end, &what);
            }
        }
    }
}

#[test]
fn case_13_leaving_while_waiting_and_in_mid_answer() {
    for (client, upstream) in pairs() {
        for end in ENDS {
            for stream in [true, false] {
                let what = format!("{client:?} {upstream:?} {end:?} {stream}");
                // For the head.
                let live = Live::new(client, upstream, stream);
                leave(live.world, live.client, end, &what);
                // For the first content.
                let mut live = Live::new(client, upstream, stream);
                live.head().feed(&frame(upstream));
                leave(live.world, live.client, end, &what);
                // In the middle.
                let mut live = Live::new(client, upstream, stream);
                live.begin(upstream, "Hel");
                leave(live.world, live.client, end, &what);
            }
            // In the middle of a whole answer.
            let mut live = Live::new(client, upstream, false);
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
            live.world.send(live.upstream, head.as_bytes());
            leave(
                live.world,
                live.client,
                end,
                &format!("{client:?} {upstream:?} whole"),
            );
        }
    }
}

#[test]
fn case_13_leaving_while_the_request_is_sent() {
    for client in DIALECTS {
        for end in ENDS {
            let mut world = World::new(config::one(client));
            let conn = world.client();
            let bytes = request_bytes(client, true);
            world.send(conn, bytes[..bytes.len() - 5].to_vec());
            leave(world, conn, end, &format!("{client:?} {end:?}"));
        }
    }
}

#[test]
fn case_13_usage_told_before_the_client_left_is_recorded() {
    let mut live = Live::new(Dialect::OpenAiChat, Dialect::Anthropic, true);
    live.begin(Dialect::Anthropic, "Hel");
    let client = live.client;
    live.world.hang_up(client, End::Fin);
    let record = live.world.finish().remove(0);
    assert_eq!(record.usage.input, Some(12));
    assert_eq!(record.outcome, Outcome::ClientGone);
}

#[test]
fn case_13_a_client_that_takes_nothing_stops_its_upstream() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        live.begin(upstream, "Hel");
        let (conn, from) = (live.client, live.upstream);
        live.world.stall(conn, true);
        let text = "x".repeat(1000);
        let mut fed = 0;
        while live.world.is_read(from) && fed < 10_000 {
            live.feed(&piece(upstream, &text));
            fed += 1;
        }
        let held = live.world.usage().buffered_bytes;
        assert!(fed < 10_000, "{client:?} {upstream:?}: no back-pressure");
        assert!(
            held < 1024 * 1024,
            "{client:?} {upstream:?}: {held} bytes held"
        );
        // It takes again: the upstream is read again. Or it is gone, after its time.
        live.world.stall(conn, false);
        assert!(live.world.is_read(from), "{client:?} {upstream:?}");
        live.world.stall(conn, true);
        while live.world.is_read(from) {
            live.feed(&piece(upstream, &text));
        }
        live.world.pass(Duration::from_secs(61));
        assert!(
            live.world.is_closed(conn),
            "{client:?} {upstream:?}: never given up"
        );
        assert!(live.world.is_closed(from), "{client:?} {upstream:?}");
        assert_eq!(live.world.finish().len(), 1);
    }
}

#[test]
fn case_13_leaving_behind_a_pipelined_request() {
    for (client, upstream) in pairs() {
        for end in ENDS {
            let mut live = Live::new(client, upstream, true);
            live.world.send(live.client, request_bytes(client, true));
            let what = format!("{client:?} {upstream:?} {end:?}");
            leave(live.world, live.client, end, &what);
        }
    }
}

/// Leaves without any time passing; of all upstream connections none must be in use, and whoever
/// comes next must be served at once.
fn leave_and_serve(mut play: Play, client: Conn, end: End, what: &str) {
    let before = play.world.records.len();
    play.world.hang_up(client, end);
    assert_eq!(play.world.usage().exchanges, 0, "{what}");
    assert_eq!(play.world.records.len(), before + 1, "{what}");
    let record = &play.world.records[before];
    assert_eq!(record.outcome, Outcome::ClientGone, "{what}");
    assert!(play.pending().is_empty(), "{what}: the upstream goes on");
    play.world.reach = Reach::Accepts;
    play.world.pass(Duration::from_secs(9));
    assert!(play.pending().is_empty(), "{what}: asked again");
    let next = play.ask(Dialect::Anthropic, false);
    assert_eq!(play.reply_well(false), FIRST, "{what}: not served");
    assert_eq!(play.answer(next).status(), 200, "{what}");
    play.world.finish();
}

type Until = fn(&mut Play);

/// What comes before the client leaves, after its request was read; says whether it streams.
const PHASES: [(&str, bool, Until); 8] = [
    ("connecting", true, |_| {}),
    ("waiting for headers", true, |play| {
        play.asked();
    }),
    ("before the first content", true, |play| {
        play.begins(FIRST, &[]);
    }),
    ("mid-stream", true, |play| {
        play.begins(FIRST, &["Hel"]);
    }),
    ("in backoff", true, |play| {
        play.reply(&error(503).field("retry-after", "8"));
    }),
    ("while the key cools", true, |play| {
        play.reply(&error(429).field("retry-after", "8"));
    }),
    ("waiting for a whole answer", false, |play| {
        play.asked();
    }),
    ("within a whole answer", false, |play| {
        let (conn, ..) = play.asked();
        let whole = well(Dialect::Anthropic, false).bytes(1 << 20);
        play.world.send(conn, whole[..whole.len() / 2].to_vec());
    }),
];

#[test]
fn case_13_leaving_in_each_phase_ends_the_call_in_the_same_instant() {
    let alone = alone();
    for dialect in DIALECTS {
        for end in ENDS {
            for (name, is_stream, until) in PHASES {
                let mut play = Play::new(&alone);
                if name == "connecting" {
                    play.world.reach = Reach::Silent;
                }
                let client = play.ask(dialect, is_stream);
                until(&mut play);
                leave_and_serve(play, client, end, &format!("{dialect:?} {end:?} {name}"));
            }
        }
    }
}

#[test]
fn case_13_leaving_a_queue_takes_no_turn() {
    let narrow = with_first(&alone(), "key_limits.concurrent = 1");
    for end in ENDS {
        let mut play = Play::new(&narrow);
        let holder = play.ask(Dialect::Anthropic, false);
        let queued = play.ask(Dialect::OpenAiChat, true);
        let patient = play.ask(Dialect::OpenAiChat, false);
        assert_eq!(play.pending().len(), 1);
        play.world.hang_up(queued, end);
        assert_eq!(play.world.usage().exchanges, 2, "{end:?}");
        assert_eq!(play.world.records[0].outcome, Outcome::ClientGone);
        assert_eq!(play.world.records[0].attempts.len(), 0);
        for client in [holder, patient] {
            play.reply_well(false);
            assert_eq!(play.answer(client).status(), 200, "{end:?}");
        }
        assert!(play.pending().is_empty(), "{end:?}: asked for who left");
        play.world.finish();
    }
}
