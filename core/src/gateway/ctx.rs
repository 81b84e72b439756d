//! [`Ctx`]: what all parts of a shard use: time, timers, limits, the outbox, counters. The tables
//! of connections and exchanges lie beside it, so that code may hold an entry and the context at
//! once.

use core::fmt::Write as _;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::counters::Counters;
use super::io::{Op, Output, Work};
use super::outbox::Outbox;
use crate::base::timer::{TimerKey, Timers};
use crate::base::{Arena, ConnId, ExchangeId, Id, Instant, Limits, Now, Rng, TicketId};
use crate::config::Snapshot;
use crate::record::Record;
use crate::wire::http1::HttpDate;
use crate::wire::json::Tape;

/// A client connection in its table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ClientId(Id);

/// An upstream connection in its table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct UpstreamId(Id);

/// Whose connection an id names: the tables are two, the runtime's ids are one space. The lowest
/// bit of the index tells them apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Client(ClientId),
    Upstream(UpstreamId),
}

impl Side {
    pub(super) const fn of(conn: ConnId) -> Side {
        let id = Id {
            index: conn.0.index >> 1,
            generation: conn.0.generation,
        };
        if conn.0.index & 1 == 0 {
            Side::Client(ClientId(id))
        } else {
            Side::Upstream(UpstreamId(id))
        }
    }
}

impl ClientId {
    pub(super) const fn conn(self) -> ConnId {
        ConnId(Id {
            index: self.0.index << 1,
            generation: self.0.generation,
        })
    }
}

impl UpstreamId {
    pub(super) const fn conn(self) -> ConnId {
        ConnId(Id {
            index: (self.0.index << 1) | 1,
            generation: self.0.generation,
        })
    }
}

macro_rules! arena_key {
    ($($name:ident)*) => {$(
        impl From<Id> for $name {
            fn from(id: Id) -> $name {
                $name(id)
            }
        }

        impl From<$name> for Id {
            fn from(key: $name) -> Id {
                key.0
            }
        }
    )*};
}

arena_key!(ClientId UpstreamId);

/// Whom a timer is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alarm {
    /// Accept again after the process ran out of descriptors.
    Accept,
    Client(ClientId),
    Drain,
    Exchange(ExchangeId),
    /// A key of the provider may be free, for those who wait for one.
    Keys(usize),
    /// Some who wait have not looked yet.
    Looks,
    Upstream(UpstreamId),
}

/// What a completion of the host belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ticket {
    /// Long work for an exchange at one of its places; zero is before the first.
    Exchange { exchange: ExchangeId, seat: u32 },
    /// The addresses of a provider of an earlier config, for an exchange at one of its places.
    Lookup { exchange: ExchangeId, seat: u32 },
    /// The addresses of a provider.
    Provider { index: usize, generation: u32 },
}

/// The common part of a shard.
pub(super) struct Ctx {
    pub(super) now: Now,
    pub(super) rng: Rng,
    pub(super) snapshot: Arc<Snapshot>,
    /// Counts reloads: connections made under an earlier config are not used again.
    pub(super) generation: u32,
    pub(super) limits: Limits,
    pub(super) timers: Timers<Alarm>,
    pub(super) outbox: Outbox,
    pub(super) tickets: Arena<TicketId, Ticket>,
    /// Request bodies held by all exchanges together.
    pub(super) bodies_bytes: usize,
    /// What has happened so far.
    pub(super) counters: Counters,
    /// Set once the shard was told to drain.
    pub(super) drain_deadline: Option<Instant>,
    pub(super) date: HttpDate,
    pub(super) tape: Tape,
    /// TLS handshakes that advance.
    pub(super) handshakes: usize,
    /// Connections that wait for theirs to begin.
    pub(super) handshake_queue: VecDeque<UpstreamId>,
}

impl Ctx {
    /// Gives `work` to the host; `None` when as much as allowed is there already.
    pub(super) fn perform(
        &mut self,
        work: Work,
        exchange: ExchangeId,
        seat: u32,
    ) -> Option<TicketId> {
        if self.tickets.len() >= self.limits.shard.host_jobs_max {
            return None;
        }
        let ticket = self.tickets.insert(Ticket::Exchange { exchange, seat });
        self.outbox.push(Output::Op(Op::Host { ticket, work }));
        Some(ticket)
    }

    /// Lets the world know.
    pub(super) fn record(&mut self, record: Record) {
        self.outbox.push(Output::Record(Box::new(record)));
    }

    /// A fresh id for a request or a message: 24 hexadecimal digits.
    pub(super) fn fresh_id(&mut self) -> Bytes {
        let mut text = String::with_capacity(24);
        let high = self.rng.next_u64();
        let low = self.rng.next_u64() as u32;
        // Writing into a string cannot fail.
        let _ = write!(text, "{high:016x}{low:08x}");
        Bytes::from(text)
    }

    pub(super) const fn is_draining(&self) -> bool {
        self.drain_deadline.is_some()
    }
}

/// The one timer of a connection or an exchange. Deadlines move with every event, mostly to later;
/// the wheel is asked only when the new one is earlier than what is armed, and when an armed one
/// fires too early it is armed anew.
#[derive(Debug, Default)]
pub(super) struct AlarmClock {
    armed: Option<(Instant, TimerKey)>,
}

impl AlarmClock {
    /// Makes sure to be woken at `deadline` or earlier.
    pub(super) fn set(&mut self, deadline: Instant, alarm: Alarm, timers: &mut Timers<Alarm>) {
        if let Some((at, key)) = self.armed {
            if at <= deadline {
                return;
            }
            timers.cancel(key);
        }
        self.armed = Some((deadline, timers.arm(deadline, alarm)));
    }

    /// To be called when the alarm fired: it is no longer armed.
    pub(super) fn fired(&mut self) {
        self.armed = None;
    }

    /// Disarms it for good.
    pub(super) fn cancel(&mut self, timers: &mut Timers<Alarm>) {
        if let Some((_, key)) = self.armed.take() {
            timers.cancel(key);
        }
    }
}
