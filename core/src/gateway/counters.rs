//! [`Counters`]: what a shard has counted since it began. They have names from the config alone,
//! never from a client or an upstream, so that there are never more than the config asks for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::JsonStr;
use crate::config::{Provider, Snapshot};
use crate::ir::{Blame, Class, Usage};
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
    /// Of its models that the config names; of all the others together under no name.
    pub(super) models: BTreeMap<String, ModelCounters>,
    /// Failures after which the same target was to be asked again.
    pub(super) repetitions: u64,
}

/// What has happened with a model.
#[derive(Debug, Default)]
pub(super) struct ModelCounters {
    /// Attempts, by how they ended.
    pub(super) attempts: Tally<Ending>,
    /// Tokens, as it told them.
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
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

    /// From now on there are the providers and models of `snapshot`; those that stay go on
    /// counting.
    pub(super) fn reload(&mut self, snapshot: &Snapshot) {
        let mut before = core::mem::take(&mut self.providers);
        for provider in &snapshot.providers {
            let mut before = before.remove(&provider.name).unwrap_or_default();
            let name = Arc::clone(&provider.name);
            let counters = self.providers.entry(name).or_default();
            counters.repetitions = before.repetitions;
            let upstreams = snapshot.upstreams();
            for upstream in
                upstreams.filter(|it| snapshot.provider_name(it) == Some(&provider.name))
            {
                let name = model(upstream.model.as_ref());
                if !counters.models.contains_key(&*name) {
                    let model = before.models.remove(&*name).unwrap_or_default();
                    counters.models.insert(name.into_owned(), model);
                }
            }
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

    /// An attempt ended at a model of the provider, by its name in the config if that has one,
    /// after it has used so much.
    pub(super) fn attempted(
        &mut self,
        provider: &str,
        name: Option<&JsonStr>,
        ending: Ending,
        usage: &Usage,
    ) {
        let provider = self.providers.get_mut(provider);
        // One that the config has no more is not counted.
        if let Some(counters) = provider.and_then(|it| it.models.get_mut(&*model(name))) {
            counters.attempts.add(ending);
            // Upstreams may tell any number.
            for (count, told) in [
                (&mut counters.input_tokens, usage.input),
                (&mut counters.output_tokens, usage.output),
            ] {
                *count = count.saturating_add(told.unwrap_or(0));
            }
        }
    }

    /// A request is repeated at a provider.
    pub(super) fn repeated(&mut self, provider: Option<&Provider>) {
        let counters = provider.and_then(|it| self.providers.get_mut(&it.name));
        if let Some(counters) = counters {
            counters.repetitions += 1;
        }
    }
}

/// The name of a model in the config.
fn model(name: Option<&JsonStr>) -> Cow<'_, str> {
    name.map(JsonStr::unescape).unwrap_or_default()
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
