//! Inputs and outputs in words, for traces, and as numbers, for their hash.

use core::fmt;

use tollgate_core::gateway::io::{Completion, Input, Op, Output};

use crate::trace::Trace;

/// An input, in words.
pub(crate) struct In<'a>(pub(crate) &'a Input);

/// An output, in words.
pub(crate) struct Out<'a>(pub(crate) &'a Output);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&input(self.0))
    }
}

impl fmt::Display for Out<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&output(self.0))
    }
}

fn input(input: &Input) -> String {
    match input {
        Input::Tick => "tick".to_owned(),
        Input::Complete(completion) => match completion {
            Completion::Read { conn, result, buf } => {
                let start = buf.len() - result.unwrap_or(0).min(buf.len());
                let text = String::from_utf8_lossy(&buf[start..]).into_owned();
                format!("read {conn:?} {result:?} {text:?}")
            }
            Completion::Write {
                conn,
                result,
                batch,
            } => {
                format!("written {conn:?} {result:?}, {} left", batch.len())
            }
            Completion::Host { ticket, .. } => format!("host {ticket:?}"),
            other => format!("{other:?}"),
        },
        Input::Message { from, message } => format!("{message:?} from {from:?}"),
        Input::Reload(_) => "reload".to_owned(),
        Input::Drain { deadline } => format!("drain until {deadline}"),
    }
}

fn output(output: &Output) -> String {
    match output {
        Output::Op(op) => match op {
            Op::Write { conn, batch } => {
                let bytes = batch.slices().concat();
                format!("write {conn:?} {:?}", String::from_utf8_lossy(&bytes))
            }
            Op::Read { conn, class, buf } => {
                format!(
                    "read {conn:?} {class:?} into {} of {}",
                    buf.len(),
                    buf.capacity()
                )
            }
            Op::Host { ticket, .. } => format!("host {ticket:?}"),
            other => format!("{other:?}"),
        },
        Output::Send { to, message } => format!("{message:?} to {to:?}"),
        Output::Record(record) => format!("{record:?}"),
        Output::Drained => "drained".to_owned(),
    }
}

/// Takes what distinguishes a completion into the hash.
pub(crate) fn note_completion(trace: &mut Trace, completion: &Completion) {
    match completion {
        Completion::Read { buf, .. } => trace.bytes(buf),
        Completion::Write { batch, .. } => trace.note(batch.len() as u64),
        Completion::Accept { conn, .. } => trace.note(u64::from(conn.0.index)),
        Completion::Close { conn } => trace.note(u64::from(conn.0.index) | 1 << 40),
        _ => trace.note(1),
    }
}

/// Takes what distinguishes an operation into the hash.
pub(crate) fn note_op(trace: &mut Trace, op: &Op) {
    match op {
        Op::Write { batch, .. } => {
            for slice in batch.slices() {
                trace.bytes(slice);
            }
        }
        Op::Read { conn, buf, .. } => {
            trace.note(u64::from(conn.0.index) << 32 | buf.capacity() as u64);
        }
        Op::Close { conn, abort } => {
            trace.note(u64::from(conn.0.index) << 1 | u64::from(*abort));
        }
        _ => trace.note(2),
    }
}
