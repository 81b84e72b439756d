//! The load generator: a closed loop of connections that send one prepared request again and again.
//!
//! Each connection sends its next request when the answer to the last is complete, checked for its
//! status, its framing and its last bytes: a server that is fast because it answers half does not
//! count. Closed loop means that latency is measured at saturation and not at a chosen rate.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::event_count::EventCount;
use crate::histogram::Histogram;
use crate::http::{Decoder, Head, Part, Role};

/// What an answer must look like to count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The status.
    pub status: u16,
    /// Found in the last 64 bytes of the body.
    pub tail: Option<&'static str>,
}

impl Default for Expect {
    fn default() -> Expect {
        Expect {
            status: 200,
            tail: None,
        }
    }
}

/// When a run stops to send new requests; those on their way are still awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// This many were sent.
    Requests(u64),
    /// This long has passed.
    Elapsed(Duration),
}

/// What a run measured.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Answers that were complete and as expected.
    pub completed: u64,
    /// Requests without such an answer.
    pub failed: u64,
    /// What was wrong with the first of them.
    pub first_failure: Option<String>,
    /// Connections opened anew because the server had closed one.
    pub reconnects: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Bytes received, framing included.
    pub bytes: u64,
    /// Complete server-sent events received.
    pub events: u64,
    /// From sending a request to the end of its answer.
    pub latency: Histogram,
    /// From sending a request to the first byte of its answer's body.
    pub first_byte: Histogram,
}

