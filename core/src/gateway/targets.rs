//! [`Targets`]: the states of all targets of a shard.
//!
//! A model that the config names has a place of its own, found by its target's number. Behind a
//! pattern any model may be asked for, and each has a state too, so that one that is broken shuts
//! out no other: these come and go with the names that clients use. There are never more of them
//! than `models_max`; the one that was used least lately is forgotten first, those that never
//! answered well before the others, and none that is asked at this moment or is to be left alone.
//! Where none can be forgotten, and for names that cannot be a model's, the pattern has one state
//! for all.
//!
//! States of the same model of a provider are one, whatever names lead there.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::target::TargetState;
use crate::base::{Instant, JsonStr};
use crate::config::{RouteTarget, Snapshot, Upstream};
use crate::policy::balance;

/// Longer names are no model's.
const MODEL_BYTES_MAX: usize = 256;

/// Where the state of a target is, as long as requests are on their way to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Spot {
    place: usize,
    serial: u32,
}

/// What is known of the targets of the current config.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// First those that the config has, then those of models that clients have named.
    states: Vec<TargetState>,
    /// As many are the config's.
    settled: usize,
    models_max: usize,
    /// By the numbers of targets.
    leads: Vec<Option<Lead>>,
    /// Of each model, by what it is called among shards, where its state is.
    places: BTreeMap<u64, usize>,
}

/// Where a target leads.
#[derive(Clone, Copy, Debug)]
struct Lead {
    place: usize,
    /// Whether that is for models without a state of their own.
    is_pattern: bool,
    provider: usize,
    provider_hash: u64,
}

impl Targets {
    /// What is known of each target of `snapshot`: of those that were there under the config
    /// before, whose `old` states are, how they fare.
    pub(super) fn new(snapshot: &Snapshot, old: &Targets) -> Targets {
        let mut targets = Targets {
            models_max: snapshot.limits.shard.models_max,
            leads: vec![None; snapshot.targets()],
            ..Targets::default()
        };
        for route in &snapshot.routes {
            let RouteTarget::Chain(chain) = &route.target else {
                continue;
            };
            let name = route.pattern.is_literal().then_some(&*route.pattern.0);
            for upstream in chain.upstreams() {
                let model = upstream.model.as_ref().map(JsonStr::unescape);
                let own = name.map(|name| snapshot.name_at(upstream, name).into());
                targets.settle(snapshot, upstream, model.or(own).as_deref(), old);
            }
        }
        targets.settled = targets.states.len();
        targets.follow(old);
        targets
    }

    /// Gives a target its place, which is for `model` or for those of a pattern.
    fn settle(
        &mut self,
        snapshot: &Snapshot,
        upstream: &Upstream,
        model: Option<&str>,
        old: &Targets,
    ) {
        let provider = snapshot.provider_name(upstream);
        let provider = provider.map(|name| name.as_bytes()).unwrap_or_default();
        let provider_hash = balance::hash(provider);
        let name = name(provider_hash, model.unwrap_or_default());
        let next = self.states.len();
        let place = match model {
            Some(model) => match self.places.get(&name) {
                Some(&place) if self.is_at(place, model) => place,
                _ => next,
            },
            None => next,
        };
        if place == next {
            let before = old.state_of(name, model);
            self.states.push(TargetState {
                model: model.map(Arc::from),
                target: upstream.target,
                provider: upstream.provider,
                name,
                is_by_clients: false,
                ..before.map(TargetState::following).unwrap_or_default()
            });
            if model.is_some() {
                self.places.entry(name).or_insert(place);
            }
        }
        if let Some(lead) = self.leads.get_mut(upstream.target) {
            *lead = Some(Lead {
                place,
                is_pattern: model.is_none(),
                provider: upstream.provider,
                provider_hash,
            });
        }
    }

    /// Takes over the states of models that patterns still lead to, as many as there may be.
    fn follow(&mut self, old: &Targets) {
        let mut before: Vec<&TargetState> = old.states.iter().collect();
        before.retain(|state| state.is_by_clients || state.is_known());
        before.sort_by_key(|state| core::cmp::Reverse(state.used));
        for state in before {
            let Some(model) = &state.model else { continue };
            if self.states.len() - self.settled >= self.models_max {
                return;
            }
            if let Some(target) = self.target_for(state.name, model)
                && !self.places.contains_key(&state.name)
            {
                let place = self.states.len();
                self.add(place, target, state.following(), (state.name, model));
            }
        }
    }

