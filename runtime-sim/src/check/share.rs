//! Answers that are shared: what a caller that wants it asks several times at once is asked once,
//! each who asked is told the same, and nobody is told what another caller asked.

use std::collections::BTreeMap;

use tollgate_core::base::Instant;
use tollgate_core::record::Access;

use crate::faults::Fault;
use crate::script::journal::{Asked, Delivered, Journal, Seen, Shared};
use crate::setup::CALLERS;
use crate::world::Violation;

type Records = BTreeMap<String, (Instant, Access)>;

/// One of several requests that ask the same.
struct One<'j> {
    marker: &'j str,
    asked: &'j Asked,
    seen: Option<&'j Seen>,
    ended: Instant,
    record: &'j Access,
}

/// Holds the answers of all who asked the same against each other.
pub(super) fn check(shared: &Shared, records: &Records) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let delivered = shared.delivered.borrow();
    for topic in topics(&journal, records).values() {
        for one in topic {
            let wrong = is_wrong(shared, one, topic)
                .or_else(|| is_alike(one, topic))
                .map(str::to_owned)
                .or_else(|| is_repeated(shared, one, topic, &delivered));
            if let Some(message) = wrong {
                let message = format!("{} {message}: {:?}", one.marker, one.record);
                return Err(Violation::new("share", message));
            }
        }
    }
    let alone = records.iter().find(|(marker, (_, record))| {
        let asked = journal.asked.get(*marker);
        record.shared_with.is_some() && !asked.is_some_and(Asked::is_shared)
    });
    match alone {
        None => Ok(()),
        Some((marker, (_, record))) => {
            let message = format!("{marker} has another's answer: {record:?}");
            Err(Violation::new("share", message))
        }
    }
}

fn topics<'j>(journal: &'j Journal, records: &'j Records) -> BTreeMap<&'j str, Vec<One<'j>>> {
    let mut topics: BTreeMap<&str, Vec<One<'_>>> = BTreeMap::new();
    for (marker, asked) in journal.asked.iter().filter(|(_, asked)| asked.is_shared()) {
        let Some((ended, record)) = records.get(marker) else {
            continue;
        };
        topics.entry(&asked.topic).or_default().push(One {
            marker,
            asked,
            seen: journal.seen.get(marker),
            ended: *ended,
            record,
        });
    }
    topics
}

/// Whether the caller wants to share answers.
fn wants(shared: &Shared, asked: &Asked) -> bool {
    let name = asked.caller.and_then(|caller| CALLERS.get(caller));
    let mut callers = shared.snapshot.callers.iter();
    name.is_some_and(|(name, _)| callers.any(|it| *it.name == **name && it.terms.coalesce))
}

/// What is wrong with one who is told what another is.
fn is_wrong(shared: &Shared, one: &One<'_>, topic: &[One<'_>]) -> Option<&'static str> {
    let leader = one.record.shared_with.as_deref()?;
    let Some(leader) = topic.iter().find(|it| it.marker.as_bytes() == leader) else {
        return Some("has an answer to something else");
    };
    if leader.asked.caller != one.asked.caller || !wants(shared, one.asked) {
        return Some("has another caller's answer, or wants none");
    }
    if leader.record.shared_with.is_some() || !one.record.attempts.is_empty() {
        return Some("follows one who follows, or was asked for itself");
    }
    if leader.record.outcome != one.record.outcome || leader.ended != one.ended {
        return Some("was not told when and what the one was whom it follows");
    }
    let told = one
        .seen
        .zip(leader.seen)
        .filter(|(own, its)| own.is_ended && its.is_ended);
    let is_same =
        told.is_none_or(|(own, its)| (own.status, own.answer) == (its.status, its.answer));
    (!is_same).then_some("was told something else than the one whom it follows")
}

/// Whether it has the same answer as one whom it does not follow.
fn is_alike(one: &One<'_>, topic: &[One<'_>]) -> Option<&'static str> {
    let answer = one.seen.and_then(|seen| seen.answer)?;
    let leader = |it: &One<'_>| match &it.record.shared_with {
        Some(leader) => leader.to_vec(),
        None => it.marker.as_bytes().to_vec(),
    };
    let mut others = topic.iter().filter(|it| it.marker != one.marker);
    others
        .any(|it| it.seen.and_then(|seen| seen.answer) == Some(answer) && leader(it) != leader(one))
        .then_some("was told what another was, and the records do not say so")
}

/// Whether it was asked for itself although it could have followed another one.
fn is_repeated(
    shared: &Shared,
    one: &One<'_>,
    topic: &[One<'_>],
    delivered: &[Delivered],
) -> Option<String> {
    // What holds a request up before it can follow, and what goes on under an earlier config.
    const OTHERS: [Fault; 4] = [
        Fault::HostSlow,
        Fault::Pipelining,
        Fault::Reload,
        Fault::SmallLimits,
    ];
    let is_asked = |it: &One<'_>| it.record.shared_with.is_none() && !it.record.attempts.is_empty();
    if !is_asked(one) || !wants(shared, one.asked) || shared.faults.borrow().has(&OTHERS) {
        return None;
    }
    let read = |it: &One<'_>| delivered.get(it.asked.link)?.reached(it.asked.end);
    let shard = |it: &One<'_>| delivered.get(it.asked.link).map(|read| read.shard);
    let joined = read(one)?;
    let other = topic.iter().find(|it| {
        let is_other = it.marker != one.marker && it.asked.caller == one.asked.caller;
        let is_before = read(it).is_some_and(|at| at < joined) && joined < it.ended;
        is_other && is_asked(it) && is_before && shard(it) == shard(one)
    })?;
    Some(format!(
        "was asked for itself, while {} was asked",
        other.marker
    ))
}
