//! [`World`]: one shard, with byte pipes for connections and a clock that moves when told to. Every
//! operation is answered as its runtime would, and held against the contract of `gateway::io`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tollgate_core::base::{
    ConnId, Instant, ListenerId, Now, Peer, Seed, ShardId, TicketId, UnixMillis, WriteBatch,
};
use tollgate_core::config::Snapshot;
use tollgate_core::gateway::io::{
    Completion, Input, IoFailure, Message, Op, Output, ReadClass, ResolveFailure,
};
use tollgate_core::gateway::{Shard, ShardOptions, Usage};
use tollgate_core::record::{Access, Record};

/// Wall time at the start: 22 November 2026, noon.
const WALL_START: u64 = 1_795_348_800_000;
/// Bytes and slices that one write may carry.
const BATCH_BYTES_MAX: usize = 64 * 1024;
const BATCH_SLICES_MAX: usize = 64;
/// Inputs that one step of a test may take; more is a loop that never ends.
const STEPS_MAX: usize = 50_000_000;

/// A connection, as the test names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Conn(usize);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Client,
    Upstream,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Connecting,
    Open,
    Closed { abort: bool },
}

/// How the far end ends what it sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Fin,
    Reset,
}

#[derive(Debug)]
struct Pipe {
    id: ConnId,
    side: Side,
    phase: Phase,
    /// Where an upstream's connection leads.
    address: Option<SocketAddr>,
    /// What the far end has sent: one piece for each read.
    inbox: VecDeque<Bytes>,
    end: Option<End>,
    read: Option<(ReadClass, BytesMut)>,
    write: Option<WriteBatch>,
    /// The far end takes nothing.
    is_stalled: bool,
    /// What was written to the far end.
    written: Vec<u8>,
    largest_write: (usize, usize),
    is_shut: bool,
}

/// How connections to upstreams fare.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    Accepts,
    Refuses,
    /// The gateway has no descriptor left.
    Exhausted,
    /// Connecting takes forever.
    Silent,
}

/// The shard and all around it.
pub(crate) struct World {
    own: ShardId,
    shard: Shard,
    now: Instant,
    pipes: Vec<Pipe>,
    accepts: Vec<(ListenerId, ConnId)>,
    done: VecDeque<Completion>,
    lookups: Vec<TicketId>,
    /// Where further clients come from.
    pub(crate) peer: SocketAddr,
    /// How connections to upstreams fare.
    pub(crate) reach: Reach,
    /// Whether names are answered.
    pub(crate) resolves: bool,
    /// What each request came to.
    pub(crate) records: Vec<Access>,
    /// Jobs given to the host.
    pub(crate) host_jobs: usize,
    /// What it said to other shards.
    pub(crate) letters: Vec<Message>,
    /// How often it was woken because its time had come.
    pub(crate) wakes: usize,
    is_drained: bool,
}

impl World {
    pub(crate) fn new(snapshot: Snapshot) -> World {
        World::nth_of(0, 1, snapshot)
    }

    /// One of several shards, the others of which are not there.
    pub(crate) fn nth_of(own: u16, shards: u16, snapshot: Snapshot) -> World {
        let own = ShardId(own);
        let options = ShardOptions {
            id: own,
            shards,
            listeners: 1,
            seed: Seed(7),
        };
        let mut world = World {
            own,
            shard: Shard::new(&options, Arc::new(snapshot)),
            now: Instant::ZERO,
            pipes: Vec::new(),
            accepts: Vec::new(),
            done: VecDeque::new(),
            lookups: Vec::new(),
            peer: ([127, 0, 0, 1], 40_000).into(),
            reach: Reach::Accepts,
            resolves: true,
            records: Vec::new(),
            host_jobs: 0,
            letters: Vec::new(),
            wakes: 0,
            is_drained: false,
        };
        world.pump();
        world
    }

    /// A new client.
    pub(crate) fn client(&mut self) -> Conn {
        let (listener, conn) = self.accepts.pop().expect("the shard accepts");
        self.pipes.push(Pipe::new(conn, Side::Client, Phase::Open));
        let client = Conn(self.pipes.len() - 1);
        let peer = Peer::Tcp(self.peer);
        self.complete(Completion::Accept {
            listener,
            conn,
            result: Ok(peer),
        });
        client
    }

    /// A client cannot be accepted: there is no descriptor left.
    pub(crate) fn exhaust(&mut self) {
        self.fail_accept(IoFailure::DescriptorsExhausted);
    }

