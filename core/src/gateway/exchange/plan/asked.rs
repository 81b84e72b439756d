//! Who is asked for an exchange, and who still could be.

use std::sync::Arc;

use super::super::super::Shard;
use super::super::super::ctx::Ctx;
use super::super::super::prepare::{Destination, Prompt, Routed};
use super::super::super::targets::Spot;
use super::super::deadlines::Phase;
use super::super::{Answer, Exchange};
use super::provider_name;
use super::search::Found;
use crate::base::ExchangeId;
use crate::config::{Credentials, Key, Manner, Upstream};
use crate::ir::{Class, Usage};
use crate::record::{Attempted, Ending};

impl Shard {
    /// Whether another target than the one that is asked would take the request now.
    pub(in crate::gateway::exchange) fn is_free_elsewhere(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return false;
        };
        let asked = exchange.target();
        if !exchange.has_other_target() {
            return false;
        }
        exchange.plan.out.extend(asked);
        let found = self.find(id);
        // It only looks, and goes on where it is.
        self.let_go(id);
        if let (Some(_), Some(exchange)) = (asked, self.exchanges.get_mut(id)) {
            exchange.plan.out.pop();
        }
        matches!(found, Found::Seat(..))
    }

    /// The request met a limit, and has no attempt left: its client is to come back when the first
    /// of the keys with which it could be asked cools no longer, if that is not now.
    pub(super) fn await_keys(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let is_current = Arc::ptr_eq(&exchange.snapshot, &self.ctx.snapshot);
        let Some(routed) = exchange.routed().filter(|_| is_current) else {
            return;
        };
        let cools_until = |upstream: &Arc<Upstream>| {
            let keys = &self.providers.get(upstream.provider)?.keys;
            let times = keys.health().map(|key| key.cooling_until);
            Some(times.min().unwrap_or(now))
        };
        let could_ask = routed.chain.upstreams().filter(|it| exchange.could_ask(it));
        let wait = could_ask.filter_map(cools_until).min();
        let wait = wait.map(|until| until.since(now));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero())
            && let Some(told) = &mut exchange.plan.first
            && told.failure.class == Class::RateLimit
        {
            told.come_back_in(wait);
        }
    }
}

impl Exchange {
    pub(in crate::gateway) fn routed(&self) -> Option<&Routed> {
        match &self.prepared.as_deref()?.destination {
            Destination::Chain(routed) => Some(routed),
            Destination::Demo(_) => None,
        }
    }

    /// How the request's route wants it answered.
    pub(in crate::gateway) fn manner(&self) -> Option<&Manner> {
        self.routed().map(|routed| &routed.chain.manner)
    }

    pub(in crate::gateway) fn routed_mut(&mut self) -> Option<&mut Routed> {
        match &mut self.prepared.as_deref_mut()?.destination {
            Destination::Chain(routed) => Some(routed),
            Destination::Demo(_) => None,
        }
    }

    /// The key with which the provider is asked.
    pub(in crate::gateway) fn key(&self) -> Option<&Key> {
        let seat = self.plan.seat?;
        match &self.snapshot.providers.get(seat.provider)?.credentials {
            Credentials::Keys(keys) => keys.get(seat.key?),
            Credentials::Client | Credentials::None => None,
        }
    }

    /// Whether another target than the one that is asked could still be.
    pub(in crate::gateway) fn has_other_target(&self) -> bool {
        self.plan.attempts < self.snapshot.retry.attempts_max && self.has_other_than(self.target())
    }

    /// Whether the target that is asked could go on from where an answer broke off, if one did.
    pub(super) fn may_continue_here(&self) -> bool {
        let can = |prompt: &Prompt| prompt.upstream.traits.prefill;
        self.plan.said.is_none() || self.prompt().is_some_and(can)
    }

    pub(super) fn has_other_than(&self, target: Option<usize>) -> bool {
        let others = |it: &Arc<Upstream>| Some(it.target) != target && self.could_ask(it);
        self.routed()
            .is_some_and(|routed| routed.chain.upstreams().any(others))
    }

    /// The number of the target that is asked.
    pub(in crate::gateway::exchange) fn target(&self) -> Option<usize> {
        self.plan.seat.map(|seat| seat.target)
    }

    /// Where it is told how the target fares that is asked, under the config of `generation`.
    pub(in crate::gateway::exchange) fn spot(&self, generation: u32) -> Option<Spot> {
        self.plan.seat?.spot_at(generation)
    }

    /// The target that is asked, for people: `provider/model`.
    pub(in crate::gateway) fn target_name(&self) -> Option<String> {
        if self.plan.is_message {
            return Some("tollgate/message".to_owned());
        }
        let provider = self.provider()?;
        let model = self.prompt()?.model.unescape();
        Some([&*provider.name, "/", &*model].concat())
    }

    /// Whether the answer has had content, though the client may have seen none of it.
    pub(super) fn has_content(&self) -> bool {
        match &self.answer {
            Answer::Stream(streaming) => streaming.relay.progress().has_content,
            Answer::Whole(_) | Answer::Local(_) | Answer::None => false,
        }
    }

    /// Nothing of the attempt that failed goes on. Says whether it waited for a provider's
    /// addresses.
    pub(super) fn end_attempt(&mut self) -> bool {
        if let Answer::Stream(streaming) = core::mem::take(&mut self.answer) {
            self.access.usage = streaming.relay.usage();
        }
        for phase in [
            Phase::Connect,
            Phase::Tls,
            Phase::Hedge,
            Phase::FirstContent,
            Phase::Idle,
            Phase::Ending,
        ] {
            self.deadlines.clear(phase);
        }
        self.attempt.needs_fresh = false;
        self.attempt.is_stripped = false;
        core::mem::take(&mut self.attempt.is_waiting)
    }

    /// Takes note of an attempt that ended, for the record.
    pub(in crate::gateway) fn note_attempt(&mut self, ctx: &mut Ctx, ending: Ending) {
        let Some(seat) = self.plan.seat else {
            return;
        };
        let attempted = Attempted {
            provider: provider_name(&self.snapshot, seat.provider),
            model: self.prompt().map(|prompt| prompt.model.clone()),
            key: self.key().map(|key| Arc::clone(&key.fingerprint)),
            waited: seat.waited,
            duration: ctx.now.mono.since(seat.since),
            ending,
            usage: match ending {
                Ending::Answered => Usage::default(),
                Ending::CalledOff | Ending::Failed(_) => self.access.usage,
            },
        };
        let upstream = self.prompt().map(|prompt| &prompt.upstream);
        let model = upstream.and_then(|it| it.model.as_ref());
        let (counters, usage) = (&mut ctx.counters, &self.access.usage);
        counters.attempted(&attempted.provider, model, ending, usage);
        self.access.attempts.push(attempted);
    }
}
