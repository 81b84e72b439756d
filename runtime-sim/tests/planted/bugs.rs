//! [`Buggy`]: a shard that hears or says something wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate_core::base::{ConnId, Instant, Now, ShardId, WriteBatch};
use tollgate_core::config::Snapshot;
use tollgate_core::gateway::io::{Completion, Input, Machine, Message, Op, Output};
use tollgate_core::gateway::{Shard, ShardOptions, Usage};
use tollgate_core::ir::{Blame, Class};
use tollgate_core::policy::balance;
use tollgate_core::record::{Outcome, Record};
use tollgate_sim::scenario::{Config, Observed};

use crate::hoard::Hoard;

/// What is wrong with a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bug {
    /// Its config is another than it was given.
    Misreads(fn(&mut Snapshot)),
    /// What other shards say of breakers is not heard.
    DeafToBreakers,
    /// What other shards say of keys is not heard.
    DeafToKeys,
    /// What a client does not take is kept for it without bounds.
    Hoards,
    /// The place of a request whose upstream was closed is not given back.
    KeepsPermit,
    /// Whom a request belongs to changes from one to the next.
    LosesSession,
    /// How long a client waits is not heard.
    OverhearsPatience,
    /// Who is asked for a client in a hurry is said to have failed.
    BlamesForHurry,
    /// One caller is taken for another.
    MixesCallers,
    /// A refusal of what is asked is taken for a failure of whoever says it.
    MistakesRefusal,
    /// The completion of a write is lost.
    DropsCompletion,
    /// A piece of a stream is sent twice.
    RepeatsChunk,
    /// An error inside a stream is shown as a good end.
    ForgesEnd,
    /// A record is written twice.
    RepeatsRecord,
    /// A record is not written.
    DropsRecord,
    /// An upstream is not closed when its client is gone.
    KeepsUpstream,
    /// A read is asked for twice.
    ReadsTwice,
    /// A connection that waits holds memory.
    HoldsBuffers,
    /// A record does not tell whose answer it was.
    ForgetsLeader,
    /// A record does not tell that the client was told the route's message.
    ForgetsMessage,
    /// A record does not tell what an attempt took that failed.
    ForgetsUsage,
    /// A record tells other tokens than the client was told.
    Miscounts,
    /// The prompt that an upstream gets is not the client's.
    SpoilsPrompt,
    /// Timers fire minutes late.
    Oversleeps,
    /// How long a key is to be left alone is overheard.
    OverhearsWait,
    /// A record lacks the first attempt.
    DropsAttempt,
    /// A record tells of more attempts than may be made.
    InventsAttempts,
    /// Another key is sent than was chosen.
    SwapsKeys,
    /// What an upstream is to continue is not what the client was told.
    SpoilsPrefill,
    /// White space is lost where an answer is continued.
    SpoilsJoint,
}

pub(crate) struct Buggy {
    shard: Shard,
    bug: Bug,
    snapshot: Arc<Snapshot>,
    now: Now,
    /// Another shard, if there is one.
    other: ShardId,
    count: u32,
    extra: Vec<Output>,
    /// What clients have not taken.
    hoard: Hoard,
}

impl Buggy {
    pub(crate) fn new(bug: Bug, options: &ShardOptions, config: &Config) -> Buggy {
        let snapshot = match bug {
            Bug::Misreads(change) => config.changed(change),
            _ => config.shared(),
        };
        Buggy {
            shard: Shard::new(options, Arc::clone(&snapshot)),
            bug,
            snapshot,
            now: Now::default(),
            other: ShardId((options.id.0 + 1) % options.shards),
            count: 0,
            extra: Vec::new(),
            hoard: Hoard::default(),
        }
    }

