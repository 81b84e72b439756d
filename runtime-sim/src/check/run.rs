//! [`Checker`]: what must hold of records, memory and clients' ends, at every turn and at the end.

use core::time::Duration;
use std::collections::BTreeMap;

use tollgate_core::base::{Instant, Limits};
use tollgate_core::gateway::Usage;
use tollgate_core::record::{Outcome, Record};

use super::memory;
use crate::faults::{Fault, FaultSet};
use crate::scenario::Observed;
use crate::script::journal::{Asked, Kind, Shared};
use crate::world::{Observer, Turn, Violation};

/// No exchange takes longer, whatever happens: the scripts' slowest answer, and all deadlines.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// Watches one run.
pub(crate) struct Checker {
    shared: Shared,
    limits: Limits,
    records: BTreeMap<String, Outcome>,
}

impl Checker {
    pub(crate) fn new(shared: Shared, limits: Limits) -> Checker {
        Checker {
            shared,
            limits,
            records: BTreeMap::new(),
        }
    }

    pub(crate) fn records(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn complete(&self) -> u64 {
        self.records
            .values()
            .filter(|outcome| **outcome == Outcome::Complete)
            .count() as u64
    }

    /// Nothing is left, and every request has its record.
    pub(crate) fn end<'a, M: Observed>(
        &self,
        shards: usize,
        machine: impl Fn(usize) -> Option<&'a M>,
    ) -> Result<(), Violation> {
        for machine in (0..shards).filter_map(machine) {
            let usage = machine.usage();
            if usage != Usage::default() {
                return Err(Violation::new("leak", format!("at the end: {usage:?}")));
            }
            if let Some(timeout) = machine.poll_timeout() {
                return Err(Violation::new(
                    "leak",
                    format!("a timer at {timeout} at the end"),
                ));
            }
        }
        let journal = self.shared.journal.borrow();
        let delivered = self.shared.delivered.borrow();
        let is_faultless = self.shared.faults.borrow().enabled() == FaultSet::NONE;
        for (marker, asked) in &journal.asked {
            let read = delivered.get(asked.link).copied().unwrap_or(0);
            if self.is_accepted(asked, read) && !self.records.contains_key(marker) {
                return Err(Violation::new(
                    "record",
                    format!("{marker} has no record: {asked:?}"),
                ));
            }
            let is_complete = journal
                .seen
                .get(marker)
                .is_some_and(|seen| seen.is_complete);
            if is_faultless && !is_complete {
                let seen = journal.seen.get(marker);
                let message = format!("no fault, and yet: {marker} {asked:?} {seen:?}");
                return Err(Violation::new("answer", message));
            }
        }
        Ok(())
    }

    /// Whether the machine must have taken the request on.
    fn is_accepted(&self, asked: &Asked, read: u64) -> bool {
        if asked.kind == Kind::Malformed || read < asked.head_end {
            return false;
        }
        // A draining shard answers what it has begun with, and nothing behind that.
        let drained_early = self.shared.faults.borrow().injected()[Fault::EarlyDrain as usize] > 0;
        if drained_early && asked.before > 0 {
            return false;
        }
        let journal = self.shared.journal.borrow();
        let earlier = journal
            .asked
            .iter()
            .filter(|(_, other)| other.link == asked.link && other.before < asked.before);
        let mut is_reached = true;
        for (marker, _) in earlier {
            is_reached &= journal.seen.get(marker).is_some_and(|seen| seen.is_over);
        }
        is_reached
    }
}

impl<M: Observed> Observer<M> for std::rc::Rc<core::cell::RefCell<Checker>> {
    fn record(&mut self, _now: Instant, record: &Record) -> Result<(), Violation> {
        let fail = |message: String| Err(Violation::new("record", message));
        let mut checker = self.borrow_mut();
        let Record::Access(access) = record;
        let marker = String::from_utf8_lossy(&access.request_id).into_owned();
        let kind = match checker.shared.journal.borrow().asked.get(&marker) {
            Some(asked) => asked.kind,
            None => return fail(format!("for a request that nobody made: {access:?}")),
        };
        if checker
            .records
            .insert(marker.clone(), access.outcome.clone())
            .is_some()
        {
            return fail(format!("a second one for {marker}: {access:?}"));
        }
        if access.duration > EXCHANGE_TIME_MAX {
            return Err(Violation::new(
                "liveness",
                format!("{marker} took {:?}", access.duration),
            ));
        }
        let is_complete = access.outcome == Outcome::Complete;
        if is_complete && matches!(kind, Kind::Bad | Kind::Malformed) {
            return fail(format!("complete, and was {kind:?}: {access:?}"));
        }
        if is_complete && matches!(kind, Kind::Generate(_)) && !checker.shared.is_finished(&marker)
        {
            return fail(format!("complete, but no upstream finished: {access:?}"));
        }
        Ok(())
    }

    fn turn(&mut self, turn: &Turn<'_, M>) -> Result<(), Violation> {
        let checker = self.borrow();
        for tag in turn.left_open {
            if matches!(checker.records.get(tag), None | Some(Outcome::ClientGone)) {
                let message = format!("the client of {tag} is gone, and its upstream is open");
                return Err(Violation::new("gone", message));
            }
        }
        memory::check(&turn.machine.usage(), turn.closing, &checker.limits)
            .map_err(|message| Violation::new("memory", message))
    }
}
