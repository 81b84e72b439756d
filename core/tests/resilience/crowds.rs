//! Crowds: callers with all kinds of terms, at targets with all kinds of limits, who ask, wait,
//! share, leave and fail at random. Whatever happens, each gets one answer, and nothing is left.

use std::time::Duration;

use tollgate_core::base::{Rng, Seed};
use tollgate_core::record::Access;

use super::fixtures::request;
use super::play::{Play, dialect_at, error, well};
use super::support::DIALECTS;
use super::support::world::{Conn, End};

const CROWDED: &str = r#"
    [models]
    asked = [[{ target = "first/one", concurrent = 2 }, "second/two"], "second/three"]
    other = { target = "second/four", concurrent = 1 }

    [providers.first]
    dialect = "anthropic"
    base_url = "http://127.0.0.1:9001"
    key = ["key-1", "key-2"]
    key_limits = { requests_per_minute = 12, concurrent = 2 }

    [providers.second]
    dialect = "openai-chat"
    base_url = "http://127.0.0.1:9002/v1"
    credentials = "none"
    concurrent = 2

    [queue]
    length_max = 6

    [[callers]]
    name = "shares"
    key = "shares-0123456789abcdef"
    coalesce = true
    concurrent = 2

    [[callers]]
    name = "low"
    key = "low-0123456789abcdef"
    priority = "low"
    coalesce = true

    [[callers]]
    name = "three"
    key = "three-0123456789abcdef"
    weight = 3
    concurrent = 3
"#;

/// Runs of the test.
const SEEDS: u64 = 60;

fn draw<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[usize::try_from(rng.below(from.len() as u64)).unwrap()]
}

fn ask(play: &mut Play, rng: &mut Rng) -> Conn {
    let dialect = draw(rng, &DIALECTS);
    let mut body = request(dialect, rng.chance(1, 4));
    body["model"] = draw(rng, &["asked", "asked", "other"]).into();
    body["messages"][0]["content"] = draw(rng, &["a", "b"]).into();
    let caller = draw(rng, &["shares", "shares", "low", "three"]);
    let hasty = [("x-tollgate-timeout", "3")];
    let fields = if rng.chance(1, 8) { &hasty[..] } else { &[] };
    play.ask_as(caller, dialect, &body, fields)
}

/// An upstream that has something to answer does so, somehow.
fn reply(play: &mut Play, rng: &mut Rng, is_always_well: bool) {
    let pending = play.pending();
    if pending.is_empty() {
        return;
    }
    let at = usize::try_from(rng.below(pending.len() as u64)).unwrap();
    let (conn, port, request) = &pending[at];
    let is_stream = request.json()["stream"] == true;
    let reply = match rng.below(10) {
        _ if is_always_well => well(dialect_at(*port), is_stream),
        0 => error(429).field("retry-after", "2"),
        1 => error(429),
        2 => error(500),
        3 => error(400),
        4 => {
            play.world.hang_up(*conn, End::Reset);
            return;
        }
        _ => well(dialect_at(*port), is_stream),
    };
    play.reply_on(*conn, &reply);
}

/// Says how many requests waited, shared an answer, and were turned away.
fn run(seed: u64) -> [usize; 3] {
    let mut rng = Rng::new(Seed(seed));
    let mut play = Play::new(CROWDED);
    let mut clients = Vec::new();
    for _ in 0..60 {
        match rng.below(12) {
            0..5 => clients.push(ask(&mut play, &mut rng)),
            5..9 => reply(&mut play, &mut rng, false),
            9 if !clients.is_empty() => {
                let at = usize::try_from(rng.below(clients.len() as u64)).unwrap();
                let client = clients.swap_remove(at);
                play.world
                    .hang_up(client, draw(&mut rng, &[End::Fin, End::Reset]));
            }
            10 if rng.chance(1, 5) => play.reload(CROWDED),
            _ => play.world.pass(Duration::from_millis(rng.below(2_000))),
        }
        let usage = play.world.usage();
        assert!(usage.waiting <= 6 && usage.waiting <= usage.exchanges);
    }
    // From here on all is well: each who stayed is answered, in the time that all may take.
    for _ in 0..200 {
        while !play.pending().is_empty() {
            reply(&mut play, &mut rng, true);
        }
        play.world.pass(Duration::from_millis(100));
    }
    for client in clients {
        play.answer(client);
    }
    let usage = play.world.usage();
    assert_eq!((usage.exchanges, usage.waiting), (0, 0), "{usage:?}");
    let records = play.world.finish();
    let count = |is: fn(&Access) -> bool| records.iter().filter(|it| is(it)).count();
    [
        count(|it| !it.waited.is_zero()),
        count(|it| it.shared_with.is_some()),
        count(|it| matches!(it.status, Some(503 | 529)) && it.attempts.is_empty()),
    ]
}

#[test]
fn each_who_stays_is_answered_once_and_nothing_is_left() {
    let mut sums = [0; 3];
    for seed in 0..SEEDS {
        let counts = std::panic::catch_unwind(|| run(seed));
        let counts = counts.unwrap_or_else(|_| panic!("seed {seed}"));
        sums = std::array::from_fn(|at| sums[at] + counts[at]);
    }
    assert!(sums.iter().all(|&sum| sum > 10), "{sums:?}");
}
