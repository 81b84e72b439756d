//! The plan of a request: which target and key it is sent to, and what is done when that fails.
//!
//! Nothing of an answer has reached the client while a plan goes on, so any target that can answer
//! will do. Once content has gone out there is no plan any more: what fails then is told in the
//! stream.

mod asked;
mod candidates;
mod keep;
mod learn;
mod placing;
mod search;
mod unsent;
mod wait;

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;

pub(in crate::gateway) use self::keep::Before;
use self::search::{Found, Keeps};
use super::super::Shard;
use super::super::io::{Message, Work};
use super::super::lines::Resource;
use super::super::prepare::{Destination, Encode, Prompt};
use super::super::provider::ProviderState;
use super::super::targets::Spot;
use super::deadlines::Phase;
use super::race::Race;
use super::resume::Said;
use super::state::{State, Step};
use crate::base::{ExchangeId, Instant};
use crate::config::{Snapshot, Upstream};
use crate::ir::{Blame, Class, Failure, Usage};
use crate::policy::breaker::{Admission, Verdict};
use crate::policy::queue::Place;
use crate::policy::retry::{self, Next};
use crate::record::Ending;
use crate::wire::http1::Fields;

/// How far the plan of a request has come.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Plan {
    /// Requests sent so far.
    pub(in crate::gateway) attempts: u32,
    /// How many places it has had, whether it was sent from there or not: what is done at the host
    /// for an earlier one is of no use any more.
    pub(in crate::gateway) seats: u32,
    /// Of the attempts, repetitions: the target of each, by number.
    repeats: Vec<usize>,
    /// Targets that are not asked (again), by number.
    out: Vec<usize>,
    /// The largest window that was too small for the prompt.
    overflowed: Option<u64>,
    /// What the request occupies while it is with a target.
    seat: Option<Seat>,
    /// Since when it is with none.
    seatless_since: Option<Instant>,
    /// Why the first attempt failed: what the client is told if none succeeds.
    first: Option<Box<Told>>,
    /// Providers whose limits were met, for a time that nobody told.
    guessed: Vec<usize>,
    /// Whether something was not waited for since its client has less patience than the config.
    pub(in crate::gateway) is_hasty: bool,
    /// What the client was told by an attempt that broke, for the next one to continue.
    pub(in crate::gateway) said: Option<Box<Said>>,
    /// Whether the client is told the route's message, since no target could answer.
    pub(in crate::gateway) is_message: bool,
    /// Since when it has waited.
    waits_since: Option<Instant>,
    /// Where it stands in line.
    places: Vec<(Resource, Place)>,
    /// Whether it waits to know if other shards have what it needs.
    is_asking: bool,
    /// What is kept for it meanwhile.
    pub(in crate::gateway) keeps: Option<Keeps>,
    /// The line of which it is the next one, and therefore looks.
    next_in: Option<Resource>,
    /// The client among whose requests it counts that are worked on.
    entered: Option<u64>,
}

/// A request's place at a target: by the numbers of the request's own config.
#[derive(Clone, Copy, Debug)]
struct Seat {
    target: usize,
    provider: usize,
    key: Option<usize>,
    /// Where it is counted, if it is anywhere.
    counted: Option<Counted>,
    is_key_probe: bool,
    is_probe: bool,
    /// Tokens that the key was charged with.
    tokens: u64,
    since: Instant,
    /// How long it was with none before.
    waited: Duration,
}

/// Where a seat is counted: by the numbers of the shard's config, as far as that knows them.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// Of which config. States of another one know nothing of it.
    generation: u32,
    target: Option<usize>,
    /// Where it is told how the target fares.
    spot: Option<Spot>,
    provider: usize,
    key: Option<usize>,
}

/// A failure as it may be told to the client.
#[derive(Debug)]
pub(in crate::gateway) struct Told {
    pub(in crate::gateway) failure: Failure,
    /// The upstream's own words, for a client of the same API.
    pub(in crate::gateway) answer: Option<ErrorAnswer>,
}