    /// A client cannot be accepted.
    pub(crate) fn fail_accept(&mut self, failure: IoFailure) {
        let (listener, conn) = self.accepts.pop().expect("the shard accepts");
        let result = Err(failure);
        self.complete(Completion::Accept {
            listener,
            conn,
            result,
        });
    }

    /// Whether the shard would take a further client.
    pub(crate) fn is_accepting(&self) -> bool {
        !self.accepts.is_empty()
    }

    /// Connections to upstreams, in the order in which they were asked for.
    pub(crate) fn upstreams(&self) -> Vec<Conn> {
        let all = self.pipes.iter().enumerate();
        all.filter(|(_, pipe)| pipe.side == Side::Upstream)
            .map(|(at, _)| Conn(at))
            .collect()
    }

    /// The one upstream connection that there is.
    pub(crate) fn upstream(&self) -> Conn {
        let all = self.upstreams();
        assert_eq!(all.len(), 1, "connections to the upstream");
        all[0]
    }

    /// The far end of `conn` sends `bytes`, which come in one read if the buffer has room.
    pub(crate) fn send(&mut self, conn: Conn, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.pipes[conn.0].inbox.push_back(bytes);
        }
        self.pump();
    }

    /// The far end of `conn` sends nothing more.
    pub(crate) fn hang_up(&mut self, conn: Conn, end: End) {
        self.pipes[conn.0].end.get_or_insert(end);
        self.pump();
    }

    /// Where an upstream's connection leads.
    pub(crate) fn address(&self, conn: Conn) -> Option<SocketAddr> {
        self.pipes[conn.0].address
    }

    /// All that was written to the far end of `conn`.
    pub(crate) fn written(&self, conn: Conn) -> &[u8] {
        &self.pipes[conn.0].written
    }

    /// The most bytes, and the most slices, that one write to `conn` carried.
    pub(crate) fn largest_write(&self, conn: Conn) -> (usize, usize) {
        self.pipes[conn.0].largest_write
    }

    /// Whether the shard closed `conn`.
    pub(crate) fn is_closed(&self, conn: Conn) -> bool {
        matches!(self.pipes[conn.0].phase, Phase::Closed { .. })
    }

    /// Whether the shard closed `conn` or has sent its FIN.
    pub(crate) fn is_ended(&self, conn: Conn) -> bool {
        self.is_closed(conn) || self.pipes[conn.0].is_shut
    }

    /// Whether the shard wants to read from `conn`.
    pub(crate) fn is_read(&self, conn: Conn) -> bool {
        self.pipes[conn.0].read.is_some()
    }

    /// The far end of `conn` takes nothing from now on, or takes things again.
    pub(crate) fn stall(&mut self, conn: Conn, is_stalled: bool) {
        self.pipes[conn.0].is_stalled = is_stalled;
        self.pump();
    }

    /// Lets time pass; everything that is due happens at its own moment.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut at_once = 0;
        while let Some(due) = self.shard.poll_timeout().filter(|&due| due <= until) {
            at_once = if due > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 10_000, "time stands still");
            self.now = self.now.max(due);
            self.wakes += 1;
            self.handle(Input::Tick);
        }
        self.now = until;
        self.handle(Input::Tick);
    }

    /// Answers the earliest lookup of those held back: the name leads to `port`.
    pub(crate) fn resolve(&mut self, port: u16) {
        let ticket = self.lookups.remove(0);
        let result: Result<_, ResolveFailure> = Ok(vec![([127, 0, 0, 1], port).into()]);
        self.complete(Completion::Resolve { ticket, result });
    }

    pub(crate) fn usage(&self) -> Usage {
        self.shard.usage()
    }

    /// Another shard says something.
    pub(crate) fn hear(&mut self, message: Message) {
        let from = ShardId(u16::from(self.own == ShardId(0)));
        self.handle(Input::Message { from, message });
    }

    /// Gives the shard a new config.
    pub(crate) fn reload(&mut self, snapshot: Arc<Snapshot>) {
        self.handle(Input::Reload(snapshot));
    }

    /// Asks the shard to end, within `grace`.
    pub(crate) fn drain(&mut self, grace: Duration) {
        let deadline = self.now + grace;
        self.handle(Input::Drain { deadline });
    }

    /// Every client leaves; the shard must let go of all that it holds.
    pub(crate) fn finish(mut self) -> Vec<Access> {
        for at in 0..self.pipes.len() {
            self.pipes[at].is_stalled = false;
            if self.pipes[at].side == Side::Client {
                self.hang_up(Conn(at), End::Fin);
            }
        }
        self.drain(Duration::ZERO);
        self.pass(Duration::from_secs(10));
        assert!(self.is_drained, "not drained: {:?}", self.shard.usage());
        // A resolver takes its time, and is not waited for.
        for ticket in core::mem::take(&mut self.lookups) {
            let result = Err(ResolveFailure::Unavailable);
            self.complete(Completion::Resolve { ticket, result });
        }
        for pipe in &self.pipes {
            let is_closed = matches!(pipe.phase, Phase::Closed { .. });
            assert!(is_closed, "{:?} was not closed", pipe.id);
        }
        let usage = self.shard.usage();
        let held = [usage.clients, usage.upstreams, usage.exchanges];
        assert_eq!(held, [0; 3], "{usage:?}");
        assert_eq!(usage.bodies_bytes, 0, "{usage:?}");
        assert_eq!(usage.buffered_bytes, 0, "{usage:?}");
        self.records
    }

    fn handle(&mut self, input: Input) {
        let wall = UnixMillis(WALL_START + self.now.as_millis());
        let now = Now {
            mono: self.now,
            wall,
        };
        self.shard.handle(now, input);
        self.pump();
    }

    fn complete(&mut self, completion: Completion) {
        self.done.push_back(completion);
        self.pump();
    }

    /// Performs what the shard asks for until it asks for nothing that can be done now.
    fn pump(&mut self) {
        let wall = UnixMillis(WALL_START + self.now.as_millis());
        let now = Now {
            mono: self.now,
            wall,
        };
        for _ in 0..STEPS_MAX {
            while let Some(output) = self.shard.poll_output() {
                match output {
                    Output::Op(op) => self.perform(op),
                    Output::Record(record) => {
                        let Record::Access(access) = *record;
                        self.records.push(access);
                    }
                    Output::Send { to, message } => {
                        assert_ne!(to, self.own, "a message to itself");
                        self.letters.push(message);
                    }
                    Output::Drained => self.is_drained = true,
                }
            }
            let next = self.done.pop_front().or_else(|| self.transfer());
            let Some(completion) = next else { return };
            self.shard.handle(now, Input::Complete(completion));
        }
        panic!("the shard goes on forever");
    }

    fn perform(&mut self, op: Op) {
        match op {
            Op::Accept { listener, conn } => {
                let is_first = self.accepts.iter().all(|accept| accept.0 != listener);
                assert!(is_first, "two accepts for one listener");
                self.accepts.push((listener, conn));
            }
            Op::Unlisten { listener } => {
                if let Some(at) = self.accepts.iter().position(|it| it.0 == listener) {
                    let (listener, conn) = self.accepts.remove(at);
                    self.done.push_back(Completion::Accept {
                        listener,
                        conn,
                        result: Err(IoFailure::Canceled),
                    });
                }
                self.done.push_back(Completion::Unlisten { listener });
            }
            Op::HandOff { .. } => panic!("handed off, though there is one shard"),
            Op::Connect { conn, address } => self.connect(conn, address),
            Op::Read { conn, class, buf } => {
                let pipe = self.pipe(conn);
                assert!(pipe.read.is_none(), "two reads in flight");
                let has_room = buf.capacity() > buf.len();
                assert!(has_room || class != ReadClass::Ready, "a read without room");
                pipe.read = Some((class, buf));
            }
            Op::Write { conn, batch } => {
                let is_bounded =
                    batch.len() <= BATCH_BYTES_MAX && batch.slices().len() <= BATCH_SLICES_MAX;
                assert!(
                    is_bounded && !batch.is_empty(),
                    "a batch of {}",
                    batch.len()
                );
                let pipe = self.pipe(conn);
                assert!(pipe.write.is_none(), "two writes in flight");
                assert!(!pipe.is_shut, "a write after the shutdown");
                let (bytes, slices) = pipe.largest_write;
                pipe.largest_write = (bytes.max(batch.len()), slices.max(batch.slices().len()));
                pipe.write = Some(batch);
            }
            Op::Shutdown { conn } => {
                let pipe = self.pipe(conn);
                assert!(pipe.write.is_none(), "shut down while writing");
                pipe.is_shut = true;
                let result = Ok(());
                self.done.push_back(Completion::Shutdown { conn, result });
            }
            Op::Close { conn, abort } => self.close(conn, abort),
            Op::Resolve { ticket, port, .. } => {
                if self.resolves {
                    let result: Result<_, ResolveFailure> = Ok(vec![([127, 0, 0, 1], port).into()]);
                    self.done.push_back(Completion::Resolve { ticket, result });
                } else {
                    self.lookups.push(ticket);
                }
            }
            Op::Host { ticket, work } => {
                self.host_jobs += 1;
                let done = work.run();
                self.done.push_back(Completion::Host { ticket, done });
            }
        }
    }

    fn connect(&mut self, conn: ConnId, address: SocketAddr) {
        let is_new = self.pipes.iter().all(|pipe| pipe.id != conn);
        assert!(is_new, "{conn:?} is in use");
        let mut pipe = Pipe::new(conn, Side::Upstream, Phase::Connecting);
        pipe.address = Some(address);
        let result = match self.reach {
            Reach::Accepts => Ok(()),
            Reach::Refuses => Err(IoFailure::Refused),
            Reach::Exhausted => Err(IoFailure::DescriptorsExhausted),
            Reach::Silent => {
                self.pipes.push(pipe);
                return;
            }
        };
        pipe.phase = Phase::Open;
        self.pipes.push(pipe);
        self.done.push_back(Completion::Connect { conn, result });
    }

    fn close(&mut self, conn: ConnId, abort: bool) {
        let pipe = self.pipe(conn);
        let was_connecting = pipe.phase == Phase::Connecting;
        pipe.phase = Phase::Closed { abort };
        let (read, write) = (pipe.read.take(), pipe.write.take());
        if was_connecting {
            let result = Err(IoFailure::Canceled);
            self.done.push_back(Completion::Connect { conn, result });
        }
        if let Some((_, buf)) = read {
            let result = Err(IoFailure::Canceled);
            self.done.push_back(Completion::Read { conn, buf, result });
        }
        if let Some(batch) = write {
            let result = Err(IoFailure::Canceled);
            self.done.push_back(Completion::Write {
                conn,
                batch,
                result,
            });
        }
        self.done.push_back(Completion::Close { conn });
    }

    /// The pipe of an operation: it must be open.
    fn pipe(&mut self, conn: ConnId) -> &mut Pipe {
        let pipe = self.pipes.iter_mut().find(|pipe| pipe.id == conn);
        let pipe = pipe.unwrap_or_else(|| panic!("an operation on {conn:?}, which is not there"));
        let is_closed = matches!(pipe.phase, Phase::Closed { .. });
        assert!(!is_closed, "an operation on {conn:?} after its close");
        pipe
    }

    /// The next read or write that can be done.
    fn transfer(&mut self) -> Option<Completion> {
        self.pipes.iter_mut().find_map(Pipe::transfer)
    }
}

