//! The plan of a request: which target and key it is sent to, and what is done when that fails.
//!
//! Nothing of an answer has reached the client while a plan goes on, so any target that can answer
//! will do. Once content has gone out there is no plan any more: what fails then is told in the
//! stream.

mod asked;
mod candidates;
mod learn;
mod placing;

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;

use self::candidates::Candidates;
use self::placing::Placing;
use super::super::Shard;
use super::super::io::{Message, Work};
use super::super::prepare::{Destination, Encode, Prompt, Routed};
use super::super::provider::ProviderState;
use super::super::target::TargetState;
use super::Answer;
use super::deadlines::Phase;
use super::state::{State, Step};
use crate::base::{ExchangeId, Instant};
use crate::config::{Provider, Snapshot, Upstream};
use crate::ir::{Blame, Class, Failure};
use crate::policy::balance::Session;
use crate::policy::breaker::{Admission, Verdict};
use crate::policy::keys::NoKey;
use crate::policy::retry::{self, Next};
use crate::record::Outcome;
use crate::wire::http1::Fields;

/// How far the plan of a request has come.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Plan {
    /// Requests sent so far.
    pub(in crate::gateway) attempts: u32,
    /// Of these, repetitions on the present target.
    repeats: u32,
    /// Targets that are not asked (again), by number.
    out: Vec<usize>,
    /// The largest window that was too small for the prompt.
    overflowed: Option<u64>,
    /// What the request occupies while it is with a target.
    seat: Option<Seat>,
    /// Why the first attempt failed: what the client is told if none succeeds.
    first: Option<Box<Told>>,
    /// Whether the last attempt's failure said when to come back.
    is_told_when: bool,
    /// Whether the client is told the route's message, since no target could answer.
    pub(in crate::gateway) is_message: bool,
    /// Since when it has waited for a key.
    waits_since: Option<Instant>,
}

/// A request's place at a target.
#[derive(Clone, Copy, Debug)]
struct Seat {
    target: usize,
    provider: usize,
    key: Option<usize>,
    is_key_probe: bool,
    is_probe: bool,
    /// Tokens that the key was charged with.
    tokens: u64,
    /// States of another config know nothing of it.
    generation: Option<u32>,
    since: Instant,
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

/// What looking for a target came to.
enum Found {
    Seat(Arc<Upstream>, Option<usize>),
    /// None now, but a key will be free.
    Wait(Wait),
    /// None, and waiting does not help, or not soon.
    None(Option<Box<Failure>>),
}

/// When a key will be free.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// The provider whose key it is.
    provider: usize,
    /// At this time, if that is known.
    until: Option<Instant>,
    /// Perhaps when another request ends that uses one of this provider's.
    busy: Option<usize>,
}

impl Told {
    pub(in crate::gateway) fn new(failure: Failure) -> Told {
        Told {
            failure,
            answer: None,
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
            exchange.deadlines.clear(Phase::Backoff);
            let retry = &exchange.snapshot.retry;
            if exchange.plan.attempts >= retry.attempts_max {
                self.give_up(id, None);
                return;
            }
            match self.find(id) {
                Found::Seat(upstream, key) => {
                    self.sit(id, &upstream, key);
                    self.stick(id, &upstream);
                    if self.encoded_for(id, &upstream) {
                        return;
                    }
                    // This target cannot be told what is asked; the next one is tried.
                }
                Found::Wait(wait) => {
                    self.wait_for_key(id, wait);
                    return;
                }
                Found::None(failure) => {
                    self.give_up(id, failure);
                    return;
                }
            }
        }
    }