/// An upstream's answer that tells an error.
#[derive(Debug)]
pub(in crate::gateway) struct ErrorAnswer {
    pub(in crate::gateway) status: u16,
    pub(in crate::gateway) body: Bytes,
    pub(in crate::gateway) fields: Fields,
    /// Whether the client speaks the upstream's API.
    pub(in crate::gateway) is_same: bool,
    /// Whether it can go on to the client as it is.
    pub(in crate::gateway) is_passed: bool,
}

impl Told {
    pub(in crate::gateway) fn new(failure: Failure) -> Told {
        Told {
            failure,
            answer: None,
        }
    }

    /// The client is to come back after `wait`. The upstream's own words stay where they say that.
    fn come_back_in(&mut self, wait: Duration) {
        if self.failure.retry_after.replace(wait) == Some(wait) {
            return;
        }
        if let Some(answer) = &mut self.answer {
            answer.fields.remove("retry-after");
            answer.fields.remove("retry-after-ms");
        }
    }
}

impl Shard {
    /// Finds a target and a key for the request, and sends it there; or waits; or gives up.
    pub(in crate::gateway) fn choose(&mut self, id: ExchangeId) {
        loop {
            let Some(exchange) = self.exchanges.get_mut(id) else {
                return;
            };
            if exchange.state != State::Choosing {
                return;
            }
            if let Race::Against(rival) = exchange.race {
                self.take_over(rival);
                return;
            }
            if !Arc::ptr_eq(&exchange.snapshot, &self.ctx.snapshot) {
                // What is known of targets and keys is of the present config.
                if exchange.is_rival() {
                    self.call_off(id);
                    return;
                }
                exchange.adopt(&self.ctx.snapshot);
            }
            exchange.deadlines.clear(Phase::Backoff);
            exchange
                .plan
                .seatless_since
                .get_or_insert(self.ctx.now.mono);
            if !self.enter(id) {
                return;
            }
            let Some(exchange) = self.exchanges.get(id) else {
                return;
            };
            let is_rival = exchange.is_rival();
            let retry = &exchange.snapshot.retry;
            if exchange.plan.attempts >= retry.attempts_max {
                self.await_keys(id);
                self.give_up(id, None);
                return;
            }
            self.let_go(id);
            match self.find(id) {
                Found::Seat(upstream, spot, key) => {
                    self.sit(id, &upstream, spot, key);
                    self.stick(id);
                    if self.encoded_for(id, &upstream) {
                        return;
                    }
                    // This target cannot be told what is asked; the next one is tried.
                }
                Found::Wait(_) if is_rival => {
                    self.call_off(id);
                    return;
                }
                Found::Wait(wait) => {
                    self.wait(id, &wait);
                    return;
                }
                Found::None(failure) => {
                    self.give_up(id, failure);
                    return;
                }
            }
        }
    }

