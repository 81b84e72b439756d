//! [`World`]: machines on a simulated network, under a virtual clock that jumps to whatever comes
//! next.
//!
//! A seed decides all: same machines, same peers, same seed, same run, to the byte. What machine
//! and world say to each other is held against the contract of `gateway::io`; the first violation
//! ends the run.

mod flow;
mod ops;
mod watch;

use core::cell::RefCell;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::base::{ConnId, Instant, ListenerId, Now, Rng, Seed, ShardId, UnixMillis};
use tollgate_core::config::Snapshot;
use tollgate_core::gateway::io::{Completion, Input, IoFailure, Machine, Message, Output};
use tollgate_core::record::Record;

use crate::check::contract::Contract;
use crate::faults::{Fault, Faults};
use crate::net::{Link, Origin, Parcel, Way};
use crate::peer::{End, LinkId, Peer};
use crate::queue::Queue;
use crate::script::journal::Delivered;
use crate::trace::Trace;

/// Events at one instant after which time is held to stand still.
const EVENTS_PER_INSTANT_MAX: u32 = 100_000;
/// Ticks of one machine at one instant after which its timers are held to be stuck.
const TICKS_PER_INSTANT_MAX: u32 = 1000;
/// Outputs in answer to a few inputs after which a machine is held to be caught in a loop.
const OUTPUTS_PER_TURN_MAX: u32 = 50_000;
/// How much longer than told a drain may take.
const DRAIN_SLACK: Duration = Duration::from_secs(70);
/// Where the wall clock begins: 2026-11-22.
const WALL_START: u64 = 1_795_305_600_000;

/// A property that did not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which checker found it.
    pub check: &'static str,
    /// What it found.
    pub message: String,
}

impl Violation {
    /// What `check` found.
    pub fn new(check: &'static str, message: impl Into<String>) -> Violation {
        Violation {
            check,
            message: message.into(),
        }
    }
}

/// Watches a run.
pub trait Observer<M> {
    /// A record left a machine.
    ///
    /// # Errors
    /// What is wrong with it.
    fn record(&mut self, now: Instant, record: &Record) -> Result<(), Violation>;

    /// A machine is told something by another.
    fn message(&mut self, now: Instant, shard: usize, message: &Message);

    /// A machine reads on from an upstream.
    ///
    /// # Errors
    /// What is wrong with that.
    fn reading(&mut self, reading: &Reading<'_>) -> Result<(), Violation>;

    /// A machine has taken inputs, and its outputs were taken.
    ///
    /// # Errors
    /// What is wrong with it.
    fn turn(&mut self, turn: &Turn<'_, M>) -> Result<(), Violation>;
}

/// What an [`Observer`] sees of a turn.
#[derive(Debug)]
pub struct Turn<'a, M> {
    /// The time.
    pub now: Instant,
    /// Which machine.
    pub shard: usize,
    /// The machine.
    pub machine: &'a M,
    /// Connections whose `Close` is in flight.
    pub closing: usize,
    /// Connections of clients, to upstreams, and tickets, as the machine has asked for them.
    pub asked: [usize; 3],
    /// Tags of upstream connections that were left open for a client whose end the machine was just
    /// told of.
    pub left_open: &'a [String],
    /// Connections of clients whose end the machine was just told of.
    pub ended: &'a [LinkId],
    /// Upstream connections without a request, of the address that has most of them; zero where
    /// none was added.
    pub idle: usize,
    /// The machine has said that it is drained.
    pub is_drained: bool,
}

/// What an [`Observer`] sees when a machine reads on from an upstream.
#[derive(Debug)]
pub struct Reading<'a> {
    /// What it works for.
    pub tag: &'a str,
    /// Bytes of the answer that it has read so far.
    pub read: u64,
    /// Bytes that the client's system has taken since the answer began.
    pub taken: u64,
}

/// Makes the peer of each connection to a server, if it takes connections at that time.
pub type Server = Box<dyn FnMut(Instant) -> Option<Box<dyn Peer>>>;

/// What happens at a time of its own.
#[derive(Debug)]
pub(crate) enum Event {
    Arrive {
        link: LinkId,
        way: Way,
        parcel: Parcel,
    },
    Complete {
        shard: usize,
        completion: Completion,
    },
    Connected {
        link: LinkId,
        result: Result<(), IoFailure>,
    },
    Control(Control),
    Dial {
        dial: usize,
    },
    Gathered {
        link: LinkId,
    },
    Message {
        from: usize,
        to: usize,
        message: Message,
    },
    PeerRead {
        link: LinkId,
    },
    PeerWake {
        link: LinkId,
        token: u64,
    },
    Tick {
        shard: usize,
        is_early: bool,
    },
}

