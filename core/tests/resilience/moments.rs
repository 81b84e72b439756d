//! Whatever a request is doing at that moment: a new config, the gateway's end, its client's leave
//! or its deadline. Each is answered once and recorded once, and nothing is left.

use std::time::Duration;

use tollgate_core::dialect::Dialect;

use super::fixtures::request;
use super::play::{CHAIN, FIRST, HEAD, LATE, Play, dialect_at, error, prefilling, well};
use super::support::http;
use super::support::world::{Conn, End};

/// A request at some moment, and the config under which it is there.
struct Moment {
    name: &'static str,
    play: Play,
    client: Conn,
    config: String,
    /// Requests in all, those included that brought it there.
    count: usize,
}

fn moment(name: &'static str, config: String, until: fn(&mut Play) -> (Conn, usize)) -> Moment {
    let mut play = Play::new(&config);
    let (client, count) = until(&mut play);
    Moment {
        name,
        play,
        client,
        config,
        count,
    }
}

fn raced(play: &mut Play) -> (Conn, usize) {
    play.teach(true);
    (play.race(Dialect::Anthropic).0, 41)
}

fn following(play: &mut Play) -> (Conn, usize) {
    let body = request(Dialect::Anthropic, false);
    let mut ask = || play.ask_as("shares", Dialect::Anthropic, &body, &[]);
    ask();
    (ask(), 2)
}

fn backing_off(play: &mut Play) -> (Conn, usize) {
    let client = play.ask(Dialect::Anthropic, true);
    play.reply(&error(503).field("retry-after", "1"));
    (client, 1)
}

fn limited(play: &mut Play) -> (Conn, usize) {
    play.ask(Dialect::Anthropic, true);
    (play.ask(Dialect::Anthropic, true), 2)
}

fn cooling(play: &mut Play) -> (Conn, usize) {
    let client = play.ask(Dialect::Anthropic, true);
    play.reply(&error(429).field("retry-after", "4"));
    play.reply(&error(429).field("retry-after", "5"));
    (client, 1)
}

fn continued(play: &mut Play) -> (Conn, usize) {
    let client = play.ask(Dialect::Anthropic, true);
    play.begins_and_breaks(FIRST, &["we"]);
    (client, 1)
}

fn held(play: &mut Play) -> (Conn, usize) {
    let client = play.ask(Dialect::Anthropic, true);
    play.begins(FIRST, &["un", "seen"]);
    (client, 1)
}

/// Two that race, of which one has begun with what is no content.
fn raced_and_begun(play: &mut Play) -> (Conn, usize) {
    play.teach(true);
    let client = play.ask(Dialect::Anthropic, true);
    let first = play.asked_at(FIRST);
    play.world.pass(LATE);
    play.world.send(first, HEAD);
    (client, 41)
}

fn moments() -> Vec<Moment> {
    let shares =
        "[[callers]]\nname = \"shares\"\nkey = \"shares-0123456789abcdef\"\ncoalesce = true";
    let hedged = format!("retry.hedge_percent = 100\n{CHAIN}");
    let resumed = format!("retry.resume = true\n{}", prefilling(false));
    vec![
        moment("raced", hedged.clone(), raced),
        moment("raced and begun", hedged, raced_and_begun),
        moment("following", format!("{CHAIN}\n{shares}"), following),
        moment("backing off", CHAIN.to_owned(), backing_off),
        moment(
            "limited",
            format!("queue.concurrent_per_client = 1\n{CHAIN}"),
            limited,
        ),
        moment("cooling", CHAIN.to_owned(), cooling),
        moment("continued", resumed, continued),
        moment("held", format!("retry.hold_events = 4\n{CHAIN}"), held),
    ]
}

impl Moment {
    /// All that goes on is answered well, as time passes; then all is over.
    fn go_on(mut self, is_gone: bool) {
        for _ in 0..100 {
            for (conn, port, asked) in self.play.pending() {
                let is_stream = asked.text().contains("\"stream\":true");
                self.play.reply_on(conn, &well(dialect_at(port), is_stream));
            }
            self.play.world.pass(Duration::from_secs(10));
        }
        let name = self.name;
        let answers = http::read(self.play.world.written(self.client));
        if !is_gone {
            assert_eq!(answers.len(), 1, "{name}");
            assert!(answers[0].is_complete, "{name}: {:?}", answers[0]);
        }
        let usage = self.play.world.usage();
        let held = [usage.exchanges, usage.waiting, usage.permits, usage.tickets];
        assert_eq!(held, [0; 4], "{name}: {usage:?}");
        assert_eq!(self.play.world.finish().len(), self.count, "{name}");
    }
}

#[test]
fn a_new_config() {
    for at in 0..moments().len() {
        for (from, to) in [
            ("", ""),
            ("first/one", "first/other"),
            ("asked =", "renamed ="),
            (
                "[providers.first]",
                "[providers.first]\ntimers.connect = \"5s\"",
            ),
        ] {
            let mut moment = moments().swap_remove(at);
            let config = match from {
                "" => moment.config.clone(),
                from => moment.config.replace(from, to),
            };
            moment.play.reload(&config);
            moment.play.reload(&config);
            moment.go_on(false);
        }
    }
}

#[test]
fn the_end_of_the_gateway() {
    for grace in [0, 2, 3_600] {
        for mut moment in moments() {
            moment.play.world.drain(Duration::from_secs(grace));
            moment.go_on(false);
        }
    }
}

#[test]
fn its_client_leaves() {
    for end in [End::Fin, End::Reset] {
        for mut moment in moments() {
            moment.play.world.hang_up(moment.client, end);
            moment.go_on(true);
        }
    }
}

#[test]
fn all_upstreams_break() {
    for end in [End::Fin, End::Reset] {
        for mut moment in moments() {
            for conn in moment.play.world.upstreams() {
                moment.play.world.hang_up(conn, end);
            }
            moment.go_on(false);
        }
    }
}

#[test]
fn all_upstreams_fall_silent() {
    for mut moment in moments() {
        for _ in 0..200 {
            moment.play.world.pass(Duration::from_secs(5));
        }
        moment.go_on(false);
    }
}
