//! The mock upstream: a server that speaks both APIs and answers at once, slowly, badly or never.
//!
//! One thread, one readiness loop. Every answer is rendered when the [`Plan`] is set, so a request
//! costs one read, one write and the reading of its head. Whether to stream is decided by
//! `"stream":true` in the request's body, and the API by its path.
//!
//! A connection either reads a request or sends an answer; what arrives meanwhile is kept and read
//! next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::answer::Answer;
use crate::http::{Decoder, Part, Role};
use crate::machine;
use crate::requests::Api;

/// How the upstream answers every request from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Pieces of text in a stream, between its opening and closing events.
    pub content_events: usize,
    /// When the pieces of an answer are written.
    pub pace: Pace,
    /// How an answer ends.
    pub ending: Ending,
    /// The status of every answer; other than 200 it is an error body, never a stream.
    pub status: u16,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            content_events: 100,
            pace: Pace::Burst,
            ending: Ending::Whole,
            status: 200,
        }
    }
}

/// When the pieces of an answer (the events of a stream) are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All in one write, each event a chunk of its own: what a gateway reads when it is the
    /// bottleneck.
    Burst,
    /// One write per event, as fast as the socket takes them.
    EachEvent,
    /// One write per event, and this long from each to the next; one that is late is sent at once.
    Spaced(Duration),
}

/// How an answer ends. Pieces are counted as in [`Answer::cuts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Complete.
    Whole,
    /// The connection is closed after this many pieces, without the end of the body.
    CutAfter(usize),
    /// Nothing more is sent after this many pieces, and the connection stays open.
    HoldAfter(usize),
}

/// A running mock upstream; dropping it closes its connections and ends its thread.
#[derive(Debug)]
pub struct MockUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    requests: AtomicU64,
    connections: AtomicU64,
    script: Mutex<Arc<Script>>,
}

