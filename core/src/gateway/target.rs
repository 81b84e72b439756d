//! What a shard knows of its targets beyond the config: whether they fail, and how many repetitions
//! they can bear.

use crate::base::{Instant, Rng};
use crate::config::Snapshot;
use crate::policy::breaker::{Admission, Breaker, Verdict};
use crate::policy::retry::RetryBudget;

/// One target of the current config.
#[derive(Clone, Debug, Default)]
pub(super) struct TargetState {
    pub(super) breaker: Breaker,
    pub(super) budget: RetryBudget,
    /// Requests that it is asked.
    pub(super) in_flight: u32,
}

/// What is known of each target of `snapshot`: of those that were there under the `old` config,
/// whether they fail.
pub(super) fn states(snapshot: &Snapshot, old: (&Snapshot, &[TargetState])) -> Vec<TargetState> {
    let mut states = vec![TargetState::default(); snapshot.targets()];
    if old.1.is_empty() {
        return states;
    }
    for upstream in snapshot.upstreams() {
        let name = snapshot.provider_name(upstream);
        let mut before = old.0.upstreams();
        let before =
            before.find(|it| it.model == upstream.model && old.0.provider_name(it) == name);
        let before = before.and_then(|it| old.1.get(it.target));
        if let (Some(state), Some(before)) = (states.get_mut(upstream.target), before) {
            state.breaker = before.breaker.following();
            state.budget = before.budget.clone();
        }
    }
    states
}

impl TargetState {
    /// A request goes out. Says whether it is the breaker's probe. [`TargetState::ended`] must
    /// follow.
    pub(super) fn begun(&mut self, is_first: bool, now: Instant, snapshot: &Snapshot) -> bool {
        self.in_flight += 1;
        if is_first {
            self.budget.earn(&snapshot.retry);
        }
        self.breaker.admit(now) == Admission::Probe
    }

    /// A request ended.
    pub(super) fn ended(
        &mut self,
        is_probe: bool,
        verdict: Verdict,
        now: Instant,
        snapshot: &Snapshot,
        rng: &mut Rng,
    ) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let limits = &snapshot.breaker;
        self.breaker.ended(is_probe, verdict, now, limits, rng);
    }
}