/// What whoever runs the program does.
#[derive(Debug)]
pub enum Control {
    /// Every machine is told to drain within a time.
    Drain(Duration),
    /// Every machine gets a new config.
    Reload(Arc<Snapshot>),
    /// The wall clock is set by so many milliseconds.
    WallJump(i64),
}

struct Slot<M> {
    machine: M,
    contract: Contract,
    tick_at: Option<Instant>,
    /// It has taken inputs, and its outputs were not taken since.
    is_dirty: bool,
    is_drained: bool,
    /// Clients whose end it was told in this turn.
    ended: Vec<LinkId>,
    /// It has begun to wait on a connection in this turn.
    has_rested: bool,
    ticks_at: (Instant, u32),
}

#[derive(Default)]
struct Listening {
    backlog: VecDeque<LinkId>,
    accept: Option<ConnId>,
    is_closed: bool,
}

struct Dial {
    listener: ListenerId,
    peer: Option<Box<dyn Peer>>,
}

/// Machines, a network, peers, a clock.
pub struct World<M: Machine> {
    slots: Vec<Slot<M>>,
    now: Instant,
    wall_offset: i64,
    drain_deadline: Option<Instant>,
    queue: Queue<Event>,
    rng: Rng,
    faults: Rc<RefCell<Faults>>,
    links: Vec<Link>,
    /// Connections of clients, by their tags.
    clients: BTreeMap<String, LinkId>,
    conns: BTreeMap<(usize, ConnId), LinkId>,
    listening: BTreeMap<(usize, ListenerId), Listening>,
    servers: BTreeMap<SocketAddr, Server>,
    names: BTreeMap<String, Vec<SocketAddr>>,
    /// Where only faults that do no harm strike.
    spared: BTreeSet<SocketAddr>,
    dials: Vec<Dial>,
    last_message: BTreeMap<(usize, usize), Instant>,
    /// What machines have read from each link; shared with the peers' journals.
    delivered: Rc<RefCell<Vec<Delivered>>>,
    observer: Option<Box<dyn Observer<M>>>,
    trace: Trace,
    violation: Option<Violation>,
    events: u64,
    at_instant: u32,
    peers_open: usize,
}

impl<M: Machine> World<M> {
    /// A world of these machines. With `keeps_trace` the lines of the trace are kept, not its hash
    /// only.
    pub fn new(
        seed: Seed,
        machines: Vec<M>,
        faults: Rc<RefCell<Faults>>,
        keeps_trace: bool,
    ) -> World<M> {
        let slots = machines.into_iter().map(|machine| Slot {
            machine,
            contract: Contract::default(),
            tick_at: None,
            is_dirty: true,
            is_drained: false,
            ended: Vec::new(),
            has_rested: false,
            ticks_at: (Instant::ZERO, 0),
        });
        World {
            slots: slots.collect(),
            now: Instant::ZERO,
            wall_offset: 0,
            drain_deadline: None,
            queue: Queue::new(),
            rng: Rng::new(seed),
            faults,
            links: Vec::new(),
            clients: BTreeMap::new(),
            conns: BTreeMap::new(),
            listening: BTreeMap::new(),
            servers: BTreeMap::new(),
            names: BTreeMap::new(),
            spared: BTreeSet::new(),
            dials: Vec::new(),
            last_message: BTreeMap::new(),
            delivered: Rc::default(),
            observer: None,
            trace: Trace::new(keeps_trace),
            violation: None,
            events: 0,
            at_instant: 0,
            peers_open: 0,
        }
    }

    /// Lets `observer` watch.
    pub fn observe(&mut self, observer: Box<dyn Observer<M>>) {
        self.observer = Some(observer);
    }

    /// From `at` on a client connects to `listener` of any machine.
    pub fn add_client(&mut self, at: Instant, listener: ListenerId, peer: Box<dyn Peer>) {
        let dial = self.dials.len();
        self.dials.push(Dial {
            listener,
            peer: Some(peer),
        });
        self.peers_open += 1;
        self.queue.push(at, Event::Dial { dial });
    }

    /// A server at `address`.
    pub fn add_server(&mut self, address: SocketAddr, server: Server) {
        self.servers.insert(address, server);
    }

    /// A name and its addresses.
    pub fn add_name(&mut self, name: &str, addresses: Vec<SocketAddr>) {
        self.names.insert(name.to_owned(), addresses);
    }

