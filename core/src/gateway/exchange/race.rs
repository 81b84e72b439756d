//! Hedging: a request whose first content is late is sent to a second target as well, and whoever
//! has content first answers it. The other one's connection is closed at once.
//!
//! The second attempt is an exchange of its own, the *rival*, with everything but a client. If it
//! wins, it takes over the client and all that was done for it, and the first exchange is gone.

use std::sync::Arc;

use super::super::Shard;
use super::super::ctx::AlarmClock;
use super::super::target::TargetState;
use super::deadlines::{Deadlines, Phase};
use super::gather::Gather;
use super::share::Flight;
use super::state::{State, Step};
use super::{Answer, Attempt, Exchange, Inbound};
use crate::base::ExchangeId;
use crate::policy::breaker::Verdict;
use crate::record::Ending;
use crate::wire::coding::Codings;

/// A target is late that takes longer than in so many of a hundred cases.
const LATE_PERCENT: u32 = 95;

/// Whether another exchange works on the same request.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::gateway) enum Race {
    /// None does.
    #[default]
    Alone,
    /// This one does as well.
    Against(ExchangeId),
    /// This is the rival of that one.
    RivalOf(ExchangeId),
}

impl Shard {
    /// The first content is late: another target is asked as well, if one can be asked at once.
    pub(in crate::gateway) fn hedge(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else {
            return;
        };
        let is_waiting = matches!(exchange.state, State::Attempting | State::Relaying);
        let is_alone = matches!(exchange.race, Race::Alone);
        let target = exchange.target();
        let spot = exchange.spot(self.ctx.generation);
        let state = spot.and_then(|spot| self.targets.get(spot));
        let is_allowed = state.is_some_and(|state| state.hedges.is_enough());
        let has_room = self.exchanges.len() < self.ctx.limits.shard.exchanges_max;
        if !(is_waiting && is_alone && is_allowed && has_room && exchange.has_other_target()) {
            return;
        }
        let Some(rival) = exchange.rival(target) else {
            return;
        };
        let rival = self.exchanges.insert_with(|rival_id| Exchange {
            id: rival_id,
            ..rival
        });
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.race = Race::Against(rival);
        }
        self.choose(rival);
        let attempts = self.exchanges.get(rival).map(|rival| rival.plan.attempts);
        if let (Some(attempts), Some(exchange)) = (attempts, self.exchanges.get_mut(id)) {
            exchange.plan.attempts = attempts;
            self.ctx.counters.hedges += 1;
            if let Some(state) = spot.and_then(|spot| self.targets.get_mut(spot)) {
                state.hedges.spend();
            }
        }
    }

    /// The exchange has content: if it is in a race, it has won.
    pub(in crate::gateway) fn race_won(&mut self, id: ExchangeId) {
        match self.exchanges.get(id).map(|exchange| exchange.race) {
            Some(Race::Against(rival)) => self.call_off(rival),
            Some(Race::RivalOf(_)) => {
                self.ctx.counters.hedges_won += 1;
                self.take_over(id);
            }
            Some(Race::Alone) | None => {}
        }
    }

    /// A rival is of no more use: it failed, or the other one has content or is over.
    pub(in crate::gateway) fn call_off(&mut self, rival: ExchangeId) {
        let Some(Race::RivalOf(id)) = self.exchanges.get(rival).map(|it| it.race) else {
            return;
        };
        let withdrawn = self.withdraw(rival);
        if let (Some(withdrawn), Some(exchange)) = (withdrawn, self.exchanges.get_mut(id)) {
            exchange.race = Race::Alone;
            exchange.access.attempts.extend(withdrawn.access.attempts);
            exchange.plan.go_on_after(withdrawn.plan);
        }
    }

    /// Nobody else works on the request any more.
    pub(in crate::gateway) fn call_off_rival(&mut self, id: ExchangeId) {
        if let Some(Race::Against(rival)) = self.exchanges.get(id).map(|it| it.race) {
            self.call_off(rival);
        }
    }

    /// The rival takes the place of the exchange that it runs against.
    pub(in crate::gateway) fn take_over(&mut self, id: ExchangeId) {
        let Some(Race::RivalOf(other)) = self.exchanges.get(id).map(|it| it.race) else {
            return;
        };
        // Of one that is called off early nothing is learnt: how long it would take is not known.
        self.waited_in_vain(other);
        // One that still has its place has not failed.
        let late = self.exchanges.get(other).and_then(Exchange::target);
        let Some(withdrawn) = self.withdraw(other) else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.take_place_of(withdrawn, late);
        exchange.rearm(&mut self.ctx);
        if let Some(client) = self.clients.get_mut(exchange.client) {
            client.exchange = Some(id);
        }
        self.stick(id);
    }

    /// Ends an exchange that nobody waits for any more.
    fn withdraw(&mut self, id: ExchangeId) -> Option<Exchange> {
        let exchange = self.exchanges.get_mut(id)?;
        exchange.step(Step::Outrun);
        if let Answer::Stream(streaming) = core::mem::take(&mut exchange.answer) {
            exchange.access.usage = streaming.relay.usage();
        }
        exchange.note_attempt(&mut self.ctx, Ending::CalledOff);
        self.close_upstream_of(id);
        self.leave(id, Verdict::Nothing);
        self.stop_waiting(id, &[]);
        self.forget_lookup(id);
        let mut exchange = self.exchanges.remove(id)?;
        exchange.clock.cancel(&mut self.ctx.timers);
        Some(exchange)
    }
}

