//! Whether targets that fail are left alone: once a breaker must be open, by what its machine knew,
//! one probe at a time goes out, and after one that failed none for a while.

use core::time::Duration;
use std::collections::BTreeMap;

use tollgate_core::base::Instant;
use tollgate_core::gateway::io::Message;
use tollgate_core::ir::Class;
use tollgate_core::policy::balance;
use tollgate_core::record::Access;

use super::attempts::{decided, is_spare, said};
use super::run::Heard;
use crate::script::journal::{Delivered, Journal, Says, Sent, Shared, is_shared};
use crate::setup::PROVIDERS;
use crate::world::Violation;

/// A failure may be plain before all of its answer has come.
const SLACK: Duration = Duration::from_secs(1);

/// A target, as one machine knows it: the machine, the model whose chain it is in, the provider.
type TargetAt = (usize, &'static str, usize);

/// A request that a target was sent.
#[derive(Clone, Copy, Debug)]
struct Call<'j> {
    marker: &'j str,
    at: Instant,
    /// From when on it says something of the target; never, if it was not answered.
    decided: Option<Instant>,
    /// When its machine knew that it failed by the target's fault; `None` if that is not certain.
    failed: Option<Instant>,
    /// By when its machine knew what it says, whatever that was.
    over: Instant,
    /// It was answered well.
    is_well: bool,
    /// It was for several at once, and what came of it is not looked for.
    is_shared: bool,
}

/// Holds the calls of all targets against what may be.
pub(super) fn check(
    shared: &Shared,
    records: &BTreeMap<String, (Instant, Access)>,
    heard: &[Heard],
) -> Result<(), Violation> {
    let unsent = unsent(shared, records);
    for ((shard, model, provider), mut calls) in targets(shared, records) {
        calls.sort_by_key(|call| call.at);
        let told: Vec<(Instant, Option<Instant>)> = heard
            .iter()
            .filter_map(|(at, to, message)| match message {
                Message::Breaker { target, open, .. } if *to == shard => {
                    let until = open.map(|(until, _)| until);
                    (*target == name(provider, model)).then_some((*at, until))
                }
                _ => None,
            })
            .collect();
        let own = name(provider, model);
        let answered = heard.iter().filter(|(_, to, message)| match message {
            Message::Failures { target, in_row, .. } => {
                *to == shard && *in_row == 0 && *target == own
            }
            _ => false,
        });
        let answered: Vec<Instant> = answered.map(|(at, ..)| *at).collect();
        let watch = Watch {
            calls: &calls,
            told: &told,
            answered: &answered,
            unsent: unsent.get(&(model, provider)).copied(),
            in_row: shared.snapshot.breaker.failures_in_row as usize,
            recovery: shared.snapshot.breaker.recovery,
        };
        if let Some(message) = watch.after_failures().or_else(|| watch.after_news()) {
            let message = format!("provider {provider} for {model}, shard {shard}: {message}");
            return Err(Violation::new("breaker", message));
        }
    }
    Ok(())
}

/// What shards call a model of the provider.
pub(super) fn name(provider: usize, model: &str) -> u64 {
    let (name, ..) = PROVIDERS[provider];
    balance::hash(name.as_bytes()).rotate_left(1) ^ balance::hash(model.as_bytes())
}