    fn spoil(&mut self, output: Output) -> Option<Output> {
        match (self.bug, output) {
            (Bug::RepeatsChunk, Output::Op(Op::Write { conn, batch })) => {
                let bytes = batch.slices().concat();
                let is_piece =
                    contains(&bytes, b"\"text_delta\"") && !contains(&bytes, b"HTTP/1.1");
                let bytes = if is_piece { bytes.repeat(2) } else { bytes };
                let batch = WriteBatch::from_bytes(Bytes::from(bytes));
                Some(Output::Op(Op::Write { conn, batch }))
            }
            (Bug::ForgesEnd, Output::Op(Op::Write { conn, batch })) => {
                let bytes = forge(batch.slices().concat());
                let batch = WriteBatch::from_bytes(Bytes::from(bytes));
                Some(Output::Op(Op::Write { conn, batch }))
            }
            (Bug::RepeatsRecord, Output::Record(record)) => {
                self.extra.push(Output::Record(record.clone()));
                Some(Output::Record(record))
            }
            (Bug::DropsRecord, Output::Record(record)) => {
                let Record::Access(access) = record.as_ref();
                (access.outcome != Outcome::Complete).then_some(Output::Record(record))
            }
            (Bug::KeepsUpstream, Output::Op(Op::Close { conn, .. })) if is_upstream(conn) => None,
            (Bug::ReadsTwice, Output::Op(Op::Read { conn, class, buf })) => {
                self.extra.push(Output::Op(Op::Read {
                    conn,
                    class,
                    buf: buf.clone(),
                }));
                Some(Output::Op(Op::Read { conn, class, buf }))
            }
            (
                Bug::HoldsBuffers,
                Output::Op(Op::Read {
                    conn,
                    class,
                    mut buf,
                }),
            ) => {
                buf.reserve(4096);
                Some(Output::Op(Op::Read { conn, class, buf }))
            }
            (Bug::Miscounts, Output::Record(mut record)) => {
                let Record::Access(access) = record.as_mut();
                access.usage.output = access.usage.output.map(|tokens| tokens + 1);
                Some(Output::Record(record))
            }
            (Bug::SpoilsPrompt, Output::Op(Op::Write { conn, batch })) => {
                let mut bytes = batch.slices().concat();
                if let Some(at) = bytes.windows(4).position(|at| at == b"xxxx") {
                    bytes[at] = b'y';
                }
                let batch = WriteBatch::from_bytes(Bytes::from(bytes));
                Some(Output::Op(Op::Write { conn, batch }))
            }
            (Bug::KeepsPermit, Output::Op(Op::Close { conn, abort })) => {
                self.count |= u32::from(is_upstream(conn));
                Some(Output::Op(Op::Close { conn, abort }))
            }
            (_, output) => self.spoil_attempts(output),
        }
    }

    fn spoil_attempts(&mut self, output: Output) -> Option<Output> {
        match (self.bug, output) {
            (Bug::BlamesForHurry, Output::Record(record)) => {
                self.blame_for_hurry(&record);
                Some(Output::Record(record))
            }
            (Bug::ForgetsMessage, Output::Record(mut record)) => {
                let Record::Access(access) = record.as_mut();
                access.provider = access.provider.take().filter(|it| **it != *"tollgate");
                Some(Output::Record(record))
            }
            (Bug::ForgetsLeader, Output::Record(mut record)) => {
                let Record::Access(access) = record.as_mut();
                access.shared_with = None;
                Some(Output::Record(record))
            }
            (Bug::ForgetsUsage, Output::Record(mut record)) => {
                let Record::Access(access) = record.as_mut();
                for attempt in &mut access.attempts {
                    attempt.usage = tollgate_core::ir::Usage::default();
                }
                Some(Output::Record(record))
            }
            (Bug::DropsAttempt, Output::Record(mut record)) => {
                let Record::Access(access) = record.as_mut();
                if access.attempts.len() > 1 {
                    access.attempts.remove(0);
                }
                Some(Output::Record(record))
            }
            (Bug::InventsAttempts, Output::Record(mut record)) => {
                let Record::Access(access) = record.as_mut();
                if let [first, _, ..] = access.attempts.as_slice() {
                    let again = vec![first.clone(); 4];
                    access.attempts.splice(0..0, again);
                }
                Some(Output::Record(record))
            }
            (_, output) => self.spoil_writes(output),
        }
    }

    /// Says that the one has failed who was asked when its client's patience ended.
    fn blame_for_hurry(&mut self, record: &Record) {
        let Record::Access(access) = record;
        let is_hurry = matches!(
            access.outcome,
            Outcome::Failed {
                class: Class::Timeout,
                blame: Blame::Client,
                ..
            }
        );
        let Some(last) = access.attempts.last().filter(|_| is_hurry) else {
            return;
        };
        let model = last.model.as_ref().map(|model| model.unescape());
        let model = model.unwrap_or_default();
        let target = balance::hash(last.provider.as_bytes()).rotate_left(1);
        let target = target ^ balance::hash(model.as_bytes());
        let time = Duration::from_secs(1);
        self.extra.push(Output::Send {
            to: self.other,
            message: Message::Breaker {
                target,
                model: Some((*model).into()),
                open: Some((self.now.mono + time, time)),
            },
        });
    }

