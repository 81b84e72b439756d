//! What passes between a shard and its runtime: operations out, completions in.
//!
//! Every operation is answered by exactly one completion, in any order, with its buffer handed
//! back. Nothing in flight is ever dropped: cancelling is an operation ([`Op::Close`]) too. All
//! that enters a shard is an [`Input`], so a recorded list of inputs and a seed is a complete,
//! replayable run.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{ConnId, Instant, ListenerId, Now, ShardId, TicketId, WriteBatch};
use crate::config::Snapshot;
use crate::ir::Class;
use crate::policy::keys::KeyLimit;
use crate::record::Record;

pub use crate::base::Peer;

/// What enters a shard.
#[derive(Debug)]
pub enum Input {
    /// Time has come to what [`poll_timeout`](super::Shard::poll_timeout) said; early ones are
    /// harmless.
    Tick,
    /// An operation ended.
    Complete(Completion),
    /// Another shard says something; FIFO per pair of shards.
    Message {
        /// Who says it.
        from: ShardId,
        /// What is said.
        message: Message,
    },
    /// A new config; exchanges in progress keep the one they began with.
    Reload(Arc<Snapshot>),
    /// Stop accepting, finish what runs, then say [`Output::Drained`].
    Drain {
        /// When exchanges still running are ended with an error.
        deadline: Instant,
    },
}

/// What a shard asks for.
#[derive(Debug)]
pub enum Output {
    /// Perform this; its completion is awaited.
    Op(Op),
    /// Carry this to another shard.
    Send {
        /// To whom.
        to: ShardId,
        /// What.
        message: Message,
    },
    /// Something happened that the world may want to know. May be dropped under load.
    Record(Box<Record>),
    /// The shard was told to drain, and did: it holds no connection and no request. What the host
    /// still does for it is for nobody; its answer may come late, or never.
    Drained,
}

/// One operation. At most one `Read` and one `Write` are in flight per connection and one `Accept`
/// per listener; `Close` is a connection's last operation and its completion the last one.
#[derive(Debug)]
pub enum Op {
    /// Take the next connection of `listener`; it will be known as `conn`. `TCP_NODELAY` is set on
    /// it.
    Accept {
        /// Where from. [`PEERS`] is the listener of connections handed off by other shards.
        listener: ListenerId,
        /// Its name from now on.
        conn: ConnId,
    },
    /// Stop listening: an `Accept` in flight completes with [`IoFailure::Canceled`].
    Unlisten {
        /// Which listener.
        listener: ListenerId,
    },
    /// Give the connection to another shard, where it arrives as a completed `Accept` on [`PEERS`].
    /// Only before its first `Read`, and its last operation here.
    HandOff {
        /// Which connection.
        conn: ConnId,
        /// Who gets it.
        to: ShardId,
    },
    /// Open a connection. `TCP_NODELAY` is set on it.
    Connect {
        /// Its name.
        conn: ConnId,
        /// Where to.
        address: SocketAddr,
    },
    /// Read once into the spare room of `buf`, behind what it holds.
    Read {
        /// From which connection.
        conn: ConnId,
        /// What the read is for, and so how its memory is to be had.
        class: ReadClass,
        /// Where to. The adapter appends, and never removes.
        buf: BytesMut,
    },
    /// Write the whole batch.
    Write {
        /// To which connection.
        conn: ConnId,
        /// What.
        batch: WriteBatch,
    },
    /// Send FIN after what was written. Not while a `Write` is in flight.
    Shutdown {
        /// On which connection.
        conn: ConnId,
    },
    /// End the connection in whatever phase it is. Operations in flight complete first, with
    /// [`IoFailure::Canceled`] or what they came to.
    Close {
        /// Which connection.
        conn: ConnId,
        /// Send RST instead of FIN.
        abort: bool,
    },
    /// Look up the addresses of `host`.
    Resolve {
        /// Names this lookup.
        ticket: TicketId,
        /// A DNS name, or an address in text.
        host: Arc<str>,
        /// Put into the addresses found.
        port: u16,
    },
    /// Do `work` on another thread: it is too long for a turn.
    Host {
        /// Names this job.
        ticket: TicketId,
        /// A pure function of core with its inputs.
        work: Work,
    },
}

/// The listener on which connections handed off by other shards arrive.
pub const PEERS: ListenerId = ListenerId(u16::MAX);

/// What a read is for.
///
/// Thousands of connections only wait at any time, and a completion runtime owns the buffer of each
/// read in flight; so the class says how much memory may wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadClass {
    /// Probably nothing comes for long: an idle connection, or a client while it is answered. `buf`
    /// may come without room; the adapter waits until the socket is readable, then makes room for
    /// `room` bytes and reads. (Or it reads into at most 256 bytes meanwhile.)
    Quiet {
        /// Bytes to make room for, once something is there to be read.
        room: u32,
    },
    /// Bytes are expected: events of a stream, a body. Read into the room that `buf` has.
    Ready,
}

