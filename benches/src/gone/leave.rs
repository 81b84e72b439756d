//! A client goes: how soon its upstream call is closed.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::gateway::{Gateway, closed, read_until, request};
use super::upstream::{Seen, Upstream};
use crate::histogram::Histogram;
use crate::loopback::ServerSpec;

/// Clients of a round.
const ROUND_CLIENTS: usize = 50;
/// Repetitions that a target bears at once, however many clients wait for one.
const REPETITIONS_MAX: usize = 10;
/// What should happen and does not within this has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far a request has come within the gateway, nothing outside tells; this is long enough.
const SETTLE_TIME: Duration = Duration::from_millis(50);
/// A 503 of the upstream asks for a second.
const BACKOFF_TIME: Duration = Duration::from_millis(1_500);
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Where a request is when its client goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// It waits for a key that another request uses.
    Queued,
    /// The upstream takes no connection.
    Connecting,
    /// The upstream was asked and says nothing.
    Headers,
    /// A stream has begun, and no content has come.
    BeforeContent,
    /// Some of a stream has reached the client.
    MidStream,
    /// The upstream failed, and is to be asked again later.
    Backoff,
    /// Half of an answer that is not streamed has come.
    NotStreaming,
}

/// All of them, in the order of tables.
pub const PHASES: [Phase; 7] = [
    Phase::Queued,
    Phase::Connecting,
    Phase::Headers,
    Phase::BeforeContent,
    Phase::MidStream,
    Phase::Backoff,
    Phase::NotStreaming,
];

impl Phase {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Queued => "queued",
            Phase::Connecting => "connecting",
            Phase::Headers => "waiting for headers",
            Phase::BeforeContent => "before first content",
            Phase::MidStream => "mid-stream",
            Phase::Backoff => "in backoff",
            Phase::NotStreaming => "non-streaming",
        }
    }

    /// The model that leads there.
    fn model(self) -> &'static str {
        match self {
            Phase::Queued => "queued",
            Phase::Connecting => "full",
            Phase::Headers => "silence",
            Phase::BeforeContent => "begin",
            Phase::MidStream => "text",
            Phase::Backoff => "busy",
            Phase::NotStreaming => "half",
        }
    }
}

/// Measures how soon after its client an upstream call ends, `rounds` times fifty in each phase:
/// until the upstream sees the connection close, and where it has none, until the gateway has let
/// the request go. A connection that is only being made is one less in the system's list, which
/// takes some milliseconds to read: they are in the figure.
///
/// # Errors
/// When a call does not end within seconds, when an upstream is asked for a client that has gone,
/// or when something cannot be started.
pub fn leave(spec: &ServerSpec, phase: Phase, rounds: usize) -> io::Result<Histogram> {
    let upstream = Upstream::start()?;
    let full = FullListener::new()?;
    let gateway = Gateway::start(spec, 1, &config(upstream.address, full.address))?;
    let mut bench = Bench {
        gateway,
        upstream,
        full,
        phase,
        times: Histogram::default(),
        clients: 0,
    };
    let batch = match phase {
        Phase::Backoff => REPETITIONS_MAX,
        _ => ROUND_CLIENTS,
    };
    for _ in 0..rounds * ROUND_CLIENTS / batch {
        bench.round(batch)?;
    }
    bench.look_at_rest()?;
    Ok(bench.times)
}

fn config(upstream: SocketAddr, full: SocketAddr) -> String {
    let provider = |name: &str, base: &str, more: &str| {
        format!(
            "[providers.{name}]\ndialect = \"anthropic\"\nbase_url = \"{base}\"\n\
             key = \"sk-mock\"\n{more}\n"
        )
    };
    let names = ["silence", "begin", "text", "busy", "half"];
    // The target that fails is to be asked each time, and its requests are to wait for another try.
    let mut text = String::from("retry.budget_percent = 100\n");
    text += "breaker = { failures_in_row = 1000, calls_min = 1000000 }\n";
    for name in names {
        text += &provider(name, &format!("http://{upstream}/{name}"), "");
    }
    let one = "key_limits = { concurrent = 1 }\n";
    text += &provider("queued", &format!("http://{upstream}/silence"), one);
    text += &provider("full", &format!("http://{full}"), "");
    text += "[models]\n";
    for name in names.into_iter().chain(["queued", "full"]) {
        text += &format!("\"{name}\" = \"{name}/m\"\n");
    }
    text
}

/// A socket that listens and whose queue is full: connections to it are never made.
struct FullListener {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl FullListener {
    fn new() -> io::Result<FullListener> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        rustix::net::listen(&listener, 0)?;
        let address = listener.local_addr()?;
        let mut queued = Vec::new();
        while let Ok(connection) = TcpStream::connect_timeout(&address, SETTLE_TIME) {
            queued.push(connection);
        }
        Ok(FullListener {
            address,
            _listener: listener,
            _queued: queued,
        })
    }