impl Pipe {
    fn new(id: ConnId, side: Side, phase: Phase) -> Pipe {
        Pipe {
            id,
            side,
            phase,
            address: None,
            inbox: VecDeque::new(),
            end: None,
            read: None,
            write: None,
            is_stalled: false,
            written: Vec::new(),
            largest_write: (0, 0),
            is_shut: false,
        }
    }

    fn transfer(&mut self) -> Option<Completion> {
        let conn = self.id;
        if self.end == Some(End::Reset) {
            // A reset takes what was not yet read with it, and refuses what is written.
            self.inbox.clear();
            self.is_stalled = false;
        }
        if let Some(mut batch) = self.write.take_if(|_| !self.is_stalled) {
            let result = match self.end {
                Some(End::Reset) => Err(IoFailure::Reset),
                Some(End::Fin) | None => {
                    for slice in batch.slices() {
                        self.written.extend_from_slice(slice);
                    }
                    batch.advance(batch.len());
                    Ok(())
                }
            };
            return Some(Completion::Write {
                conn,
                batch,
                result,
            });
        }
        if self.inbox.is_empty() && self.end.is_none() {
            return None;
        }
        let (class, mut buf) = self.read.take()?;
        let result = match (self.inbox.front_mut(), self.end) {
            (Some(piece), _) => {
                if let ReadClass::Quiet { room } = class {
                    buf.reserve(room as usize);
                }
                let room = buf.capacity() - buf.len();
                let count = piece.len().min(room);
                buf.extend_from_slice(&piece.split_to(count));
                if piece.is_empty() {
                    self.inbox.pop_front();
                }
                Ok(count)
            }
            (None, Some(End::Reset)) => Err(IoFailure::Reset),
            (None, _) => Ok(0),
        };
        Some(Completion::Read { conn, buf, result })
    }
}