impl ReadClass {
    /// Makes the room that a read with `buf` needs, now that there is something to be read.
    ///
    /// # Panics
    /// If there is none afterwards: the machine asked for nothing to be read.
    pub fn make_room(self, buf: &mut BytesMut) {
        if let ReadClass::Quiet { room } = self {
            buf.reserve(room as usize);
        }
        assert!(buf.len() < buf.capacity(), "a Read without room");
    }
}

/// How one operation ended.
#[derive(Debug)]
pub enum Completion {
    /// See [`Op::Accept`].
    Accept {
        /// Where from.
        listener: ListenerId,
        /// The name given in the operation.
        conn: ConnId,
        /// Who connected. After a failure the connection does not exist.
        result: Result<Peer, IoFailure>,
    },
    /// See [`Op::Unlisten`].
    Unlisten {
        /// Which listener.
        listener: ListenerId,
    },
    /// See [`Op::HandOff`]: the connection is no longer of this shard.
    HandOff {
        /// Which connection.
        conn: ConnId,
    },
    /// See [`Op::Connect`]. After a failure the connection still waits for its `Close`.
    Connect {
        /// Which connection.
        conn: ConnId,
        /// Connected, or why not.
        result: Result<(), IoFailure>,
    },
    /// See [`Op::Read`].
    Read {
        /// Which connection.
        conn: ConnId,
        /// The buffer, with the bytes appended.
        buf: BytesMut,
        /// How many bytes were appended; zero is the end of the stream.
        result: Result<usize, IoFailure>,
    },
    /// See [`Op::Write`].
    Write {
        /// Which connection.
        conn: ConnId,
        /// The batch, written as far as it came.
        batch: WriteBatch,
        /// All of it, or why not.
        result: Result<(), IoFailure>,
    },
    /// See [`Op::Shutdown`].
    Shutdown {
        /// Which connection.
        conn: ConnId,
        /// Done, or why not.
        result: Result<(), IoFailure>,
    },
    /// See [`Op::Close`].
    Close {
        /// Which connection.
        conn: ConnId,
    },
    /// See [`Op::Resolve`].
    Resolve {
        /// Which lookup.
        ticket: TicketId,
        /// At least one address, in the order of preference.
        result: Result<Vec<SocketAddr>, ResolveFailure>,
    },
    /// See [`Op::Host`].
    Host {
        /// Which job.
        ticket: TicketId,
        /// What came of it.
        done: WorkDone,
    },
}

/// Why an operation on a socket failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IoFailure {
    /// Written to a connection whose peer closed it (EPIPE).
    BrokenPipe,
    /// Ended by an operation of ours.
    Canceled,
    /// The process or system has no more descriptors (EMFILE, ENFILE).
    DescriptorsExhausted,
    /// Nobody listens (ECONNREFUSED).
    Refused,
    /// The peer ended the connection by force (ECONNRESET, ECONNABORTED).
    Reset,
    /// The system gave up waiting (ETIMEDOUT).
    TimedOut,
    /// No route (EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL).
    Unreachable,
    /// Any other error number of the system.
    Other(i32),
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoFailure::BrokenPipe => f.write_str("broken pipe"),
            IoFailure::Canceled => f.write_str("canceled"),
            IoFailure::DescriptorsExhausted => f.write_str("out of file descriptors"),
            IoFailure::Refused => f.write_str("connection refused"),
            IoFailure::Reset => f.write_str("connection reset"),
            IoFailure::TimedOut => f.write_str("timed out"),
            IoFailure::Unreachable => f.write_str("unreachable"),
            IoFailure::Other(number) => write!(f, "system error {number}"),
        }
    }
}

impl core::error::Error for IoFailure {}

impl From<std::io::Error> for IoFailure {
    /// By the kind of the error; by its number where there is no kind for it.
    fn from(error: std::io::Error) -> IoFailure {
        use std::io::ErrorKind as Kind;
        // These have the same numbers on all systems.
        const EIO: i32 = 5;
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        match (error.kind(), error.raw_os_error().unwrap_or(EIO)) {
            (Kind::AddrNotAvailable | Kind::HostUnreachable | Kind::NetworkUnreachable, _) => {
                IoFailure::Unreachable
            }
            (Kind::BrokenPipe, _) => IoFailure::BrokenPipe,
            (Kind::ConnectionAborted | Kind::ConnectionReset, _) => IoFailure::Reset,
            (Kind::ConnectionRefused, _) => IoFailure::Refused,
            (Kind::TimedOut, _) => IoFailure::TimedOut,
            (_, EMFILE | ENFILE) => IoFailure::DescriptorsExhausted,
            (_, number) => IoFailure::Other(number),
        }
    }
}

