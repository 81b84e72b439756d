//! A machine that a test scripts, and that checks the contract on the way: each operation gets
//! exactly one completion, and the completion of `Close` is the last one.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tollgate_core::base::{ConnId, Id, Instant, ListenerId, Now, ShardId, TicketId, WriteBatch};
use tollgate_core::gateway::io::{
    Completion, Host, Input, IoFailure, Machine, Op, Output, Peer, Prepare, ReadClass,
    ResolveReply, Work, WorkReply,
};
use tollgate_core::record::Record;

use crate::runtime::{Driver, Options, Running, start};

/// The first listener.
pub(crate) const FIRST: ListenerId = ListenerId(0);
/// How a read of the tests waits.
pub(crate) const QUIET: ReadClass = ReadClass::Quiet { room: 4096 };

/// What a script sees of a completion.
#[derive(Debug)]
#[allow(dead_code, reason = "not each script looks at each field")]
pub(crate) enum Event {
    Accept(ListenerId, ConnId, Result<Peer, IoFailure>),
    Unlisten,
    HandOff(ConnId),
    Connect(ConnId, Result<(), IoFailure>),
    Read(ConnId, Result<Bytes, IoFailure>),
    Write(ConnId, Result<(), IoFailure>, usize),
    Shutdown(ConnId, Result<(), IoFailure>),
    Close(ConnId),
    Resolve(Vec<SocketAddr>),
    Host,
    Message(ShardId, u32),
    Tick,
    Drain,
    Reload,
}

#[derive(Debug, Default)]
struct Flight {
    connect: bool,
    read: bool,
    write: bool,
    shutdown: bool,
    close: bool,
}

/// What a script asks for, and the book of what is in flight.
#[derive(Default)]
pub(crate) struct Desk {
    outputs: VecDeque<Output>,
    conns: HashMap<ConnId, Flight>,
    accepts: HashMap<ListenerId, ConnId>,
    free: Vec<Id>,
    made: u32,
    pub(crate) now: Now,
    pub(crate) timeout: Option<Instant>,
}

impl Desk {
    fn name(&mut self) -> ConnId {
        ConnId(self.free.pop().unwrap_or_else(|| {
            self.made += 1;
            Id {
                index: self.made - 1,
                generation: 0,
            }
        }))
    }

    fn op(&mut self, op: Op) {
        self.outputs.push_back(Output::Op(op));
    }

    pub(crate) fn open(&self) -> usize {
        self.conns.len()
    }