    /// The request takes its place at a target.
    fn sit(
        &mut self,
        id: ExchangeId,
        upstream: &Arc<Upstream>,
        spot: Option<Spot>,
        key: Option<usize>,
    ) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let is_current = Arc::ptr_eq(&exchange.snapshot, &self.ctx.snapshot);
        let prepared = exchange.prepared.as_deref();
        let tokens = prepared.map_or(0, |prepared| prepared.input_tokens_estimate);
        let mut seat = Seat {
            target: upstream.target,
            provider: upstream.provider,
            key,
            counted: None,
            is_key_probe: false,
            is_probe: false,
            tokens,
            since: now,
            waited: now.since(exchange.plan.seatless_since.unwrap_or(now)),
        };
        let mut counted = Counted {
            generation: self.ctx.generation,
            target: Some(upstream.target),
            spot,
            provider: upstream.provider,
            key,
        };
        if is_current {
            for resource in counted.resources() {
                self.lines.occupy(resource);
            }
            if let (None, Some(prepared)) = (spot, prepared) {
                let (snapshot, model) = (&exchange.snapshot, prepared.model.unescape());
                counted.spot = self.targets.find_or_add(snapshot, upstream, &model, now);
            }
            if let Some(state) = counted.spot.and_then(|spot| self.targets.get_mut(spot)) {
                let is_first = exchange.plan.repeats_at(upstream.target) == 0;
                let percent = exchange.manner().map_or(0, |manner| manner.hedge_percent);
                seat.is_probe = state.begun(is_first, percent, now, &exchange.snapshot);
            }
            if let (Some(key), Some(state)) = (key, self.providers.get_mut(upstream.provider)) {
                seat.is_key_probe = state.keys.take(key, tokens, now);
            }
            seat.counted = Some(counted);
        }
        exchange.plan.seat = Some(seat);
        exchange.plan.attempts += 1;
        exchange.plan.seats += 1;
        let target = Resource::Target(upstream.target);
        let provider = Resource::Provider(upstream.provider);
        self.stop_waiting(id, &[target, provider]);
    }

    /// The request leaves its place: what the attempt says about target and key is noted, and those
    /// who waited for the key go on.
    pub(in crate::gateway) fn leave(&mut self, id: ExchangeId, verdict: Verdict) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let usage = &exchange.access.usage;
        let used = usage.input.zip(usage.output);
        let used = used.map(|(prompt, answer)| prompt.saturating_add(answer));
        let Some(seat) = exchange.plan.seat.take() else {
            return;
        };
        exchange.plan.seatless_since = Some(now);
        let Some(counted) = seat.counted_at(self.ctx.generation) else {
            return;
        };
        if let Some(state) = counted.spot.and_then(|spot| self.targets.get_mut(spot)) {
            let (snapshot, rng) = (&self.ctx.snapshot, &mut self.ctx.rng);
            let ending = exchange.access.attempts.last().map(|it| it.ending);
            if let (Verdict::Failed, Some(Ending::Failed(class))) = (verdict, ending) {
                state.failed_by = Some(class);
            }
            let news = state.ended(seat.is_probe, verdict, now, snapshot, rng);
            self.tell_of_target(news);
            self.is_probe_lost |= seat.is_probe && verdict != Verdict::Well;
        }
        if let Some((key, state)) = counted.key_state(&mut self.providers) {
            let (is_probe, tokens) = (seat.is_key_probe, seat.tokens);
            state
                .keys
                .release(key, is_probe, tokens, used, seat.since, now);
        }
        if let Some(key) = counted.key {
            self.pay_with_key(counted.provider, key);
        }
        for resource in counted.resources() {
            self.lines.vacate(resource);
        }
    }

    /// The upstream accepted the request.
    pub(in crate::gateway) fn accepted_by_upstream(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(seat) = &mut exchange.plan.seat else {
            return;
        };
        let is_probe = core::mem::take(&mut seat.is_key_probe);
        let since = seat.since;
        let Some(counted) = seat.counted_at(self.ctx.generation) else {
            return;
        };
        let Some((key, state)) = counted.key_state(&mut self.providers) else {
            return;
        };
        let is_news = state.keys.accept(key, is_probe, since);
        let name = state.key_names.get(key).filter(|_| is_news);
        if let Some(&key) = name {
            self.tell(Message::KeyWorks { key, sent: since });
        }
        if is_news || is_probe {
            self.lines.wake(Resource::Provider(counted.provider));
        }
    }

    /// Content has come: the target is well so far.
    pub(in crate::gateway) fn content_came(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(seat) = &mut exchange.plan.seat else {
            return;
        };
        let is_probe = core::mem::take(&mut seat.is_probe);
        let spot = seat.spot_at(self.ctx.generation);
        let Some(state) = spot.and_then(|spot| self.targets.get_mut(spot)) else {
            return;
        };
        state.content_came(now.since(seat.since), now);
        if is_probe {
            let (snapshot, rng) = (&self.ctx.snapshot, &mut self.ctx.rng);
            let news = state.judged(true, Verdict::Begun, now, snapshot, rng);
            self.tell_of_target(news);
        }
    }

    /// The request is written for `upstream`, if that is not done; long ones on a host thread.
    /// Says whether the request goes on there.
    fn encoded_for(&mut self, id: ExchangeId, upstream: &Arc<Upstream>) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return true;
        };
        let dialect = exchange.request.dialect;
        let Some(prepared) = exchange.prepared.as_deref_mut() else {
            return true;
        };
        let Destination::Chain(routed) = &mut prepared.destination else {
            return true;
        };
        let said = exchange.plan.said.as_ref();
        let prefill = said.map_or("", |said| said.prefill());
        let is_written = |prompt: &Prompt| {
            prompt.upstream.target == upstream.target && prompt.prefill_bytes == prefill.len()
        };
        if routed.prompt.as_ref().is_some_and(is_written) {
            exchange.step(Step::Chosen);
            self.begin_attempt(id);
            return true;
        }
        let encode = Encode {
            snapshot: Arc::clone(&exchange.snapshot),
            dialect,
            source: routed.source.clone(),
            upstream: Arc::clone(upstream),
            model: prepared.model.clone(),
            prefill: prefill.to_owned(),
        };
        routed.prompt = None;
        if routed.source.len() <= self.ctx.limits.shard.turn_bytes_max {
            let prompt = encode.run(&mut self.ctx.tape);
            return self.take_prompt(id, prompt);
        }
        exchange.step(Step::Encoding);
        if self
            .ctx
            .perform(Work::Encode(Box::new(encode)), id, exchange.plan.seats)
            .is_none()
        {
            let message = "the gateway works on as many large requests as it may";
            let failure = Failure::new(Class::Overloaded, message).blame(Blame::Gateway);
            self.leave_unsent(id);
            self.answer_failure(id, failure);
        }
        true
    }

    /// A request was written for another target on a host thread.
    pub(in crate::gateway) fn encoded(
        &mut self,
        id: ExchangeId,
        prompt: Result<Box<Prompt>, Box<Failure>>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.state != State::Encoding {
            return;
        }
        exchange.step(Step::Encoded);
        if !self.take_prompt(id, prompt) {
            self.choose(id);
        }
    }

    fn take_prompt(&mut self, id: ExchangeId, prompt: Result<Box<Prompt>, Box<Failure>>) -> bool {
        match prompt {
            Ok(prompt) => {
                if let Some(exchange) = self.exchanges.get_mut(id) {
                    if let Some(routed) = exchange.routed_mut() {
                        routed.prompt = Some(*prompt);
                    }
                    exchange.step(Step::Chosen);
                }
                self.begin_attempt(id);
                true
            }
            Err(failure) => {
                if let Some(exchange) = self.exchanges.get_mut(id) {
                    exchange.plan.rule_out(exchange.target());
                    exchange.plan.remember(Told::new(*failure));
                }
                self.leave_unsent(id);
                false
            }
        }
    }

    /// An attempt failed before the client saw any of its answer: the request goes on as the table
    /// of `policy::retry` says.
    pub(in crate::gateway) fn attempt_over(&mut self, id: ExchangeId, told: Told) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.step(Step::Failed);
        let had_content = exchange.has_content();
        let was_waiting = exchange.end_attempt();
        let failure = &told.failure;
        let (class, retry_after) = (failure.class, failure.retry_after);
        let mut next = retry::next(failure);
        if exchange.plan.said.is_some() && class == Class::InvalidRequest {
            // It was not the client that asked this target to go on.
            next = Next::Target;
        }
        let verdict = match failure.blame {
            Blame::Upstream => Verdict::Failed,
            Blame::Client | Blame::Gateway | Blame::Key => Verdict::Nothing,
        };
        exchange.note_attempt(&mut self.ctx, Ending::Failed(class));
        let seat = exchange.plan.seat;
        exchange.plan.remember(told);
        if let Some(seat) = seat.filter(|_| class == Class::RateLimit) {
            let is_known = retry_after.is_some();
            exchange.plan.met_limit(seat.provider, is_known);
        }
        if class == Class::Timeout && verdict == Verdict::Failed && !had_content {
            self.waited_in_vain(id);
        }
        if was_waiting {
            self.forget_lookup(id);
        }
        if next == Next::Key {
            self.blame_key(seat, class, retry_after);
        }
        self.leave(id, verdict);
        self.go_on(id, (next, class, retry_after), seat);
    }

    /// What becomes of a request whose attempt failed so, at the place that it had.
    fn go_on(
        &mut self,
        id: ExchangeId,
        (next, class, retry_after): (Next, Class, Option<Duration>),
        seat: Option<Seat>,
    ) {
        let target = seat.map(|seat| seat.target);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.access.usage = Usage::default();
        if exchange.plan.said.is_none() {
            // Of what it has said the client has seen nothing.
            exchange.access.first_content = None;
        }
        match exchange.race {
            Race::RivalOf(_) => {
                if next == Next::Target {
                    exchange.rule_out(target, class);
                }
                self.call_off(id);
                return;
            }
            Race::Against(rival) if next != Next::Nowhere => {
                exchange.rule_out(target, class);
                self.take_over(rival);
                return;
            }
            Race::Against(_) | Race::Alone => {}
        }
        match next {
            Next::Nowhere => {
                self.give_up(id, None);
                return;
            }
            Next::Target => exchange.rule_out(target, class),
            _ if !exchange.may_continue_here() => exchange.rule_out(target, class),
            Next::Key => {
                // A limit may be waited out, and another key may be had.
                let is_limit = class == Class::RateLimit;
                let keys = exchange.provider().map_or(0, |it| it.keys().len());
                let generation = self.ctx.generation;
                let is_known = seat.is_some_and(|seat| seat.counted_at(generation).is_some());
                if !is_known || keys == 0 || (keys == 1 && !is_limit) {
                    exchange.plan.rule_out(target);
                }
            }
            Next::Here => {
                if self.repeat(id, seat, retry_after) {
                    return;
                }
            }
        }
        self.choose(id);
    }

    /// Prepares a repetition on the same target, if it may have one; else rules the target out.
    /// Says whether it has to be waited for.
    fn repeat(&mut self, id: ExchangeId, seat: Option<Seat>, asked: Option<Duration>) -> bool {
        let now = self.ctx.now.mono;
        let target = seat.map(|seat| seat.target);
        let spot = seat.and_then(|seat| seat.spot_at(self.ctx.generation));
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return true;
        };
        let has_others = exchange.has_other_than(target);
        let snapshot = Arc::clone(&exchange.snapshot);
        let provider = exchange.prompt().map(|prompt| prompt.upstream.provider);
        let retry = provider.map_or(&snapshot.retry, |provider| snapshot.retry_at(provider));
        let plan = &mut exchange.plan;
        let repeats = target.map_or(0, |target| plan.repeats_at(target));
        let backoff = retry.backoff(repeats, &mut self.ctx.rng);
        let wait = backoff.max(asked.unwrap_or_default());
        let is_long = wait > retry.wait_max
            || now + wait >= exchange.due
            || (has_others && asked > Some(retry.backoff_max));
        let mut state = spot.and_then(|spot| self.targets.get_mut(spot));
        let is_left_alone = state.as_ref().is_some_and(|state| {
            let admission = state.breaker.would_admit(now + wait);
            matches!(admission, Admission::Refused { .. })
        });
        let may_repeat = !is_long
            && !is_left_alone
            && repeats < retry.repeats_max
            && plan.attempts < retry.attempts_max
            && state.as_mut().is_none_or(|state| state.budget.spend(now));
        if !may_repeat {
            plan.rule_out(target);
            exchange.plan.is_hasty |= exchange.is_hasty(now + wait);
            return false;
        }
        plan.repeats.extend(target);
        self.ctx
            .counters
            .repeated(provider.and_then(|it| snapshot.providers.get(it)));
        exchange.deadlines.set(Phase::Backoff, now + wait);
        exchange.rearm(&mut self.ctx);
        true
    }

    /// The provider did not accept the key, or it is at its limit.
    fn blame_key(&mut self, seat: Option<Seat>, class: Class, retry_after: Option<Duration>) {
        let now = self.ctx.now.mono;
        let counted = seat.and_then(|seat| seat.counted_at(self.ctx.generation));
        let state = counted.and_then(|counted| counted.key_state(&mut self.providers));
        let Some((key, state)) = state else {
            return;
        };
        let refused = (class != Class::RateLimit).then_some(class);
        let until = match refused {
            None => state.keys.cool(key, retry_after, now),
            Some(class) => state.keys.refuse(key, class, now),
        };
        if let (Some(until), Some(&key)) = (until, state.key_names.get(key)) {
            self.tell(Message::Key {
                key,
                until,
                refused,
            });
        }
    }

    /// No target can answer: the client is told why the first one did not, else `failure`.
    fn give_up(&mut self, id: ExchangeId, failure: Option<Box<Failure>>) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.is_rival() {
            // The one that it runs against may still be answered.
            self.call_off(id);
            return;
        }
        let first = exchange.plan.first.take();
        let why = first.as_ref().map(|told| &told.failure);
        if let Some(why) = why.or(failure.as_deref())
            && let Some(text) = exchange.manner().and_then(|it| it.message.clone())
            && matches!(why.blame, Blame::Key | Blame::Upstream)
            && exchange.plan.said.is_none()
        {
            let why = why.clone();
            self.tell_message(id, &text, &why);
            return;
        }
        match (first, failure) {
            (Some(mut told), failure) => {
                // When to come back is known better by now.
                if let Some(later) = failure.and_then(|failure| failure.retry_after) {
                    told.come_back_in(later);
                }
                self.answer_told(id, *told);
            }
            (None, Some(failure)) => self.answer_failure(id, *failure),
            (None, None) => {
                let message = "no target of the model can be asked";
                let failure = Failure::new(Class::Unavailable, message).blame(Blame::Gateway);
                self.answer_failure(id, failure);
            }
        }
    }
}