impl MockUpstream {
    /// Listens on `address` (port 0: any free one) and serves on a thread of its own, which is
    /// bound to processor `cpu` where one is given.
    ///
    /// # Errors
    /// What the system says when the address cannot be listened on or the processor does not exist.
    pub fn start(address: SocketAddr, plan: Plan, cpu: Option<usize>) -> io::Result<MockUpstream> {
        let mut listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            script: Mutex::new(Arc::new(Script::new(plan))),
        });
        let mut server = Server {
            poll,
            listener,
            shared: Arc::clone(&shared),
            conns: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            serial: 0,
            scratch: vec![0; SCRATCH_BYTES],
        };
        let thread = std::thread::Builder::new()
            .name("mock-upstream".into())
            .spawn(move || {
                if let Some(cpu) = cpu {
                    machine::pin_thread(cpu)?;
                }
                server.run()
            })?;
        Ok(MockUpstream {
            address,
            shared,
            waker,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that begin to be answered after this call follow `plan`.
    pub fn set_plan(&self, plan: Plan) {
        let script = Arc::new(Script::new(plan));
        *self
            .shared
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// How many requests were read completely.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Waits until the serving thread ends, which it does only when it fails.
    ///
    /// # Errors
    /// Why it could not go on.
    pub fn join(mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(io::Error::other("the mock upstream panicked")),
        }
    }
}

impl Drop for MockUpstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// A plan with all its answers, rendered.
#[derive(Debug)]
struct Script {
    plan: Plan,
    plain: [Arc<Answer>; 2],
    stream: [Arc<Answer>; 2],
    chat_with_usage: Arc<Answer>,
}

impl Script {
    fn new(plan: Plan) -> Script {
        let plain = |api| match plan.status {
            200 => Arc::new(Answer::plain(api)),
            status => Arc::new(Answer::failure(api, status)),
        };
        let stream = |api, usage| match plan.status {
            200 => Arc::new(Answer::stream(api, plan.content_events, usage)),
            status => Arc::new(Answer::failure(api, status)),
        };
        Script {
            plan,
            plain: [plain(Api::Messages), plain(Api::Chat)],
            stream: [stream(Api::Messages, false), stream(Api::Chat, false)],
            chat_with_usage: stream(Api::Chat, true),
        }
    }

    fn sending(&self, api: Api, body: &[u8]) -> Sending {
        let [messages, chat] = match streams(body) {
            true => &self.stream,
            false => &self.plain,
        };
        let answer = match api {
            Api::Messages => messages,
            Api::Chat if streams(body) && asks_usage(body) => &self.chat_with_usage,
            Api::Chat => chat,
        };
        let cuts = answer.cuts();
        let upto = |pieces: usize| match pieces.checked_sub(1) {
            None => 0,
            Some(last) => cuts.get(last).copied().unwrap_or(answer.bytes().len()),
        };
        let (stop, after) = match self.plan.ending {
            Ending::Whole => (answer.bytes().len(), After::Next),
            Ending::CutAfter(pieces) => (upto(pieces), After::Close),
            Ending::HoldAfter(pieces) => (upto(pieces), After::Hold),
        };
        let pace = self.plan.pace;
        Sending {
            answer: Arc::clone(answer),
            written: 0,
            pieces: 0,
            stop,
            after,
            pace,
            due: None,
            last_due: None,
        }
    }
}

/// An unknown path is answered so, and the connection closed.
const NOT_FOUND: &[u8] =
    b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

fn streams(body: &[u8]) -> bool {
    member_is_true(body, b"\"stream\"")
}

fn asks_usage(body: &[u8]) -> bool {
    member_is_true(body, b"\"include_usage\"")
}

/// Quotes inside of JSON strings are escaped, so a quoted name is a member or a bare string value.
fn member_is_true(body: &[u8], name: &[u8]) -> bool {
    memmem::find_iter(body, name).any(|at| {
        let rest = body
            .get(at + name.len()..)
            .unwrap_or_default()
            .trim_ascii_start();
        let value = rest
            .strip_prefix(b":")
            .unwrap_or_default()
            .trim_ascii_start();
        value.starts_with(b"true")
    })
}

/// An answer on its way.
#[derive(Debug)]
struct Sending {
    answer: Arc<Answer>,
    written: usize,
    /// Pieces written completely.
    pieces: usize,
    /// How far the answer is sent, in bytes.
    stop: usize,
    after: After,
    pace: Pace,
    /// The next piece is not written before this.
    due: Option<Instant>,
    /// When the last piece was due: the next is counted from there, so that being late once does
    /// not make the whole stream slower.
    last_due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Next,
    Close,
    Hold,
}

#[derive(Debug)]
struct Conn {
    socket: TcpStream,
    serial: u64,
    decoder: Decoder,
    api: Option<Api>,
    body: Vec<u8>,
    /// Bytes that came while an answer was on its way.
    backlog: Vec<u8>,
    sending: Option<Sending>,
}

/// What becomes of a connection after it was served as far as possible.
enum Fate {
    Keep,
    Wait(Instant),
    Close,
}

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const SCRATCH_BYTES: usize = 256 * 1024;
/// A client that sends more than this while it is answered, or in one body, is dropped.
const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

struct Server {
    poll: Poll,
    listener: TcpListener,
    shared: Arc<Shared>,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    /// When a paced connection goes on: time, slot, and the serial that proves the slot is the
    /// same.
    due: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    serial: u64,
    scratch: Vec<u8>,
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = self
                .due
                .peek()
                .map(|Reverse((at, ..))| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if self.shared.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => {}
                    Token(slot) => self.drive(slot, event.is_read_closed()),
                }
            }
            while let Some(&Reverse((at, slot, serial))) = self.due.peek() {
                if at > Instant::now() {
                    break;
                }
                self.due.pop();
                let conn = self.conns.get(slot).and_then(Option::as_ref);
                if conn.is_some_and(|conn| conn.serial == serial) {
                    self.drive(slot, false);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((mut socket, _)) = self.listener.accept() {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.conns.push(None);
                self.conns.len() - 1
            });
            if register(self.poll.registry(), &mut socket, slot).is_err() {
                self.free.push(slot);
                continue;
            }
            self.serial += 1;
            self.shared.connections.fetch_add(1, Ordering::Relaxed);
            let conn = Conn {
                socket,
                serial: self.serial,
                decoder: Decoder::new(Role::Server),
                api: None,
                body: Vec::new(),
                backlog: Vec::new(),
                sending: None,
            };
            if let Some(place) = self.conns.get_mut(slot) {
                *place = Some(conn);
            }
        }
    }

    fn drive(&mut self, slot: usize, closed: bool) {
        let Some(place) = self.conns.get_mut(slot) else {
            return;
        };
        let Some(conn) = place else { return };
        match conn
            .serve(&mut self.scratch, &self.shared, closed)
            .unwrap_or(Fate::Close)
        {
            Fate::Keep => {}
            Fate::Wait(at) => self.due.push(Reverse((at, slot, conn.serial))),
            Fate::Close => {
                *place = None;
                self.free.push(slot);
                self.shared.connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

fn register(registry: &Registry, socket: &mut TcpStream, slot: usize) -> io::Result<()> {
    socket.set_nodelay(true)?;
    registry.register(socket, Token(slot), Interest::READABLE | Interest::WRITABLE)
}

impl Conn {
    /// Reads all there is and writes all that fits: readiness is only told once. `closed`: the
    /// peer's end of stream was told already, so reading goes on up to it.
    fn serve(&mut self, scratch: &mut [u8], shared: &Shared, closed: bool) -> io::Result<Fate> {
        loop {
            let count = match self.socket.read(scratch) {
                Ok(0) => return Ok(Fate::Close),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = scratch.get(..count).unwrap_or_default();
            self.take(bytes, shared)?;
            if count < scratch.len() && !closed {
                break; // all that was there; anything later is told anew
            }
        }
        loop {
            match self.send()? {
                Some(Fate::Keep) if !self.backlog.is_empty() => {
                    let bytes = std::mem::take(&mut self.backlog);
                    self.take(&bytes, shared)?;
                }
                Some(fate) => return Ok(fate),
                None => return Ok(Fate::Keep),
            }
        }
    }

    /// Reads requests up to one that is complete; the rest waits until that one is answered.
    fn take(&mut self, mut input: &[u8], shared: &Shared) -> io::Result<()> {
        while self.sending.is_none() {
            match self.decoder.next(&mut input).map_err(io::Error::other)? {
                None => return Ok(()),
                Some(Part::Head(head)) => {
                    self.api = head.path().and_then(Api::of_path);
                    self.body.clear();
                }
                Some(Part::Body(bytes)) => {
                    within_bounds(self.body.len() + bytes.len())?;
                    self.body.extend_from_slice(bytes);
                }
                Some(Part::End) => {
                    shared.requests.fetch_add(1, Ordering::Relaxed);
                    let Some(api) = self.api else {
                        let _ = self.socket.write(NOT_FOUND);
                        return Err(io::Error::other("unknown path"));
                    };
                    let script =
                        Arc::clone(&*shared.script.lock().unwrap_or_else(PoisonError::into_inner));
                    self.sending = Some(script.sending(api, &self.body));
                }
            }
        }
        within_bounds(self.backlog.len() + input.len())?;
        self.backlog.extend_from_slice(input);
        Ok(())
    }

    /// Writes what is due of the answer. `None`: the socket is full, or there is nothing to send.
    fn send(&mut self) -> io::Result<Option<Fate>> {
        let Some(sending) = &mut self.sending else {
            return Ok(None);
        };
        if let Some(due) = sending.due {
            if Instant::now() < due {
                return Ok(None);
            }
            sending.due = None;
        }
        while sending.written < sending.stop {
            let end = match sending.pace {
                Pace::Burst => sending.stop,
                _ => sending
                    .answer
                    .cuts()
                    .get(sending.pieces)
                    .copied()
                    .unwrap_or(sending.stop),
            };
            let bytes = sending
                .answer
                .bytes()
                .get(sending.written..end)
                .unwrap_or_default();
            match self.socket.write(bytes) {
                Ok(count) => sending.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if sending.written < end {
                continue;
            }
            sending.pieces += 1;
            if let Pace::Spaced(pause) = sending.pace
                && sending.written < sending.stop
            {
                let due = sending.last_due.unwrap_or_else(Instant::now) + pause;
                sending.last_due = Some(due);
                sending.due = Some(due);
                return Ok(Some(Fate::Wait(due)));
            }
        }
        match sending.after {
            After::Next => self.sending = None,
            After::Close => return Ok(Some(Fate::Close)),
            After::Hold => return Ok(None),
        }
        Ok(Some(Fate::Keep))
    }
}

fn within_bounds(bytes: usize) -> io::Result<()> {
    match bytes <= PENDING_BYTES_MAX {
        true => Ok(()),
        false => Err(io::Error::other("the client sends too much")),
    }
}
