//! Waiting: for a key, for a target that is asked as much as it may be, or for the client's own
//! other requests. As long as `retry.wait_max`, and while there is room to wait.

use core::time::Duration;
use std::sync::Arc;

use super::super::super::Shard;
use super::super::super::lines::{Resource, Waiter};
use super::super::Exchange;
use super::super::claim::Claim;
use super::super::deadlines::Phase;
use super::super::state::State;
use super::provider_name;
use crate::base::{ExchangeId, Instant};
use crate::config::{Resolved, Snapshot, Upstream};
use crate::ir::{Blame, Class, Failure};
use crate::policy::lease::{ANSWER_TIME, Short};

/// The shortest time after which a client is asked to come back, where it is only guessed.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// What an answer is taken to have, whose length nobody knows: so that of short requests, too, a
/// client gets one in a turn.
const ANSWER_TOKENS: u64 = 1_024;

/// What a request has to wait for: any of these will do.
#[derive(Debug, Default)]
pub(super) struct Wait {
    /// With the time at which it will be free at the latest, if that is known.
    lines: Vec<(Resource, Option<Instant>)>,
    /// Whether one of them may be free at any time.
    is_any_time: bool,
    /// The provider that was looked at first, if it is about providers.
    provider: Option<usize>,
    /// When a target may be asked again that is passed over now: it has failed repeatedly, or its
    /// provider refuses all keys.
    pub(super) probe_at: Option<Instant>,
    /// When it will be known at the latest whether other shards have some to spare.
    pub(super) answers_by: Option<Instant>,
}

impl Wait {
    /// It is `resource` alone, which may be free at any time.
    fn on(resource: Resource, provider: Option<usize>) -> Wait {
        Wait {
            lines: vec![(resource, None)],
            is_any_time: true,
            provider,
            probe_at: None,
            answers_by: None,
        }
    }

    /// It could be `resource`, free at `until` if that is known, or perhaps at any time.
    pub(super) fn add(
        &mut self,
        provider: usize,
        resource: Resource,
        until: Option<Instant>,
        is_any_time: bool,
    ) {
        self.provider.get_or_insert(provider);
        self.is_any_time |= is_any_time;
        match self.lines.iter_mut().find(|(it, _)| *it == resource) {
            Some((_, at)) => *at = at.iter().copied().chain(until).min(),
            None => self.lines.push((resource, until)),
        }
    }

    /// Whether there is anything to wait for.
    pub(super) fn is_some(&self) -> bool {
        !self.lines.is_empty()
    }

    /// The first of the known times.
    fn until(&self) -> Option<Instant> {
        self.lines.iter().filter_map(|(_, until)| *until).min()
    }
}

