//! [`Checker`]: what must hold of records, memory and clients' ends, at every turn and at the end.

use core::time::Duration;
use std::collections::BTreeMap;

use tollgate_core::base::Instant;
use tollgate_core::gateway::Usage;
use tollgate_core::gateway::io::Message;
use tollgate_core::policy::balance::Strategy;
use tollgate_core::record::{Access, Outcome, Record};

use super::{
    affinity, attempts, breaker, deadline, keys, limits, memory, message, rescue, resume, share,
    tokens, usage,
};
use crate::faults::Fault;
use crate::peer::LinkId;
use crate::scenario::Observed;
use crate::script::journal::{Asked, Kind, Seen, Sent, Shared};
use crate::setup::PROVIDERS;
use crate::world::{Observer, Reading, Turn, Violation};

/// No exchange takes longer, whatever happens: the scripts' slowest answer, and all deadlines; but
/// for the time that the slowest client needs for what it is told.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// That time, for a byte: who takes a byte now and then may do so for as long as the answer lasts.
const BYTE_TIME_MAX: Duration = Duration::from_millis(120);
/// Without harmful faults: the scripts' slowest answer.
const CALM_TIME_MAX: Duration = Duration::from_secs(60);
/// Late ticks, late completions, host threads and the way to the client.
const SLACK: Duration = Duration::from_secs(20);

/// What a machine was told by another.
pub(crate) type Heard = (Instant, usize, Message);

/// Watches one run.
pub(crate) struct Checker {
    shared: Shared,
    /// When each came, and what it says.
    records: BTreeMap<String, (Instant, Access)>,
    /// What each machine was told by others, and when.
    heard: Vec<Heard>,
}

impl Checker {
    pub(crate) fn new(shared: Shared) -> Checker {
        Checker {
            shared,
            records: BTreeMap::new(),
            heard: Vec::new(),
        }
    }

    pub(crate) fn records(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn complete(&self) -> u64 {
        self.records
            .values()
            .filter(|(_, access)| access.outcome == Outcome::Complete)
            .count() as u64
    }

    /// Nothing is held for anybody, but what waits for new clients.
    pub(crate) fn idle<'a, M: Observed>(
        &self,
        machine: impl Fn(usize) -> Option<&'a M>,
    ) -> Result<(), Violation> {
        let mut machines = (0..).map_while(machine);
        let held = machines.find_map(|machine| {
            let usage = machine.usage();
            // One from outside, and one that another shard hands over.
            let is_waiting = usage.clients <= 2;
            let rest = Usage {
                clients: 0,
                ..usage
            };
            (!is_waiting || rest != Usage::default()).then_some(usage)
        });
        match held {
            Some(usage) => {
                let message = format!("after the last client: {usage:?}");
                Err(Violation::new("leak", message))
            }
            None => Ok(()),
        }
    }

