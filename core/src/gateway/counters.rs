//! [`Counters`]: what a shard has counted since it began. They have names from the config alone,
//! never from a client or an upstream, so that there are never more than the config asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Snapshot;
use crate::ir::{Blame, Class};
use crate::record::{Access, Ending, Outcome};

/// What has happened in a shard.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Requests for an answer of a model, by how they ended.
    pub(super) complete: u64,
    pub(super) clients_gone: u64,
    pub(super) failed: Tally<(Class, Blame)>,
    /// Requests that got the answer of another one.
    pub(super) coalesced: u64,
    /// Events of upstreams that could not be read and were skipped.
    pub(super) broken_events: u64,
    /// Second attempts beside a late one.
    pub(super) hedges: u64,
    /// Of these, those that had content first.
    pub(super) hedges_won: u64,
    /// Broken streams that another attempt went on with.
    pub(super) continuations: u64,
    /// Of each provider of the config.
    pub(super) providers: BTreeMap<Arc<str>, ProviderCounters>,
}

/// What has happened with a provider.
#[derive(Debug, Default)]
pub(super) struct ProviderCounters {
    /// Attempts, by how they ended.
    pub(super) attempts: Tally<Ending>,
    /// Failures after which the same target was to be asked again.
    pub(super) repetitions: u64,
}

/// How often each of a few things happened.
#[derive(Debug)]
pub(super) struct Tally<T>(Vec<(T, u64)>);

impl Counters {
    pub(super) fn new(snapshot: &Snapshot) -> Counters {
        let mut counters = Counters::default();
        counters.reload(snapshot);
        counters
    }

    /// From now on there are the providers of `snapshot`; those that stay go on counting.
    pub(super) fn reload(&mut self, snapshot: &Snapshot) {
        let mut before = core::mem::take(&mut self.providers);
        for provider in &snapshot.providers {
            let counters = before.remove(&provider.name).unwrap_or_default();
            self.providers.insert(Arc::clone(&provider.name), counters);
        }
    }

    /// A request ended.
    pub(super) fn settled(&mut self, access: &Access) {
        if access.api.is_none() {
            // The gateway's own pages, and paths that there are not.
            return;
        }
        match access.outcome {
            Outcome::Complete => self.complete += 1,
            Outcome::ClientGone => self.clients_gone += 1,
            Outcome::Failed { class, blame, .. } => self.failed.add((class, blame)),
        }
        self.coalesced += u64::from(access.shared_with.is_some());
        self.broken_events += u64::from(access.broken_events);
    }

    /// An attempt at a provider ended.
    pub(super) fn attempted(&mut self, provider: &str, ending: Ending) {
        // One that the config has no more is not counted.
        if let Some(counters) = self.providers.get_mut(provider) {
            counters.attempts.add(ending);
        }
    }

    /// A request is repeated at a provider.
    pub(super) fn repeated(&mut self, provider: &str) {
        if let Some(counters) = self.providers.get_mut(provider) {
            counters.repetitions += 1;
        }
    }
}

impl<T: Copy + Eq> Tally<T> {
    /// It happened once more.
    fn add(&mut self, what: T) {
        match self.0.iter_mut().find(|(it, _)| *it == what) {
            Some((_, count)) => *count += 1,
            None => self.0.push((what, 1)),
        }
    }

    /// What happened at all, and how often.
    pub(super) fn iter(&self) -> impl Iterator<Item = (T, u64)> {
        self.0.iter().copied()
    }
}

impl<T> Default for Tally<T> {
    fn default() -> Tally<T> {
        Tally(Vec::new())
    }
}
