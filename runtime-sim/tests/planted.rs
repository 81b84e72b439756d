//! Do the checkers bite? Shards with planted bugs must be found out, each by the check that is for
//! it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tollgate_core::base::{Instant, Now, WriteBatch};
use tollgate_core::gateway::io::{Completion, Input, Machine, Op, Output};
use tollgate_core::gateway::{Shard, Usage};
use tollgate_core::record::{Outcome, Record};
use tollgate_sim::faults::{Fault, FaultSet};
use tollgate_sim::scenario::{Observed, Options, run_with};

/// What is wrong with a shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bug {
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
}

struct Buggy {
    shard: Shard,
    bug: Bug,
    writes: u32,
    extra: Vec<Output>,
}

impl Buggy {
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
            (Bug::KeepsUpstream, Output::Op(Op::Close { conn, .. })) if conn.0.index & 1 == 1 => {
                None
            }
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
            (_, output) => self.spoil_attempts(output),
        }
    }

    fn spoil_attempts(&mut self, output: Output) -> Option<Output> {
        match (self.bug, output) {
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
            (Bug::SwapsKeys, Output::Op(Op::Write { conn, batch })) => {
                let mut bytes = batch.slices().concat();
                // The second key of the second provider becomes the first.
                put(&mut bytes, b"key-1-1", b"key-1-0");
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

impl Machine for Buggy {
    fn handle(&mut self, now: Now, mut input: Input) {
        if self.bug == Bug::OverhearsWait
            && let Input::Complete(Completion::Read { buf, .. }) = &mut input
        {
            put(buf, b"retry-after: 30", b"retry-after: 00");
        }
        if self.bug == Bug::DropsCompletion
            && let Input::Complete(Completion::Write { .. }) = &input
        {
            self.writes += 1;
            if self.writes == 3 {
                return;
            }
        }
        self.shard.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.extra.pop() {
            return Some(output);
        }
        loop {
            let output = self.shard.poll_output()?;
            if let Some(output) = self.spoil(output) {
                return Some(output);
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
        self.shard.usage()
    }
}

/// The checks that find `bug` out.
fn found(bug: Bug, faults: FaultSet, is_resilient: bool) -> BTreeSet<&'static str> {
    let mut checks = BTreeSet::new();
    for seed in 0..100 {
        let options = Options {
            faults,
            resilience: Some(is_resilient),
            ..Options::new(seed)
        };
        let wrap = |shard| Buggy {
            shard,
            bug,
            writes: 0,
            extra: Vec::new(),
        };
        checks.extend(
            run_with(&options, wrap)
                .violation
                .map(|violation| violation.check),
        );
    }
    checks
}

#[test]
fn each_planted_bug_is_found_by_the_check_that_is_for_it() {
    let cuts = FaultSet::NONE
        .with(Fault::TruncatedAtEvent)
        .with(Fault::ErrorEvent);
    let cases = [
        (Bug::DropsCompletion, FaultSet::NONE, "answer"),
        (Bug::RepeatsChunk, FaultSet::NONE, "answer"),
        (Bug::ForgesEnd, cuts, "answer"),
        (Bug::RepeatsRecord, FaultSet::NONE, "record"),
        (Bug::DropsRecord, FaultSet::NONE, "record"),
        (
            Bug::KeepsUpstream,
            FaultSet::NONE.with(Fault::Vanish),
            "gone",
        ),
        (Bug::ReadsTwice, FaultSet::NONE, "contract"),
        (Bug::HoldsBuffers, FaultSet::NONE, "contract"),
        (Bug::Miscounts, FaultSet::NONE, "record"),
        (Bug::SpoilsPrompt, FaultSet::NONE, "upstream request"),
        (
            Bug::Oversleeps,
            FaultSet::NONE.with(Fault::Silence),
            "liveness",
        ),
        (
            Bug::Oversleeps,
            FaultSet::NONE.with(Fault::SlowTokens),
            "silence",
        ),
        (Bug::Oversleeps, FaultSet::NONE.with(Fault::Vanish), "pool"),
    ];
    for (bug, faults, check) in cases {
        let checks = found(bug, faults, false);
        assert!(
            checks.contains(check),
            "{bug:?} is found by {checks:?}, not by {check}"
        );
    }
}

#[test]
fn bugs_of_attempts_and_keys_are_found() {
    let refusals = FaultSet::NONE.with(Fault::ErrorStatus);
    let cases = [
        (Bug::OverhearsWait, refusals, "key"),
        (Bug::DropsAttempt, refusals, "attempts"),
        (Bug::InventsAttempts, refusals, "attempts"),
        (Bug::SwapsKeys, FaultSet::NONE, "attempts"),
    ];
    for (bug, faults, check) in cases {
        let checks = found(bug, faults, true);
        assert!(
            checks.contains(check),
            "{bug:?} is found by {checks:?}, not by {check}"
        );
    }
}
