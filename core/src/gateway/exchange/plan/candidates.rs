//! Which targets of a chain a request may go to at all, and in which order they are asked.

use std::sync::Arc;

use super::super::super::needs::{Lack, Needs, traits_at};
use super::super::super::prepare::{Prepared, Routed, ranked};
use super::super::Exchange;
use super::Plan;
use super::placing::{Placing, is_placed};
use crate::config::{Member, Upstream};
use crate::dialect::Traits;
use crate::ir::{Class, Failure};

/// The targets that a request may go to.
#[derive(Default)]
pub(super) struct Candidates<'r> {
    /// In order.
    pub(super) targets: Vec<&'r Arc<Upstream>>,
    /// The one with the largest window among the others that lack nothing else.
    largest: Option<(u64, &'r Arc<Upstream>)>,
    /// What the first one lacks that lacks more than a window.
    lack: Option<Lack>,
}

impl<'r> Candidates<'r> {
    /// The targets of `routed` that have what the request needs, and have not failed it. If all
    /// that is left has too small a window, the one with the largest: how long the prompt is is
    /// only estimated, and clients read in its own words what they must leave out.
    ///
    /// Without `placing` nothing is known of these targets.
    pub(super) fn of(
        prepared: &Prepared,
        routed: &'r Routed,
        plan: &Plan,
        placing: Option<Placing<'_>>,
    ) -> Candidates<'r> {
        let mut candidates = Candidates::default();
        let name = prepared.model.unescape();
        for step in &routed.chain.steps {
            let mut add = |member: &'r Member| {
                if !plan.out.contains(&member.upstream.target) {
                    candidates.add(&member.upstream, &name, &prepared.needs, plan);
                }
            };
            match placing.filter(|_| is_placed(step)) {
                Some(placing) => placing.order(step, prepared.session).for_each(&mut add),
                None => ranked(Some(step), prepared.session).for_each(&mut add),
            }
        }
        if candidates.targets.is_empty() {
            let largest = candidates.largest;
            candidates
                .targets
                .extend(largest.map(|(_, upstream)| upstream));
        }
        candidates
    }

    /// Takes in `upstream`, if it meets the conditions.
    fn add(&mut self, upstream: &'r Arc<Upstream>, name: &str, needs: &Needs, plan: &Plan) {
        let traits = traits_at(upstream, name);
        if !plan.suits(&traits) {
            return;
        }
        match needs.lacking(&traits) {
            None => self.targets.push(upstream),
            Some(Lack::Window(window)) => {
                if self.largest.is_none_or(|(most, _)| window > most) {
                    self.largest = Some((window, upstream));
                }
            }
            Some(lack) => self.lack = self.lack.or(Some(lack)),
        }
    }

    /// Why there is none, if that is because of what the request needs.
    pub(super) fn failure(&self) -> Option<Failure> {
        let what = match self.lack.filter(|_| self.targets.is_empty())? {
            Lack::Images => "no target of the model takes images",
            Lack::Tools => "no target of the model takes tools",
            Lack::Window(_) => return None,
        };
        Some(Failure::new(Class::InvalidRequest, what))
    }
}

impl Exchange {
    /// Whether `upstream` has what the request needs, and has not failed it.
    pub(super) fn could_ask(&self, upstream: &Arc<Upstream>) -> bool {
        self.prepared.as_deref().is_some_and(|prepared| {
            let traits = traits_at(upstream, &prepared.model.unescape());
            !self.plan.out.contains(&upstream.target)
                && self.plan.suits(&traits)
                && prepared.needs.lacking(&traits).is_none()
        })
    }

    /// The target that was asked is not asked again, and where the prompt was too long for it, nor
    /// are those with no larger window.
    pub(super) fn rule_out(&mut self, target: Option<usize>, class: Class) {
        if class == Class::ContextLength {
            let prompt = self.prompt();
            let window = prompt.and_then(|it| it.upstream.traits.context_window);
            self.plan.overflowed = self.plan.overflowed.max(window);
        }
        self.plan.rule_out(target);
    }
}

impl Plan {
    /// Whether a target with these traits could do what others did not: take a prompt that was too
    /// long, go on with an answer that broke off.
    fn suits(&self, traits: &Traits) -> bool {
        let known = traits.context_window.zip(self.overflowed);
        let is_overflowed = known.is_some_and(|(window, overflowed)| window <= overflowed);
        !is_overflowed && (self.said.is_none() || traits.prefill)
    }
}
