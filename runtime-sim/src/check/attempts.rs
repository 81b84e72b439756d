//! What was asked of upstreams for each request, held against what may be: how often, with which
//! key, when; and against what its record says of it. Looked at when a run is over and all is
//! known.

use std::collections::BTreeMap;

use tollgate_core::base::Instant;
use tollgate_core::config::RouteTarget;
use tollgate_core::ir::Class;
use tollgate_core::record::{Access, Attempted, Outcome};

use crate::script::journal::{Delivered, Journal, Says, Sent, Shared, is_delivered};
use crate::setup::PROVIDERS;
use crate::world::Violation;

/// Holds what upstreams were asked against what may be.
pub(crate) fn check(
    shared: &Shared,
    records: &BTreeMap<String, (Instant, Access)>,
) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let delivered = shared.delivered.borrow();
    let is_calm = shared.faults.borrow().is_calm();
    for (marker, sent) in &journal.sent {
        let Some((_, record)) = records.get(marker) else {
            continue;
        };
        let attempts_max = shared.snapshot.retry.attempts_max as usize;
        let attempts_max = if is_calm && !has_hedges(shared) {
            1
        } else {
            attempts_max
        };
        let asked = Asked {
            marker,
            sent,
            record,
            delivered: &delivered,
        };
        asked.is_bounded(attempts_max)?;
        asked.is_before_content(&journal)?;
        asked.is_within_reason()?;
        asked.is_recorded()?;
    }
    Ok(())
}

/// Whether requests may be sent to a second target although the first one is well.
pub(super) fn has_hedges(shared: &Shared) -> bool {
    let mut routes = shared.snapshot.routes.iter();
    routes.any(|route| match &route.target {
        RouteTarget::Chain(chain) => chain.manner.hedge_percent > 0,
        RouteTarget::Demo => false,
    })
}

/// One request, and what was asked for it.
struct Asked<'a> {
    marker: &'a str,
    sent: &'a [Sent],
    record: &'a Access,
    delivered: &'a [Delivered],
}

impl Asked<'_> {
    fn fail(&self, what: &str) -> Result<(), Violation> {
        let message = format!(
            "{}: {what}: asked {:?}, recorded {:?}",
            self.marker,
            self.sent.iter().map(|it| &it.asked).collect::<Vec<_>>(),
            self.record
        );
        Err(Violation::new("attempts", message))
    }

    fn is_spare(&self, sent: &Sent) -> bool {
        is_spare(sent, self.delivered)
    }

    fn is_bounded(&self, attempts_max: usize) -> Result<(), Violation> {
        let counted = self.sent.iter().filter(|sent| !self.is_spare(sent)).count();
        if counted > attempts_max || self.record.attempts.len() > attempts_max {
            return self.fail(&format!("more than {attempts_max} attempts"));
        }
        Ok(())
    }

    fn is_before_content(&self, journal: &Journal) -> Result<(), Violation> {
        let seen = journal.seen.get(self.marker);
        let Some(content_at) = seen.and_then(|seen| seen.content_at) else {
            return Ok(());
        };
        // What continues the content is looked at apart.
        let mut others = self.sent.iter().filter(|sent| sent.prefill.is_none());
        if others.any(|sent| sent.asked.at > content_at) {
            return self.fail(&format!(
                "an attempt after the client's content {content_at}"
            ));
        }
        Ok(())
    }

    /// Whether nobody else was asked what was refused for what it says. That it is to be continued
    /// is not the client's word.
    fn is_within_reason(&self) -> Result<(), Violation> {
        let refused = self.sent.iter().filter(|sent| sent.says == Says::Refusal);
        let refused = refused.filter(|sent| sent.prefill.is_none());
        let refused = refused.filter_map(|sent| said(sent, self.delivered));
        let Some(refused) = refused.min() else {
            return Ok(());
        };
        if self.sent.iter().any(|sent| sent.asked.at > refused) {
            return self.fail(&format!("an attempt after it was refused at {refused}"));
        }
        Ok(())
    }

    /// Whether the record tells of each attempt that an upstream has seen, and of none that made
    /// something of an upstream's answer which no upstream gave.
    fn is_recorded(&self) -> Result<(), Violation> {
        let is_same = |told: &Attempted, sent: &Sent| {
            let (name, ..) = PROVIDERS[sent.asked.provider];
            *told.provider == *name && told.key == sent.asked.key
        };
        let attempts = &self.record.attempts;
        for sent in self.sent {
            let alike = |other: &&Sent| {
                other.asked.provider == sent.asked.provider && other.asked.key == sent.asked.key
            };
            let alike = self.sent.iter().filter(alike);
            let counted = alike.filter(|other| !self.is_spare(other)).count();
            let told = attempts.iter().filter(|told| is_same(told, sent)).count();
            if told < counted.max(1) {
                return self.fail("an attempt that is not recorded");
            }
        }
        let Some(last) = attempts.last() else {
            return Ok(());
        };
        let is_complete = self.record.outcome == Outcome::Complete;
        let is_answered = |sent: &Sent| is_same(last, sent) && is_delivered(sent, self.delivered);
        let is_named = self.record.provider.as_ref() == Some(&last.provider);
        let is_by_last = last.failed().is_none() && is_named;
        if is_complete && !(is_by_last && self.sent.iter().any(is_answered)) {
            return self.fail("complete, but not by the last attempt");
        }
        for told in attempts.iter().filter(|told| is_limit(told.failed())) {
            // An answer that came before its request was whole is no journal's.
            if !self.sent.iter().any(|sent| is_same(told, sent)) {
                return self.fail("an upstream is blamed that was not asked");
            }
        }
        Ok(())
    }
}

/// What was sent on a kept connection and not answered may have been sent again on a fresh one, as
/// the same attempt.
pub(super) fn is_spare(sent: &Sent, delivered: &[Delivered]) -> bool {
    let read = delivered.get(sent.link).map_or(0, |read| read.bytes);
    sent.asked.is_reused && read <= sent.begin_at
}

/// When the machine had read what the answer says.
pub(super) fn said(sent: &Sent, delivered: &[Delivered]) -> Option<Instant> {
    delivered.get(sent.link)?.reached(sent.said_at?)
}

/// When the machine had an answer's first byte, or gave the attempt up.
pub(super) fn decided(sent: &Sent, delivered: &[Delivered]) -> Option<Instant> {
    let read = delivered.get(sent.link)?;
    read.reached(sent.begin_at + 1).or(read.closed_at)
}

/// Whether an attempt failed so that its key is taken out.
const fn is_limit(failed: Option<Class>) -> bool {
    matches!(
        failed,
        Some(Class::RateLimit | Class::Authentication | Class::Billing | Class::Permission)
    )
}
