//! [`Journal`]: what was asked, what upstreams sent, what clients saw. Peers write it, checkers
//! compare.

use core::cell::RefCell;
use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::base::{Instant, Limits, Rng};
use tollgate_core::config::Snapshot;
use tollgate_core::dialect::Dialect;

use super::outage::{How, Outage};
use crate::faults::{Fault, Faults};
use crate::peer::LinkId;
use crate::setup::{CALLERS, Setup};
use crate::world::Violation;

/// What all peers of a run share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) faults: Rc<RefCell<Faults>>,
    pub(crate) journal: Rc<RefCell<Journal>>,
    /// What machines have read, by link.
    pub(crate) delivered: Rc<RefCell<Vec<Delivered>>>,
    pub(crate) limits: Rc<Limits>,
    pub(crate) setup: Setup,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) outages: Rc<[Outage]>,
    /// A provider that is always well, if there is one.
    pub(crate) healthy: Option<usize>,
    /// Where each answer ends, if all do at the same place.
    pub(crate) cut: Option<Cut>,
}

/// A place of an answer behind which nothing comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// Behind so many events of a stream.
    Events(usize),
    /// Behind so many bytes, of head and body.
    Bytes(usize),
    /// Behind so many events of a stream, and the connection stays.
    Silence(usize),
}

impl Cut {
    pub(crate) const fn event(self) -> Option<usize> {
        match self {
            Cut::Events(count) | Cut::Silence(count) => Some(count),
            Cut::Bytes(_) => None,
        }
    }

    pub(crate) const fn byte(self) -> Option<usize> {
        match self {
            Cut::Events(_) | Cut::Silence(_) => None,
            Cut::Bytes(count) => Some(count),
        }
    }
}

/// What a machine has read from a link, and when it wrote.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// How many bytes.
    pub bytes: u64,
    /// When the last of them came.
    pub at: Instant,
    /// The machine.
    pub shard: usize,
    /// When it asked for the connection's end.
    pub closed_at: Option<Instant>,
    /// When it began to write what it has written since its last read; `None` if it has not.
    pub(crate) asks_since: Option<Instant>,
    /// When it began to write before its last read, or since.
    pub(crate) asked_at: Instant,
    /// Places among the bytes that it has not come to.
    ahead: Vec<u64>,
    /// Those that it has, and when.
    reached: Vec<(u64, Instant)>,
}

impl Delivered {
    /// Nothing yet, on a link of `shard`.
    pub(crate) fn new(shard: usize) -> Delivered {
        Delivered {
            shard,
            ..Delivered::default()
        }
    }

    /// The machine has read some bytes.
    pub(crate) fn read(&mut self, count: usize, now: Instant) {
        self.bytes += count as u64;
        self.at = now;
        if count > 0 {
            self.asks_since = None;
        }
        let reached = self.ahead.iter().filter(|&&at| at <= self.bytes);
        self.reached.extend(reached.map(|&at| (at, now)));
        self.ahead.retain(|&at| at > self.bytes);
    }

    /// The machine writes.
    pub(crate) fn write(&mut self, now: Instant) {
        if self.asks_since.is_none() {
            self.asks_since = Some(now);
            self.asked_at = now;
        }
    }

    /// Takes note of when the machine has read up to `at`.
    pub(crate) fn mark(&mut self, at: u64) {
        self.ahead.push(at);
    }

    /// When it had read up to a place that was marked.
    pub(crate) fn reached(&self, at: u64) -> Option<Instant> {
        let reached = self.reached.iter().find(|(place, _)| *place == at);
        reached.map(|(_, when)| *when)
    }
}

/// What an answer says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Told {
    pub(crate) text: String,
    /// Arguments of the tool call, if there is one.
    pub(crate) arguments: String,
    /// Whether it ended for a tool to be called; `None` until it has ended.
    pub(crate) ends_in_call: Option<bool>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
}

/// What a request is, and so what may be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Well-formed, for an upstream of this dialect.
    Generate(Dialect),
    /// Well-formed, for the built-in model.
    Demo,
    /// A page of the gateway itself.
    Admin,
    /// Wrong in its content: an error status, and a record.
    Bad,
    /// Wrong in its framing: an error status, the connection's end, and perhaps no record.
    Malformed,
}