impl Shard {
    /// Whether the request counts, from now on or already, among those of its client that are
    /// worked on; if not, it waits until it does, or is answered.
    pub(super) fn enter(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return false;
        };
        let Claim {
            standing,
            concurrent,
            ..
        } = exchange.claim;
        // A rival counts as the one that it runs against.
        let is_counted = exchange.plan.entered.is_some() || exchange.is_rival();
        let Some(limit) = concurrent.filter(|_| !is_counted) else {
            return true;
        };
        let now = self.ctx.now.mono;
        let resource = Resource::Client(standing.client);
        let is_next = exchange.plan.next_in == Some(resource);
        let Err(short) = self.lines.enter(standing, limit, is_next, now) else {
            exchange.plan.entered = Some(standing.client);
            self.stop_waiting(id, &[resource]);
            return true;
        };
        let mut wait = Wait::on(resource, None);
        wait.answers_by = match short {
            Some(Short::Ask) => self.lines.ask(resource, now),
            Some(Short::Asked(until)) => Some(until),
            Some(Short::Until(_)) | None => None,
        };
        self.wait(id, &wait);
        false
    }

    /// The request is the next one in the line for `resource`: it looks whether it can go on.
    pub(in crate::gateway) fn choose_woken(&mut self, id: ExchangeId, resource: Resource) {
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.plan.next_in = Some(resource);
        }
        self.choose(id);
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.plan.next_in = None;
        }
    }

    /// A target that had failed is well, or may be asked once more whether it is: those who wait
    /// for another one may go there.
    pub(in crate::gateway) fn choose_all_who_wait(&mut self) {
        let orders = |id: &ExchangeId| self.exchanges.get(*id).map(|it| it.started);
        let mut waiting = self.lines.who_wait();
        waiting.sort_by_key(orders);
        self.pending_choices.extend(waiting);
    }

    /// The time before a repetition is over, or the patience of one that waits, or a target that it
    /// does not wait for may be asked again.
    pub(in crate::gateway) fn backoff_over(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else {
            return;
        };
        if exchange.plan.places.is_empty() {
            self.choose(id);
        } else {
            // What becomes free at the same moment may still be its own.
            self.pending_choices.push_back(id);
        }
    }

    /// Waits, if it is worth waiting and there is room for it; else answers.
    pub(super) fn wait(&mut self, id: ExchangeId, wait: &Wait) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let since = *exchange.plan.waits_since.get_or_insert(now);
        // Of all its waits together, in other lines and for earlier attempts.
        let wait_max = exchange.snapshot.retry.wait_max;
        let left = wait_max.saturating_sub(exchange.access.waited);
        let is_crowded = |(it, _): &(Resource, _)| self.lines.is_crowded(*it, wait_max, now);
        let left = match wait.lines.iter().all(is_crowded) {
            true => left.min(exchange.snapshot.queue.crowded_wait_max),
            false => left,
        };
        let mut patience = (since + left).min(exchange.due);
        let is_asking = wait.answers_by.is_some();
        let was_asking = core::mem::replace(&mut exchange.plan.is_asking, is_asking);
        if wait.answers_by.is_some() {
            patience = patience.max(since + ANSWER_TIME);
        }
        // How long a limit holds that was met just now is only guessed if nobody said.
        let guessed = &exchange.plan.guessed;
        let is_guess = |it| matches!(it, Resource::Provider(it) if guessed.contains(&it));
        let known = wait.lines.iter().filter(|(it, _)| !is_guess(*it));
        let known = known.filter_map(|(_, until)| *until).min();
        let comes_by = |time| known.is_some_and(|known| known <= time);
        let is_soon = comes_by(patience);
        if now >= patience || !(is_soon || wait.is_any_time) {
            let is_for_others = wait.is_any_time || comes_by(since + left);
            exchange.plan.is_hasty |= is_for_others && exchange.is_hasty(since + left);
            let failure = self.vain(id, wait, false);
            self.give_up(id, failure);
            return;
        }
        // One who only waits to know is not in line yet.
        let stands = !exchange.plan.places.is_empty() && !was_asking;
        if !stands && !is_asking && !self.has_room(id, wait) {
            let failure = self.vain(id, wait, true);
            self.give_up(id, failure);
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let waiter = exchange.waiter();
        let (places, timers) = (&mut exchange.plan.places, &mut self.ctx.timers);
        self.lines
            .line_up(&waiter, places, &wait.lines, now, timers);
        // A key that was refused may work before another cools no longer.
        for &(resource, _) in &wait.lines {
            if let Resource::Provider(provider) = resource
                && let Some(state) = self.providers.get(provider)
                && let Some(until) = state.keys.refused_until(now)
            {
                self.lines.look_at(provider, until, timers);
            }
        }
        let times = [wait.probe_at, wait.answers_by].into_iter().flatten();
        let again = times.fold(patience, Instant::min);
        exchange.deadlines.set(Phase::Backoff, again);
        // A status can still be told if it is certain before the client needs a sign of life.
        let hold = now + self.ctx.limits.timers.commit_hold;
        let is_held = exchange.deadlines.is_set(Phase::Hold) || exchange.opened.is_some();
        if exchange.access.stream && !is_held && hold < patience {
            exchange.deadlines.set(Phase::Hold, hold);
        }
        exchange.rearm(&mut self.ctx);
    }

    /// Whether the request may stand in line. Where no place is left, somebody who has more of
    /// them, or a lower priority, gives up one.
    fn has_room(&mut self, id: ExchangeId, wait: &Wait) -> bool {
        let Some(exchange) = self.exchanges.get(id) else {
            return false;
        };
        let length_max = self.ctx.snapshot.queue.length_max;
        let length_max = usize::try_from(length_max).unwrap_or(usize::MAX);
        let own = usize::from(!exchange.plan.places.is_empty());
        let others = self.lines.waiting().saturating_sub(own);
        if others < length_max {
            return true;
        }
        let standing = exchange.claim.standing;
        let victim = wait.lines.iter().find_map(|&(resource, _)| {
            let victim = self.lines.victim(resource, standing)?;
            Some((resource, victim))
        });
        let Some((resource, victim)) = victim else {
            return false;
        };
        let provider = match resource {
            Resource::Client(_) => None,
            Resource::Provider(_) | Resource::Target(_) => wait.provider,
        };
        let lost = Wait::on(resource, provider);
        let failure = self.vain(victim, &lost, true);
        self.give_up(victim, failure);
        true
    }

    /// Why the request does not wait, or no longer: as many as may be waiting are, or what it
    /// would wait for is not there in time.
    fn vain(&self, id: ExchangeId, wait: &Wait, is_crowded: bool) -> Option<Box<Failure>> {
        let exchange = self.exchanges.get(id)?;
        let &(resource, _) = wait.lines.first()?;
        let provider = wait.provider.unwrap_or(usize::MAX);
        let name = provider_name(&exchange.snapshot, provider);
        let is_full = self.lines.is_full(resource, self.ctx.now.mono);
        let mut failure = match resource {
            Resource::Client(_) => {
                let message = "as many of this client's requests as may be are being answered";
                Failure::new(Class::RateLimit, message).blame(Blame::Client)
            }
            Resource::Provider(_) if !is_full && !is_crowded => {
                let message = format!("every key of the provider `{name}` is at its limit");
                Failure::new(Class::RateLimit, message)
            }
            Resource::Provider(_) | Resource::Target(_) if is_crowded => {
                let message = format!("as many requests as may wait for `{name}` do");
                Failure::new(Class::Overloaded, message).blame(Blame::Gateway)
            }
            Resource::Provider(_) | Resource::Target(_) => {
                let message = format!("`{name}` answers as many requests as it may");
                Failure::new(Class::Overloaded, message).blame(Blame::Gateway)
            }
        };
        let known = wait.until().map(|until| until.since(self.ctx.now.mono));
        let guess = || self.lines.waited(resource).max(RETRY_AFTER_MIN);
        // What an upstream has said is better than a guess.
        let may_guess = exchange.plan.first.is_none();
        failure.retry_after = known.or_else(|| may_guess.then(guess));
        Some(Box::new(failure))
    }

    /// The request waits no longer; it got what it waited for where that is among `served`.
    pub(in crate::gateway) fn stop_waiting(&mut self, id: ExchangeId, served: &[Resource]) {
        self.let_go(id);
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let plan = &mut exchange.plan;
        let waited = plan
            .waits_since
            .take()
            .map_or(Duration::ZERO, |it| now - it);
        exchange.access.waited += waited;
        if !plan.places.is_empty() {
            let timers = &mut self.ctx.timers;
            self.lines.go(&mut plan.places, served, waited, timers);
        }
    }

    /// The exchange ends: it stands in no line, and its client may have another.
    pub(in crate::gateway) fn depart(&mut self, id: ExchangeId) {
        self.stop_waiting(id, &[]);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if let Some(client) = exchange.plan.entered.take() {
            self.lines.vacate(Resource::Client(client));
        }
    }

    /// The config is another: those who wait go on under it, so that it holds for them too.
    pub(in crate::gateway) fn line_up_anew(&mut self) {
        let snapshot = Arc::clone(&self.ctx.snapshot);
        let timers = &mut self.ctx.timers;
        let mut waiting = self.lines.reload(&snapshot, timers);
        let orders = |id: &ExchangeId| self.exchanges.get(*id).map(|it| it.started);
        waiting.sort_by_key(orders);
        for id in waiting {
            let Some(exchange) = self.exchanges.get_mut(id) else {
                continue;
            };
            // It may have stood in many lines.
            exchange.plan.keeps = None;
            if !core::mem::take(&mut exchange.plan.places).is_empty() {
                exchange.adopt(&snapshot);
                self.pending_choices.push_back(id);
            }
        }
    }
}

