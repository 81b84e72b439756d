//! The message of a route, for when no target can answer: it is told then and only then, whole, and
//! never in the place of an answer.

use tollgate_core::ir::{Blame, Class};
use tollgate_core::record::{Access, Ending, Outcome};

use crate::faults::Fault;
use crate::script::journal::{Asked, Kind, Seen, Sent, Shared};
use crate::setup::chain_of;
use crate::world::Violation;

/// Whether the record says that the request was answered by the message.
pub(super) fn is_told(record: &Access) -> bool {
    record.provider.as_deref() == Some("tollgate")
}

/// Holds what became of a request against what its route's message is for.
pub(super) fn check(shared: &Shared, marker: &str, record: &Access) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let (Some(asked), Some(seen)) = (journal.asked.get(marker), journal.seen.get(marker)) else {
        return Ok(());
    };
    // Telling it takes a while, and a client's patience may end before.
    let is_hurry = matches!(
        &record.outcome,
        Outcome::Failed {
            class: Class::Timeout,
            blame: Blame::Client,
            ..
        }
    );
    // So may the gateway's.
    let is_own = matches!(
        &record.outcome,
        Outcome::Failed {
            blame: Blame::Gateway,
            ..
        }
    );
    let is_drained = shared.faults.borrow().injected()[Fault::EarlyDrain as usize] > 0;
    if is_hurry && asked.patience.is_some() || is_own && is_drained {
        return Ok(());
    }
    let wrong = if seen.is_message || is_told(record) {
        // Of what others asked too, it may be the answer to one of them.
        let sent = journal.sent_for(asked);
        let sent = if asked.is_shared() { &[] } else { sent };
        is_wrong(shared, seen, sent, record)
    } else {
        is_missing(shared, asked, seen, record)
    };
    match wrong {
        None => Ok(()),
        Some(what) => {
            let message = format!("{marker}: {what}: {seen:?}, {record:?}");
            Err(Violation::new("message", message))
        }
    }
}

fn is_wrong(shared: &Shared, seen: &Seen, sent: &[Sent], record: &Access) -> Option<&'static str> {
    let is_failure = match &record.outcome {
        Outcome::Failed { blame, .. } => matches!(blame, Blame::Key | Blame::Upstream),
        Outcome::ClientGone => true,
        Outcome::Complete => false,
    };
    if !is_failure || !is_told(record) || seen.status != 200 {
        return Some("the record knows nothing of the message");
    }
    if seen.is_ended && !(seen.is_complete && seen.is_message) {
        return Some("the message breaks off");
    }
    if record
        .attempts
        .iter()
        .any(|it| it.ending == Ending::Answered)
    {
        return Some("the message and an answer");
    }
    // Where little may be held, an answer may be too long.
    let is_small = shared.faults.borrow().has(&[Fault::SmallLimits]);
    let delivered = shared.delivered.borrow();
    let is_whole = |sent: &Sent| {
        let read = delivered.get(sent.link)?;
        let whole = read.reached(sent.whole_at?)?;
        Some(read.closed_at.is_none_or(|closed| whole < closed))
    };
    let is_masked = sent.iter().any(|sent| is_whole(sent) == Some(true));
    (is_masked && !is_small).then_some("the message in the place of an answer")
}

fn is_missing(
    shared: &Shared,
    asked: &Asked,
    seen: &Seen,
    record: &Access,
) -> Option<&'static str> {
    let Outcome::Failed { blame, .. } = &record.outcome else {
        return None;
    };
    let chain = chain_of(&shared.snapshot, asked.model)?;
    let is_own = matches!(blame, Blame::Client | Blame::Gateway);
    let is_generate = matches!(asked.kind, Kind::Generate(_));
    let is_late = record.duration >= shared.limits.timers.upstream.total;
    let has_content = record.first_content.is_some() || seen.content_at.is_some();
    // Where little may be held, what is no content goes out as well.
    let is_small = shared.faults.borrow().has(&[Fault::SmallLimits]);
    let is_other = is_own || !is_generate || is_late || has_content || is_small;
    (chain.manner.message.is_some() && seen.is_ended && !is_other)
        .then_some("no target could answer, and the message is not told")
}