/// A request of a client.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) link: LinkId,
    /// How it is known to upstreams: by its marker, or if others ask the same, by what all of them
    /// ask.
    pub(crate) topic: String,
    /// Who asks, as a number in [`CALLERS`], where clients are known.
    pub(crate) caller: Option<usize>,
    pub(crate) dialect: Dialect,
    pub(crate) is_stream: bool,
    pub(crate) kind: Kind,
    /// What its user says.
    pub(crate) content: String,
    /// The name of the model that it asks for.
    pub(crate) model: &'static str,
    /// The session that it says it belongs to.
    pub(crate) session: Option<String>,
    /// How long it waits, if it says so.
    pub(crate) patience: Option<Duration>,
    /// Where on its link its head ends.
    pub(crate) head_end: u64,
    /// Where on its link all of it ends.
    pub(crate) end: u64,
    /// How long its body is, its framing left out.
    pub(crate) body_bytes: u64,
    /// Requests before it on its connection.
    pub(crate) before: usize,
}

impl Asked {
    /// Whether others may ask the same.
    pub(crate) fn is_shared(&self) -> bool {
        is_shared(&self.topic)
    }

    /// How many tokens the gateway takes its prompt for.
    pub(crate) fn tokens_estimate(&self) -> u64 {
        (self.body_bytes / 4).max(1)
    }

    /// What the one who asks is called in records.
    pub(crate) fn caller_name(&self) -> Option<&'static str> {
        Some(CALLERS.get(self.caller?)?.0)
    }
}

/// Whether several may ask what is known to upstreams as `topic`.
pub(crate) fn is_shared(topic: &str) -> bool {
    topic.starts_with('s')
}

/// An answer of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) link: LinkId,
    pub(crate) told: Told,
    /// What was to be continued.
    pub(crate) prefill: Option<String>,
    /// Where on its link it begins.
    pub(crate) begin_at: u64,
    /// Where on its link the answer is complete for whoever reads it.
    pub(crate) finish_at: Option<u64>,
    /// It holds events that cannot be read.
    pub(crate) is_broken: bool,
    pub(crate) asked: Attempt,
    pub(crate) says: Says,
    /// Where on its link that is said.
    pub(crate) said_at: Option<u64>,
    /// Where on its link it has come whole and unspoilt.
    pub(crate) whole_at: Option<u64>,
    /// From where on nothing comes but signs of life.
    pub(crate) pings_at: Option<u64>,
    /// Where on its link it is over, whatever it is.
    pub(crate) over_at: Option<u64>,
    /// What it tells of tokens.
    pub(crate) used: Vec<Used>,
}

/// What an answer tells of tokens, at some place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// Where on its link.
    pub(crate) at: u64,
    /// Of the prompt and of the answer, so far.
    pub(crate) tokens: [u64; 2],
    /// Whoever has read as far has understood it.
    pub(crate) is_certain: bool,
}

/// With what an upstream was asked.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Its number in [`PROVIDERS`](crate::setup::PROVIDERS).
    pub(crate) provider: usize,
    pub(crate) dialect: Dialect,
    /// What the key is called in records.
    pub(crate) key: Option<Arc<str>>,
    /// Which machine asked.
    pub(crate) shard: usize,
    /// When it began to write the request.
    pub(crate) at: Instant,
    /// The connection had carried a request before.
    pub(crate) is_reused: bool,
}

/// What an answer says of whoever is at fault, where that is certain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Says {
    /// It is an answer, or what it is depends on more.
    #[default]
    Nothing,
    /// The upstream failed.
    Fault,
    /// The key is to be left alone.
    Limit { status: u16, wait: Wait },
    /// The request is refused for what it says, and would be elsewhere.
    Refusal,
    /// The request is too long for this upstream.
    TooLong,
}

/// For how long a key is to be left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// From when the machine learns of it.
    For(Duration),
    /// Until a time.
    Until(Instant),
    /// It does not say: so long at least, unless the key is left alone already.
    Untold(Duration),
}