    /// Connections that somebody tries to make, as the system lists them.
    fn attempts(&self) -> io::Result<usize> {
        let port = format!(":{:04X}", self.address.port());
        let table = fs::read_to_string("/proc/net/tcp")?;
        let is_attempt = |line: &&str| {
            let mut fields = line.split_whitespace().skip(2);
            let is_ours = fields.next().is_some_and(|remote| remote.ends_with(&port));
            // SYN-SENT
            is_ours && fields.next() == Some("02")
        };
        Ok(table.lines().filter(is_attempt).count())
    }

    fn wait_for(&self, attempts: usize) -> io::Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        while self.attempts()? != attempts {
            if Instant::now() > deadline {
                let message = format!("{} connections are tried, not {attempts}", self.attempts()?);
                return Err(io::Error::other(message));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(Instant::now())
    }
}

struct Bench {
    gateway: Gateway,
    upstream: Upstream,
    full: FullListener,
    phase: Phase,
    times: Histogram,
    /// Clients so far: each has a number of its own.
    clients: u32,
}

impl Bench {
    /// Brings a batch of clients into the phase, and lets one after the other leave.
    fn round(&mut self, batch: usize) -> io::Result<()> {
        let mut holder = None;
        if self.phase == Phase::Queued {
            let (number, client) = self.ask()?;
            self.await_played(number..=number)?;
            holder = Some((number, client));
        }
        let mut clients = Vec::new();
        for _ in 0..batch {
            clients.push(self.ask()?);
        }
        self.await_phase(&mut clients)?;
        let mut left = clients.len();
        for (number, client) in clients {
            left -= 1;
            let began = Instant::now();
            let ended = self.leave(number, client, left)?;
            self.times.record(ended.saturating_duration_since(began));
        }
        if let Some((number, client)) = holder {
            drop(client);
            self.await_closed(number)?;
        }
        Ok(())
    }

    fn ask(&mut self) -> io::Result<(u32, TcpStream)> {
        self.clients += 1;
        let number = self.clients;
        let mut client = TcpStream::connect(self.gateway.address())?;
        client.set_read_timeout(Some(PATIENCE))?;
        let model = self.phase.model();
        let stream = self.phase != Phase::NotStreaming;
        client.write_all(&request(model, number, stream))?;
        Ok((number, client))
    }

    /// Waits until all are where they should be.
    fn await_phase(&self, clients: &mut [(u32, TcpStream)]) -> io::Result<()> {
        match self.phase {
            Phase::Queued => {}
            Phase::Connecting => {
                self.full.wait_for(clients.len())?;
                return Ok(());
            }
            _ => {
                let numbers = clients.first().zip(clients.last());
                let (&(first, _), &(last, _)) = numbers.ok_or(io::ErrorKind::InvalidInput)?;
                for _ in clients.iter() {
                    self.await_played(first..=last)?;
                }
            }
        }
        if self.phase == Phase::MidStream {
            for (_, client) in clients {
                read_until(client, "text_delta")?;
            }
            return Ok(());
        }
        std::thread::sleep(SETTLE_TIME);
        Ok(())
    }

    /// Waits until the upstream has played its part for one of these clients.
    fn await_played(&self, numbers: RangeInclusive<u32>) -> io::Result<()> {
        match self.next()? {
            Seen::Played { number } if numbers.contains(&number) => Ok(()),
            other => Err(io::Error::other(format!(
                "instead of {numbers:?}: {other:?}"
            ))),
        }
    }

    /// Waits until the upstream has lost this caller.
    fn await_closed(&self, number: u32) -> io::Result<Instant> {
        match self.next()? {
            Seen::Closed { number: which, at } if which == number => Ok(at),
            other => Err(io::Error::other(format!("instead of {number}: {other:?}"))),
        }
    }

    fn next(&self) -> io::Result<Seen> {
        let seen = self.upstream.seen.recv_timeout(PATIENCE);
        seen.map_err(|_| io::Error::other("the upstream sees nothing"))
    }

    /// A client leaves; gives when its call had ended. `left`: how many are still there.
    fn leave(&self, number: u32, mut client: TcpStream, left: usize) -> io::Result<Instant> {
        match self.phase {
            Phase::Connecting => {
                drop(client);
                self.full.wait_for(left)
            }
            Phase::Queued | Phase::Backoff => {
                // Its own end of the connection tells when the gateway has let it go.
                client.shutdown(Shutdown::Write)?;
                closed(&mut client)
            }
            _ => {
                drop(client);
                self.await_closed(number)
            }
        }
    }

    /// Nobody is asked for those who have gone.
    fn look_at_rest(&self) -> io::Result<()> {
        let time = match self.phase {
            Phase::Backoff => BACKOFF_TIME,
            _ => SETTLE_TIME,
        };
        match self.upstream.seen.recv_timeout(time) {
            Err(_) => Ok(()),
            Ok(seen) => Err(io::Error::other(format!(
                "for a client that has gone: {seen:?}"
            ))),
        }
    }
}