impl LoadReport {
    /// Completed requests per second.
    pub fn rate(&self) -> f64 {
        self.completed as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Open connections to a server, and the request they send. Runs on the calling thread.
#[derive(Debug)]
pub struct Load {
    poll: Poll,
    address: SocketAddr,
    request: Arc<[u8]>,
    expect: Expect,
    conns: Vec<Conn>,
    scratch: Vec<u8>,
}

impl Load {
    /// Opens `connections` to `address`; each will send `request`, a whole HTTP/1.1 request.
    ///
    /// # Errors
    /// What the system says when a connection cannot be opened.
    pub fn connect(
        address: SocketAddr,
        request: Vec<u8>,
        connections: usize,
        expect: Expect,
    ) -> io::Result<Load> {
        let poll = Poll::new()?;
        let conns = (0..connections)
            .map(|index| {
                // Blocking, so that a closed port is an error here and not in every request.
                let socket = std::net::TcpStream::connect(address)?;
                socket.set_nonblocking(true)?;
                Conn::new(&poll, TcpStream::from_std(socket), index)
            })
            .collect::<io::Result<_>>()?;
        let scratch = vec![0; SCRATCH_BYTES];
        Ok(Load {
            poll,
            address,
            request: request.into(),
            expect,
            conns,
            scratch,
        })
    }

    /// Sends requests on all connections until `until`, and returns when all are answered. May be
    /// called again: the connections stay open, so that a run can warm up the next.
    ///
    /// # Errors
    /// When the readiness loop fails, or when no connection makes progress for 30 seconds.
    pub fn run(&mut self, until: Until) -> io::Result<LoadReport> {
        let mut run = Run {
            request: Arc::clone(&self.request),
            expect: self.expect,
            until,
            started: Instant::now(),
            sent: 0,
            report: LoadReport::default(),
        };
        let mut events = Events::with_capacity(1024);
        for index in 0..self.conns.len() {
            self.drive(index, &mut run, Turn::Start)?;
        }
        while self.conns.iter().any(|conn| conn.exchange.is_some()) {
            match self.poll.poll(&mut events, Some(STALL)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if events.is_empty() {
                let open = self
                    .conns
                    .iter()
                    .filter(|conn| conn.exchange.is_some())
                    .count();
                let message = format!("{open} requests without an answer for 30 s");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            for event in &events {
                let turn = Turn::Ready {
                    closed: event.is_read_closed(),
                };
                self.drive(event.token().0, &mut run, turn)?;
            }
        }
        run.report.elapsed = run.started.elapsed();
        Ok(run.report)
    }

    /// Serves one connection as far as it goes; a broken one is replaced.
    fn drive(&mut self, index: usize, run: &mut Run, turn: Turn) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(index) else {
            return Ok(());
        };
        if let Turn::Start = turn {
            conn.begin(run);
        }
        let closed = matches!(turn, Turn::Ready { closed: true });
        match conn.serve(&mut self.scratch, run, closed) {
            Ok(Fate::Keep) => return Ok(()),
            Ok(Fate::Reopen) => {}
            Err(error) => {
                if conn.exchange.take().is_some() {
                    run.fail(error.to_string());
                }
            }
        }
        run.report.reconnects += 1;
        let mut next = Conn::new(&self.poll, TcpStream::connect(self.address)?, index)?;
        next.begin(run); // its first write waits for the connection
        *conn = next;
        Ok(())
    }
}

/// No event at all for this long means that the server hangs.
const STALL: Duration = Duration::from_secs(30);
const SCRATCH_BYTES: usize = 256 * 1024;
const TAIL_BYTES: usize = 64;

struct Run {
    request: Arc<[u8]>,
    expect: Expect,
    until: Until,
    started: Instant,
    sent: u64,
    report: LoadReport,
}

impl Run {
    fn more(&self, now: Instant) -> bool {
        match self.until {
            Until::Requests(count) => self.sent < count,
            Until::Elapsed(duration) => now.duration_since(self.started) < duration,
        }
    }

    fn fail(&mut self, why: String) {
        self.report.failed += 1;
        self.report.first_failure.get_or_insert(why);
    }
}

/// Why a connection is served now.
#[derive(Clone, Copy)]
enum Turn {
    Start,
    Ready { closed: bool },
}

enum Fate {
    Keep,
    Reopen,
}

#[derive(Debug)]
struct Conn {
    socket: TcpStream,
    decoder: Decoder,
    exchange: Option<Exchange>,
}

/// One request and the part of its answer that is known.
#[derive(Debug)]
struct Exchange {
    began: Instant,
    written: usize,
    head: Option<Head>,
    first_byte: Option<Duration>,
    events: EventCount,
    tail: Vec<u8>,
}

impl Conn {
    fn new(poll: &Poll, mut socket: TcpStream, index: usize) -> io::Result<Conn> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut socket, Token(index), interest)?;
        let _ = socket.set_nodelay(true); // an error here shows again at the first write
        Ok(Conn {
            socket,
            decoder: Decoder::new(Role::Client),
            exchange: None,
        })
    }

    fn begin(&mut self, run: &mut Run) {
        let began = Instant::now();
        if run.more(began) {
            run.sent += 1;
            self.exchange = Some(Exchange {
                began,
                written: 0,
                head: None,
                first_byte: None,
                events: EventCount::default(),
                tail: Vec::new(),
            });
        }
    }

    /// Writes and reads all that is possible: readiness is only told once. `closed`: the peer's end
    /// of stream was told already, so reading goes on up to it.
    fn serve(&mut self, scratch: &mut [u8], run: &mut Run, closed: bool) -> io::Result<Fate> {
        loop {
            self.write(&run.request)?;
            let count = match self.socket.read(scratch) {
                Ok(0) => return self.ended(run),
                Ok(count) => count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => {
                        return Ok(Fate::Keep);
                    }
                    io::ErrorKind::Interrupted => continue,
                    _ => return Err(error),
                },
            };
            run.report.bytes += count as u64;
            if let Fate::Reopen = self.take(scratch.get(..count).unwrap_or_default(), run)? {
                return Ok(Fate::Reopen);
            }
            if count < scratch.len() && !closed {
                return Ok(Fate::Keep); // all that was there; anything later is told anew
            }
        }
    }