    /// Looks through the chain, in order.
    fn find(&mut self, id: ExchangeId) -> Found {
        let Some(exchange) = self.exchanges.get(id) else {
            return Found::None(None);
        };
        let Some(prepared) = exchange.prepared.as_deref() else {
            return Found::None(None);
        };
        let Destination::Chain(routed) = &prepared.destination else {
            return Found::None(None);
        };
        let mut search = Search {
            now: self.ctx.now.mono,
            session: prepared.session,
            tokens: prepared.input_tokens_estimate,
            is_current: Arc::ptr_eq(&exchange.snapshot, &self.ctx.snapshot),
            is_alone: routed.is_alone(),
            closed: None,
            waits: None,
            refused: None,
        };
        let placing = Placing {
            targets: &self.targets,
            affinity: &self.affinity,
            now: search.now,
        };
        let placing = search.is_current.then_some(placing);
        let candidates = Candidates::of(prepared, routed, &exchange.plan, placing);
        for &upstream in &candidates.targets {
            let Some(provider) = exchange.snapshot.providers.get(upstream.provider) else {
                continue;
            };
            let target = self.targets.get(upstream.target);
            let state = self.providers.get_mut(upstream.provider);
            if let Some(key) = search.look(upstream, provider, target, state) {
                return Found::Seat(Arc::clone(upstream), key);
            }
        }
        let failure = search.failure(&exchange.snapshot);
        let failure = failure.or_else(|| candidates.failure());
        match search.waits {
            Some(wait) => Found::Wait(wait),
            None => Found::None(failure.map(Box::new)),
        }
    }