    /// The state of the model that a client calls `model`, at `upstream`; `None` if nothing is
    /// known of it yet.
    pub(super) fn find(
        &self,
        snapshot: &Snapshot,
        upstream: &Upstream,
        model: &str,
        now: Instant,
    ) -> Option<Spot> {
        let lead = self.lead(upstream.target)?;
        if !lead.is_pattern {
            return self.spot(lead.place);
        }
        let model = snapshot.name_at(upstream, model);
        match self.places.get(&name(lead.provider_hash, model)) {
            Some(&place) if self.is_at(place, model) => self.spot(place),
            None if is_ordinary(model) && self.room(now).is_some() => None,
            // Another one may be called the same among shards.
            _ => self.spot(lead.place),
        }
    }

    /// The same, of a model that a request is to be sent to: from now on something is known of it.
    pub(super) fn find_or_add(
        &mut self,
        snapshot: &Snapshot,
        upstream: &Upstream,
        model: &str,
        now: Instant,
    ) -> Option<Spot> {
        if let Some(spot) = self.find(snapshot, upstream, model, now) {
            return Some(spot);
        }
        let lead = self.lead(upstream.target)?;
        let model = snapshot.name_at(upstream, model);
        let name = name(lead.provider_hash, model);
        let place = self.room(now)?;
        let fresh = TargetState::default();
        self.add(place, upstream.target, fresh, (name, model));
        self.spot(place)
    }

    /// Where the state is by now that was at `spot` among the `old` ones.
    pub(super) fn found_again(&self, old: &Targets, spot: Spot) -> Option<Spot> {
        let before = old.get(spot)?;
        let model = before.model.as_deref();
        let is_it =
            |state: &TargetState| state.name == before.name && state.model.as_deref() == model;
        match model {
            Some(_) => self.spot(*self.places.get(&before.name)?),
            None => self.spot(self.states.iter().position(is_it)?),
        }
        .filter(|&spot| self.get(spot).is_some_and(is_it))
    }

    /// What the model that a client calls `model` is called among shards.
    pub(super) fn name(
        &self,
        snapshot: &Snapshot,
        upstream: &Upstream,
        model: &str,
    ) -> Option<u64> {
        let lead = self.lead(upstream.target)?;
        if !lead.is_pattern {
            return self.states.get(lead.place).map(|state| state.name);
        }
        Some(name(lead.provider_hash, snapshot.name_at(upstream, model)))
    }

    pub(super) fn get(&self, spot: Spot) -> Option<&TargetState> {
        let state = self.states.get(spot.place);
        state.filter(|state| state.serial == spot.serial)
    }

    pub(super) fn get_mut(&mut self, spot: Spot) -> Option<&mut TargetState> {
        let state = self.states.get_mut(spot.place);
        state.filter(|state| state.serial == spot.serial)
    }

    /// The state to which a target of the config leads: for a pattern, of the models that have none
    /// of their own.
    pub(super) fn at(&self, target: usize) -> Option<&TargetState> {
        self.states.get(self.lead(target)?.place)
    }

    /// The states of models that only clients name.
    pub(super) fn by_clients(&self) -> impl Iterator<Item = &TargetState> {
        self.states.iter().skip(self.settled)
    }

