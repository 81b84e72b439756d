//! Looking for a target that can be asked now, and what is told where none can.

use std::sync::Arc;

use super::super::super::Shard;
use super::super::super::lines::{Lines, Resource};
use super::super::super::provider::ProviderState;
use super::super::super::target::TargetState;
use super::super::super::targets::{Spot, Targets};
use super::candidates::Candidates;
use super::placing::Placing;
use super::provider_name;
use super::wait::Wait;
use crate::base::{ExchangeId, Instant};
use crate::config::{Provider, Snapshot, Upstream};
use crate::ir::{Class, Failure};
use crate::policy::balance::Session;
use crate::policy::breaker::Admission;
use crate::policy::keys::{KeyAsk, NoKey};
use crate::policy::lease::Short;
use crate::policy::queue::Priority;

/// What other shards are asked for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// Some of a limit of a provider's key.
    Key(usize, KeyAsk),
    /// A place.
    Place(Resource),
}

/// What looking for a target came to.
pub(super) enum Found {
    Seat(Arc<Upstream>, Option<Spot>, Option<usize>),
    /// None now, but one will be free.
    Wait(Wait),
    /// None, and waiting does not help, or not soon.
    None(Option<Box<Failure>>),
}

impl Shard {
    /// Looks through the chain, in order.
    pub(super) fn find(&mut self, id: ExchangeId) -> Found {
        let Some(exchange) = self.exchanges.get(id) else {
            return Found::None(None);
        };
        let Some((prepared, routed)) = exchange.prepared.as_deref().zip(exchange.routed()) else {
            return Found::None(None);
        };
        let mut search = Search {
            now: self.ctx.now.mono,
            session: prepared.session,
            tokens: prepared.input_tokens_estimate,
            is_current: Arc::ptr_eq(&exchange.snapshot, &self.ctx.snapshot),
            priority: exchange.claim.standing.priority,
            next_in: exchange.plan.next_in,
            closed: None,
            waits: Wait::default(),
            asks: None,
            keeps: None,
            refused: None,
        };
        let snapshot = &exchange.snapshot;
        let model = prepared.model.unescape();
        let placing = Placing {
            snapshot,
            targets: &self.targets,
            affinity: &self.affinity,
            model: &model,
            now: search.now,
        };
        let placing = search.is_current.then_some(placing);
        let candidates = Candidates::of(prepared, routed, &exchange.plan, placing);
        for &upstream in &candidates.targets {
            let Some(provider) = snapshot.providers.get(upstream.provider) else {
                continue;
            };
            let spot = match search.is_current {
                true => self.targets.find(snapshot, upstream, &model, search.now),
                false => None,
            };
            let target = spot.and_then(|spot| Some((spot, self.targets.get(spot)?)));
            let state = self.providers.get_mut(upstream.provider);
            if let Some(key) = search.look(upstream, provider, target, state, &self.lines) {
                return Found::Seat(Arc::clone(upstream), spot, key);
            }
            if search.waits.answers_by.is_some() {
                // Whether this one can be asked is worth knowing before the next one is.
                break;
            }
        }
        search.ask(&mut self.lines, &mut self.providers);
        let keeps = search.keeps;
        let failure = search.failure(snapshot, &self.targets);
        let failure = failure.or_else(|| candidates.failure());
        let closed = search.closed.map(|(until, _)| until);
        let closed = closed.filter(|&until| until < Instant::FAR);
        search.waits.probe_at = search.waits.probe_at.into_iter().chain(closed).min();
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.plan.keeps = keeps;
        }
        match search.waits {
            wait if wait.is_some() => Found::Wait(wait),
            _ => Found::None(failure.map(Box::new)),
        }
    }
}

/// What a request has got, and keeps while it finds out about the rest: else two shards, each with
/// half of what one request needs, would go on giving it to each other. Keys come first, then
/// targets, then providers, so that nobody keeps what the other one waits for.
#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) struct Keeps {
    pub(in crate::gateway) provider: usize,
    pub(in crate::gateway) key: Option<usize>,
    pub(in crate::gateway) target: Option<Resource>,
}

/// A look through the targets of a chain, and what stood in the way.
struct Search {
    now: Instant,
    session: Session,
    tokens: u64,
    /// Whether what is known of targets and keys is of the request's own config.
    is_current: bool,
    /// Of those whose breaker is open, the target that is asked again first.
    closed: Option<(Instant, Spot)>,
    priority: Priority,
    /// The line in which nobody else comes before it.
    next_in: Option<Resource>,
    waits: Wait,
    /// What other shards must be asked for, to know whether a target can be.
    asks: Option<Ask>,
    keeps: Option<Keeps>,
    /// The provider that was looked at last of those that refuse all their keys, and until when
    /// none of these is used.
    refused: Option<(Class, usize, Instant)>,
}

