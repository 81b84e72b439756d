//! The gateway itself. A [`Shard`] is all of it for one core: it asks for operations, is told how
//! they ended, and decides everything in between. See [`io`] for the vocabulary.
//!
//! Tables of clients, upstreams and exchanges lie side by side and refer to each other by id; what
//! they share is in `ctx`. A completion enters by [`Shard::handle`], finds its connection, moves
//! its exchange on (see `exchange::state`), and leaves outputs in the outbox.

mod admin;

mod auth;
mod balance;
mod body;
mod client;
mod counters;
mod ctx;
mod drain;
mod endpoint;
mod exchange;
mod health;
pub mod io;
mod lend;
mod lines;
mod local;
mod metrics;
mod needs;
mod outbox;
mod prepare;
mod provider;
pub mod pump;
mod socket;
mod target;
mod targets;
mod upstream;
mod work;

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use self::balance::Balance;
use self::client::Client;
use self::counters::Counters;
use self::ctx::{Alarm, ClientId, Ctx, Side, Ticket, UpstreamId};
use self::exchange::Exchange;
use self::exchange::plan::Before;
use self::exchange::share::Flights;
use self::io::{Completion, Input, Machine, Message, Output, PEERS, WorkDone};
use self::lines::{Lines, Resource};
use self::outbox::Outbox;
use self::provider::ProviderState;
use self::targets::Targets;
use self::upstream::Upstream;
use crate::base::timer::Timers;
use crate::base::{Arena, ExchangeId, Instant, ListenerId, Now, Rng, Seed, ShardId};
use crate::config::Snapshot;
use crate::policy::affinity::Affinity;
use crate::wire::http1::HttpDate;
use crate::wire::json::Tape;

/// Shards find out one after the other whether a key works again, at this distance...
const KEY_TURN: Duration = Duration::from_secs(1);
/// ...and no later than this, for the first ones may have nobody who asks.
const KEY_TURNS_MAX: Duration = Duration::from_secs(2);

/// How often each of those who wait may look in one turn, all together: far more than they need.
/// Those who look bring it about that others should, and without an end the shard would do nothing
/// else.
const LOOKS_EACH: usize = 64;

/// When the others go on.
const LOOKS_PAUSE: Duration = Duration::from_millis(10);

/// What a shard is given once.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Which shard it is.
    pub id: ShardId,
    /// How many shards there are.
    pub shards: u16,
    /// How many listeners its runtime was started with.
    pub listeners: u16,
    /// Where its generator starts.
    pub seed: Seed,
}

/// The whole gateway for one core.
///
/// `handle` takes inputs, `poll_output` says what to do, `poll_timeout` when to come back: the
/// contract is that of [`Machine`].
pub struct Shard {
    ctx: Ctx,
    clients: Arena<ClientId, Client>,
    upstreams: Arena<UpstreamId, Upstream>,
    exchanges: Arena<ExchangeId, Exchange>,
    providers: Vec<ProviderState>,
    targets: Targets,
    /// Where sessions are whose target is not told by their hash.
    affinity: Affinity,
    balance: Balance,
    listeners: u16,
    /// Listeners without an `Accept` in flight: a limit was met.
    idle_listeners: Vec<ListenerId>,
    is_accept_paused: bool,
    /// Whether nobody is heard any more, since the gateway ends.
    is_unlistened: bool,
    is_started: bool,
    is_drained: bool,
    /// Clients whose answer is complete and who may have sent another request meanwhile.
    pending_clients: Vec<ClientId>,
    /// Upstreams whose answer may be read on.
    pending_upstreams: Vec<UpstreamId>,
    /// Who waits for what.
    lines: Lines,
    /// Requests that ask the same as others.
    flights: Flights,
    /// Exchanges that look once, in this turn, whether and how they can go on: their time is up or
    /// the config is another, or whom they followed is gone, or they need not wait any more for
    /// what they waited for.
    pending_choices: VecDeque<ExchangeId>,
    /// Of a target that had failed one request was to find out whether it is well, and did not:
    /// those who wait for another one do not know when it is asked again.
    is_probe_lost: bool,
}