    fn write(&mut self, request: &[u8]) -> io::Result<()> {
        let Some(exchange) = &mut self.exchange else {
            return Ok(());
        };
        while let Some(rest @ [_, ..]) = request.get(exchange.written..) {
            match self.socket.write(rest) {
                Ok(count) => exchange.written += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => return Ok(()),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    fn take(&mut self, mut input: &[u8], run: &mut Run) -> io::Result<Fate> {
        while let Some(part) = self.decoder.next(&mut input).map_err(io::Error::other)? {
            let Some(exchange) = &mut self.exchange else {
                return Err(io::Error::other("bytes without a request"));
            };
            match part {
                Part::Head(head) => exchange.head = Some(head),
                Part::Body(bytes) => exchange.body(bytes),
                Part::End => {
                    let close = exchange.head.as_ref().is_some_and(|head| head.close);
                    self.complete(run);
                    if close {
                        return Ok(Fate::Reopen);
                    }
                    self.begin(run);
                    self.write(&run.request)?;
                }
            }
        }
        Ok(Fate::Keep)
    }

    fn complete(&mut self, run: &mut Run) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        match exchange.fault(run.expect) {
            Some(fault) => run.fail(fault),
            None => {
                let latency = exchange.began.elapsed();
                run.report.completed += 1;
                run.report.events += exchange.events.events();
                run.report.latency.record(latency);
                run.report
                    .first_byte
                    .record(exchange.first_byte.unwrap_or(latency));
            }
        }
    }

    /// The server closed: that ends an answer without a length, or breaks the one that is awaited.
    fn ended(&mut self, run: &mut Run) -> io::Result<Fate> {
        if self.decoder.finish().map_err(io::Error::other)? {
            self.complete(run);
        } else if self.exchange.is_some() {
            return Err(io::Error::other("the server closed without an answer"));
        }
        Ok(Fate::Reopen)
    }
}

impl Exchange {
    fn body(&mut self, bytes: &[u8]) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.began.elapsed());
        }
        self.events.feed(bytes);
        let kept = bytes
            .get(bytes.len().saturating_sub(TAIL_BYTES)..)
            .unwrap_or_default();
        self.tail.extend_from_slice(kept);
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
    }

    fn fault(&self, expect: Expect) -> Option<String> {
        let status = self
            .head
            .as_ref()
            .and_then(Head::status)
            .unwrap_or_default();
        if status != expect.status {
            let tail = String::from_utf8_lossy(&self.tail);
            return Some(format!(
                "status {status} and not {}: …{tail}",
                expect.status
            ));
        }
        let tail = expect.tail?;
        memmem::find(&self.tail, tail.as_bytes())
            .is_none()
            .then(|| format!("the body does not end with {tail:?}"))
    }
}

/// Streams that were begun and are left open: for measuring what one costs in memory.
#[derive(Debug)]
pub struct OpenStreams {
    sockets: Vec<std::net::TcpStream>,
}

impl OpenStreams {
    /// Opens `count` connections one after the other, sends `request` on each, and waits for the
    /// first event of each answer. Dropping the result closes them all.
    ///
    /// # Errors
    /// When a connection fails, ends, or has no event for 30 seconds.
    pub fn open(address: SocketAddr, request: &[u8], count: usize) -> io::Result<OpenStreams> {
        let mut sockets = Vec::with_capacity(count);
        let mut scratch = vec![0; SCRATCH_BYTES];
        for _ in 0..count {
            let mut socket = std::net::TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(STALL))?;
            socket.write_all(request)?;
            first_event(&mut socket, &mut scratch)?;
            sockets.push(socket);
        }
        Ok(OpenStreams { sockets })
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.sockets.len()
    }
}

fn first_event(socket: &mut std::net::TcpStream, scratch: &mut [u8]) -> io::Result<()> {
    let mut decoder = Decoder::new(Role::Client);
    let mut events = EventCount::default();
    while events.events() == 0 {
        let count = socket.read(scratch)?;
        let mut input = scratch.get(..count).unwrap_or_default();
        while let Some(part) = decoder.next(&mut input).map_err(io::Error::other)? {
            match part {
                Part::Head(head) if head.status() != Some(200) => {
                    return Err(io::Error::other(head.start_line));
                }
                Part::Head(_) => {}
                Part::Body(bytes) => events.feed(bytes),
                Part::End => return Err(io::Error::other("the stream ended")),
            }
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