/// The calls of each target.
fn targets<'j>(
    shared: &Shared,
    records: &'j BTreeMap<String, (Instant, Access)>,
) -> BTreeMap<TargetAt, Vec<Call<'j>>> {
    let journal = shared.journal.borrow();
    let delivered = shared.delivered.borrow();
    let mut targets: BTreeMap<TargetAt, Vec<Call<'_>>> = BTreeMap::new();
    for (marker, attempts) in &journal.sent {
        if is_shared(marker) {
            add_shared(shared, &journal, marker, &mut targets);
            continue;
        }
        let (Some(asked), Some((marker, (over, record)))) =
            (journal.asked.get(marker), records.get_key_value(marker))
        else {
            continue;
        };
        for sent in attempts.iter().filter(|sent| !is_spare(sent, &delivered)) {
            let target = (sent.asked.shard, asked.model, sent.asked.provider);
            let noted = is_noted(sent, attempts, record);
            let failed = said(sent, &delivered).filter(|_| noted);
            let is_last = attempts.last().is_some_and(|last| last.link == sent.link);
            let is_complete = record.outcome == tollgate_core::record::Outcome::Complete;
            targets.entry(target).or_default().push(Call {
                marker,
                at: sent.asked.at,
                decided: decided(sent, &delivered),
                failed,
                over: over_at(sent, &delivered, *over),
                is_well: is_complete && is_last,
                is_shared: false,
            });
        }
    }
    targets
}

/// Of each model of a provider, from when on there may have been failures that no server saw: of
/// connections, and of names.
fn unsent(
    shared: &Shared,
    records: &BTreeMap<String, (Instant, Access)>,
) -> BTreeMap<(&'static str, usize), Instant> {
    let journal = shared.journal.borrow();
    let mut unsent = BTreeMap::new();
    for (marker, (over, record)) in records {
        let Some(asked) = journal.asked.get(marker) else {
            continue;
        };
        for (provider, (name, ..)) in PROVIDERS.iter().enumerate() {
            let told = record.attempts.iter().filter(|it| *it.provider == **name);
            let sent = journal.sent.get(marker).into_iter().flatten();
            let sent = sent.filter(|sent| sent.asked.provider == provider);
            if told.count() > sent.count() {
                let begun = over
                    .as_nanos()
                    .saturating_sub(u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX));
                let begun = Instant::from_nanos(begun);
                let first = unsent.entry((asked.model, provider)).or_insert(begun);
                *first = begun.min(*first);
            }
        }
    }
    unsent
}

/// What was asked for several at once: what came of it for whom is not looked for.
fn add_shared(
    shared: &Shared,
    journal: &Journal,
    topic: &str,
    targets: &mut BTreeMap<TargetAt, Vec<Call<'_>>>,
) {
    let delivered = shared.delivered.borrow();
    let Some(asked) = journal.asked_about(topic).next() else {
        return;
    };
    let attempts = journal.sent.get(topic).into_iter().flatten();
    for sent in attempts.filter(|sent| !is_spare(sent, &delivered)) {
        let target = (sent.asked.shard, asked.model, sent.asked.provider);
        targets.entry(target).or_default().push(Call {
            marker: "several",
            at: sent.asked.at,
            decided: decided(sent, &delivered),
            failed: None,
            over: Instant::FAR,
            is_well: false,
            is_shared: true,
        });
    }
}

/// Whether the attempt failed by its upstream's fault, and the record says so.
fn is_noted(sent: &Sent, attempts: &[Sent], record: &Access) -> bool {
    let (name, ..) = PROVIDERS[sent.asked.provider];
    let same = |other: &&Sent| other.asked.provider == sent.asked.provider;
    let told = record
        .attempts
        .iter()
        .filter(|told| *told.provider == *name);
    // With a failure of another kind beside it, which was which is not known.
    sent.says == Says::Fault
        && attempts
            .iter()
            .filter(same)
            .all(|other| other.says == Says::Fault)
        && told.clone().count() >= attempts.iter().filter(same).count()
        // One that is over with its client's patience is not the upstream's fault, whatever that
        // was about to say.
        && told.clone().all(|told| told.failed().is_some_and(|class| class != Class::Timeout))
}

fn over_at(sent: &Sent, delivered: &[Delivered], recorded: Instant) -> Instant {
    let closed = delivered.get(sent.link).and_then(|read| read.closed_at);
    closed.map_or(recorded, |closed| closed.min(recorded))
}