impl Shard {
    /// A shard that serves under `snapshot`. It may be moved to its thread once it is made.
    pub fn new(options: &ShardOptions, snapshot: Arc<Snapshot>) -> Shard {
        let balance = Balance::new(options.id, options.shards);
        let among = balance.among();
        let providers = provider::states(&snapshot, (&snapshot, &[]), among);
        let targets = Targets::new(&snapshot, &Targets::default());
        let lines = Lines::new(&snapshot, among);
        let counters = Counters::new(&snapshot);
        Shard {
            ctx: Ctx {
                now: Now::default(),
                rng: Rng::new(options.seed),
                limits: snapshot.limits.clone(),
                snapshot,
                generation: 0,
                timers: Timers::new(),
                outbox: Outbox::default(),
                tickets: Arena::new(),
                bodies_bytes: 0,
                counters,
                drain_deadline: None,
                date: HttpDate::new(),
                tape: Tape::new(),
                handshakes: 0,
                handshake_queue: VecDeque::new(),
            },
            clients: Arena::new(),
            upstreams: Arena::new(),
            exchanges: Arena::new(),
            providers,
            targets,
            affinity: Affinity::default(),
            lines,
            flights: Flights::default(),
            balance,
            listeners: options.listeners,
            idle_listeners: Vec::new(),
            is_accept_paused: false,
            is_unlistened: false,
            is_started: false,
            is_drained: false,
            pending_clients: Vec::new(),
            pending_upstreams: Vec::new(),
            pending_choices: VecDeque::new(),
            is_probe_lost: false,
        }
    }

    /// Takes one input. Never fails: what goes wrong belongs to a connection or an exchange.
    pub fn handle(&mut self, now: Now, input: Input) {
        // A clock that goes back would fire timers twice; the time is held instead.
        let mono = self.ctx.now.mono.max(now.mono);
        self.ctx.now = Now {
            mono,
            wall: now.wall,
        };
        self.start();
        match input {
            Input::Tick => {}
            Input::Complete(completion) => self.complete(completion),
            Input::Message { from, message } => self.heard(from, message),
            Input::Reload(snapshot) => self.reload(snapshot),
            Input::Drain { deadline } => self.drain(deadline),
        }
        while let Some(alarm) = self.ctx.timers.pop(self.ctx.now.mono) {
            self.alarm(alarm);
        }
        self.progress();
        self.send_letters();
        self.tell_load();
        self.drained();
    }

    /// Does what the input, or the time, made possible. Each may bring about more of the others.
    fn progress(&mut self) {
        let mut looks = 0;
        let looks_max = LOOKS_EACH * (self.lines.waiting() + 1);
        let mut have_all_looked = false;
        loop {
            if let Some(upstream) = self.pending_upstreams.pop() {
                self.upstream_progress(upstream);
            } else if let Some(client) = self.pending_clients.pop() {
                self.client_progress(client);
            } else if looks < looks_max
                && let Some((exchange, resource)) = self.lines.next_woken()
            {
                looks += 1;
                self.choose_woken(exchange, resource);
            } else if let Some(exchange) = self.pending_choices.pop_front() {
                self.choose_pending(exchange);
            } else if self.begin_handshake() {
                // Perhaps another one can.
            } else if self.is_probe_lost && !have_all_looked {
                // Once in a turn: each of them could lose the probe as well.
                have_all_looked = true;
                self.is_probe_lost = false;
                self.choose_all_who_wait();
            } else {
                break;
            }
        }
        if self.lines.wakes() > 0 || self.is_probe_lost {
            let next = self.ctx.now.mono + LOOKS_PAUSE;
            self.ctx.timers.arm(next, Alarm::Looks);
        }
    }

    /// The next thing to do; drain it before waiting.
    pub fn poll_output(&mut self) -> Option<Output> {
        if !self.is_started {
            self.start();
        }
        self.ctx.outbox.pop()
    }