    /// Connections to `address`, and lookups that give it, meet no fault that does harm.
    pub fn spare(&mut self, address: SocketAddr) {
        self.spared.insert(address);
    }

    /// At `at` the operator does this.
    pub fn control(&mut self, at: Instant, control: Control) {
        self.queue.push(at.max(self.now), Event::Control(control));
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Clients whose connection has not ended.
    pub const fn clients_open(&self) -> usize {
        self.peers_open
    }

    /// What machines have read, by link.
    pub fn delivered(&self) -> Rc<RefCell<Vec<Delivered>>> {
        Rc::clone(&self.delivered)
    }

    /// A machine.
    pub fn machine(&self, shard: usize) -> Option<&M> {
        self.slots.get(shard).map(|slot| &slot.machine)
    }

    /// Whether every machine has said that it is drained.
    pub fn is_drained(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_drained)
    }

    /// Connections and operations in flight, of all machines.
    pub fn open(&self) -> usize {
        self.slots.iter().map(|slot| slot.contract.open()).sum()
    }

    /// What went wrong, if anything did.
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Notes that something went wrong; the first that did counts.
    pub fn fail(&mut self, violation: Violation) {
        if self.violation.is_none() {
            self.trace
                .line(self.now, format_args!("VIOLATION {violation:?}"));
            self.violation = Some(violation);
        }
    }

    /// The trace.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Events handled so far.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Steps until nothing is left to happen, at most so often. Says whether nothing is left.
    pub fn run_until_idle(&mut self, steps_max: u64) -> bool {
        (0..steps_max).any(|_| !self.step())
    }

