//! How keys were used, held against what may be: not while they are to be left alone, by one
//! request at a time while in doubt, no more than they bear. Each machine is held to what it knew.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_core::base::Instant;
use tollgate_core::gateway::io::Message;
use tollgate_core::ir::Class;
use tollgate_core::policy::balance;
use tollgate_core::record::Access;

use super::attempts::{decided, is_spare, said};
use super::run::Heard;
use crate::script::journal::{Delivered, Journal, Says, Sent, Shared, Wait};
use crate::setup::PROVIDERS;
use crate::world::Violation;

/// Requests are counted when their key is chosen, and seen when they are sent: after a lookup and a
/// connection, perhaps two. Those seen in so much less than a minute were chosen within one.
const RATE_WINDOW: Duration = Duration::from_secs(25);

/// What answers of which that is not known may ask for: no script asks for more.
const UNSURE_MAX: Duration = Duration::from_secs(6);

/// The key of a provider, as one machine knows it.
type KeyAt = (usize, usize, Arc<str>);

/// A time in which a key must not be used.
#[derive(Clone, Copy, Debug)]
struct Closed {
    from: Instant,
    until: Instant,
    /// The provider refused the key itself.
    is_refused: bool,
    /// The machine was told by another one.
    is_heard: bool,
    /// Nobody said how long.
    is_guess: bool,
    /// How long is not known here.
    is_unsure: bool,
}

/// A request that was sent with a key.
#[derive(Clone, Copy, Debug)]
struct Call<'j> {
    marker: &'j str,
    sent: &'j Sent,
    at: Instant,
    /// From when on it says something of the key; never, if it was not answered to the end.
    decided: Option<Instant>,
}

/// All that is known of one key at one machine.
#[derive(Debug, Default)]
struct Use<'j> {
    closed: Vec<Closed>,
    calls: Vec<Call<'j>>,
    /// When the machine was told that it works, and when the request went out that showed it.
    works: Vec<(Instant, Instant)>,
}

/// Holds the use of all keys against what may be.
pub(super) fn check(
    shared: &Shared,
    records: &BTreeMap<String, (Instant, Access)>,
    heard: &[Heard],
) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let delivered = shared.delivered.borrow();
    let mut uses = uses(&journal, &delivered, records);
    for (key, closed) in heard_of(shared, heard) {
        uses.entry(key).or_default().closed.push(closed);
    }
    for (key, at, sent) in works_of(shared, heard) {
        uses.entry(key).or_default().works.push((at, sent));
    }
    let mut together: BTreeMap<(usize, Arc<str>), Vec<Call<'_>>> = BTreeMap::new();
    for ((shard, provider, name), used) in &mut uses {
        used.calls.sort_by_key(|call| call.at);
        let fail = |message: String| {
            let message = format!("{name} of provider {provider}, shard {shard}: {message}");
            Err(Violation::new("key", message))
        };
        if let Some(message) = used.while_closed() {
            return fail(message);
        }
        if let Some(message) = used.while_in_doubt() {
            return fail(message);
        }
        let spare = |call: &&Call<'_>| !is_spare(call.sent, &delivered);
        let calls = used.calls.iter().filter(spare);
        let all = together.entry((*provider, Arc::clone(name))).or_default();
        all.extend(calls.copied());
    }
    for ((provider, name), mut calls) in together {
        calls.sort_by_key(|call| call.at);
        let settings = shared.snapshot.providers.get(provider);
        let Some(limits) = settings.map(|it| &it.key_limits) else {
            continue;
        };
        if let Some(message) = over_limits(&calls, limits.requests_per_minute, limits.concurrent) {
            let message = format!("{name} of provider {provider}, all shards: {message}");
            return Err(Violation::new("key", message));
        }
    }
    Ok(())
}

impl Use<'_> {
    /// A call while the key was to be left alone.
    fn while_closed(&self) -> Option<String> {
        self.calls.iter().find_map(|call| {
            let mut closed = self.closed.iter();
            let closed = closed.find(|closed| {
                let is_over = (closed.is_heard || closed.is_refused) && self.works(closed, call);
                // What went out before the key cooled tells nothing of how long it must.
                let is_nothing = closed.is_guess && self.is_closed_at(closed.from);
                !is_over && !is_nothing && closed.from < call.at && call.at < closed.until
            })?;
            Some(format!(
                "used by {} at {}: {closed:?}",
                call.marker, call.at
            ))
        })
    }

    /// Whether the key is left alone then, for an earlier reason.
    fn is_closed_at(&self, at: Instant) -> bool {
        let mut closed = self.closed.iter();
        closed.any(|closed| {
            let more = match closed.is_unsure {
                true => UNSURE_MAX,
                false => Duration::ZERO,
            };
            closed.from < at && at < closed.until + more
        })
    }

    /// Whether the machine knew by the time of `call` from another one that the key works again.
    fn works(&self, closed: &Closed, call: &Call<'_>) -> bool {
        let mut works = self.works.iter();
        works.any(|&(at, sent)| sent > closed.from && at <= call.at)
    }

    /// Two calls at once while it was not known whether the key works again.
    fn while_in_doubt(&self) -> Option<String> {
        self.closed.iter().find_map(|closed| {
            let mut probe: Option<&Call<'_>> = None;
            for call in self.calls.iter().filter(|call| call.at > closed.from) {
                let Some(before) = probe else {
                    probe = Some(call);
                    continue;
                };
                if self.works(closed, call) {
                    return None;
                }
                if before.decided.is_none_or(|decided| decided > call.at) {
                    return Some(format!(
                        "used by {} at {}, while {} was finding out since {} whether it works: \
                         {closed:?}",
                        call.marker, call.at, before.marker, before.at
                    ));
                }
                if before.sent.says != Says::Fault {
                    // Perhaps it was accepted.
                    return None;
                }
                probe = Some(call);
            }
            None
        })
    }
}