    /// Nothing is left, and every request has its record.
    pub(crate) fn end<'a, M: Observed>(
        &self,
        shards: usize,
        machine: impl Fn(usize) -> Option<&'a M>,
    ) -> Result<(), Violation> {
        for machine in (0..shards).filter_map(machine) {
            let usage = machine.usage();
            if usage != Usage::default() {
                return Err(Violation::new("leak", format!("at the end: {usage:?}")));
            }
            if let Some(timeout) = machine.poll_timeout() {
                return Err(Violation::new(
                    "leak",
                    format!("a timer at {timeout} at the end"),
                ));
            }
        }
        if self.shared.setup.is_resilient {
            self.is_resilient(shards)?;
        }
        limits::check(&self.shared, &self.records)?;
        share::check(&self.shared, &self.records)?;
        deadline::check(&self.shared, &self.records, &self.heard)?;
        let journal = self.shared.journal.borrow();
        let delivered = self.shared.delivered.borrow();
        let is_calm = self.shared.faults.borrow().is_calm();
        let lossy = {
            let faults = self.shared.faults.borrow();
            faults.has(&[Fault::BlackHole]) && faults.has(&[Fault::SlowSender])
        };
        for (marker, asked) in &journal.asked {
            let read = delivered.get(asked.link).map_or(0, |read| read.bytes);
            let is_accepted = self.is_reached(asked) && read >= asked.head_end;
            let record = self.records.get(marker).map(|(_, record)| record);
            let seen = journal.seen.get(marker).copied().unwrap_or_default();
            // What comes of a head after it was given up is dropped; that it was may have been
            // lost.
            let is_lost = lossy && !seen.is_ended;
            let is_read = asked.kind != Kind::Malformed && !seen.is_unread && !is_lost;
            if is_accepted && is_read && record.is_none() {
                return Err(Violation::new(
                    "record",
                    format!("{marker} has no record: {asked:?}"),
                ));
            }
            let is_answer = !matches!(asked.kind, Kind::Bad | Kind::Malformed);
            let is_served = seen.is_ended && seen.is_complete == is_answer;
            if is_calm && self.is_reached(asked) && !is_served {
                let message = format!("nothing went wrong, and yet: {marker} {asked:?} {seen:?}");
                return Err(Violation::new("answer", message));
            }
            if let Some(record) = record.filter(|_| seen.is_ended) {
                self.is_true(asked, &seen, record)?;
            }
        }
        for (marker, (_, record)) in &self.records {
            usage::check(&self.shared, marker, record)?;
        }
        Ok(())
    }

    /// How targets and keys were used.
    fn is_resilient(&self, shards: usize) -> Result<(), Violation> {
        attempts::check(&self.shared, &self.records)?;
        for (marker, (_, record)) in &self.records {
            rescue::check(&self.shared, marker, record)?;
            resume::check(&self.shared, marker, record)?;
            message::check(&self.shared, marker, record)?;
        }
        // A request that came before a reload goes on with the targets and keys of its own config.
        if self.shared.faults.borrow().injected()[Fault::Reload as usize] > 0 {
            return Ok(());
        }
        keys::check(&self.shared, &self.records, &self.heard)?;
        tokens::check(&self.shared, shards as u16)?;
        breaker::check(&self.shared, &self.records, &self.heard)?;
        // Where it is not told by their hash, each shard decides alone where sessions are.
        let is_shared = shards > 1 && self.shared.setup.strategy() != Strategy::Sessions;
        let is_raced = attempts::has_hedges(&self.shared);
        if self.shared.faults.borrow().is_calm() && !is_shared && !is_raced {
            affinity::check(&self.shared)?;
        }
        Ok(())
    }

    /// Whether a record says of an answer what the client has seen of it.
    fn is_true(&self, asked: &Asked, seen: &Seen, record: &Access) -> Result<(), Violation> {
        let is_complete = record.outcome == Outcome::Complete;
        // That it is not ready, a draining gateway says as it should.
        let is_unready = is_complete && record.path == "/ready" && seen.status == 503;
        let is_seen_complete = seen.is_complete || is_unready;
        let journal = self.shared.journal.borrow();
        let is_calm = self.shared.faults.borrow().is_calm();
        let delivered = self.shared.delivered.borrow();
        let attempts = Some(journal.sent_for(asked));
        let attempts = attempts.filter(|_| is_complete && seen.is_complete);
        // Of two that ran at once the first may have answered.
        let by = record.attempts.last();
        let is_followed = record.shared_with.is_some();
        let is_by = |sent: &&Sent| {
            let (name, ..) = PROVIDERS[sent.asked.provider];
            by.is_none_or(|by| *by.provider == *name && by.key == sent.asked.key)
        };
        let answered = attempts.and_then(|attempts| match seen.answer {
            // Others may have asked the same.
            Some(number) if asked.is_shared() => attempts.get(number),
            _ => attempts.iter().rev().find(is_by),
        });
        // What was used up is in the record of the one that was asked for.
        let answered = answered.filter(|_| !is_followed);
        // All that was told must be counted, where all of it came.
        let is_whole = |sent: &&Sent| {
            let read = delivered.get(sent.link).map_or(0, |read| read.bytes);
            is_calm || sent.whole_at.is_some_and(|at| at <= read)
        };
        let is_counted = answered.filter(is_whole).is_none_or(|sent| {
            record.usage.input == sent.told.input_tokens
                && record.usage.output == sent.told.output_tokens
                && record.request_bytes >= asked.content.len() as u64
        });
        // A message is whole, although it tells that nobody answered.
        let is_whole = is_complete || (message::is_told(record) && seen.is_complete);
        let is_true = record.status == Some(seen.status)
            && is_whole == is_seen_complete
            && record.response_bytes == seen.body_bytes
            && (record.stream == asked.is_stream || !is_complete)
            && is_callers(asked, record)
            && is_counted;
        if is_true {
            return Ok(());
        }
        let message = format!("{seen:?} was seen of {asked:?}, and recorded: {record:?}");
        Err(Violation::new("record", message))
    }

    /// Whether the request of a client that has just gone is over.
    fn is_let_go(&self, link: LinkId) -> Result<(), Violation> {
        let journal = self.shared.journal.borrow();
        let read = self.shared.delivered.borrow()[link].bytes;
        for (marker, asked) in journal.asked.iter().filter(|(_, asked)| asked.link == link) {
            let is_answered = journal.seen.get(marker).is_some_and(|seen| seen.is_ended);
            let is_begun = read >= asked.head_end && self.is_reached(asked);
            let is_generate = matches!(asked.kind, Kind::Generate(_) | Kind::Demo);
            if is_generate && is_begun && !is_answered && !self.records.contains_key(marker) {
                let message = format!("the client of {marker} is gone, and it goes on");
                return Err(Violation::new("gone", message));
            }
        }
        Ok(())
    }

    /// How long an exchange may take that ends now: it is bounded, and so is the silence of its
    /// upstream.
    fn is_in_time(&self, now: Instant, marker: &str, access: &Access) -> bool {
        let faults = self.shared.faults.borrow();
        if faults.is_calm() {
            return access.duration <= CALM_TIME_MAX;
        }
        // A client that takes its time holds its upstream up.
        if faults.has(&[Fault::SlowReader, Fault::Bandwidth, Fault::SmallWindow]) {
            let bytes = u32::try_from(access.response_bytes).unwrap_or(u32::MAX);
            return access.duration <= EXCHANGE_TIME_MAX + BYTE_TIME_MAX * bytes;
        }
        let timers = &self.shared.limits.timers;
        let mut answering = timers.upstream.connect
            + timers.upstream.first_content.max(timers.upstream.idle)
            + SLACK;
        if self.shared.setup.is_resilient {
            // Each attempt has its time, and a wait before it.
            let retry = &self.shared.snapshot.retry;
            answering = retry.attempts_max * (answering + retry.wait_max);
        } else {
            answering += self.shared.snapshot.retry.wait_max;
        }
        let delivered = self.shared.delivered.borrow();
        let journal = self.shared.journal.borrow();
        let attempts = journal.sent_to(marker).iter();
        let read = attempts.filter_map(|sent| {
            let read = delivered.get(sent.link)?;
            // Signs of life are no reason to wait.
            let data = sent.pings_at.and_then(|at| read.reached(at));
            (read.bytes > sent.begin_at).then_some(data.unwrap_or(read.at))
        });
        // What others asked before who asked the same is nothing to it.
        let begun = now
            .as_nanos()
            .saturating_sub(access.duration.as_nanos() as u64);
        let read = read.filter(|read| read.as_nanos() >= begun);
        match read.max() {
            Some(read) => now - read <= answering,
            // A request may come slowly, and its connection be replaced once.
            None => access.duration <= timers.request_body + timers.upstream.connect + answering,
        }
    }

    /// Whether the last answer to the request has come whole: its connection works for nobody, and
    /// its server is about to notice.
    fn has_read_all(&self, marker: &str) -> bool {
        let journal = self.shared.journal.borrow();
        let delivered = self.shared.delivered.borrow();
        let last = journal.sent_to(marker).last();
        last.is_some_and(|sent| {
            let read = delivered.get(sent.link).zip(sent.over_at);
            read.is_some_and(|(read, at)| read.reached(at).is_some())
        })
    }

    /// Whether the machine came to the request: all before it on its connection were answered.
    fn is_reached(&self, asked: &Asked) -> bool {
        // A draining shard answers what it has begun with, and nothing behind that.
        let drained_early = self.shared.faults.borrow().injected()[Fault::EarlyDrain as usize] > 0;
        if drained_early && asked.before > 0 {
            return false;
        }
        let journal = self.shared.journal.borrow();
        let earlier = journal
            .asked
            .iter()
            .filter(|(_, other)| other.link == asked.link && other.before < asked.before);
        let mut is_reached = true;
        for (marker, _) in earlier {
            is_reached &= journal.seen.get(marker).is_some_and(|seen| seen.is_over);
        }
        is_reached
    }
}

