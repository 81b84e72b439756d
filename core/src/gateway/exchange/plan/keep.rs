//! What requests occupy is theirs over a reload, too: it goes on to be counted where it is, and
//! what becomes of them still tells how targets and keys fare.

use super::super::super::Shard;
use super::super::super::lines::LineNames;
use super::super::super::provider::ProviderState;
use super::super::super::targets::Targets;
use super::super::Exchange;
use super::Seat;
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
            (seat.generation == Some(last)).then_some((id, seat))
        };
        let seated: Vec<_> = self.exchanges.iter().filter_map(seated).collect();
        let lines = self.lines.names();
        for (id, seat) in seated {
            let seat = self.keep_seat(seat, before, &lines);
            if let Some(exchange) = self.exchanges.get_mut(id) {
                exchange.plan.seat = Some(seat);
            }
        }
    }

    fn keep_seat(&mut self, seat: Seat, before: &Before, lines: &LineNames) -> Seat {
        let now = self.ctx.now.mono;
        let old = before.providers.get(seat.provider);
        let provider = before.lines.provider_in(seat.provider, lines);
        let target = before.lines.target_in(seat.target, lines);
        let (Some(provider), Some(target)) = (provider, target) else {
            return seat;
        };
        let spot = seat
            .spot
            .and_then(|spot| self.targets.found_again(&before.targets, spot));
        let mut seat = Seat {
            target,
            spot,
            provider,
            generation: Some(self.ctx.generation),
            ..seat
        };
        for resource in seat.resources() {
            self.lines.occupy(resource);
        }
        if let Some(state) = spot.and_then(|spot| self.targets.get_mut(spot)) {
            state.in_flight += 1;
            seat.is_probe = seat.is_probe && state.breaker.admit(now) == Admission::Probe;
        }
        if let Some((old, new)) = old.zip(self.providers.get_mut(provider)) {
            let name = seat.key.and_then(|key| old.key_names.get(key));
            let key = name.and_then(|name| new.key_names.iter().position(|it| it == name));
            if let Some(key) = key {
                new.keys.go_on(key, seat.is_key_probe);
            }
            seat.key = key;
        }
        seat
    }
}