    /// Each state once.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TargetState> {
        self.states.iter()
    }

    /// Another shard says whether a target is to be left alone. One of which nothing is known here
    /// is remembered.
    pub(super) fn heard(
        &mut self,
        (target, model): (u64, Option<&str>),
        open: Option<(Instant, Duration)>,
        turn: u32,
        (snapshot, now): (&Snapshot, Instant),
    ) {
        let is_bad = open.is_some();
        self.for_each_heard(target, model, is_bad, now, |state| {
            state.heard(open, turn, snapshot);
        });
    }

    /// Another shard has seen a target fail so often in a row.
    pub(super) fn heard_failures(
        &mut self,
        (target, model): (u64, Option<&str>),
        in_row: u32,
        now: Instant,
    ) {
        self.for_each_heard(target, model, in_row > 0, now, |state| {
            state.breaker.heard_failures(in_row);
        });
    }

    /// Takes note of what is said of a target: the `model` that only clients name, else one of the
    /// config.
    fn for_each_heard(
        &mut self,
        target: u64,
        model: Option<&str>,
        is_bad: bool,
        now: Instant,
        mut takes_note: impl FnMut(&mut TargetState),
    ) {
        let Some(model) = model else {
            let settled = self.states.iter_mut().take(self.settled);
            settled
                .filter(|state| state.name == target)
                .for_each(takes_note);
            return;
        };
        let place = match self.places.get(&target) {
            Some(&place) => Some(place).filter(|&place| self.is_at(place, model)),
            None if is_bad => self.target_for(target, model).and_then(|number| {
                let place = self.room(now)?;
                let fresh = TargetState::default();
                self.add(place, number, fresh, (target, model));
                Some(place)
            }),
            None => None,
        };
        if let Some(state) = place.and_then(|place| self.states.get_mut(place)) {
            state.used = state.used.max(now);
            takes_note(state);
        }
    }

    /// A target whose pattern leads to `model`, which is called `name` among shards.
    fn target_for(&self, called: u64, model: &str) -> Option<usize> {
        let leads = |lead: &Option<Lead>| {
            lead.is_some_and(|it| it.is_pattern && name(it.provider_hash, model) == called)
        };
        let target = self.leads.iter().position(leads);
        target.filter(|_| is_ordinary(model))
    }

    /// Where there is room for another model's state: a new place, or that of one which is
    /// forgotten for it.
    fn room(&self, now: Instant) -> Option<usize> {
        let by_clients = self.states.get(self.settled..).unwrap_or_default();
        if by_clients.len() < self.models_max {
            return Some(self.states.len());
        }
        let worths = by_clients.iter().enumerate();
        let worths = worths.filter_map(|(index, state)| Some((state.worth(now)?, index)));
        worths.min().map(|(_, index)| self.settled + index)
    }

    /// Puts the state of a `model` of clients at `place`.
    fn add(&mut self, place: usize, target: usize, state: TargetState, (name, model): (u64, &str)) {
        let Some(lead) = self.lead(target) else {
            return;
        };
        let mut state = TargetState {
            model: Some(model.into()),
            target,
            provider: lead.provider,
            name,
            is_by_clients: true,
            ..state
        };
        match self.states.get_mut(place) {
            Some(old) => {
                state.serial = old.serial.wrapping_add(1);
                self.places.remove(&old.name);
                *old = state;
            }
            None => self.states.push(state),
        }
        self.places.insert(name, place);
    }

    fn lead(&self, target: usize) -> Option<Lead> {
        self.leads.get(target).copied().flatten()
    }

    fn spot(&self, place: usize) -> Option<Spot> {
        let state = self.states.get(place)?;
        Some(Spot {
            place,
            serial: state.serial,
        })
    }

    /// Whether the state at `place` is that of `model`.
    fn is_at(&self, place: usize, model: &str) -> bool {
        let state = self.states.get(place);
        state.is_some_and(|state| state.model.as_deref() == Some(model))
    }

    /// What was known of a model, or of those of a pattern, that is called `name` among shards.
    fn state_of(&self, name: u64, model: Option<&str>) -> Option<&TargetState> {
        match model {
            Some(model) => {
                let place = *self.places.get(&name)?;
                self.states.get(place).filter(|_| self.is_at(place, model))
            }
            None => {
                let mut settled = self.states.iter().take(self.settled);
                settled.find(|state| state.model.is_none() && state.name == name)
            }
        }
    }
}

/// What a provider's model is called among shards.
fn name(provider_hash: u64, model: &str) -> u64 {
    provider_hash.rotate_left(1) ^ balance::hash(model.as_bytes())
}

/// Whether a model may be called so.
fn is_ordinary(name: &str) -> bool {
    let is_short = (1..=MODEL_BYTES_MAX).contains(&name.len());
    is_short && !name.chars().any(char::is_control)
}