impl Search {
    /// Whether the target can be asked, and with which key.
    fn look(
        &mut self,
        upstream: &Upstream,
        provider: &Provider,
        target: Option<(Spot, &TargetState)>,
        state: Option<&mut ProviderState>,
        lines: &Lines,
    ) -> Option<Option<usize>> {
        let count = provider.keys().len();
        if !self.is_current {
            let any = usize::try_from(self.session.0).unwrap_or(0);
            return Some(any.checked_rem(count));
        }
        if let Some((spot, target)) = target
            && let Admission::Refused { until } = target.breaker.would_admit(self.now)
        {
            if self.closed.is_none_or(|(at, _)| until < at) {
                self.closed = Some((until, spot));
            }
            return None;
        }
        let key = match count {
            0 => None,
            _ => Some(self.key(upstream.provider, state?)?),
        };
        if let Some(it) = lines.obstacle(upstream, self.priority, self.next_in, self.now) {
            self.waits.add(upstream.provider, it.resource, None, true);
            match it.short {
                Some(Short::Ask) => {
                    self.asks = Some(Ask::Place(it.resource));
                    self.waits.answers_by = Some(self.now);
                }
                Some(Short::Asked(until)) => self.waits.answers_by = Some(until),
                Some(Short::Until(_)) | None => return None,
            }
            let target = Resource::Target(upstream.target);
            for resource in [target, Resource::Provider(upstream.provider)] {
                self.waits.add(upstream.provider, resource, None, true);
            }
            self.keeps = Some(Keeps {
                provider: upstream.provider,
                key,
                target: (it.resource != target).then_some(target),
            });
            return None;
        }
        Some(key)
    }

    /// Asks other shards for what is short here, and keeps what is not.
    fn ask(&mut self, lines: &mut Lines, providers: &mut [ProviderState]) {
        match self.asks.take() {
            Some(Ask::Key(provider, ask)) => {
                if let Some(state) = providers.get(provider) {
                    lines.ask_for_key(provider, state, ask);
                }
            }
            Some(Ask::Place(resource)) => {
                self.waits.answers_by = lines.ask(resource, self.now);
            }
            None => {}
        }
        let Some(keeps) = self.keeps else { return };
        if let (Some(key), Some(state)) = (keeps.key, providers.get_mut(keeps.provider)) {
            state.keys.keep(key);
        }
        if let Some(target) = keeps.target {
            lines.keep(target);
        }
    }

    /// The key with which the provider can be asked.
    fn key(&mut self, provider: usize, state: &mut ProviderState) -> Option<usize> {
        let line = Resource::Provider(provider);
        match state.keys.choose(self.session, self.tokens, self.now) {
            Ok(key) => return Some(key),
            Err(NoKey::Refused(class)) => {
                let until = state.keys.refused_until(self.now).unwrap_or(self.now);
                self.refused = Some((class, provider, until));
                let probe_at = &mut self.waits.probe_at;
                *probe_at = probe_at.iter().copied().chain([until]).min();
            }
            Err(NoKey::Busy(until)) => self.waits.add(provider, line, until, true),
            Err(NoKey::Until(at)) => self.waits.add(provider, line, Some(at), false),
            Err(NoKey::Elsewhere(until, ask)) => {
                self.waits.add(provider, line, None, true);
                self.waits.answers_by = Some(until);
                self.asks = ask.map(|ask| Ask::Key(provider, ask));
            }
        }
        None
    }

    /// Why no target can be asked, as far as that is not the request's own doing.
    fn failure(&self, snapshot: &Snapshot, targets: &Targets) -> Option<Failure> {
        if let Some((until, spot)) = self.closed {
            return Some(self.left_alone(until, targets.get(spot)?, snapshot));
        }
        let (class, provider, until) = self.refused?;
        let message = format!(
            "the provider `{}` refuses its keys: they are left alone, and tried again in {} s",
            provider_name(snapshot, provider),
            self.seconds_to(until)
        );
        Some(Failure::new(class, message))
    }

    /// The target has failed too often. What its upstream said is not told: it may be about the
    /// request of somebody else.
    fn left_alone(&self, until: Instant, target: &TargetState, snapshot: &Snapshot) -> Failure {
        let name = target.title(snapshot);
        let why = target.failed_by.map_or_else(String::new, |class| {
            format!(", the last time with `{}`", class.name())
        });
        let (when, retry_after) = if until < Instant::FAR {
            let seconds = self.seconds_to(until);
            let when = format!("it is left alone, and asked again in {seconds} s");
            (when, Some(until.since(self.now)))
        } else {
            let when = "one request finds out at this moment whether it is well";
            (when.to_owned(), None)
        };
        let message = format!("`{name}` has failed repeatedly{why}: {when}");
        let mut failure = Failure::new(Class::Overloaded, message);
        failure.retry_after = retry_after;
        failure
    }

    fn seconds_to(&self, until: Instant) -> u128 {
        until.since(self.now).as_millis().div_ceil(1000)
    }
}