/// Whether the record names the one who asked. Whoever is answered by the gateway itself need not
/// be known.
fn is_callers(asked: &Asked, record: &Access) -> bool {
    let is_answered = record.outcome == Outcome::Complete || !record.attempts.is_empty();
    let is_asked = matches!(asked.kind, Kind::Generate(_) | Kind::Demo) && is_answered;
    match record.caller.as_deref() {
        None => !is_asked || asked.caller.is_none(),
        name => name == asked.caller_name(),
    }
}

impl<M: Observed> Observer<M> for std::rc::Rc<core::cell::RefCell<Checker>> {
    fn record(&mut self, now: Instant, record: &Record) -> Result<(), Violation> {
        let fail = |message: String| Err(Violation::new("record", message));
        let mut checker = self.borrow_mut();
        let Record::Access(access) = record;
        let marker = String::from_utf8_lossy(&access.request_id).into_owned();
        let kind = match checker.shared.journal.borrow().asked.get(&marker) {
            Some(asked) => asked.kind,
            None => return fail(format!("for a request that nobody made: {access:?}")),
        };
        if checker
            .records
            .insert(marker.clone(), (now, access.clone()))
            .is_some()
        {
            return fail(format!("a second one for {marker}: {access:?}"));
        }
        if !checker.is_in_time(now, &marker, access) {
            return Err(Violation::new(
                "liveness",
                format!("{marker} took {:?}", access.duration),
            ));
        }
        let is_complete = access.outcome == Outcome::Complete;
        if is_complete && matches!(kind, Kind::Bad | Kind::Malformed) {
            return fail(format!("complete, and was {kind:?}: {access:?}"));
        }
        if is_complete && matches!(kind, Kind::Generate(_)) && !checker.shared.is_finished(&marker)
        {
            return fail(format!("complete, but no upstream finished: {access:?}"));
        }
        Ok(())
    }