impl Seat {
    /// Where it is counted under the config of `generation`.
    fn counted_at(&self, generation: u32) -> Option<Counted> {
        self.counted.filter(|it| it.generation == generation)
    }

    /// Where it is told how the target fares, under the config of `generation`.
    fn spot_at(&self, generation: u32) -> Option<Spot> {
        self.counted_at(generation)?.spot
    }
}

impl Counted {
    fn resources(&self) -> impl Iterator<Item = Resource> + use<> {
        let target = self.target.map(Resource::Target);
        target
            .into_iter()
            .chain([Resource::Provider(self.provider)])
    }

    /// The key, and where it is known how that fares.
    fn key_state<'p>(
        &self,
        providers: &'p mut [ProviderState],
    ) -> Option<(usize, &'p mut ProviderState)> {
        self.key.zip(providers.get_mut(self.provider))
    }
}

impl Plan {
    /// Whether it waits to know if other shards have what it needs.
    pub(in crate::gateway) const fn is_asking(&self) -> bool {
        self.is_asking
    }

    /// The plan of an attempt beside this one's at `target`.
    pub(super) fn beside(&self, target: Option<usize>) -> Plan {
        let mut out = self.out.clone();
        out.extend(target);
        Plan {
            attempts: self.attempts,
            out,
            overflowed: self.overflowed,
            ..Plan::default()
        }
    }