    fn spoil_writes(&self, output: Output) -> Option<Output> {
        match (self.bug, output) {
            (Bug::SwapsKeys, Output::Op(Op::Write { conn, batch })) => {
                let mut bytes = batch.slices().concat();
                // The second key of the second provider becomes the first.
                put(&mut bytes, b"key-1-1", b"key-1-0");
                let batch = WriteBatch::from_bytes(Bytes::from(bytes));
                Some(Output::Op(Op::Write { conn, batch }))
            }
            (Bug::SpoilsPrefill, Output::Op(Op::Write { conn, batch })) => {
                let mut bytes = batch.slices().concat();
                if is_upstream(conn) && contains(&bytes, b"\"assistant\"") {
                    put(&mut bytes, b"/0:", b"/0;");
                }
                let batch = WriteBatch::from_bytes(Bytes::from(bytes));
                Some(Output::Op(Op::Write { conn, batch }))
            }
            (Bug::SpoilsJoint, Output::Op(Op::Write { conn, batch })) => {
                let mut bytes = batch.slices().concat();
                if !is_upstream(conn) {
                    put(&mut bytes, b"\"\\nc", b"\"\\tc");
                }
                let batch = WriteBatch::from_bytes(Bytes::from(bytes));
                Some(Output::Op(Op::Write { conn, batch }))
            }
            (_, output) => Some(output),
        }
    }
}

/// Puts `new` in the place of `old`, which is as long.
fn put(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    if let Some(at) = bytes.windows(old.len()).position(|at| at == old) {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|at| at == part)
}

/// Shows the chunk with an error in it, the last of a stream, as the good end of a message.
fn forge(bytes: Vec<u8>) -> Vec<u8> {
    if !contains(&bytes, b"event: error") || !bytes.ends_with(b"\r\n0\r\n\r\n") {
        return bytes;
    }
    let data = concat!(
        "event: message_delta\ndata: {\"type\":\"message_delta\",",
        "\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    );
    format!("{:x}\r\n{data}\r\n0\r\n\r\n", data.len()).into_bytes()
}

/// A connection to an upstream, rather than of a client.
pub(crate) const fn is_upstream(conn: ConnId) -> bool {
    conn.0.index & 1 == 1
}

impl Buggy {
    /// What is heard of `input`; `None` if nothing is.
    fn mishear(&mut self, mut input: Input) -> Option<Input> {
        match (self.bug, &mut input) {
            (Bug::OverhearsWait, Input::Complete(Completion::Read { buf, .. })) => {
                put(buf, b"retry-after: 30", b"retry-after: 00");
            }
            (Bug::OverhearsPatience, Input::Complete(Completion::Read { buf, .. })) => {
                put(buf, b"x-tollgate-timeout:", b"x-tollgate-nothing:");
            }
            (Bug::MixesCallers, Input::Complete(Completion::Read { buf, .. })) => {
                put(buf, b"key-of-caller-1", b"key-of-caller-0");
            }
            (Bug::MistakesRefusal, Input::Complete(Completion::Read { buf, .. })) => {
                put(buf, b"HTTP/1.1 400 ", b"HTTP/1.1 500 ");
            }
            (Bug::LosesSession, Input::Complete(Completion::Read { buf, .. })) => {
                self.count += 1;
                for session in b'0'..b'6' {
                    let other = b'0' + (self.count % 10) as u8;
                    let (from, to) = ([b'n', b'-', session, b'"'], [b'n', b'-', other, b'"']);
                    put(buf, &from, &to);
                }
            }
            (Bug::DropsCompletion, Input::Complete(Completion::Write { .. })) => {
                self.count += 1;
                if self.count == 3 {
                    return None;
                }
            }
            (
                Bug::DeafToBreakers,
                Input::Message {
                    message: Message::Breaker { .. },
                    ..
                },
            ) => {
                return None;
            }
            (
                Bug::DeafToKeys,
                Input::Message {
                    message: Message::Key { .. },
                    ..
                },
            ) => {
                return None;
            }
            (Bug::Misreads(_), Input::Reload(snapshot)) => *snapshot = Arc::clone(&self.snapshot),
            (Bug::Hoards, Input::Complete(completion)) => {
                return self
                    .hoard
                    .heard(completion, &mut self.extra)
                    .then_some(input);
            }
            _ => {}
        }
        Some(input)
    }
}

impl Machine for Buggy {
    fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        if let Some(input) = self.mishear(input) {
            self.shard.handle(now, input);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.extra.pop() {
            return Some(output);
        }
        loop {
            let output = self.shard.poll_output()?;
            let output = match (self.bug, output) {
                (Bug::Hoards, Output::Op(op)) => self.hoard.take(op, &mut self.shard, self.now),
                (_, output) => self.spoil(output),
            };
            if output.is_some() {
                return output;
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let late = match self.bug {
            Bug::Oversleeps => Duration::from_secs(500),
            _ => Duration::ZERO,
        };
        self.shard.poll_timeout().map(|timeout| timeout + late)
    }
}

impl Observed for Buggy {
    fn usage(&self) -> Usage {
        let mut usage = self.shard.usage();
        if let Bug::KeepsPermit = self.bug {
            usage.permits += self.count as usize;
        }
        usage
    }
}