/// One target, and what is known of it.
struct Watch<'a> {
    calls: &'a [Call<'a>],
    /// What others told, and when: until when it is open, or that it is well.
    told: &'a [(Instant, Option<Instant>)],
    /// When others told that it answered well: then failures count anew.
    answered: &'a [Instant],
    /// From when on there may have been failures that are not among the calls.
    unsent: Option<Instant>,
    in_row: usize,
    recovery: Duration,
}

impl Watch<'_> {
    /// What is wrong after as many failures in a row as open a breaker.
    fn after_failures(&self) -> Option<String> {
        let mut failed: Vec<(Instant, &Call<'_>)> = self
            .calls
            .iter()
            .filter_map(|call| Some((call.failed?, call)))
            .collect();
        failed.sort_by_key(|(at, _)| *at);
        failed.windows(self.in_row).find_map(|row| {
            let (Some(&(first, begun)), Some(&(opened, _))) = (row.first(), row.last()) else {
                return None;
            };
            let mut answered = self.answered.iter();
            if answered.any(|at| (first..=opened).contains(at)) {
                return None;
            }
            // Others must not come between them: they may have been answered well.
            let mut others = self.calls.iter().filter(|call| call.failed.is_none());
            if !others.all(|call| call.over < first || call.at > opened) {
                return None;
            }
            let was_well = self.calls.iter().filter(|call| call.at < first);
            let is_first = was_well.clone().all(|call| {
                call.is_well || call.failed.is_some_and(|at| at >= first) || call.at == begun.at
            });
            let is_first = is_first && !self.told.iter().any(|(at, _)| *at <= opened);
            // It may have opened before, and learnt nothing of these.
            let is_first = is_first && self.unsent.is_none_or(|at| at > opened);
            self.while_open(opened, is_first, Instant::FAR)
        })
    }

    /// What is wrong with the calls between `opened` and `until`, while the breaker is open, or a
    /// probe is on its way; with `is_fresh` it has just been opened.
    fn while_open(&self, opened: Instant, is_fresh: bool, until: Instant) -> Option<String> {
        let closed = self.told.iter();
        let mut closed = closed.filter(|(at, until)| *at >= opened && until.is_none());
        let end = closed.next().map_or(until, |(at, _)| until.min(*at));
        // Its own call that is under way closes it if it is answered well.
        let under_way = self.calls.iter();
        let under_way = under_way.filter(|call| call.at <= opened && call.over > opened);
        let answered = under_way.filter_map(|call| {
            // It closes with the first content, which comes behind the first byte, and before what
            // fails within the answer.
            let begun = call.decided.map(|at| at.max(opened));
            begun.filter(|&begun| call.failed.is_none_or(|failed| begun < failed))
        });
        let end = answered.min().map_or(end, |at| end.min(at));
        let mut shut_until = is_fresh.then(|| opened + self.recovery);
        let mut probe: Option<&Call<'_>> = None;
        for call in self.calls.iter().filter(|it| it.at > opened && it.at < end) {
            if let Some(before) = probe {
                if before.is_shared {
                    return None;
                }
                if before.decided.is_none_or(|decided| decided > call.at) {
                    return Some(format!(
                        "a second probe by {}: {before:?}, {call:?}",
                        call.marker
                    ));
                }
                // What came of the one before is not certain.
                let failed = before.failed.filter(|failed| *failed < call.at)?;
                shut_until = Some(failed + self.recovery);
            }
            if shut_until.is_some_and(|until| call.at + SLACK < until) {
                return Some(format!(
                    "open since {opened}, until {shut_until:?} at least, and yet: {call:?}"
                ));
            }
            probe = Some(call);
        }
        None
    }

    /// What is wrong after another machine has said that its breaker opened.
    fn after_news(&self) -> Option<String> {
        self.told.iter().find_map(|&(heard, until)| {
            let until = until?;
            // One probe of its own may be on its way, and decides by itself.
            self.while_open(heard, false, until)
        })
    }
}
