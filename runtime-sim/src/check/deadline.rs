//! What clients say of their patience: by then their request is over, with an error that says so,
//! and no target is left alone for it.

use core::time::Duration;
use std::collections::BTreeMap;

use tollgate_core::base::Instant;
use tollgate_core::gateway::io::Message;
use tollgate_core::ir::{Blame, Class};
use tollgate_core::record::{Access, Attempted, Outcome};

use super::breaker;
use super::run::Heard;
use crate::faults::Fault;
use crate::script::journal::{Asked, Shared};
use crate::setup::PROVIDERS;
use crate::world::Violation;

/// How late an end may be, where ticks and completions may be late, and where not.
const LATE_MAX: Duration = Duration::from_secs(20);
const LATE: Duration = Duration::from_millis(100);

/// Holds the ends of all requests against what their clients said, and news of targets against
/// what befell them.
pub(super) fn check(
    shared: &Shared,
    records: &BTreeMap<String, (Instant, Access)>,
    heard: &[Heard],
) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    for (marker, (ended, record)) in records {
        let asked = journal.asked.get(marker);
        let wrong = asked.and_then(|asked| is_wrong(shared, asked, *ended, record));
        if let Some(message) = wrong {
            let message = format!("{marker} {message}: {record:?}");
            return Err(Violation::new("deadline", message));
        }
    }
    let is_reloaded = shared.faults.borrow().injected()[Fault::Reload as usize] > 0;
    if !shared.setup.is_resilient || is_reloaded {
        return Ok(());
    }
    for (provider, (name, ..)) in PROVIDERS.into_iter().enumerate() {
        for (model, ..) in PROVIDERS {
            let target = breaker::name(provider, model);
            let is_open = |message: &Message| {
                let is_it = matches!(message, Message::Breaker { target: it, .. } if *it == target);
                is_it && matches!(message, Message::Breaker { open: Some(_), .. })
            };
            if !heard.iter().any(|(_, _, message)| is_open(message)) {
                continue;
            }
            let of_model = records.iter().filter(|(marker, _)| {
                let asked = journal.asked.get(*marker);
                asked.is_some_and(|asked| asked.model == model)
            });
            let failures = of_model.map(|(_, (_, record))| failures(shared, record, name));
            let failures: usize = failures.sum();
            let least = shared.snapshot.breaker.failures_in_row as usize;
            if failures < least {
                let message = format!(
                    "{name} is left alone for {model} after {failures} failures of its own, of \
                     {least} at least"
                );
                return Err(Violation::new("deadline", message));
            }
        }
    }
    Ok(())
}

/// What is wrong with the end of a request whose client has said how long it waits.
fn is_wrong(shared: &Shared, asked: &Asked, ended: Instant, record: &Access) -> Option<String> {
    let patience = asked.patience?;
    let delivered = shared.delivered.borrow();
    let begun = delivered.get(asked.link)?.reached(asked.head_end)?;
    let faults = shared.faults.borrow();
    let late = match faults.has(&[Fault::HostSlow, Fault::SlowCompletions, Fault::TickLate]) {
        true => LATE_MAX,
        false => LATE,
    };
    // What comes behind another request is not looked at before that is answered.
    let is_behind = asked.before > 0 && faults.has(&[Fault::Pipelining]);
    if !is_behind && ended.since(begun) > patience + late {
        return Some(format!(
            "ended at {ended}, {patience:?} after {begun} at most"
        ));
    }
    match &record.outcome {
        Outcome::Failed {
            class: Class::Timeout,
            blame,
            ..
        } if record.duration >= patience && *blame != Blame::Client => {
            Some("blames others for the client's hurry".to_owned())
        }
        _ => None,
    }
}

/// How often a provider failed one request by its own fault, at most.
fn failures(shared: &Shared, record: &Access, provider: &str) -> usize {
    let failed = record
        .attempts
        .iter()
        .enumerate()
        .filter(|(_, attempt)| *attempt.provider == *provider && attempt.failed().is_some());
    let is_hurry = matches!(
        &record.outcome,
        Outcome::Failed {
            class: Class::Timeout,
            blame: Blame::Client,
            ..
        }
    );
    // The one that was under way when the client's patience ended. One that failed before has
    // another reason, or has taken longer.
    let last = record.attempts.len().saturating_sub(1);
    let connect = shared.limits.timers.upstream.connect;
    let is_last = |(number, attempt): &(usize, &Attempted)| {
        let is_timeout = attempt.failed() == Some(Class::Timeout);
        is_hurry && *number == last && is_timeout && attempt.duration < connect
    };
    failed.filter(|it| !is_last(it)).count()
}