/// More than the key bears.
fn over_limits(
    calls: &[Call<'_>],
    per_minute: Option<u32>,
    at_once: Option<u32>,
) -> Option<String> {
    for (index, call) in calls.iter().enumerate() {
        let later = calls.get(index..).unwrap_or_default();
        let within = later.iter().take_while(|it| it.at - call.at < RATE_WINDOW);
        let count = within.count();
        if per_minute.is_some_and(|max| count > max as usize) {
            return Some(format!(
                "{count} requests soon after {}: {per_minute:?}",
                call.at
            ));
        }
        let earlier = calls.get(..index).unwrap_or_default();
        let others = earlier.iter();
        let others = others.filter(|it| it.decided.is_none_or(|decided| decided > call.at));
        let count = others.count() + 1;
        if at_once.is_some_and(|max| count > max as usize) {
            return Some(format!("{count} requests at {}: {at_once:?}", call.at));
        }
    }
    None
}

fn uses<'j>(
    journal: &'j Journal,
    delivered: &[Delivered],
    records: &BTreeMap<String, (Instant, Access)>,
) -> BTreeMap<KeyAt, Use<'j>> {
    let mut uses: BTreeMap<KeyAt, Use<'_>> = BTreeMap::new();
    for (marker, attempts) in &journal.sent {
        for sent in attempts {
            let asked = &sent.asked;
            let Some(name) = &asked.key else { continue };
            let key = (asked.shard, asked.provider, Arc::clone(name));
            let used = uses.entry(key).or_default();
            used.closed.extend(closed_by(
                journal,
                (marker, attempts, sent),
                delivered,
                records,
            ));
            used.calls.push(Call {
                marker,
                sent,
                at: asked.at,
                decided: decided(sent, delivered),
            });
        }
    }
    uses
}

/// For how long an answer closes its key, if the machine took note of it: not if its client had
/// gone.
fn closed_by(
    journal: &Journal,
    (topic, attempts, sent): (&str, &[Sent], &Sent),
    delivered: &[Delivered],
    records: &BTreeMap<String, (Instant, Access)>,
) -> Option<Closed> {
    let Says::Limit { status, wait } = sent.says else {
        return None;
    };
    let from = said(sent, delivered)?;
    let class = match status {
        429 => Class::RateLimit,
        401 => Class::Authentication,
        402 => Class::Billing,
        _ => Class::Permission,
    };
    let (name, ..) = PROVIDERS[sent.asked.provider];
    let mut askers = journal
        .asked
        .iter()
        .filter(|(_, asked)| asked.topic == topic);
    let one = records.get(topic);
    let askers = match one {
        Some(one) => vec![one],
        None => {
            let markers = askers.by_ref().map(|(marker, _)| marker);
            markers.filter_map(|marker| records.get(marker)).collect()
        }
    };
    let noted = askers.iter().flat_map(|(_, record)| &record.attempts);
    let noted = noted.filter(|told| {
        *told.provider == *name && told.key == sent.asked.key && told.failed() == Some(class)
    });
    let alike = attempts.iter().filter(|other| {
        matches!(other.says, Says::Limit { status: it, .. } if it == status)
            && other.asked.provider == sent.asked.provider
            && other.asked.key == sent.asked.key
    });
    (noted.count() >= alike.count()).then_some(Closed {
        from,
        until: match wait {
            Wait::For(time) | Wait::Untold(time) => from + time,
            Wait::Until(time) => time,
        },
        is_refused: status != 429,
        is_heard: false,
        is_guess: matches!(wait, Wait::Untold(_)),
        is_unsure: matches!(wait, Wait::For(Duration::ZERO)),
    })
}

/// What machines were told by others of keys that are to be left alone.
fn heard_of(shared: &Shared, heard: &[Heard]) -> Vec<(KeyAt, Closed)> {
    let names = names(shared);
    let closed = heard.iter().filter_map(|&(from, shard, ref message)| {
        let &Message::Key {
            key,
            until,
            refused,
        } = message
        else {
            return None;
        };
        let (provider, name) = names.get(&key)?.clone();
        let closed = Closed {
            from,
            until,
            is_refused: refused.is_some(),
            is_heard: true,
            is_guess: false,
            is_unsure: false,
        };
        Some(((shard, provider, name), closed))
    });
    closed.collect()
}

/// What machines were told by others of keys that work again: when, and of a request sent when.
fn works_of(shared: &Shared, heard: &[Heard]) -> Vec<(KeyAt, Instant, Instant)> {
    let names = names(shared);
    let works = heard.iter().filter_map(|&(at, shard, ref message)| {
        let &Message::KeyWorks { key, sent } = message else {
            return None;
        };
        let (provider, name) = names.get(&key)?.clone();
        Some(((shard, provider, name), at, sent))
    });
    works.collect()
}

/// What machines call the keys among each other.
fn names(shared: &Shared) -> BTreeMap<u64, (usize, Arc<str>)> {
    let providers = shared.snapshot.providers.iter().enumerate();
    let names = providers.flat_map(|(index, provider)| {
        provider.keys().iter().map(move |key| {
            let name = format!("{}/{}", provider.name, key.secret.expose());
            let hash = balance::hash(name.as_bytes());
            (hash, (index, Arc::clone(&key.fingerprint)))
        })
    });
    names.collect()
}