    /// Whether operations on `conn` may still be asked for.
    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|flight| !flight.close)
    }

    pub(crate) fn names(&self) -> Vec<ConnId> {
        self.conns.keys().copied().collect()
    }

    pub(crate) fn accept(&mut self, listener: ListenerId) {
        let conn = self.name();
        assert!(self.accepts.insert(listener, conn).is_none());
        self.op(Op::Accept { listener, conn });
    }

    pub(crate) fn unlisten(&mut self, listener: ListenerId) {
        self.op(Op::Unlisten { listener });
    }

    pub(crate) fn hand_off(&mut self, conn: ConnId, to: u16) {
        self.op(Op::HandOff {
            conn,
            to: ShardId(to),
        });
    }

    pub(crate) fn connect(&mut self, address: SocketAddr) -> ConnId {
        let conn = self.name();
        let flight = Flight {
            connect: true,
            ..Flight::default()
        };
        assert!(self.conns.insert(conn, flight).is_none());
        self.op(Op::Connect { conn, address });
        conn
    }

    pub(crate) fn read(&mut self, conn: ConnId, class: ReadClass) {
        let room = if class == ReadClass::Ready { 4096 } else { 0 };
        self.read_into(conn, class, BytesMut::with_capacity(room));
    }

    pub(crate) fn read_into(&mut self, conn: ConnId, class: ReadClass, buf: BytesMut) {
        let flight = self.conns.get_mut(&conn).unwrap();
        assert!(!std::mem::replace(&mut flight.read, true));
        self.op(Op::Read { conn, class, buf });
    }

    pub(crate) fn write(&mut self, conn: ConnId, bytes: Bytes) {
        self.write_batch(conn, WriteBatch::from_bytes(bytes));
    }

    pub(crate) fn write_batch(&mut self, conn: ConnId, batch: WriteBatch) {
        let flight = self.conns.get_mut(&conn).unwrap();
        assert!(!std::mem::replace(&mut flight.write, true));
        self.op(Op::Write { conn, batch });
    }

    pub(crate) fn shutdown(&mut self, conn: ConnId) {
        let flight = self.conns.get_mut(&conn).unwrap();
        assert!(!std::mem::replace(&mut flight.shutdown, true));
        self.op(Op::Shutdown { conn });
    }

    /// Closes, once.
    pub(crate) fn close(&mut self, conn: ConnId, abort: bool) {
        let Some(flight) = self.conns.get_mut(&conn) else {
            return;
        };
        if !std::mem::replace(&mut flight.close, true) {
            self.op(Op::Close { conn, abort });
        }
    }

    pub(crate) fn resolve(&mut self, host: &str) {
        let ticket = TicketId(Id {
            index: 7,
            generation: 7,
        });
        self.op(Op::Resolve {
            ticket,
            host: host.into(),
            port: 443,
        });
    }

    pub(crate) fn work(&mut self) {
        let ticket = TicketId(Id {
            index: 8,
            generation: 8,
        });
        let snapshot = Arc::default();
        let dialect = tollgate_core::dialect::Dialect::OpenAiChat;
        let codings = tollgate_core::wire::coding::Codings::default();
        let body = Bytes::from_static(b"body");
        let prepare = Prepare::new(snapshot, dialect, codings, body, None);
        let work = Work::Prepare(Box::new(prepare));
        self.op(Op::Host { ticket, work });
    }

    pub(crate) fn send(&mut self, to: u16, clients: u32) {
        let message = tollgate_core::gateway::io::Message::Load { clients };
        self.outputs.push_back(Output::Send {
            to: ShardId(to),
            message,
        });
    }

    pub(crate) fn drained(&mut self) {
        self.outputs.push_back(Output::Drained);
    }

    fn free(&mut self, conn: ConnId) {
        self.free.push(Id {
            index: conn.0.index,
            generation: conn.0.generation + 1,
        });
    }

    fn completed(&mut self, completion: Completion) -> Event {
        match completion {
            Completion::Accept {
                listener,
                conn,
                result,
            } => {
                assert_eq!(self.accepts.remove(&listener), Some(conn));
                if result.is_ok() {
                    assert!(self.conns.insert(conn, Flight::default()).is_none());
                } else {
                    self.free(conn);
                }
                Event::Accept(listener, conn, result)
            }
            Completion::Unlisten { .. } => Event::Unlisten,
            Completion::HandOff { conn } => {
                self.conns.remove(&conn).expect("it was ours");
                self.free(conn);
                Event::HandOff(conn)
            }
            Completion::Connect { conn, result } => {
                let flight = self.conns.get_mut(&conn).expect("not closed before");
                assert!(std::mem::take(&mut flight.connect));
                Event::Connect(conn, result)
            }
            Completion::Read { conn, buf, result } => {
                let flight = self.conns.get_mut(&conn).expect("not closed before");
                assert!(std::mem::take(&mut flight.read));
                let from = buf.len() - result.unwrap_or(0);
                Event::Read(conn, result.map(|_| buf.freeze().slice(from..)))
            }
            Completion::Write {
                conn,
                batch,
                result,
            } => {
                let flight = self.conns.get_mut(&conn).expect("not closed before");
                assert!(std::mem::take(&mut flight.write));
                assert!(result.is_err() || batch.is_empty());
                Event::Write(conn, result, batch.len())
            }
            Completion::Shutdown { conn, result } => {
                let flight = self.conns.get_mut(&conn).expect("not closed before");
                assert!(std::mem::take(&mut flight.shutdown));
                Event::Shutdown(conn, result)
            }
            Completion::Close { conn } => {
                let flight = self.conns.remove(&conn).expect("closed once");
                let in_flight = flight.connect || flight.read || flight.write || flight.shutdown;
                assert!(
                    flight.close && !in_flight,
                    "Close was not the last: {flight:?}"
                );
                self.free(conn);
                Event::Close(conn)
            }
            Completion::Resolve { ticket, result } => {
                assert_eq!(ticket.0.index, 7);
                Event::Resolve(result.unwrap())
            }
            Completion::Host { ticket, .. } => {
                assert_eq!(ticket.0.index, 8);
                Event::Host
            }
        }
    }
}