    /// The request takes its place at a target.
    fn sit(&mut self, id: ExchangeId, upstream: &Arc<Upstream>, key: Option<usize>) {
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
            is_key_probe: false,
            is_probe: false,
            tokens,
            generation: is_current.then_some(self.ctx.generation),
            since: now,
        };
        if is_current {
            if let Some(state) = self.targets.get_mut(upstream.target) {
                let is_first = exchange.plan.repeats == 0;
                seat.is_probe = state.begun(is_first, now, &exchange.snapshot);
            }
            if let (Some(key), Some(state)) = (key, self.providers.get_mut(upstream.provider)) {
                seat.is_key_probe = state.keys.take(key, tokens, now);
            }
        }
        exchange.plan.seat = Some(seat);
        exchange.plan.attempts += 1;
        exchange.plan.waits_since = None;
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
        if seat.generation != Some(self.ctx.generation) {
            return;
        }
        if let Some(state) = self.targets.get_mut(seat.target) {
            let (snapshot, rng) = (&self.ctx.snapshot, &mut self.ctx.rng);
            let news = state.ended(seat.is_probe, verdict, now, snapshot, rng);
            if let Some(news) = news {
                self.tell(news);
            }
        }
        let (Some(key), Some(state)) = (seat.key, self.providers.get_mut(seat.provider)) else {
            return;
        };
        let (is_probe, tokens) = (seat.is_key_probe, seat.tokens);
        state.keys.release(key, is_probe, tokens, used, now);
        self.key_freed(seat.provider);
    }

    /// A key can be used again, perhaps: whoever waits looks.
    fn key_freed(&mut self, provider: usize) {
        if let Some(state) = self.providers.get_mut(provider) {
            self.pending_choices.extend(state.queue.drain(..));
        }
    }

    /// The upstream accepted the request.
    pub(in crate::gateway) fn accepted_by_upstream(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(seat) = &exchange.plan.seat else {
            return;
        };
        let (provider, key, since) = (seat.provider, seat.key, seat.since);
        if seat.generation == Some(self.ctx.generation)
            && let (Some(key), Some(state)) = (key, self.providers.get_mut(provider))
            && state.keys.accept(key, since)
        {
            self.key_freed(provider);
        }
    }

    /// Content has come: the target is well, whatever becomes of the rest.
    pub(in crate::gateway) fn content_came(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(seat) = &mut exchange.plan.seat else {
            return;
        };
        let is_probe = core::mem::take(&mut seat.is_probe);
        let state = self.targets.get_mut(seat.target);
        let state = state.filter(|_| seat.generation == Some(self.ctx.generation));
        let Some(state) = state else {
            return;
        };
        state.latency.observe(now.since(seat.since), now);
        if is_probe {
            let (snapshot, rng) = (&self.ctx.snapshot, &mut self.ctx.rng);
            let news = state.judged(true, Verdict::Well, now, snapshot, rng);
            if let Some(news) = news {
                self.tell(news);
            }
        }
    }

    /// The request is written for `upstream`, if that is not done; long ones on a host thread.
    /// Says whether the request goes on there.
    fn encoded_for(&mut self, id: ExchangeId, upstream: &Arc<Upstream>) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return true;
        };
        let dialect = exchange.request.dialect;
        let snapshot = Arc::clone(&exchange.snapshot);
        let Some(prepared) = exchange.prepared.as_deref_mut() else {
            return true;
        };
        let Destination::Chain(routed) = &mut prepared.destination else {
            return true;
        };
        let is_written = |prompt: &Prompt| prompt.upstream.target == upstream.target;
        if routed.prompt.as_ref().is_some_and(is_written) {
            exchange.step(Step::Chosen);
            self.begin_attempt(id);
            return true;
        }
        let encode = Encode {
            snapshot,
            dialect,
            source: routed.source.clone(),
            upstream: Arc::clone(upstream),
            model: prepared.model.clone(),
        };
        routed.prompt = None;
        if routed.source.len() <= self.ctx.limits.shard.turn_bytes_max {
            let prompt = encode.run(&mut self.ctx.tape);
            return self.take_prompt(id, prompt);
        }
        exchange.step(Step::Encoding);
        if self
            .ctx
            .perform(Work::Encode(Box::new(encode)), id)
            .is_none()
        {
            let message = "the gateway works on as many large requests as it may";
            let failure = Failure::new(Class::Overloaded, message).blame(Blame::Gateway);
            self.leave(id, Verdict::Nothing);
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
                    // Nothing was sent.
                    exchange.plan.attempts -= 1;
                    exchange.plan.rule_out(exchange.target());
                    exchange.plan.remember(Told::new(*failure));
                }
                self.leave(id, Verdict::Nothing);
                false
            }
        }
    }

    /// Waits for a key: until a time, or until one is free.
    fn wait_for_key(&mut self, id: ExchangeId, wait: Wait) {
        let Wait {
            provider,
            until,
            busy,
        } = wait;
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let since = *exchange.plan.waits_since.get_or_insert(now);
        let patience = (since + exchange.snapshot.retry.wait_max).min(exchange.due);
        // How long a limit holds that was met just now is only guessed if nobody said.
        let is_guess = exchange.plan.first.is_some() && !exchange.plan.is_told_when;
        let is_soon = until.is_some_and(|until| until <= patience) || busy.is_some();
        let is_in_time = is_soon && now < patience && (!is_guess || busy.is_some());
        if !is_in_time {
            let name = exchange.snapshot.providers.get(provider);
            let name = name.map_or("?", |provider| &*provider.name);
            let message = format!("every key of the provider `{name}` is at its limit");
            let mut failure = Failure::new(Class::RateLimit, message);
            failure.retry_after = until.map(|until| until.since(now));
            self.give_up(id, Some(Box::new(failure)));
            return;
        }
        if let Some(state) = busy.and_then(|busy| self.providers.get_mut(busy)) {
            state.queue.push_back(id);
        }
        let until = until.map_or(patience, |until| until.min(patience));
        exchange.deadlines.set(Phase::Backoff, until);
        exchange.rearm(&mut self.ctx);
    }

    /// Whether key or target must be left alone by now, since something was learnt of them while
    /// the connection was made.
    pub(in crate::gateway) fn is_seat_lost(&self, id: ExchangeId) -> bool {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get(id) else {
            return false;
        };
        let seat = exchange.plan.seat;
        let Some(seat) = seat.filter(|it| it.generation == Some(self.ctx.generation)) else {
            return false;
        };
        let is_alone = exchange.routed().is_some_and(Routed::is_alone);
        let keys = self.providers.get(seat.provider).map(|state| &state.keys);
        let is_key_lost = seat.key.zip(keys).is_some_and(|(key, keys)| {
            let is_needed = is_alone && keys.is_last_resort(key, now);
            !is_needed && !keys.may_send(key, seat.is_key_probe, now)
        });
        let target = self.targets.get(seat.target).filter(|_| !is_alone);
        is_key_lost
            || target.is_some_and(|state| {
                !seat.is_probe && state.breaker.would_admit(now) != Admission::Call
            })
    }

    /// The request could not be sent, and looks for another target or key.
    pub(in crate::gateway) fn choose_anew(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.step(Step::Failed);
        exchange.attempt.upstream = None;
        exchange.deadlines.clear(Phase::Connect);
        if core::mem::take(&mut exchange.attempt.needs_fresh) {
            // It was sent, on a connection that turned out dead.
            exchange.note_attempt(self.ctx.now.mono, Some(Class::BadGateway));
        } else {
            exchange.plan.attempts -= 1;
        }
        self.leave(id, Verdict::Nothing);
        self.choose(id);
    }

    /// An attempt failed before the client saw any of its answer: the request goes on as the table
    /// of `policy::retry` says.
    pub(in crate::gateway) fn attempt_over(&mut self, id: ExchangeId, told: Told) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.step(Step::Failed);
        exchange.answer = Answer::None;
        let was_waiting = core::mem::take(&mut exchange.attempt.is_waiting);
        exchange.attempt.needs_fresh = false;
        for phase in [
            Phase::Connect,
            Phase::Tls,
            Phase::FirstContent,
            Phase::Idle,
            Phase::Ending,
        ] {
            exchange.deadlines.clear(phase);
        }
        let failure = &told.failure;
        let (class, retry_after) = (failure.class, failure.retry_after);
        let next = retry::next(failure);
        let verdict = match failure.blame {
            Blame::Upstream => Verdict::Failed,
            Blame::Client | Blame::Gateway | Blame::Key => Verdict::Nothing,
        };
        exchange.note_attempt(now, Some(class));
        exchange.plan.is_told_when = retry_after.is_some();
        let target = exchange.target();
        let seat = exchange.plan.seat;
        exchange.plan.remember(told);
        if class == Class::Timeout {
            self.waited_in_vain(seat);
        }
        if was_waiting {
            self.forget_lookup(id);
        }
        if next == Next::Key {
            self.blame_key(seat, class, retry_after);
        }
        self.leave(id, verdict);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        match next {
            Next::Nowhere => {
                self.give_up(id, None);
                return;
            }
            Next::Target => exchange.rule_out(target, class),
            Next::Key => {
                // A limit may be waited out, and another key may be had.
                let is_limit = class == Class::RateLimit;
                let keys = exchange.provider().map_or(0, |it| it.keys().len());
                let is_known = seat.is_some_and(|seat| seat.generation.is_some());
                if !is_known || keys == 0 || (keys == 1 && !is_limit) {
                    exchange.plan.rule_out(target);
                }
            }
            Next::Here => {
                if self.repeat(id, target, retry_after) {
                    return;
                }
            }
        }
        self.choose(id);
    }

    /// Prepares a repetition on the same target, if it may have one; else rules the target out.
    /// Says whether it has to be waited for.
    fn repeat(&mut self, id: ExchangeId, target: Option<usize>, asked: Option<Duration>) -> bool {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return true;
        };
        let has_others = exchange.has_other_than(target);
        let retry = &exchange.snapshot.retry;
        let plan = &mut exchange.plan;
        let backoff = retry.backoff(plan.repeats, &mut self.ctx.rng);
        let wait = backoff.max(asked.unwrap_or_default());
        let is_long = wait > retry.wait_max
            || now + wait >= exchange.due
            || (has_others && asked > Some(retry.backoff_max));
        let may_repeat = !is_long
            && plan.repeats < retry.repeats_max
            && plan.attempts < retry.attempts_max
            && target
                .and_then(|target| self.targets.get_mut(target))
                .is_none_or(|state| state.budget.spend(now));
        if !may_repeat {
            plan.rule_out(target);
            return false;
        }
        plan.repeats += 1;
        exchange.deadlines.set(Phase::Backoff, now + wait);
        exchange.rearm(&mut self.ctx);
        true
    }

    /// The provider did not accept the key, or it is at its limit.
    fn blame_key(&mut self, seat: Option<Seat>, class: Class, retry_after: Option<Duration>) {
        let now = self.ctx.now.mono;
        let Some(seat) = seat.filter(|seat| seat.generation == Some(self.ctx.generation)) else {
            return;
        };
        let (Some(key), Some(state)) = (seat.key, self.providers.get_mut(seat.provider)) else {
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
        let first = exchange.plan.first.take();
        let why = first.as_ref().map(|told| &told.failure);
        if let Some(why) = why.or(failure.as_deref())
            && let Some(text) = exchange.manner().and_then(|it| it.message.clone())
            && matches!(why.blame, Blame::Key | Blame::Upstream)
        {
            let why = why.clone();
            self.tell_message(id, &text, &why);
            return;
        }
        match (first, failure) {
            (Some(mut told), failure) => {
                // When to come back is known better by now.
                if let Some(later) = failure.and_then(|failure| failure.retry_after) {
                    told.failure.retry_after = Some(later);
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

/// A look through the targets of a chain, and what stood in the way.
struct Search {
    now: Instant,
    session: Session,
    tokens: u64,
    /// Whether what is known of targets and keys is of the request's own config.
    is_current: bool,
    /// Whether there is only one target. Then it is asked although it fails, and with a key that
    /// was refused if it has no other: nothing is gained by sparing it, and the client learns at
    /// first hand how it fares.
    is_alone: bool,
    /// Of those whose breaker is open, the target that is asked again first.
    closed: Option<(Instant, usize)>,
    waits: Option<Wait>,
    refused: Option<(Class, usize)>,
}

impl Search {
    /// Whether the target can be asked, and with which key.
    fn look(
        &mut self,
        upstream: &Upstream,
        provider: &Provider,
        target: Option<&TargetState>,
        state: Option<&mut ProviderState>,
    ) -> Option<Option<usize>> {
        let count = provider.keys().len();
        if !self.is_current {
            let any = usize::try_from(self.session.0).unwrap_or(0);
            return Some(any.checked_rem(count));
        }
        if !self.is_alone
            && let Some(target) = target
            && let Admission::Refused { until } = target.breaker.would_admit(self.now)
        {
            if self.closed.is_none_or(|(at, _)| until < at) {
                self.closed = Some((until, upstream.provider));
            }
            return None;
        }
        if count == 0 {
            return Some(None);
        }
        let state = state?;
        if self.is_alone && state.keys.is_last_resort(0, self.now) {
            return Some(Some(0));
        }
        let limits = &state.key_limits;
        match state
            .keys
            .choose(self.session, self.tokens, limits, self.now)
        {
            Ok(key) => return Some(Some(key)),
            Err(NoKey::Refused(class)) => self.refused = Some((class, upstream.provider)),
            Err(NoKey::Busy) => self.wait(upstream.provider).busy = Some(upstream.provider),
            Err(NoKey::Until(at)) => {
                let wait = self.wait(upstream.provider);
                wait.until = Some(wait.until.map_or(at, |until| until.min(at)));
            }
        }
        None
    }

    fn wait(&mut self, provider: usize) -> &mut Wait {
        self.waits.get_or_insert(Wait {
            provider,
            until: None,
            busy: None,
        })
    }

    /// Why no target can be asked, as far as that is not the request's own doing.
    fn failure(&self, snapshot: &Snapshot) -> Option<Failure> {
        let name = |index| provider_name(snapshot, index);
        if let Some((until, provider)) = self.closed {
            let message = format!(
                "the provider `{}` has failed repeatedly and is left alone for now",
                name(provider)
            );
            let mut failure = Failure::new(Class::Overloaded, message);
            failure.retry_after = (until < Instant::FAR).then(|| until.since(self.now));
            return Some(failure);
        }
        let (class, provider) = self.refused?;
        let message = format!("the provider `{}` refuses its keys", name(provider));
        Some(Failure::new(class, message))
    }
}

impl Plan {
    fn rule_out(&mut self, target: Option<usize>) {
        self.out.extend(target);
        self.repeats = 0;
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

/// What an answer says about the target that it came from.
pub(in crate::gateway) const fn verdict_of(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Complete => Verdict::Well,
        Outcome::Failed {
            blame: Blame::Upstream,
            ..
        } => Verdict::Failed,
        Outcome::Failed { .. } | Outcome::ClientGone => Verdict::Nothing,
    }
}
