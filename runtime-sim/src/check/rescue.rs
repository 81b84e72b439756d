//! A failure that another target can make good is hidden from the client, and one that none can is
//! told as it is.

use tollgate_core::config::RouteTarget;
use tollgate_core::ir::{Blame, Class};
use tollgate_core::record::{Access, Outcome};

use super::message;
use crate::faults::Fault;
use crate::script::journal::{Kind, Shared};
use crate::setup::PROVIDERS;
use crate::world::Violation;

/// Holds what became of a request against what could have become of it.
pub(super) fn check(shared: &Shared, marker: &str, record: &Access) -> Result<(), Violation> {
    let Outcome::Failed { class, blame, .. } = &record.outcome else {
        return Ok(());
    };
    let fail = |what: &str| {
        let message = format!("{marker}: {what}: {record:?}");
        Err(Violation::new("rescue", message))
    };
    let attempts = &record.attempts;
    if is_own(shared, record, (*class, *blame)) {
        return Ok(());
    }
    // Content commits, and what the gateway itself refuses has nothing to do with targets.
    let has_content = record.first_content.is_some() && !message::is_told(record);
    if has_content || *blame == Blame::Gateway {
        return Ok(());
    }
    let is_late = record.duration * 2 > shared.limits.timers.upstream.total;
    let injected = |fault: Fault| shared.faults.borrow().injected()[fault as usize] > 0;
    // Where little may be held, an answer is committed early.
    if is_late || injected(Fault::SmallLimits) {
        return Ok(());
    }
    // A target whose keys are all at their limits counts as the first, although it was not asked.
    let is_unasked = *blame == Blame::Key && attempts.iter().all(|it| it.failed() != Some(*class));
    let first = attempts.first().filter(|_| !is_unasked);
    if first.is_some_and(|first| first.failed() != Some(*class)) {
        return fail("the client was told something else than how the first target failed");
    }
    let journal = shared.journal.borrow();
    let asked = journal.asked.get(marker);
    let (Some(healthy), Some(asked)) = (shared.healthy, asked) else {
        return Ok(());
    };
    let is_full = attempts.len() >= shared.snapshot.retry.attempts_max as usize;
    let is_hopeless = attempts.iter().any(|it| it.failed().is_some_and(ends_all));
    let is_disturbed = injected(Fault::EarlyDrain) || injected(Fault::Reload);
    let is_generate = matches!(asked.kind, Kind::Generate(_));
    if is_disturbed || is_full || is_hopeless || !is_generate {
        return Ok(());
    }
    // A client that is slow to take one answer holds the next one up.
    const SLOW: [Fault; 3] = [Fault::SlowReader, Fault::Bandwidth, Fault::SmallWindow];
    let is_slow = shared.faults.borrow().has(&SLOW);
    let (name, ..) = PROVIDERS[healthy];
    let has_failed = attempts
        .iter()
        .any(|it| *it.provider == *name && it.failed().is_some());
    if is_slow {
        return Ok(());
    }
    if has_failed {
        return fail("a target failed that was well");
    }
    let mut routes = shared.snapshot.routes.iter();
    let route = routes.find(|route| &*route.pattern.0 == asked.model);
    let has_rescue = route.is_some_and(|route| match &route.target {
        RouteTarget::Chain(chain) => chain.upstreams().any(|it| it.provider == healthy),
        RouteTarget::Demo => false,
    });
    if has_rescue {
        return fail("a target that was well was not asked");
    }
    Ok(())
}

/// Whether it failed for a reason that has nothing to do with targets: another one's answer is in
/// that one's record, nobody else is asked for one who waits no longer, nor for one who may not
/// have more at once.
fn is_own(shared: &Shared, record: &Access, why: (Class, Blame)) -> bool {
    let caller = record.caller.as_deref();
    let mut callers = shared.snapshot.callers.iter();
    let has_limit = callers.any(|it| Some(&*it.name) == caller && it.terms.concurrent.is_some());
    let is_unasked = record.attempts.is_empty();
    record.shared_with.is_some()
        || why == (Class::Timeout, Blame::Client)
        || (has_limit && is_unasked && why == (Class::RateLimit, Blame::Client))
}

/// Whether a request that failed so is not tried elsewhere.
pub(super) const fn ends_all(class: Class) -> bool {
    matches!(
        class,
        Class::ContentFilter
            | Class::InvalidRequest
            | Class::MethodNotAllowed
            | Class::RequestTimeout
            | Class::RequestTooLarge
            | Class::UnsupportedMediaType
    )
}