/// What a test does with each event.
pub(crate) type Script = Box<dyn FnMut(&mut Desk, Event) + Send>;

/// A machine that follows a script.
pub(crate) struct Toy {
    pub(crate) desk: Desk,
    script: Script,
}

impl Toy {
    pub(crate) fn new(script: impl FnMut(&mut Desk, Event) + Send + 'static) -> Toy {
        Toy {
            desk: Desk::default(),
            script: Box::new(script),
        }
    }

    /// Does with `event` what this machine would, on the desk of another.
    pub(crate) fn script(&mut self, desk: &mut Desk, event: Event) {
        (self.script)(desk, event);
    }

    /// A machine whose first outputs are made by `begin`.
    pub(crate) fn begin(mut self, begin: impl FnOnce(&mut Desk)) -> Toy {
        begin(&mut self.desk);
        self
    }
}

impl Machine for Toy {
    fn handle(&mut self, now: Now, input: Input) {
        assert!(now.mono >= self.desk.now.mono, "time went back");
        self.desk.now = now;
        let event = match input {
            Input::Complete(completion) => self.desk.completed(completion),
            Input::Drain { .. } => Event::Drain,
            Input::Message { from, message } => match message {
                tollgate_core::gateway::io::Message::Load { clients } => {
                    Event::Message(from, clients)
                }
                other => panic!("{other:?}"),
            },
            Input::Reload(_) => Event::Reload,
            Input::Tick => Event::Tick,
        };
        (self.script)(&mut self.desk, event);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.desk.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.desk.timeout
    }
}

/// Drains as simply as can be; call it at the end of a script, for events that it did not use.
pub(crate) fn drain(desk: &mut Desk, listeners: u16) {
    for listener in 0..listeners {
        desk.unlisten(ListenerId(listener));
    }
    for conn in desk.names() {
        desk.close(conn, false);
    }
}

/// An echo of whatever comes; says `Drained` when told to drain and the last connection is gone.
pub(crate) fn echo(listeners: u16) -> Toy {
    let mut draining = false;
    let toy = Toy::new(move |desk, event| match event {
        Event::Accept(listener, conn, Ok(_)) => {
            desk.read(conn, QUIET);
            desk.accept(listener);
        }
        Event::Read(conn, Ok(bytes)) if !bytes.is_empty() && desk.is_open(conn) => {
            desk.write(conn, bytes);
        }
        Event::Read(conn, _) | Event::Write(conn, Err(_), _) => desk.close(conn, false),
        Event::Write(conn, Ok(()), _) if desk.is_open(conn) => desk.read(conn, QUIET),
        Event::Drain => {
            draining = true;
            drain(desk, listeners);
            if desk.open() == 0 {
                desk.drained();
            }
        }
        Event::Close(_) if draining && desk.open() == 0 => desk.drained(),
        _ => (),
    });
    toy.begin(|desk| (0..listeners).for_each(|id| desk.accept(ListenerId(id))))
}

/// Answers from a thread of its own.
pub(crate) struct Threads;