    /// Takes one step; `false` when nothing is left to happen, or something went wrong.
    pub fn step(&mut self) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let next = self.queue.next_at();
        if self.slots.iter().any(|slot| slot.is_dirty) {
            let is_batched = next == Some(self.now)
                && self
                    .faults
                    .borrow_mut()
                    .strikes(Fault::BatchedInputs, &mut self.rng);
            if !is_batched {
                self.turn_all();
                return true;
            }
        }
        let Some((at, event)) = self.queue.pop() else {
            return false;
        };
        self.at_instant = if at == self.now {
            self.at_instant + 1
        } else {
            0
        };
        self.now = at;
        self.events += 1;
        if self.at_instant > EVENTS_PER_INSTANT_MAX {
            self.fail(Violation::new("liveness", "time stands still"));
            return false;
        }
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { link, way, parcel } => self.arrive(link, way, parcel),
            Event::Complete { shard, completion } => self.complete(shard, completion),
            Event::Connected { link, result } => self.connected(link, result),
            Event::Control(control) => self.operate(control),
            Event::Dial { dial } => self.dial(dial),
            Event::Gathered { link } => self.gathered(link),
            Event::Message { from, to, message } => {
                if let Some(observer) = &mut self.observer {
                    observer.message(self.now, to, &message);
                }
                let from = ShardId(from as u16);
                self.input(to, Input::Message { from, message });
            }
            Event::PeerRead { link } => self.peer_read(link),
            Event::PeerWake { link, token } => {
                if !self.links[link].is_peer_over {
                    self.call_peer(link, |peer, io| peer.woke(io, token));
                }
            }
            Event::Tick { shard, is_early } => self.tick(shard, is_early),
        }
    }

    fn tick(&mut self, shard: usize, is_early: bool) {
        let now = self.now;
        let slot = &mut self.slots[shard];
        if !is_early {
            if slot.tick_at != Some(now) {
                return;
            }
            slot.tick_at = None;
        }
        let (at, count) = slot.ticks_at;
        slot.ticks_at = (now, if at == now { count + 1 } else { 0 });
        if slot.ticks_at.1 > TICKS_PER_INSTANT_MAX {
            self.fail(Violation::new(
                "liveness",
                "a timer that is due does not go away",
            ));
            return;
        }
        self.input(shard, Input::Tick);
    }

    fn operate(&mut self, control: Control) {
        self.trace.line(
            self.now,
            format_args!(
                "control {}",
                match &control {
                    Control::Drain(_) => "drain",
                    Control::Reload(_) => "reload",
                    Control::WallJump(_) => "wall jump",
                }
            ),
        );
        match control {
            Control::Drain(time) => {
                let deadline = self.now + time;
                self.drain_deadline.get_or_insert(deadline);
                for shard in 0..self.slots.len() {
                    self.input(shard, Input::Drain { deadline });
                }
            }
            Control::Reload(snapshot) => {
                for shard in 0..self.slots.len() {
                    self.input(shard, Input::Reload(Arc::clone(&snapshot)));
                }
            }
            Control::WallJump(by) => self.wall_offset += by,
        }
    }

    fn dial(&mut self, dial: usize) {
        let drawn = self.rng.below(self.slots.len() as u64) as usize;
        // A Unix socket has one shard that listens.
        let is_lopsided = self
            .faults
            .borrow_mut()
            .strikes(Fault::Lopsided, &mut self.rng);
        let shard = if is_lopsided { 0 } else { drawn };
        let Dial { listener, peer } = &mut self.dials[dial];
        let (listener, peer) = (*listener, peer.take());
        let faults = &mut self.faults.borrow_mut();
        let link = Link::new(Origin::Client(listener), shard, peer, faults, &mut self.rng);
        let id = self.links.len();
        self.links.push(link);
        self.delivered.borrow_mut().push(Delivered::new(shard));
        self.trace.line(
            self.now,
            format_args!("link {id}: a client connects to shard {shard}"),
        );
        let listening = self.listening.entry((shard, listener)).or_default();
        if listening.is_closed {
            self.queue.push(
                self.now,
                Event::Connected {
                    link: id,
                    result: Err(IoFailure::Refused),
                },
            );
            return;
        }
        listening.backlog.push_back(id);
        self.queue.push(
            self.now,
            Event::Connected {
                link: id,
                result: Ok(()),
            },
        );
    }

    fn connected(&mut self, id: LinkId, result: Result<(), IoFailure>) {
        let link = &mut self.links[id];
        match link.origin {
            Origin::Client(listener) => {
                let shard = link.shard;
                match result {
                    Ok(()) => {
                        self.call_peer(id, |peer, io| peer.connected(io));
                        self.try_accept(shard, listener);
                    }
                    Err(_) => self.end_peer(id, End::Refused),
                }
            }
            Origin::Shard => {
                if !core::mem::take(&mut link.is_connecting) {
                    return;
                }
                let Some(conn) = link.conn else { return };
                self.complete_later(id, Completion::Connect { conn, result });
                if result.is_ok() {
                    self.call_peer(id, |peer, io| peer.connected(io));
                }
            }
        }
    }

    /// The time as a machine is told.
    fn clock(&self) -> Now {
        let wall = WALL_START + self.now.as_millis();
        Now {
            mono: self.now,
            wall: UnixMillis(wall.saturating_add_signed(self.wall_offset)),
        }
    }

    fn input(&mut self, shard: usize, input: Input) {
        let now = self.clock();
        self.trace.line(
            self.now,
            format_args!("shard {shard} <- {}", crate::text::In(&input)),
        );
        if let Input::Complete(completion) = &input {
            crate::text::note_completion(&mut self.trace, completion);
            if let Err(message) = self.slots[shard].contract.completion(completion) {
                let message = format!("the world: {message}");
                self.fail(Violation::new("contract", message));
                return;
            }
        }
        let slot = &mut self.slots[shard];
        slot.machine.handle(now, input);
        slot.is_dirty = true;
    }

    fn complete(&mut self, shard: usize, completion: Completion) {
        let conn = match &completion {
            Completion::Read { conn, result, .. } if !matches!(result, Ok(1..)) => Some(*conn),
            Completion::Write {
                conn,
                result: Err(_),
                ..
            } => Some(*conn),
            _ => None,
        };
        let link = conn.and_then(|conn| self.conns.get(&(shard, conn)).copied());
        if let Some(link) = link
            && matches!(self.links[link].origin, Origin::Client(_))
            && !self.links[link].is_closing
        {
            self.slots[shard].ended.push(link);
        }
        if let Completion::Read {
            conn,
            result: Ok(count),
            ..
        } = &completion
            && let Some(&link) = self.conns.get(&(shard, *conn))
            && !self.links[link].is_closing
            && !self.links[link].is_shut
            && (self.drain_deadline.is_none() || self.links[link].origin == Origin::Shard)
        {
            // What comes after the machine shut the connection down it does not look at, and
            // while it drains it takes no further request.
            self.delivered.borrow_mut()[link].read(*count, self.now);
        }
        if let Completion::Close { conn } = &completion {
            self.conns.remove(&(shard, *conn));
        }
        self.input(shard, Input::Complete(completion));
    }

    fn turn_all(&mut self) {
        for shard in 0..self.slots.len() {
            if core::mem::take(&mut self.slots[shard].is_dirty) {
                self.turn(shard);
            }
        }
    }

    /// Takes a machine's outputs, and looks at what it has become.
    fn turn(&mut self, shard: usize) {
        let mut count = 0;
        while let Some(output) = self.slots[shard].machine.poll_output() {
            count += 1;
            if count > OUTPUTS_PER_TURN_MAX {
                self.fail(Violation::new("liveness", "outputs do not end"));
                return;
            }
            self.output(shard, output);
            if self.violation.is_some() {
                return;
            }
        }
        self.arm_tick(shard);
        let ended = core::mem::take(&mut self.slots[shard].ended);
        let left_open = self.left_open(shard, &ended);
        let idle = self.idle(shard);
        let slot = &self.slots[shard];
        let turn = Turn {
            now: self.now,
            shard,
            machine: &slot.machine,
            closing: slot.contract.closing(),
            asked: slot.contract.asked(),
            left_open: &left_open,
            ended: &ended,
            idle,
            is_drained: slot.is_drained,
        };
        let checked = self.observer.as_mut().map(|observer| observer.turn(&turn));
        if let Some(Err(violation)) = checked {
            self.fail(violation);
        }
    }

    /// A drain ends by its deadline, but for a last answer that is being written, and lingers.
    fn check_drain_time(&mut self) {
        // Clients that take little at a time have their time for each write.
        const SLOW: [Fault; 3] = [Fault::SlowReader, Fault::Bandwidth, Fault::SmallWindow];
        let is_slow = self.faults.borrow().has(&SLOW);
        let late = self.drain_deadline.map(|deadline| self.now - deadline);
        if late.is_none_or(|late| late > DRAIN_SLACK && !is_slow) {
            let message = format!("drained {late:?} after the deadline");
            self.fail(Violation::new("liveness", message));
        }
    }

    fn arm_tick(&mut self, shard: usize) {
        let Some(timeout) = self.slots[shard].machine.poll_timeout() else {
            return;
        };
        let timeout = timeout.max(self.now);
        let slot = &mut self.slots[shard];
        if slot.tick_at.is_some_and(|at| at <= timeout) {
            return;
        }
        let mut at = timeout;
        let mut faults = self.faults.borrow_mut();
        if faults.strikes(Fault::TickLate, &mut self.rng) {
            at = at + Duration::from_micros(self.rng.below(50_000));
        }
        if faults.strikes(Fault::TickEarly, &mut self.rng) {
            let span = (timeout - self.now).as_nanos() as u64;
            let early = self.now + Duration::from_nanos(self.rng.below(span + 1));
            self.queue.push(
                early,
                Event::Tick {
                    shard,
                    is_early: true,
                },
            );
        }
        slot.tick_at = Some(at);
        self.queue.push(
            at,
            Event::Tick {
                shard,
                is_early: false,
            },
        );
    }

    fn output(&mut self, shard: usize, output: Output) {
        self.trace.line(
            self.now,
            format_args!("shard {shard} -> {}", crate::text::Out(&output)),
        );
        match output {
            Output::Op(op) => {
                crate::text::note_op(&mut self.trace, &op);
                let shards = self.slots.len();
                match self.slots[shard].contract.op(&op, shard, shards) {
                    Ok(()) => self.perform(shard, op),
                    Err(message) => self.fail(Violation::new("contract", message)),
                }
            }
            Output::Send { to, message } => {
                let to = usize::from(to.0);
                let last = self
                    .last_message
                    .get(&(shard, to))
                    .copied()
                    .unwrap_or_default();
                let is_slow = self
                    .faults
                    .borrow_mut()
                    .strikes(Fault::SlowMessages, &mut self.rng);
                let micros = if is_slow { 5_000_000 } else { 2000 };
                let delay = Duration::from_micros(self.rng.below(micros));
                let at = last.max(self.now + delay);
                self.last_message.insert((shard, to), at);
                self.queue.push(
                    at,
                    Event::Message {
                        from: shard,
                        to,
                        message,
                    },
                );
            }
            Output::Record(record) => {
                let checked = self
                    .observer
                    .as_mut()
                    .map(|observer| observer.record(self.now, &record));
                if let Some(Err(violation)) = checked {
                    self.fail(violation);
                }
            }
            Output::Drained => {
                let slot = &mut self.slots[shard];
                let twice = core::mem::replace(&mut slot.is_drained, true);
                let checked = slot.contract.drained();
                if twice {
                    self.fail(Violation::new("contract", "Drained said twice"));
                }
                self.check_drain_time();
                if let Err(message) = checked {
                    self.fail(Violation::new("contract", message));
                }
            }
        }
    }
}