/// What a client has seen of its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// It tells that the head did not come in time; so whose it is, the gateway cannot know.
    pub(crate) is_unread: bool,
    pub(crate) body_bytes: u64,
    /// It has ended as its framing said.
    pub(crate) is_ended: bool,
    /// It was no error, and nothing of it is missing.
    pub(crate) is_complete: bool,
    /// The connection may go on.
    pub(crate) is_over: bool,
    /// It is the route's message.
    pub(crate) is_message: bool,
    /// Which of the attempts for its topic it is the answer of, once it is complete.
    pub(crate) answer: Option<usize>,
    /// More than text has come, or text and its end: nobody can go on from there.
    pub(crate) is_beyond: bool,
    /// When the first of the model's own words came.
    pub(crate) content_at: Option<Instant>,
}

/// The journal of a run. Requests are known by their marker, which is their `x-request-id` too.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) asked: BTreeMap<String, Asked>,
    /// By the topic of the request.
    pub(crate) sent: BTreeMap<String, Vec<Sent>>,
    pub(crate) seen: BTreeMap<String, Seen>,
    pub(crate) violation: Option<Violation>,
}

impl Journal {
    pub(crate) fn fail(&mut self, violation: Violation) {
        if self.violation.is_none() {
            self.violation = Some(violation);
        }
    }

    /// The requests that are known to upstreams as `topic`.
    pub(crate) fn asked_about(&self, topic: &str) -> impl Iterator<Item = &Asked> {
        let is_one = !is_shared(topic);
        let one = self.asked.get(topic).filter(|_| is_one);
        let all = self.asked.values().filter(move |_| !is_one);
        let all = all.filter(move |asked| asked.topic == topic);
        one.into_iter().chain(all)
    }

    /// What upstreams sent for a request, or for one like it.
    pub(crate) fn sent_for(&self, asked: &Asked) -> &[Sent] {
        self.sent.get(&asked.topic).map_or(&[][..], Vec::as_slice)
    }

    /// The same for the request of a marker.
    pub(crate) fn sent_to(&self, marker: &str) -> &[Sent] {
        let asked = self.asked.get(marker);
        asked.map_or(&[][..], |asked| self.sent_for(asked))
    }
}

impl Shared {
    /// Whether `fault` strikes now at a provider. One that is always well meets only such as do no
    /// harm.
    pub(crate) fn strikes(&self, fault: Fault, provider: usize, rng: &mut Rng) -> bool {
        let mut faults = self.faults.borrow_mut();
        if self.healthy == Some(provider) && !fault.is_harmless() {
            // The draw is made all the same.
            rng.next_u64();
            return false;
        }
        faults.strikes(fault, rng)
    }

    /// How a provider fails at this time, if it does.
    pub(crate) fn outage(&self, provider: usize, now: Instant) -> Option<How> {
        if self.healthy == Some(provider) {
            return None;
        }
        let mut outages = self.outages.iter();
        let outage = outages.find(|it| it.provider == provider && it.from <= now && now < it.until);
        let how = outage?.how;
        self.faults.borrow_mut().count(match how {
            How::Exhausted(_) => Fault::KeysExhausted,
            _ => Fault::Outage,
        });
        Some(how)
    }

    pub(crate) fn fail(&self, check: &'static str, message: impl Into<String>) {
        self.journal
            .borrow_mut()
            .fail(Violation::new(check, message));
    }

    /// Whether a provider takes no connections at this time.
    pub(crate) fn refuses(&self, provider: usize, now: Instant) -> bool {
        let mut outages = self.outages.iter();
        let refuses = self.healthy != Some(provider)
            && outages.any(|it| {
                let is_now = it.from <= now && now < it.until;
                it.provider == provider && is_now && it.how == How::Refused
            });
        if refuses {
            self.faults.borrow_mut().count(Fault::Outage);
        }
        refuses
    }

    /// Whether the machine has read all of some upstream's answer to `marker`.
    pub(crate) fn is_finished(&self, marker: &str) -> bool {
        let journal = self.journal.borrow();
        let delivered = self.delivered.borrow();
        let mut attempts = journal.sent_to(marker).iter();
        attempts.any(|sent| is_delivered(sent, &delivered))
    }
}

/// Whether the machine has read all of this answer.
pub(crate) fn is_delivered(sent: &Sent, delivered: &[Delivered]) -> bool {
    let read = delivered.get(sent.link).map_or(0, |read| read.bytes);
    sent.finish_at.is_some_and(|at| at <= read)
}