impl Host for Threads {
    fn resolve(&self, _: Arc<str>, port: u16, reply: ResolveReply) {
        std::thread::spawn(move || reply(Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))])));
    }

    fn perform(&self, work: Work, reply: WorkReply) {
        std::thread::spawn(move || reply(work.run()));
    }

    fn record(&self, _: ShardId, _: Box<Record>) {}
}

/// Calls `drive` for each driver that there is, one after the other, alone in this process, and
/// checks that it leaves no descriptor behind.
pub(crate) fn on_each_driver(mut drive: impl FnMut(Driver)) {
    let _alone = alone();
    for driver in [Driver::Epoll, Driver::Uring] {
        // The first run opens what belongs to the process.
        let options = Options { driver, pin: true };
        match start(options, vec![(echo(0), Vec::new())], Arc::new(Threads)) {
            Ok(running) => {
                running.control().drain(Duration::ZERO);
                running.wait().unwrap();
            }
            Err(error) => {
                println!("skipped on {driver:?}: {error}");
                continue;
            }
        }
        let before = descriptors();
        drive(driver);
        settle(before);
        assert_eq!(descriptors(), before, "descriptors were left on {driver:?}");
    }
}

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread of [`Threads`] may hold its end of a mailbox a moment longer than the machines live.
fn settle(before: usize) {
    let begun = std::time::Instant::now();
    while descriptors() != before && begun.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Where the machines of a test listen.
pub(crate) enum Listener {
    /// A free port of loopback, each worker by a socket of its own.
    Loopback,
    /// Worker 0 alone.
    Unix(PathBuf),
}

impl Listener {
    fn bind(&self, workers: usize) -> (Option<SocketAddr>, Vec<Option<OwnedFd>>) {
        if let Listener::Unix(path) = self {
            let listener = UnixListener::bind(path).unwrap();
            listener.set_nonblocking(true).unwrap();
            let mut sockets = vec![Some(OwnedFd::from(listener))];
            sockets.resize_with(workers, || None);
            return (None, sockets);
        }
        let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let sockets = (0..workers).map(|_| {
            let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
            let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
            sockopt::set_socket_reuseport(&socket, true).unwrap();
            rustix::net::bind(&socket, &address).unwrap();
            rustix::net::listen(&socket, 4096).unwrap();
            address = rustix::net::getsockname(&socket)
                .unwrap()
                .try_into()
                .unwrap();
            Some(socket)
        });
        let sockets = sockets.collect();
        (Some(address), sockets)
    }
}

/// Machines that run, and where they listen.
pub(crate) struct Served {
    address: Option<SocketAddr>,
    running: Running,
}

impl Served {
    pub(crate) fn wait(self) -> std::io::Result<()> {
        self.running.wait()
    }
}

impl Deref for Served {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

pub(crate) fn run(driver: Driver, listener: Option<&Listener>, machines: Vec<Toy>) -> Served {
    let (mut address, mut sockets) = (None, Vec::new());
    if let Some(listener) = listener {
        (address, sockets) = listener.bind(machines.len());
    }
    let mut sockets = sockets.into_iter();
    let machines = machines.into_iter();
    let machines = machines.map(|machine| (machine, Vec::from_iter(sockets.next())));
    let options = Options { driver, pin: false };
    let running = start(options, machines.collect(), Arc::new(Threads)).unwrap();
    Served { address, running }
}

pub(crate) fn port(served: &Served) -> SocketAddr {
    served.address.unwrap()
}

pub(crate) fn client(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(port(served)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// A way for a script to tell its test.
pub(crate) fn tell<T>() -> (Sender<T>, Receiver<T>) {
    mpsc::channel()
}

/// The next thing told; a test that hears nothing for long has failed.
pub(crate) fn hear<T>(receiver: &Receiver<T>) -> T {
    receiver
        .recv_timeout(Duration::from_secs(20))
        .expect("heard nothing")
}