    /// When to send [`Input::Tick`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ctx.timers.next_deadline()
    }

    /// What the shard holds at this moment.
    pub fn usage(&self) -> Usage {
        let sockets = self
            .clients
            .iter()
            .map(|(_, client)| client.socket.held_bytes());
        let upstreams = self
            .upstreams
            .iter()
            .map(|(_, upstream)| upstream.held_bytes());
        let relays = self
            .exchanges
            .iter()
            .map(|(_, exchange)| exchange.held_bytes());
        let at_targets = self.targets.iter().map(|state| state.in_flight);
        let at_keys = self.providers.iter().map(|state| state.keys.in_flight());
        Usage {
            clients: self.clients.len(),
            upstreams: self.upstreams.len(),
            exchanges: self.exchanges.len(),
            waiting: self.lines.waiting(),
            lines: self.lines.clients(),
            looks: self.lines.wakes(),
            permits: at_targets.chain(at_keys).map(|it| it as usize).sum(),
            timers: self.ctx.timers.len(),
            tickets: self.ctx.tickets.len(),
            bodies_bytes: self.ctx.bodies_bytes,
            buffered_bytes: sockets.chain(upstreams).chain(relays).sum(),
        }
    }

    /// Lets the other shards know how busy this one is, when that has changed enough.
    fn tell_load(&mut self) {
        if let Some(clients) = self.balance.news(self.clients.len()) {
            self.tell(Message::Load { clients });
        }
    }

    /// Says something to all other shards.
    fn tell(&mut self, message: Message) {
        let others = self.balance.others().zip(core::iter::repeat(message));
        for (to, message) in others {
            self.ctx.outbox.push(Output::Send { to, message });
        }
    }

    /// Says to all other shards whether a target is well, if that is news.
    fn tell_of_target(&mut self, news: [Option<Message>; 2]) {
        for news in news.into_iter().flatten() {
            if let Message::Breaker { open: None, .. } = news {
                self.choose_all_who_wait();
            }
            self.tell(news);
        }
    }

    fn heard(&mut self, from: ShardId, message: Message) {
        match message {
            Message::Load { clients } => self.balance.heard(from, clients),
            Message::Key {
                key,
                until,
                refused,
            } => {
                // The shard that met the limit finds out first how long it holds.
                let turn = self.balance.turn_after(from);
                let until = until + (KEY_TURN * turn).min(KEY_TURNS_MAX);
                let now = self.ctx.now.mono;
                if let Some((_, state, index)) = self.provider_with(key) {
                    state.keys.heard(index, until, refused, now);
                }
            }
            Message::KeyWorks { key, sent } => {
                if let Some((provider, state, index)) = self.provider_with(key)
                    && state.keys.heard_works(index, sent)
                {
                    self.lines.wake(Resource::Provider(provider));
                }
            }
            Message::Breaker {
                target,
                model,
                open,
            } => {
                let turn = self.balance.turn_after(from);
                let at = (&*self.ctx.snapshot, self.ctx.now.mono);
                let target = (target, model.as_deref());
                self.targets.heard(target, open, turn, at);
                if open.is_none() {
                    self.choose_all_who_wait();
                }
            }
            Message::Failures {
                target,
                model,
                in_row,
            } => {
                let target = (target, model.as_deref());
                let now = self.ctx.now.mono;
                self.targets.heard_failures(target, in_row, now);
            }
            Message::Borrow { of, amount } => self.heard_borrow(from, of, amount),
            Message::Settle { of, with, amount } => {
                if let Some(resource) = self.lines.resource(of) {
                    self.lines.settled(resource, from.0, with.0, amount);
                }
            }
            Message::Lend {
                of,
                amount,
                is_answer,
                until,
            } => self.heard_lend(from, of, amount, is_answer.then_some(until)),
        }
    }

    /// The provider that has a key of this name among its own, and where.
    fn provider_with(&mut self, key: u64) -> Option<(usize, &mut ProviderState, usize)> {
        let mut providers = self.providers.iter_mut().enumerate();
        providers.find_map(|(provider, state)| {
            let index = state.key_names.iter().position(|&name| name == key)?;
            Some((provider, state, index))
        })
    }

    fn start(&mut self) {
        if core::mem::replace(&mut self.is_started, true) {
            return;
        }
        for index in 0..self.listeners {
            self.accept(ListenerId(index));
        }
        if !self.balance.is_alone() {
            self.accept(PEERS);
        }
    }

    fn complete(&mut self, completion: Completion) {
        match completion {
            Completion::Accept {
                listener,
                conn,
                result,
            } => {
                if let Side::Client(id) = Side::of(conn) {
                    self.accepted(listener, id, result);
                }
            }
            Completion::Unlisten { .. } => {}
            Completion::HandOff { conn } => {
                if let Side::Client(id) = Side::of(conn) {
                    self.client_closed(id);
                }
            }
            Completion::Connect { conn, result } => {
                if let Side::Upstream(id) = Side::of(conn) {
                    self.upstream_connected(id, result);
                }
            }
            Completion::Read { conn, buf, result } => match Side::of(conn) {
                Side::Client(id) => self.client_read(id, buf, result),
                Side::Upstream(id) => self.upstream_read(id, buf, result),
            },
            Completion::Write {
                conn,
                batch,
                result,
            } => match Side::of(conn) {
                Side::Client(id) => self.client_written(id, batch, result),
                Side::Upstream(id) => self.upstream_written(id, batch, result),
            },
            Completion::Shutdown { conn, result } => {
                if let Side::Client(id) = Side::of(conn) {
                    self.client_shut(id, result);
                }
            }
            Completion::Close { conn } => match Side::of(conn) {
                Side::Client(id) => self.client_closed(id),
                Side::Upstream(id) => self.upstream_closed(id),
            },
            Completion::Resolve { ticket, result } => {
                if let Some(ticket) = self.ctx.tickets.remove(ticket) {
                    self.resolved(ticket, &result);
                }
            }
            Completion::Host { ticket, done } => {
                if let Some(Ticket::Exchange { exchange, seat }) = self.ctx.tickets.remove(ticket) {
                    self.performed(exchange, seat, done);
                }
            }
        }
    }

    /// The host did work for an exchange; what it asked for at an earlier place is of no use any
    /// more.
    fn performed(&mut self, id: ExchangeId, seat: u32, done: WorkDone) {
        let exchange = self.exchanges.get(id);
        if exchange.is_none_or(|it| it.plan.seats != seat) {
            return;
        }
        match done {
            WorkDone::Prepared(prepared) => self.prepared(id, prepared),
            WorkDone::Encoded(prompt) => self.encoded(id, prompt),
            WorkDone::Finished(finished) => self.finished(id, finished),
        }
    }

    fn alarm(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Accept => {
                self.is_accept_paused = false;
                self.accept_again();
            }
            Alarm::Client(id) => self.client_alarm(id),
            Alarm::Drain => self.drain_alarm(),
            Alarm::Exchange(id) => self.exchange_alarm(id),
            Alarm::Keys(provider) => self.lines.alarm(provider),
            // They follow in each turn.
            Alarm::Looks => {}
            Alarm::Upstream(id) => self.upstream_alarm(id),
        }
    }

    /// Takes a new config. Exchanges in progress keep theirs until they choose a target again; kept
    /// connections are given up, since the provider behind an index may be another now.
    fn reload(&mut self, snapshot: Arc<Snapshot>) {
        // Those who wait for a lookup under the old config choose under the new one.
        let waiting: Vec<ExchangeId> = self
            .providers
            .iter_mut()
            .flat_map(|state| core::mem::take(&mut state.waiting))
            .collect();
        self.close_idle_upstreams();
        self.ctx.generation = self.ctx.generation.wrapping_add(1);
        let old = (&*self.ctx.snapshot, &*self.providers);
        let providers = provider::states(&snapshot, old, self.balance.among());
        let targets = Targets::new(&snapshot, &self.targets);
        let before = Before {
            providers: core::mem::replace(&mut self.providers, providers),
            targets: core::mem::replace(&mut self.targets, targets),
            lines: self.lines.names(),
        };
        self.ctx.limits = snapshot.limits.clone();
        self.ctx.counters.reload(&snapshot);
        self.ctx.snapshot = snapshot;
        self.line_up_anew();
        self.keep_seats(&before);
        self.share_anew();
        for id in waiting {
            self.choose_anew(id);
        }
        self.accept_again();
    }
}

impl Machine for Shard {
    fn handle(&mut self, now: Now, input: Input) {
        Shard::handle(self, now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Shard::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Shard::poll_timeout(self)
    }
}

/// What a shard holds: for its limits, its dashboards, and the simulator's checkers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Client connections, those whose `Accept` is in flight included.
    pub clients: usize,
    /// Upstream connections.
    pub upstreams: usize,
    /// Requests being received or answered.
    pub exchanges: usize,
    /// Of these, requests that wait for a key, a target, or others of their client.
    pub waiting: usize,
    /// Clients whose requests at once are counted, or of whose limit something is lent.
    pub lines: usize,
    /// Lines whose first one has yet to look whether it can go on: none, but where as many looks
    /// as may be taken in one turn did not bring that about.
    pub looks: usize,
    /// Places that they take at targets and keys.
    pub permits: usize,
    /// Armed timers.
    pub timers: usize,
    /// Work at the host.
    pub tickets: usize,
    /// Request bodies, as charged.
    pub bodies_bytes: usize,
    /// Buffers of connections and answers.
    pub buffered_bytes: usize,
}
