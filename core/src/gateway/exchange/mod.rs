//! [`Exchange`]: one request of a client and all that is done to answer it.
//!
//! The state machine is in [`state`]; `receive` takes the request, `plan` decides which target it
//! is sent to and what it waits for, `attempt` finds a connection and sends it, `relay` takes the
//! answer, `respond` writes to the client, `settle` ends it all. `share` lets others have the same
//! answer, `race` asks two targets, `resume` continues an answer that broke. What needs no
//! connection is apart: `stream` (events in, events out) and `whole` (a body in, a body out).

mod attempt;
pub(super) mod claim;
pub(super) mod deadlines;
mod gather;
mod mask;
mod patience;
pub(super) mod plan;
mod race;
mod receive;
mod relay;
mod respond;
pub(super) mod resume;
mod settle;
pub(super) mod share;
pub(super) mod state;
pub(super) mod stream;
pub(super) mod whole;

use std::sync::Arc;

use bytes::Bytes;

use self::claim::Claim;
use self::deadlines::Deadlines;
use self::gather::Gather;
use self::plan::Plan;
use self::race::Race;
use self::share::Flight;
use self::state::{State, Step};
use self::stream::StreamRelay;
use super::ctx::{Alarm, AlarmClock, ClientId, Ctx, UpstreamId};
use super::endpoint::Endpoint;
use super::local::Local;
use super::prepare::Prepared;
use crate::base::{ExchangeId, Instant};
use crate::config::Snapshot;
use crate::dialect::{Dialect, ReplyMeta, StreamEncoder};
use crate::ir::Failure;
use crate::record::Access;
use crate::wire::coding::Codings;
use crate::wire::http1::{Fields, RequestHead};

/// One request and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) id: ExchangeId,
    pub(super) client: ClientId,
    pub(super) state: State,
    /// The config it began with, or under which it chose its target last.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) request: Inbound,
    pub(super) prepared: Option<Box<Prepared>>,
    pub(super) attempt: Attempt,
    pub(super) answer: Answer,
    /// Whose it is, and what that one may.
    pub(super) claim: Claim,
    /// Which targets were asked, and may be.
    pub(super) plan: Plan,
    /// Whether another exchange works on the same request.
    pub(super) race: Race,
    /// Whether other requests ask the same.
    pub(super) flight: Flight,
    /// A stream whose head went out before there was any content: makes its signs of life, and the
    /// error, if it comes to that.
    pub(super) opened: Option<Box<StreamEncoder>>,
    pub(super) deadlines: Deadlines,
    pub(super) clock: AlarmClock,
    /// When the head had come.
    pub(super) started: Instant,
    /// Until when the whole answer must be there: as the client or the config says.
    pub(super) due: Instant,
    /// Until when the client waits for it, as far as it says so.
    pub(super) patience: Instant,
    /// What will be recorded; filled in on the way.
    pub(super) access: Box<Access>,
}

/// The request as the client sent it.
#[derive(Debug)]
pub(super) struct Inbound {
    /// In whose form errors are told.
    pub(super) dialect: Dialect,
    /// What it is for; `None` once it is clear that it will be refused.
    pub(super) endpoint: Option<Endpoint>,
    /// Why it is refused, to be told when its body is over.
    pub(super) refusal: Option<Box<Failure>>,
    /// The value of `Allow`, where the method was wrong.
    pub(super) allow: Option<&'static str>,
    /// The head, until the answer is committed.
    pub(super) head: Option<Box<RequestHead>>,
    pub(super) codings: Codings,
    pub(super) body: Gather,
    /// Bytes received of the body, kept or dropped.
    pub(super) received: u64,
    /// Bytes charged to the shard's budget for bodies.
    pub(super) charged: usize,
    pub(super) request_id: Bytes,
    /// What a failed answer says about when to come back.
    pub(super) retry_after: Option<core::time::Duration>,
    /// The target whose answer to another request it shares.
    pub(super) shared_target: Option<String>,
}

/// The way to the upstream.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) upstream: Option<UpstreamId>,
    /// Waits for the provider's addresses, or for a job on a host thread.
    pub(super) is_waiting: bool,
    /// Once a kept connection turned out dead, the next attempt takes a fresh one.
    pub(super) needs_fresh: bool,
    /// Earlier reasoning was taken out of the request, since this upstream did not take it back.
    pub(super) is_stripped: bool,
    /// Until when content may come at the latest, whoever else could be asked.
    pub(super) content_due: Instant,
}

/// The answer on its way to the client.
#[derive(Debug, Default)]
pub(super) enum Answer {
    /// Nothing has come.
    #[default]
    None,
    /// It comes in pieces.
    Stream(Box<Streaming>),
    /// It is held until it is whole.
    Whole(Box<Holding>),
    /// It is made here, by the built-in model.
    Local(Box<Local>),
}

/// A streamed answer.
#[derive(Debug)]
pub(super) struct Streaming {
    pub(super) relay: StreamRelay,
    /// Undoes the upstream's content coding.
    pub(super) decoder: Option<Box<crate::wire::coding::Decoder>>,
    /// Compressed bytes that are not decoded yet: one turn decodes a bounded amount.
    pub(super) undecoded: Option<Bytes>,
    /// Fields of the upstream's head that go on to the client.
    pub(super) fields: Option<Box<Fields>>,
    /// Whether the head has been sent: from now on errors are events.
    pub(super) is_committed: bool,
    /// Whether the client wants the answer whole.
    pub(super) is_collected: bool,
}

/// An answer held until it is whole.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) status: u16,
    pub(super) body: Gather,
    /// Longer than this it is not held.
    pub(super) bytes_max: usize,
    pub(super) codings: Codings,
    pub(super) fields: Fields,
}

impl Exchange {
    /// Moves on; see [`state`].
    pub(super) fn step(&mut self, step: Step) {
        self.state = self.state.after(step);
    }

    /// Arms the clock for the earliest deadline.
    pub(super) fn rearm(&mut self, ctx: &mut Ctx) {
        if let Some(deadline) = self.deadlines.earliest() {
            self.clock
                .set(deadline, Alarm::Exchange(self.id), &mut ctx.timers);
        }
    }

    /// Whether it is a second attempt beside another exchange, without a client of its own.
    pub(super) const fn is_rival(&self) -> bool {
        matches!(self.race, Race::RivalOf(_))
    }

    /// Memory held for the request and its answer, what is charged as a body not counted.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.answer {
            Answer::Stream(streaming) => streaming.relay.held_bytes(),
            Answer::Whole(holding) => holding.body.held_bytes(),
            Answer::Local(_) | Answer::None => 0,
        }
    }

    /// What the answer's encoder must know.
    pub(super) fn meta(&self, ctx: &Ctx) -> ReplyMeta {
        let prepared = self.prepared.as_deref();
        ReplyMeta {
            id: crate::base::JsonStr::from_checked(self.request.request_id.clone()),
            model: prepared
                .map(|prepared| prepared.model.clone())
                .unwrap_or_default(),
            created: self.access.time,
            stream_usage: prepared.is_some_and(|prepared| prepared.stream_usage),
            input_tokens_estimate: prepared.map_or(1, |prepared| prepared.input_tokens_estimate),
            held_bytes_max: ctx.limits.shard.held_delta_bytes_max,
        }
    }
}