    /// Goes on where `other` ended, whose target was `late` and no more than that.
    pub(super) fn take_over(&mut self, other: Plan, late: Option<usize>) {
        self.first = other.first;
        self.out.retain(|&target| Some(target) != late);
        self.out.extend(other.out);
        self.overflowed = self.overflowed.max(other.overflowed);
        self.entered = other.entered;
    }

    /// Goes on without the attempt beside it, whose plan was `rival`.
    pub(super) fn go_on_after(&mut self, rival: Plan) {
        self.attempts = rival.attempts;
        let own = self.seat.map(|seat| seat.target);
        let known = |it: &usize| Some(*it) != own && !self.out.contains(it);
        let failed: Vec<usize> = rival.out.into_iter().filter(known).collect();
        self.out.extend(failed);
        self.overflowed = self.overflowed.max(rival.overflowed);
    }

    fn rule_out(&mut self, target: Option<usize>) {
        self.out.extend(target);
    }

    /// How often the target was asked once more.
    fn repeats_at(&self, target: usize) -> u32 {
        let repeats = self.repeats.iter().filter(|&&it| it == target);
        u32::try_from(repeats.count()).unwrap_or(u32::MAX)
    }

    /// A limit of the provider was met, and it is known how long that holds, or only guessed.
    fn met_limit(&mut self, provider: usize, is_known: bool) {
        self.guessed.retain(|&it| it != provider);
        self.guessed.extend((!is_known).then_some(provider));
    }

    /// Keeps the first failure: those of later targets would hide why the one that was meant did
    /// not answer.
    fn remember(&mut self, told: Told) {
        self.first.get_or_insert_with(|| Box::new(told));
    }
}

fn provider_name(snapshot: &Snapshot, index: usize) -> Arc<str> {
    let provider = snapshot.providers.get(index);
    provider.map_or_else(|| "?".into(), |provider| Arc::clone(&provider.name))
}
