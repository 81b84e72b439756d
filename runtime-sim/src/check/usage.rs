//! What was used up is conserved: what upstreams told of it, and the gateway has read, is in the
//! records of their attempts, also of those that failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_core::base::Instant;
use tollgate_core::record::{Access, Ending, Outcome};

use crate::faults::Fault;
use crate::script::journal::{Delivered, Sent, Shared, Used};
use crate::setup::PROVIDERS;
use crate::world::Violation;

/// Tokens of prompts and of answers.
type Tokens = [u64; 2];

/// What was used up with a key of a provider for one request: as recorded, and as upstreams told,
/// at least and at most.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    recorded: Tokens,
    least: Tokens,
    most: Tokens,
}

/// Holds what the records of a request say against what its upstreams told.
pub(super) fn check(shared: &Shared, marker: &str, record: &Access) -> Result<(), Violation> {
    let journal = shared.journal.borrow();
    let delivered = shared.delivered.borrow();
    let Some(asked) = journal.asked.get(marker).filter(|it| !it.is_shared()) else {
        return Ok(());
    };
    // Where little may be held, or much is heard at once, an attempt may be over before all of what
    // was read is looked at.
    const HASTY: [Fault; 2] = [Fault::BatchedInputs, Fault::SmallLimits];
    // Of what comes for a client that has much to take already, not all is looked at if it leaves.
    const SLOW: [Fault; 3] = [Fault::Bandwidth, Fault::SlowReader, Fault::SmallWindow];
    let is_slow = record.outcome != Outcome::Complete && shared.faults.borrow().has(&SLOW);
    let is_hasty = is_slow || shared.faults.borrow().has(&HASTY);
    let mut sums: BTreeMap<(&str, Option<Arc<str>>), Sums> = BTreeMap::new();
    for sent in journal.sent_for(asked) {
        let (name, ..) = PROVIDERS[sent.asked.provider];
        let sum = sums.entry((name, sent.asked.key.clone())).or_default();
        add(&mut sum.most, most(sent, &delivered));
        if !is_hasty {
            add(&mut sum.least, least(sent, &delivered));
        }
    }
    for attempt in &record.attempts {
        let usage = match attempt.ending {
            Ending::Answered => &record.usage,
            Ending::CalledOff | Ending::Failed(_) => &attempt.usage,
        };
        let tokens = [usage.input, usage.output].map(Option::unwrap_or_default);
        let sum = sums
            .entry((&attempt.provider, attempt.key.clone()))
            .or_default();
        add(&mut sum.recorded, tokens);
    }
    for (whose, sum) in sums {
        let is_fit = (0..2).all(|it| (sum.least[it]..=sum.most[it]).contains(&sum.recorded[it]));
        if !is_fit {
            let message = format!("{marker} with {whose:?}: {sum:?}: {record:?}");
            return Err(Violation::new("usage", message));
        }
    }
    Ok(())
}

fn add(sum: &mut Tokens, more: Tokens) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

/// What the machine may have understood.
fn most(sent: &Sent, delivered: &[Delivered]) -> Tokens {
    let read = delivered.get(sent.link).map_or(0, |read| read.bytes);
    last(sent.used.iter().filter(|used| used.at <= read))
}

/// What it has understood before it was through with the attempt.
fn least(sent: &Sent, delivered: &[Delivered]) -> Tokens {
    let Some(read) = delivered.get(sent.link) else {
        return Tokens::default();
    };
    let end = read.closed_at.unwrap_or(Instant::FAR);
    let is_read =
        |used: &&Used| used.is_certain && read.reached(used.at).is_some_and(|at| at < end);
    last(sent.used.iter().filter(is_read))
}

fn last<'s>(used: impl Iterator<Item = &'s Used>) -> Tokens {
    used.last().map_or(Tokens::default(), |used| used.tokens)
}