impl Exchange {
    fn waiter(&self) -> Waiter {
        let prepared = self.prepared.as_deref();
        Waiter {
            id: self.id,
            standing: self.claim.standing,
            cost: ANSWER_TOKENS + prepared.map_or(0, |it| it.input_tokens_estimate),
            order: self.started.as_nanos(),
        }
    }

    /// Goes on under another config, as far as that knows the model. Attempts that were made still
    /// count, and targets that failed are not asked again where they are the same.
    pub(in crate::gateway::exchange) fn adopt(&mut self, snapshot: &Arc<Snapshot>) {
        debug_assert!(self.state == State::Choosing, "only those with no place");
        let Some(prepared) = self.prepared.as_deref() else {
            return;
        };
        let name = prepared.model.unescape();
        let Some(Resolved::Chain(chain)) = snapshot.resolve(&name) else {
            return;
        };
        let chain = Arc::clone(chain);
        let old = Arc::clone(&self.snapshot);
        let Some(routed) = self.routed_mut() else {
            return;
        };
        let before = core::mem::replace(&mut routed.chain, Arc::clone(&chain));
        routed.prompt = None;
        let is_same = |it: &Upstream, other: &Upstream| {
            it.model == other.model && snapshot.provider_name(it) == old.provider_name(other)
        };
        let out = core::mem::take(&mut self.plan.out);
        let failed = |it: &&Arc<Upstream>| {
            let mut before = before.upstreams().filter(|it| out.contains(&it.target));
            before.any(|other| is_same(it, other))
        };
        let failed = chain.upstreams().filter(failed);
        self.plan.out = failed.map(|it| it.target).collect();
        self.plan.repeats.clear();
        let guessed = core::mem::take(&mut self.plan.guessed).into_iter();
        let names = guessed.filter_map(|it| Some(&*old.providers.get(it)?.name));
        let number = |name: &str| snapshot.providers.iter().position(|it| *it.name == *name);
        self.plan.guessed = names.filter_map(number).collect();
        let name = self.access.caller.as_deref();
        let caller = snapshot.callers.iter().find(|it| Some(&*it.name) == name);
        self.claim = Claim::new(snapshot, caller, self.access.peer);
        self.snapshot = Arc::clone(snapshot);
    }
}
