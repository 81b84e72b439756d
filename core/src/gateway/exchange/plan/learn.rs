//! What answers tell of a target and a key beside whether an attempt failed: how long they take,
//! which limits are exhausted, and what the key's fault was after the client had seen content.

use core::time::Duration;

use super::super::super::Shard;
use super::super::Exchange;
use crate::base::{ExchangeId, UnixMillis};
use crate::ir::{Class, Failure};
use crate::policy::limits;
use crate::policy::retry::{self, Next};
use crate::wire::http1::Fields;

impl Shard {
    /// The target took too long: that is how long it takes, at least.
    pub(in crate::gateway::exchange) fn waited_in_vain(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        let exchange = self.exchanges.get(id);
        let is_stream = exchange.is_some_and(|it| it.access.stream);
        let seat = exchange.and_then(|it| it.plan.seat);
        if let Some(seat) = seat
            && let Some(spot) = seat.spot_at(self.ctx.generation)
            && let Some(state) = self.targets.get_mut(spot)
        {
            state.pace(is_stream).observe(now.since(seat.since), now);
        }
    }

    /// An answer that was not to be streamed is there.
    pub(in crate::gateway::exchange) fn whole_came(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        let exchange = self.exchanges.get(id).filter(|it| !it.access.stream);
        let Some(seat) = exchange.and_then(|it| it.plan.seat) else {
            return;
        };
        let spot = seat.spot_at(self.ctx.generation);
        if let Some(state) = spot.and_then(|spot| self.targets.get_mut(spot)) {
            state.wholes.observe(now.since(seat.since), now);
        }
    }

    /// The key that the request came with has nothing left of a limit: whoever comes next would
    /// meet it.
    pub(in crate::gateway) fn rest_key(&mut self, id: ExchangeId, wait: Duration) {
        let seat = self.exchanges.get(id).and_then(|it| it.plan.seat);
        self.blame_key(seat, Class::RateLimit, Some(wait));
    }

    /// An answer failed of which the client has seen some. Nobody else is asked, but whether it was
    /// the key's fault counts as ever.
    pub(in crate::gateway::exchange) fn failed_late(&mut self, id: ExchangeId, failure: &Failure) {
        if retry::next(failure) == Next::Key {
            let seat = self.exchanges.get(id).and_then(|it| it.plan.seat);
            self.blame_key(seat, failure.class, failure.retry_after);
        }
    }
}

impl Exchange {
    /// How long the key must rest by what an answer tells of its limits, other than that it met
    /// one.
    pub(in crate::gateway) fn limit_told(
        &self,
        status: u16,
        fields: &Fields,
        wall: UnixMillis,
    ) -> Option<Duration> {
        if status == 429 {
            return None;
        }
        limits::exhausted(&fields.iter(), self.tokens(), false, wall)
    }

    /// How long a limit holds that the key met.
    pub(in crate::gateway) fn limit_met(
        &self,
        fields: &Fields,
        wall: UnixMillis,
    ) -> Option<Duration> {
        limits::exhausted(&fields.iter(), self.tokens(), true, wall)
    }

    fn tokens(&self) -> u64 {
        let prepared = self.prepared.as_deref();
        prepared.map_or(0, |prepared| prepared.input_tokens_estimate)
    }
}
