//! How many requests went on at once, at providers, at targets and for callers, held against what
//! may: over all machines together, as seen from outside. And nobody who has to wait for that
//! waits for ever.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use tollgate_core::base::Instant;
use tollgate_core::config::Snapshot;
use tollgate_core::record::Access;

use crate::faults::Fault;
use crate::script::journal::{Asked, Delivered, Journal, Kind, Sent, Shared};
use crate::setup::{CALLERS, chain_of};
use crate::world::Violation;

/// Late ticks, late completions.
const SLACK: Duration = Duration::from_secs(20);

/// A time in which something was certainly asked for a request.
struct Span<'j> {
    marker: &'j str,
    from: Instant,
    until: Instant,
}

/// Whose places are taken.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Whose {
    Provider(usize),
    /// A provider's model.
    Target(&'static str, usize),
    Caller(usize),
}

/// Holds what was asked at once against what may be.
pub(super) fn check(
    shared: &Shared,
    records: &BTreeMap<String, (Instant, Access)>,
) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let delivered = shared.delivered.borrow();
    // What goes on under an earlier config is not counted under the next one.
    if shared.faults.borrow().injected()[Fault::Reload as usize] == 0 {
        for (whose, spans) in spans(&journal, &delivered) {
            let limit = limit(&shared.snapshot, &whose);
            if let Some(message) = limit.and_then(|limit| over(&spans, limit)) {
                return Err(Violation::new("limits", format!("{whose:?}: {message}")));
            }
        }
    }
    for (marker, asked) in &journal.asked {
        let record = records.get(marker);
        let sent = journal.sent_for(asked);
        if let Some(message) = waits_too_long(shared, asked, sent, record, &delivered) {
            return Err(Violation::new("fairness", format!("{marker} {message}")));
        }
    }
    Ok(())
}

fn spans<'j>(journal: &'j Journal, delivered: &[Delivered]) -> BTreeMap<Whose, Vec<Span<'j>>> {
    let mut spans: BTreeMap<Whose, Vec<Span<'_>>> = BTreeMap::new();
    for (topic, attempts) in &journal.sent {
        let own = journal.asked.get(topic);
        for sent in attempts {
            let provider = sent.asked.provider;
            let caller = own.and_then(|asked| asked.caller).map(Whose::Caller);
            let model = journal.asked_about(topic).next().map(|asked| asked.model);
            let target = model.map(|model| Whose::Target(model, provider));
            let all = [Some(Whose::Provider(provider)), target, caller];
            for whose in all.into_iter().flatten() {
                spans.entry(whose).or_default().push(Span {
                    marker: topic,
                    from: sent.asked.at,
                    until: over_at(sent, delivered),
                });
            }
        }
    }
    spans
}

/// When the machine may have known first that nothing more is to come of an attempt.
pub(super) fn over_at(sent: &Sent, delivered: &[Delivered]) -> Instant {
    let Some(read) = delivered.get(sent.link) else {
        return Instant::FAR;
    };
    let places = [sent.finish_at, sent.said_at, sent.whole_at, sent.over_at];
    let reached = places
        .into_iter()
        .flatten()
        .filter_map(|at| read.reached(at));
    reached.chain(read.closed_at).min().unwrap_or(Instant::FAR)
}

fn limit(snapshot: &Snapshot, whose: &Whose) -> Option<u32> {
    match *whose {
        Whose::Provider(index) => snapshot.providers.get(index)?.concurrent,
        Whose::Target(model, provider) => {
            let mut upstreams = chain_of(snapshot, model)?.upstreams();
            upstreams.find(|it| it.provider == provider)?.concurrent
        }
        Whose::Caller(index) => {
            let (name, _) = CALLERS.get(index)?;
            let caller = snapshot.callers.iter().find(|it| *it.name == **name)?;
            caller
                .terms
                .concurrent
                .or(snapshot.queue.concurrent_per_client)
        }
    }
}

/// What is wrong with so many requests at once.
fn over(spans: &[Span<'_>], limit: u32) -> Option<String> {
    spans.iter().find_map(|span| {
        let at_once = spans
            .iter()
            .filter(|other| other.from <= span.from && span.from < other.until);
        let markers: BTreeSet<&str> = at_once.map(|it| it.marker).collect();
        (markers.len() > limit as usize).then(|| {
            let at = span.from;
            format!("at {at} went on {markers:?}, of {limit} at once")
        })
    })
}

/// What is wrong with how long a request waited for its turn.
fn waits_too_long(
    shared: &Shared,
    asked: &Asked,
    sent: &[Sent],
    record: Option<&(Instant, Access)>,
    delivered: &[Delivered],
) -> Option<String> {
    let (ended, record) = record?;
    let wait_max = shared.snapshot.retry.wait_max;
    if record.waited > wait_max + SLACK {
        return Some(format!("waited for {:?}: {record:?}", record.waited));
    }
    // What else may take time before an upstream hears of it.
    const SLOW: [Fault; 8] = [
        Fault::BlackHole,
        Fault::ConnectHangs,
        Fault::ConnectRefused,
        Fault::DnsFails,
        Fault::DnsSlow,
        Fault::HostSlow,
        Fault::SlowCompletions,
        Fault::SlowUpstream,
    ];
    let is_behind = asked.before > 0 && shared.faults.borrow().has(&[Fault::Pipelining]);
    let is_generate = matches!(asked.kind, Kind::Generate(_));
    if !is_generate || is_behind || shared.faults.borrow().has(&SLOW) {
        return None;
    }
    // Of those that share an answer none is asked for by itself; and an upstream that did not hear
    // of it may have been asked all the time.
    if asked.is_shared() || record.attempts.len() > sent.len() {
        return None;
    }
    let read = delivered.get(asked.link)?.reached(asked.end)?;
    let heard = sent.iter().map(|sent| sent.asked.at).min();
    let heard = heard.unwrap_or(*ended);
    let wait = heard.since(read);
    let connect = shared.limits.timers.upstream.connect;
    (wait > wait_max + connect + SLACK)
        .then(|| format!("waited for {wait:?} until an upstream heard of it: {record:?}"))
}