    fn message(&mut self, now: Instant, shard: usize, message: &Message) {
        self.borrow_mut().heard.push((now, shard, message.clone()));
    }

    fn reading(&mut self, reading: &Reading<'_>) -> Result<(), Violation> {
        let checker = self.borrow();
        memory::is_held_back(reading, &checker.shared)
            .map_err(|message| Violation::new("memory", message))
    }

    fn turn(&mut self, turn: &Turn<'_, M>) -> Result<(), Violation> {
        let checker = self.borrow();
        for tag in turn.left_open {
            let outcome = checker.records.get(tag).map(|(_, access)| &access.outcome);
            let is_left = matches!(outcome, None | Some(Outcome::ClientGone));
            if is_left && !checker.has_read_all(tag) {
                let message = format!("the client of {tag} is gone, and its upstream is open");
                return Err(Violation::new("gone", message));
            }
        }
        for &link in turn.ended {
            checker.is_let_go(link)?;
        }
        if turn.idle > checker.shared.limits.shard.idle_per_target_max {
            let message = format!("{} idle connections to one address", turn.idle);
            return Err(Violation::new("pool", message));
        }
        let usage = turn.machine.usage();
        if usage.looks > 0 {
            let message = format!("those who wait wake each other without an end: {usage:?}");
            return Err(Violation::new("liveness", message));
        }
        memory::check(&usage, turn.asked, turn.closing, &checker.shared.limits)
            .map_err(|message| Violation::new("memory", message))
    }
}
