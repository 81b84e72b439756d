//! What requests occupy is theirs over a reload, too: it goes on to be counted where it is, and
//! what becomes of them still tells how targets and keys fare.

use super::super::super::Shard;
use super::super::super::lines::LineNames;
use super::super::super::provider::ProviderState;
use super::super::super::targets::Targets;
use super::super::Exchange;
use super::{Counted, Seat};
use crate::base::ExchangeId;
use crate::policy::breaker::Admission;

/// What was known under the config before.
pub(in crate::gateway) struct Before {
    pub(in crate::gateway) providers: Vec<ProviderState>,
    pub(in crate::gateway) targets: Targets,
    pub(in crate::gateway) lines: LineNames,
}

impl Shard {
    /// Finds the places again that requests have at targets and keys which the new config has, too.
    pub(in crate::gateway) fn keep_seats(&mut self, before: &Before) {
        let last = self.ctx.generation.wrapping_sub(1);
        let seated = |(id, exchange): (ExchangeId, &Exchange)| {
            let seat = exchange.plan.seat?;
            Some((id, seat, seat.counted_at(last)?))
        };
        let seated: Vec<_> = self.exchanges.iter().filter_map(seated).collect();
        let lines = self.lines.names();
        for (id, seat, counted) in seated {
            let seat = self.keep_seat(seat, counted, before, &lines);
            if let Some(exchange) = self.exchanges.get_mut(id) {
                exchange.plan.seat = Some(seat);
            }
        }
    }

    fn keep_seat(
        &mut self,
        mut seat: Seat,
        before: Counted,
        known: &Before,
        lines: &LineNames,
    ) -> Seat {
        let now = self.ctx.now.mono;
        let old = known.providers.get(before.provider);
        let Some(provider) = known.lines.provider_in(before.provider, lines) else {
            seat.counted = None;
            return seat;
        };
        let target = before.target;
        let spot = before.spot;
        let mut counted = Counted {
            generation: self.ctx.generation,
            target: target.and_then(|target| known.lines.target_in(target, lines)),
            spot: spot.and_then(|spot| self.targets.found_again(&known.targets, spot)),
            provider,
            key: None,
        };
        for resource in counted.resources() {
            self.lines.occupy(resource);
        }
        if let Some(state) = counted.spot.and_then(|spot| self.targets.get_mut(spot)) {
            state.in_flight += 1;
            seat.is_probe = seat.is_probe && state.breaker.admit(now) == Admission::Probe;
        }
        if let Some((old, new)) = old.zip(self.providers.get_mut(provider)) {
            let name = before.key.and_then(|key| old.key_names.get(key));
            counted.key = name.and_then(|name| new.key_names.iter().position(|it| it == name));
            if let Some(key) = counted.key {
                new.keys.go_on(key, seat.is_key_probe);
            }
        }
        seat.counted = Some(counted);
        seat
    }
}
