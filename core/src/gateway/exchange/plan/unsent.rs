//! Requests that have a place, and are not sent: since something was learnt of key or target while
//! the connection was made, or since the target has no place for what is asked.

use super::super::super::Shard;
use super::super::state::Step;
use super::Told;
use crate::base::ExchangeId;
use crate::ir::{Blame, Class, Failure};
use crate::policy::breaker::{Admission, Verdict};
use crate::record::Ending;

impl Shard {
    /// Whether key or target must be left alone by now, since something was learnt of them while
    /// the connection was made.
    pub(in crate::gateway) fn is_seat_lost(&self, id: ExchangeId) -> bool {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get(id) else {
            return false;
        };
        let seat = exchange.plan.seat;
        let counted = seat.and_then(|seat| seat.counted_at(self.ctx.generation));
        let Some((seat, counted)) = seat.zip(counted) else {
            return false;
        };
        let keys = self.providers.get(counted.provider);
        let keys = keys.map(|state| &state.keys);
        let is_key_lost = counted
            .key
            .zip(keys)
            .is_some_and(|(key, keys)| !keys.may_send(key, seat.is_key_probe, now));
        let target = counted.spot.and_then(|spot| self.targets.get(spot));
        is_key_lost
            || target.is_some_and(|state| {
                !seat.is_probe && state.breaker.would_admit(now) != Admission::Call
            })
    }

    /// The request could not be sent, and looks for another target or key.
    pub(in crate::gateway) fn choose_anew(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.step(Step::Failed);
        exchange.attempt.upstream = None;
        let (was_cut, was_refused) = (exchange.attempt.needs_fresh, exchange.attempt.is_stripped);
        exchange.end_attempt();
        if was_cut {
            // On a connection that turned out dead.
            exchange.note_attempt(&mut self.ctx, Ending::Failed(Class::BadGateway));
            let message = "the upstream closed the connection before it answered";
            let failure = Failure::new(Class::BadGateway, message).blame(Blame::Upstream);
            exchange.plan.remember(Told::new(failure));
            self.leave(id, Verdict::Nothing);
        } else if was_refused {
            // With reasoning in it, and without that it has not gone out.
            exchange.note_attempt(&mut self.ctx, Ending::Failed(Class::InvalidRequest));
            self.leave(id, Verdict::Nothing);
        } else {
            self.leave_unsent(id);
        }
        self.choose(id);
    }

    /// The request leaves its place without having been sent, which is no attempt.
    pub(super) fn leave_unsent(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.plan.attempts -= 1;
        if let Some(seat) = exchange.plan.seat
            && let Some(counted) = seat.counted_at(self.ctx.generation)
            && let Some((key, state)) = counted.key_state(&mut self.providers)
        {
            state.keys.give_back(key, seat.tokens, seat.since, now);
        }
        self.leave(id, Verdict::Nothing);
    }
}