/// Why a name has no addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ResolveFailure {
    /// The name does not exist or has no address.
    NotFound,
    /// The resolver could not be asked, or did not know at this time.
    Unavailable,
}

impl fmt::Display for ResolveFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResolveFailure::NotFound => "no such host",
            ResolveFailure::Unavailable => "name resolution failed",
        })
    }
}

/// What one shard says to another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// How many client connections the sender serves; lets a full shard hand off to an idle one.
    Load {
        /// Open client connections.
        clients: u32,
    },
    /// A key of a provider met a limit, or was refused: nobody should use it before `until`.
    Key {
        /// Which, by a hash that all shards of one config know.
        key: u64,
        /// Until when.
        until: Instant,
        /// Why it was refused, if that is why.
        refused: Option<Class>,
    },
    /// A key that was in doubt works.
    KeyWorks {
        /// Which, by a hash that all shards of one config know.
        key: u64,
        /// When the request went out that was accepted.
        sent: Instant,
    },
    /// The breaker of a target opened until a time, or closed.
    Breaker {
        /// Which, by a hash that all shards of one config know.
        target: u64,
        /// Which model of its provider, where only clients name it.
        model: Option<Arc<str>>,
        /// Until when it is open, and for how long in all; `None` when it closed.
        open: Option<(Instant, Duration)>,
    },
    /// How often in a row a target has failed that is not left alone yet.
    Failures {
        /// Which, by a hash that all shards of one config know.
        target: u64,
        /// Which model of its provider, where only clients name it.
        model: Option<Arc<str>>,
        /// Zero when it answered well after it had failed.
        in_row: u32,
    },
    /// The sender needs more of a limit than it has, and asks whether there is some to spare.
    Borrow {
        /// Of which.
        of: Limited,
        /// How much.
        amount: u64,
    },
    /// The sender lends some of a limit, or gives it back.
    Lend {
        /// Of which.
        of: Limited,
        /// How much; perhaps nothing, in answer.
        amount: u64,
        /// Whether this answers a [`Message::Borrow`].
        is_answer: bool,
        /// When there will be more, if that is known.
        until: Option<Instant>,
    },
    /// What the sender has lent the receiver, or borrowed from it, it has borrowed from a third
    /// one, or lent that one: these two settle it without the sender.
    Settle {
        /// Of which limit.
        of: Limited,
        /// With whom.
        with: ShardId,
        /// What the receiver has borrowed; below zero, what it has lent.
        amount: i64,
    },
}

/// What has a limit that all shards keep to together; each by a hash that all shards of one config
/// know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limited {
    /// A client, which may have so many requests at once.
    Client(u64, u32),
    /// A provider, in requests at once.
    Provider(u64),
    /// A target, in requests at once.
    Target(u64),
    /// A key of a provider.
    Key {
        /// Of which provider.
        provider: u64,
        /// Which key.
        key: u64,
        /// Which of its limits.
        limit: KeyLimit,
    },
}

pub use super::prepare::Prepare;
pub use super::work::{Work, WorkDone};

/// Where a runtime takes what is not socket I/O: threads of the program that resolve names, do long
/// work and write records. One host serves all shards.
pub trait Host: Send + Sync + 'static {
    /// Looks up `host`, and calls `reply` exactly once, from any thread.
    fn resolve(&self, host: Arc<str>, port: u16, reply: ResolveReply);

    /// Runs `work` ([`Work::run`]), and calls `reply` exactly once, from any thread.
    fn perform(&self, work: Work, reply: WorkReply);

    /// Takes note of a record. Called on the shard's thread: must not block; when its queue is full
    /// it drops the record and counts that.
    fn record(&self, shard: ShardId, record: Box<Record>);
}

/// Called with the addresses found.
pub type ResolveReply = Box<dyn FnOnce(Result<Vec<SocketAddr>, ResolveFailure>) + Send>;
/// Called with what came of a job.
pub type WorkReply = Box<dyn FnOnce(WorkDone) + Send>;

/// A state machine that a runtime can drive: the [`Shard`](super::Shard), and the toys that the
/// runtimes' own tests use.
///
/// After `handle` has been called any number of times, drain `poll_output` until `None` before
/// waiting, and wait at most until `poll_timeout`.
pub trait Machine: Send + 'static {
    /// Takes one input. Infallible: a failure belongs to a connection or an exchange.
    fn handle(&mut self, now: Now, input: Input);

    /// The next thing to do.
    fn poll_output(&mut self) -> Option<Output>;

    /// When to send [`Input::Tick`] at the latest; `None` when nothing is timed.
    fn poll_timeout(&self) -> Option<Instant>;
}
