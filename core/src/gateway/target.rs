//! What a shard knows of its targets beyond the config: whether they fail, and how many repetitions
//! they can bear.

use core::time::Duration;
use std::collections::BTreeMap;

use super::io::Message;
use crate::base::{Instant, Rng};
use crate::config::{Snapshot, Upstream};
use crate::policy::balance;
use crate::policy::breaker::{Admission, Breaker, Verdict};
use crate::policy::hedge::HedgeBudget;
use crate::policy::latency::Latency;
use crate::policy::retry::RetryBudget;

/// One model of a provider, or the models of one pattern.
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

/// The targets of the current config. Those that are the same model of a provider are one to it,
/// whatever names lead there, so what is known of one is known of all.
#[derive(Debug, Default)]
pub(super) struct Targets {
    states: Vec<TargetState>,
    /// Of each target by its number, where its state is.
    places: Vec<usize>,
}

impl Targets {
    /// What is known of each target of `snapshot`: of those that were there under the `old` config,
    /// whether they fail.
    pub(super) fn new(snapshot: &Snapshot, old: (&Snapshot, &Targets)) -> Targets {
        let mut targets = Targets {
            states: Vec::new(),
            places: vec![usize::MAX; snapshot.targets()],
        };
        let mut named = BTreeMap::new();
        for upstream in snapshot.upstreams() {
            let place = match &upstream.model {
                Some(model) => {
                    let key = (upstream.provider, model.unescape());
                    *named.entry(key).or_insert(targets.states.len())
                }
                // Which models a pattern leads to is not known.
                None => targets.states.len(),
            };
            if place == targets.states.len() {
                targets.states.push(state(snapshot, upstream, old));
            }
            if let Some(own) = targets.places.get_mut(upstream.target) {
                *own = place;
            }
        }
        targets
    }

    /// The same number for targets of which the same is known.
    pub(super) fn place(&self, target: usize) -> Option<usize> {
        self.places.get(target).copied()
    }

    pub(super) fn get(&self, target: usize) -> Option<&TargetState> {
        self.states.get(*self.places.get(target)?)
    }

    pub(super) fn get_mut(&mut self, target: usize) -> Option<&mut TargetState> {
        self.states.get_mut(*self.places.get(target)?)
    }

    /// Each state once.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TargetState> {
        self.states.iter()
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TargetState> {
        self.states.iter_mut()
    }
}

/// What is known of a target.
fn state(snapshot: &Snapshot, upstream: &Upstream, old: (&Snapshot, &Targets)) -> TargetState {
    let provider = snapshot.provider_name(upstream);
    let model = upstream.model.as_ref().map(|model| model.unescape());
    let [provider_hash, model_hash] = [provider.map(|it| &**it), model.as_deref()]
        .map(|name| balance::hash(name.unwrap_or_default().as_bytes()));
    let state = TargetState {
        provider: upstream.provider,
        name: provider_hash.rotate_left(1) ^ model_hash,
        ..TargetState::default()
    };
    let mut before = old.0.upstreams();
    let before =
        before.find(|it| it.model == upstream.model && old.0.provider_name(it) == provider);
    match before.and_then(|it| old.1.get(it.target)) {
        Some(before) => TargetState {
            breaker: before.breaker.following(),
            budget: before.budget.clone(),
            hedges: before.hedges.clone(),
            latency: before.latency.clone(),
            ..state
        },
        None => state,
    }
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
