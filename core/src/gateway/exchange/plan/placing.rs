//! Where sessions go within a step whose requests are balanced by how busy or how fast its targets
//! are, and how they stay there.

use core::time::Duration;
use std::sync::Arc;

use super::super::super::Shard;
use super::super::super::targets::Targets;
use super::super::race::Race;
use crate::base::{ExchangeId, Instant};
use crate::config::{Member, Snapshot, Step};
use crate::policy::affinity::Affinity;
use crate::policy::balance::{self, Load, Session, Strategy};

/// What a shard knows of the targets among which a request is placed.
#[derive(Clone, Copy)]
pub(super) struct Placing<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) targets: &'s Targets,
    pub(super) affinity: &'s Affinity,
    /// What the client calls the model.
    pub(super) model: &'s str,
    pub(super) now: Instant,
}

impl Placing<'_> {
    /// The members of a step as the session asks them: first the one where it is, then those that
    /// a new session would ask.
    pub(super) fn order<'r>(
        &self,
        step: &'r Step,
        session: Session,
    ) -> impl Iterator<Item = &'r Member> {
        let load = |member: &'r Member| {
            let upstream = &member.upstream;
            let spot = self
                .targets
                .find(self.snapshot, upstream, self.model, self.now);
            let state = spot.and_then(|spot| self.targets.get(spot));
            let load = Load {
                rank: balance::rank(session, member.upstream.target as u64, member.weight),
                weight: member.weight,
                in_flight: state.map_or(0, |state| state.in_flight),
                latency: state.map_or(Duration::ZERO, |state| state.latency.peak_ewma(self.now)),
            };
            (load, member)
        };
        let mut members: Vec<_> = step.members.iter().map(load).collect();
        balance::arrange(step.strategy, &mut members);
        let name = |member: &Member| {
            self.targets
                .name(self.snapshot, &member.upstream, self.model)
        };
        let own = place(step, session, name);
        let own = own.and_then(|place| self.affinity.target(place, self.now));
        let is_own = |member: &Member| name(member) == own;
        let at = own.and_then(|_| members.iter().position(|(_, member)| is_own(member)));
        if let Some(before) = at.and_then(|at| members.get_mut(..=at)) {
            before.rotate_right(1);
        }
        members.into_iter().map(|(_, member)| member)
    }
}

impl Shard {
    /// The session stays with the target that is asked, as long as that can answer; a rival's only
    /// if it wins.
    pub(in crate::gateway::exchange) fn stick(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else {
            return;
        };
        let target = exchange.target();
        let Some(target) = target.filter(|_| !matches!(exchange.race, Race::RivalOf(_))) else {
            return;
        };
        let prepared = exchange.prepared.as_deref();
        let is_current = Arc::ptr_eq(&exchange.snapshot, &self.ctx.snapshot);
        let Some((prepared, routed)) = prepared.zip(exchange.routed()).filter(|_| is_current)
        else {
            return;
        };
        let is_here = |step: &&Step| {
            let mut members = step.members.iter();
            is_placed(step) && members.any(|it| it.upstream.target == target)
        };
        let step = routed.chain.steps.iter().find(is_here);
        let model = prepared.model.unescape();
        let snapshot = &exchange.snapshot;
        let name = |member: &Member| self.targets.name(snapshot, &member.upstream, &model);
        let place = step.and_then(|step| place(step, prepared.session, name));
        let mut members = step.into_iter().flat_map(|step| &step.members);
        let member = members.find(|it| it.upstream.target == target);
        if let (Some(place), Some(name)) = (place, member.and_then(name)) {
            self.affinity.keep(place, name, self.ctx.now.mono);
        }
    }
}

/// Whether sessions are placed in this step by other than their hash.
pub(super) fn is_placed(step: &Step) -> bool {
    step.strategy != Strategy::Sessions && step.members.len() > 1
}

/// What a session is called in a step, whose members have names among shards.
fn place(step: &Step, session: Session, name: impl Fn(&Member) -> Option<u64>) -> Option<u64> {
    let first = name(step.members.first()?)?;
    Some(session.and(Session(first)).0)
}
