//! What a shard knows of its targets beyond the config: whether they fail, and how many repetitions
//! they can bear.

use core::time::Duration;

use super::io::Message;
use crate::base::{Instant, Rng};
use crate::config::Snapshot;
use crate::policy::balance;
use crate::policy::breaker::{Admission, Breaker, Verdict};
use crate::policy::hedge::HedgeBudget;
use crate::policy::latency::Latency;
use crate::policy::retry::RetryBudget;

/// One target of the current config.
#[derive(Clone, Debug, Default)]
pub(super) struct TargetState {
    pub(super) breaker: Breaker,
    pub(super) budget: RetryBudget,
    pub(super) hedges: HedgeBudget,
    /// How long its first content takes, from when a request took its place here.
    pub(super) latency: Latency,
    /// Requests that it is asked.
    pub(super) in_flight: u32,
    /// What it is called among shards.
    name: u64,
    /// The number of its provider.
    provider: usize,
}

/// What is known of each target of `snapshot`: of those that were there under the `old` config,
/// whether they fail.
pub(super) fn states(snapshot: &Snapshot, old: (&Snapshot, &[TargetState])) -> Vec<TargetState> {
    let mut states = vec![TargetState::default(); snapshot.targets()];
    for upstream in snapshot.upstreams() {
        let name = snapshot.provider_name(upstream);
        if let Some(state) = states.get_mut(upstream.target) {
            let provider = name.map(|name| name.as_bytes()).unwrap_or_default();
            let model = upstream.model.as_ref().map(|model| model.unescape());
            let model = model.as_deref().unwrap_or_default().as_bytes();
            state.provider = upstream.provider;
            state.name = balance::hash(provider).rotate_left(1) ^ balance::hash(model);
        }
        let mut before = old.0.upstreams();
        let before =
            before.find(|it| it.model == upstream.model && old.0.provider_name(it) == name);
        let before = before.and_then(|it| old.1.get(it.target));
        if let (Some(state), Some(before)) = (states.get_mut(upstream.target), before) {
            state.breaker = before.breaker.following();
            state.budget = before.budget.clone();
            state.hedges = before.hedges.clone();
            state.latency = before.latency.clone();
        }
    }
    states
}

impl TargetState {
    /// What the target is called among shards, and from one config to the next.
    pub(super) const fn name(&self) -> u64 {
        self.name
    }

    /// A request goes out. Says whether it is the breaker's probe. [`TargetState::ended`] must
    /// follow.
    pub(super) fn begun(
        &mut self,
        is_first: bool,
        hedge_percent: u32,
        now: Instant,
        snapshot: &Snapshot,
    ) -> bool {
        self.in_flight += 1;
        if is_first {
            self.budget.earn(snapshot.retry_at(self.provider));
            self.hedges.earn(hedge_percent);
        }
        self.breaker.admit(now) == Admission::Probe
    }

    /// A request ended. Gives what other shards should know.
    pub(super) fn ended(
        &mut self,
        is_probe: bool,
        verdict: Verdict,
        now: Instant,
        snapshot: &Snapshot,
        rng: &mut Rng,
    ) -> Option<Message> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.judged(is_probe, verdict, now, snapshot, rng)
    }

    /// What is known of a request that goes on. Gives what other shards should know.
    pub(super) fn judged(
        &mut self,
        is_probe: bool,
        verdict: Verdict,
        now: Instant,
        snapshot: &Snapshot,
        rng: &mut Rng,
    ) -> Option<Message> {
        let was_open = self.breaker.is_open();
        let failures = self.breaker.failures_in_row();
        let limits = snapshot.breaker_at(self.provider);
        self.breaker.ended(is_probe, verdict, now, limits, rng);
        let open = self.breaker.open();
        let is_news = match open {
            // An abandoned probe leaves it open without a new time.
            Some((until, _)) => until > now,
            None => was_open && !self.breaker.is_open(),
        };
        let target = self.name;
        if is_news && (is_probe || !was_open) {
            return Some(Message::Breaker { target, open });
        }
        let in_row = self.breaker.failures_in_row();
        let is_news = !was_open && open.is_none() && in_row != failures;
        is_news.then_some(Message::Failures { target, in_row })
    }

    /// Another shard says something of a target, perhaps this one. Shards probe one after the
    /// other, this one in its `turn`: the first success closes all.
    pub(super) fn heard(
        &mut self,
        target: u64,
        open: Option<(Instant, Duration)>,
        turn: u32,
        snapshot: &Snapshot,
    ) {
        if self.name == target {
            let limits = snapshot.breaker_at(self.provider);
            let later = limits.recovery / 4 * turn;
            self.breaker
                .heard(open.map(|(until, time)| (until + later, time)));
        }
    }

    /// Another shard has seen a target fail, perhaps this one, or no longer.
    pub(super) fn heard_failures(&mut self, target: u64, in_row: u32) {
        if self.name == target {
            self.breaker.heard_failures(in_row);
        }
    }
}
