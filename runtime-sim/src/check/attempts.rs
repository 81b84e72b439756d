//! What was asked of upstreams for each request, held against what may be: how often, with which
//! key, when; and against what its record says of it. Looked at when a run is over and all is
//! known.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_core::base::Instant;
use tollgate_core::config::{Route, RouteTarget};
use tollgate_core::ir::Class;
use tollgate_core::record::{Access, Attempted, Outcome};

use crate::faults::Fault;
use crate::script::journal::{Delivered, Journal, Sent, Shared, is_delivered};
use crate::setup::PROVIDERS;
use crate::world::Violation;

/// The key of a provider, as one machine knows it.
type KeyAt = (usize, usize, Arc<str>);

/// A time in which a key must not be used.
#[derive(Clone, Copy, Debug)]
struct Closed<'j> {
    from: Instant,
    until: Instant,
    status: u16,
    marker: &'j str,
}

/// Holds what upstreams were asked against what may be.
pub(crate) fn check(shared: &Shared, records: &BTreeMap<String, Access>) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let delivered = shared.delivered.borrow();
    let is_calm = shared.faults.borrow().is_calm();
    for (marker, sent) in &journal.sent {
        let Some(record) = records.get(marker) else {
            continue;
        };
        let attempts_max = shared.snapshot.retry.attempts_max as usize;
        let attempts_max = if is_calm { 1 } else { attempts_max };
        let asked = Asked {
            marker,
            sent,
            record,
            delivered: &delivered,
        };
        asked.is_bounded(attempts_max)?;
        asked.is_before_content(&journal)?;
        asked.is_recorded()?;
    }
    // A request that came before a reload goes on with the keys of its own config.
    if shared.faults.borrow().injected()[Fault::Reload as usize] > 0 {
        return Ok(());
    }
    keys_are_left_alone(shared, &journal, &delivered, records)
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

    /// What was sent on a kept connection and not answered may have been sent again on a fresh one,
    /// as the same attempt.
    fn is_spare(&self, sent: &Sent) -> bool {
        let read = self.delivered.get(sent.link).map_or(0, |read| read.bytes);
        sent.asked.is_reused && read <= sent.begin_at
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
        if self.sent.iter().any(|sent| sent.asked.at > content_at) {
            return self.fail(&format!(
                "an attempt after the client's content {content_at}"
            ));
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
        if is_complete && (last.failed().is_some() || !self.sent.iter().any(is_answered)) {
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

/// Whether an attempt failed so that its key is taken out.
const fn is_limit(failed: Option<Class>) -> bool {
    matches!(
        failed,
        Some(Class::RateLimit | Class::Authentication | Class::Billing | Class::Permission)
    )
}

/// No key is used from when the machine was told that it must not, until that time is over.
fn keys_are_left_alone(
    shared: &Shared,
    journal: &Journal,
    delivered: &[Delivered],
    records: &BTreeMap<String, Access>,
) -> Result<(), Violation> {
    let mut closed: BTreeMap<KeyAt, Vec<Closed<'_>>> = BTreeMap::new();
    for (marker, attempts) in &journal.sent {
        for sent in attempts {
            let told = closed_by(marker, (attempts, sent), delivered, records);
            if let Some((key, told)) = key_of(sent).zip(told) {
                closed.entry(key).or_default().push(told);
            }
        }
    }
    for (marker, sent) in all(journal) {
        let at = sent.asked.at;
        let Some(told) = key_of(sent).and_then(|key| closed.get(&key)) else {
            continue;
        };
        let mut broken = told.iter().filter(|told| told.from < at && at < told.until);
        let is_spared =
            |status: u16| status == 429 || !is_all_there_is(shared, sent.asked.provider);
        if let Some(told) = broken.find(|told| is_spared(told.status)) {
            let message = format!(
                "{marker}: asked at {at} with a key that was to be left alone from {} to {}, since \
                 {} was answered to {}: {:?}",
                told.from, told.until, told.status, told.marker, sent.asked
            );
            return Err(Violation::new("key", message));
        }
    }
    Ok(())
}

fn all(journal: &Journal) -> impl Iterator<Item = (&str, &Sent)> {
    let requests = journal.sent.iter();
    requests.flat_map(|(marker, sent)| sent.iter().map(move |sent| (marker.as_str(), sent)))
}

/// Whether a provider has one key, and a route that leads nowhere else: then its key is used though
/// it was refused, and is well again for all once it is accepted.
fn is_all_there_is(shared: &Shared, provider: usize) -> bool {
    let is_alone = |route: &Route| match &route.target {
        RouteTarget::Chain(chain) => chain.upstreams().all(|it| it.provider == provider),
        RouteTarget::Demo => false,
    };
    let keys = shared.snapshot.providers.get(provider);
    keys.is_some_and(|it| it.keys().len() == 1) && shared.snapshot.routes.iter().any(is_alone)
}

fn key_of(sent: &Sent) -> Option<KeyAt> {
    let asked = &sent.asked;
    Some((asked.shard, asked.provider, asked.key.clone()?))
}

/// For how long an answer closes its key, if the machine took note of it: not if its client had
/// gone.
fn closed_by<'j>(
    marker: &'j str,
    (attempts, sent): (&[Sent], &Sent),
    delivered: &[Delivered],
    records: &BTreeMap<String, Access>,
) -> Option<Closed<'j>> {
    let limit = sent.limit?;
    let marks = &delivered.get(sent.link)?.marks;
    let (_, from) = marks.iter().find(|(at, _)| Some(*at) == limit.end_at)?;
    let from = (*from)?;
    let class = match limit.status {
        429 => Class::RateLimit,
        401 => Class::Authentication,
        402 => Class::Billing,
        _ => Class::Permission,
    };
    let (name, ..) = PROVIDERS[sent.asked.provider];
    let noted = records.get(marker)?.attempts.iter().filter(|told| {
        *told.provider == *name && told.key == sent.asked.key && told.failed() == Some(class)
    });
    let alike = attempts.iter().filter(|other| {
        other.limit.is_some_and(|it| it.status == limit.status)
            && other.asked.provider == sent.asked.provider
            && other.asked.key == sent.asked.key
    });
    (noted.count() >= alike.count()).then_some(Closed {
        from,
        until: from + limit.wait,
        status: limit.status,
        marker,
    })
}
