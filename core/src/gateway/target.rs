//! What a shard knows of a target beyond the config: whether it fails, how fast it is, how many
//! repetitions it can bear. A target here is one model of a provider; `targets` has all of them.

use core::time::Duration;
use std::sync::Arc;

use super::io::Message;
use crate::base::{Instant, Rng};
use crate::config::Snapshot;
use crate::ir::Class;
use crate::policy::breaker::{Admission, Breaker, Verdict};
use crate::policy::hedge::HedgeBudget;
use crate::policy::latency::Latency;
use crate::policy::retry::RetryBudget;

/// A model that only clients name, and that never answered well, is told on dashboards no longer
/// than this after it was asked last: else anybody could fill them with names.
const TOLD_TIME: Duration = Duration::from_secs(600);

/// One model of a provider.
#[derive(Clone, Debug, Default)]
pub(super) struct TargetState {
    pub(super) breaker: Breaker,
    pub(super) budget: RetryBudget,
    pub(super) hedges: HedgeBudget,
    /// How long its first content takes, from when a request took its place here.
    pub(super) latency: Latency,
    /// The same, of answers that are not streamed: how long they take whole.
    pub(super) wholes: Latency,
    /// What its last failure here was.
    pub(super) failed_by: Option<Class>,
    /// Requests that it is asked.
    pub(super) in_flight: u32,
    /// Which model it is; `None` for those of a pattern that have no state of their own.
    pub(super) model: Option<Arc<str>>,
    /// The number of a target that leads here.
    pub(super) target: usize,
    /// What it is called among shards, and from one config to the next.
    pub(super) name: u64,
    /// The number of its provider.
    pub(super) provider: usize,
    /// Whether only clients name it, and the config leads to it by a pattern.
    pub(super) is_by_clients: bool,
    /// Whether it has answered well, ever.
    pub(super) was_well: bool,
    /// When it was asked, or heard of, last.
    pub(super) used: Instant,
    /// How many models had this place before.
    pub(super) serial: u32,
}

impl TargetState {
    /// What people call it: `provider/model`.
    pub(super) fn title(&self, snapshot: &Snapshot) -> String {
        let provider = snapshot.providers.get(self.provider);
        let provider = provider.map_or("?", |provider| &*provider.name);
        match &self.model {
            Some(model) => format!("{provider}/{model}"),
            None => provider.to_owned(),
        }
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
        self.used = now;
        if is_first {
            self.budget.earn(snapshot.retry_at(self.provider));
            self.hedges.earn(hedge_percent);
        }
        self.breaker.admit(now) == Admission::Probe
    }

    /// A request ended. Gives what other shards should know, in this order.
    pub(super) fn ended(
        &mut self,
        is_probe: bool,
        verdict: Verdict,
        now: Instant,
        snapshot: &Snapshot,
        rng: &mut Rng,
    ) -> [Option<Message>; 2] {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.judged(is_probe, verdict, now, snapshot, rng)
    }

    /// What is known of a request that goes on. Gives what other shards should know, in this order.
    pub(super) fn judged(
        &mut self,
        is_probe: bool,
        verdict: Verdict,
        now: Instant,
        snapshot: &Snapshot,
        rng: &mut Rng,
    ) -> [Option<Message>; 2] {
        self.was_well |= matches!(verdict, Verdict::Well | Verdict::Begun);
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
        let model = self.model.clone().filter(|_| self.is_by_clients);
        let opened = (is_news && (is_probe || !was_open)).then(|| Message::Breaker {
            target,
            model: model.clone(),
            open,
        });
        let in_row = self.breaker.failures_in_row();
        let failed = (!self.breaker.is_open() && in_row != failures).then_some(Message::Failures {
            target,
            model,
            in_row,
        });
        [opened, failed]
    }

    /// How long what is asked of it takes until something can be told.
    pub(super) const fn pace(&mut self, is_stream: bool) -> &mut Latency {
        match is_stream {
            true => &mut self.latency,
            false => &mut self.wholes,
        }
    }

    /// Content has come after `wait`: the target is well.
    pub(super) fn content_came(&mut self, wait: Duration, now: Instant) {
        self.was_well = true;
        self.latency.observe(wait, now);
    }

    /// Another shard says whether the target is to be left alone. Shards probe one after the other,
    /// this one in its `turn`: the first success closes all.
    pub(super) fn heard(
        &mut self,
        open: Option<(Instant, Duration)>,
        turn: u32,
        snapshot: &Snapshot,
    ) {
        let limits = snapshot.breaker_at(self.provider);
        let later = limits.recovery / 4 * turn;
        self.breaker
            .heard(open.map(|(until, time)| (until + later, time)));
    }

    /// This state under another config: what was sent before is not heard of again.
    pub(super) fn following(&self) -> TargetState {
        TargetState {
            breaker: self.breaker.following(),
            in_flight: 0,
            serial: 0,
            ..self.clone()
        }
    }

    /// Whether anything is known of it.
    pub(super) const fn is_known(&self) -> bool {
        self.was_well || self.breaker.is_open() || self.breaker.failures_in_row() > 0
    }

    /// Whether dashboards tell of it.
    pub(super) fn is_told(&self, now: Instant) -> bool {
        let is_in_config = !self.is_by_clients && self.model.is_some();
        let is_recent = now.since(self.used) < TOLD_TIME;
        is_in_config || self.was_well || self.breaker.is_open() && is_recent
    }

    /// How well it could be forgotten, the lowest first; not at all while requests are on their way
    /// to it, or none may be.
    pub(super) fn worth(&self, now: Instant) -> Option<(u8, Instant)> {
        let rank = match self.breaker.would_admit(now) {
            _ if self.in_flight > 0 => return None,
            Admission::Refused { .. } => return None,
            Admission::Probe => 2,
            Admission::Call => u8::from(self.was_well),
        };
        Some((rank, self.used))
    }
}