impl Exchange {
    /// When another target is asked as well, if the route wants that and this one's pace is known.
    pub(super) fn hedge_time(&self, target: Option<&TargetState>) -> Option<core::time::Duration> {
        let is_wanted = self.manner().is_some_and(|manner| manner.hedge_percent > 0);
        let is_alone = matches!(self.race, Race::Alone);
        let is_begun = self.plan.said.is_some();
        // Who waits for another's answer waits for this one's.
        let is_shared = !matches!(self.flight, Flight::Alone);
        if !is_wanted || is_begun || is_shared || !is_alone || !self.has_other_target() {
            return None;
        }
        let pace = match self.access.stream {
            true => &target?.latency,
            false => &target?.wholes,
        };
        pace.quantile(LATE_PERCENT)
    }

    /// The same request once more, for another target than `target`.
    fn rival(&self, target: Option<usize>) -> Option<Exchange> {
        let request = Inbound {
            dialect: self.request.dialect,
            endpoint: self.request.endpoint.clone(),
            refusal: None,
            allow: None,
            head: self.request.head.clone(),
            codings: Codings::default(),
            body: Gather::default(),
            received: self.request.received,
            charged: 0,
            request_id: self.request.request_id.clone(),
            retry_after: None,
            shared_target: None,
        };
        let mut access = self.access.clone();
        access.attempts = Vec::new();
        Some(Exchange {
            id: self.id,
            client: self.client,
            state: State::Choosing,
            snapshot: Arc::clone(&self.snapshot),
            request,
            prepared: Some(Box::new(self.prepared.as_deref()?.again()?)),
            attempt: Attempt::default(),
            answer: Answer::None,
            claim: self.claim,
            plan: self.plan.beside(target),
            race: Race::RivalOf(self.id),
            flight: Flight::Alone,
            opened: None,
            deadlines: Deadlines::new(),
            clock: AlarmClock::default(),
            started: self.started,
            due: self.due,
            patience: self.patience,
            access,
        })
    }

    /// Takes over the client, and what was done for it. The target that is `late` may be asked
    /// again.
    fn take_place_of(&mut self, other: Exchange, late: Option<usize>) {
        let mut access = other.access;
        access.provider = self.access.provider.take();
        access.dropped = core::mem::take(&mut self.access.dropped);
        self.access = access;
        self.request = other.request;
        self.opened = other.opened;
        self.due = other.due;
        self.patience = other.patience;
        for phase in [Phase::Total, Phase::Hold, Phase::KeepAlive] {
            self.deadlines.copy(phase, &other.deadlines);
        }
        self.plan.take_over(other.plan, late);
        self.race = Race::Alone;
    }
}
