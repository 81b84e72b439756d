//! Tokens sent with a key, held against what it bears in a minute: over all machines together, by
//! the estimates that the gateway counts with.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::attempts::is_spare;
use crate::faults::Fault;
use crate::script::journal::{Delivered, Journal, Sent, Shared};
use crate::world::Violation;
use tollgate_core::base::Instant;

/// Over which limits hold.
const MINUTE: Duration = Duration::from_secs(60);
/// Tokens are counted when a key is chosen, and seen when the request is sent: so much later if
/// that takes a lookup and two connections, and if it takes neither long.
const LATE_MAX: Duration = Duration::from_secs(35);
const LATE: Duration = Duration::from_secs(2);

/// A request that was sent with a key.
struct Call<'j> {
    topic: &'j str,
    at: Instant,
    /// What the gateway takes it for.
    estimate: u64,
    /// What is counted at least once the answer tells more.
    least: u64,
    /// What is counted from a time on, if the answer came whole.
    used: Option<(Instant, u64)>,
}

/// Holds the tokens of all keys against what may be.
pub(super) fn check(shared: &Shared, shards: u16) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let delivered = shared.delivered.borrow();
    let late = late(shared);
    for ((provider, name), mut calls) in calls(&journal, &delivered) {
        let settings = shared.snapshot.providers.get(provider);
        let limit = settings.and_then(|it| it.key_limits.tokens_per_minute);
        let Some(limit) = limit else { continue };
        calls.sort_by_key(|call| call.at);
        let share = limit / u64::from(shards);
        for (index, call) in calls.iter().enumerate() {
            let earlier = calls.get(..index).unwrap_or_default();
            let within = earlier.iter().filter(|it| call.at - it.at + late < MINUTE);
            let count = |it: &Call<'_>| match it.used {
                // What others have used beyond the estimate counts with them alone.
                Some((at, used)) if shards == 1 && at + late < call.at => used,
                // So much is sent by one shard when it has sent nothing else.
                _ if it.estimate > share => 0,
                _ => it.least,
            };
            let sum: u64 = within.map(count).sum();
            if sum > 0 && call.estimate <= share && sum + call.estimate > limit {
                let message = format!(
                    "{name} of provider {provider}: {} tokens of {} at {} beside {sum} within a \
                     minute, of {limit}",
                    call.estimate, call.topic, call.at
                );
                return Err(Violation::new("tokens", message));
            }
        }
    }
    Ok(())
}

fn late(shared: &Shared) -> Duration {
    const SLOW: [Fault; 8] = [
        Fault::BlackHole,
        Fault::ConnectHangs,
        Fault::ConnectRefused,
        Fault::DnsFails,
        Fault::DnsSlow,
        Fault::HostSlow,
        Fault::Latency,
        Fault::SlowCompletions,
    ];
    match shared.faults.borrow().has(&SLOW) {
        true => LATE_MAX,
        false => LATE,
    }
}

fn calls<'j>(
    journal: &'j Journal,
    delivered: &[Delivered],
) -> BTreeMap<(usize, Arc<str>), Vec<Call<'j>>> {
    let mut calls: BTreeMap<(usize, Arc<str>), Vec<Call<'_>>> = BTreeMap::new();
    for (topic, attempts) in &journal.sent {
        let Some(asked) = journal.asked_about(topic).next() else {
            continue;
        };
        for sent in attempts.iter().filter(|sent| !is_spare(sent, delivered)) {
            let Some(name) = &sent.asked.key else {
                continue;
            };
            let estimate = asked.tokens_estimate();
            let (input, used) = used(sent, delivered);
            let key = (sent.asked.provider, Arc::clone(name));
            calls.entry(key).or_default().push(Call {
                topic,
                at: sent.asked.at,
                estimate,
                // The beginning of an answer may tell the prompt, and one token of its own.
                least: estimate.min(input + 1),
                used,
            });
        }
    }
    calls
}

/// The tokens of the prompt, and all of them with when they were known.
fn used(sent: &Sent, delivered: &[Delivered]) -> (u64, Option<(Instant, u64)>) {
    let input = sent.told.input_tokens.unwrap_or(0);
    let output = sent.told.output_tokens.unwrap_or(0);
    let read = delivered.get(sent.link);
    let whole = sent.whole_at.and_then(|at| read?.reached(at));
    (input, whole.map(|at| (at, input + output)))
}
