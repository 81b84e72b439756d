//! [`Work`]: pure functions that take longer than a turn may, and so run on a host thread.

use super::exchange::whole::{Finish, Finished};
use super::prepare::{Encode, Prepare, Prepared, Prompt};
use crate::ir::Failure;
use crate::wire::json::Tape;

/// One job with its inputs. [`run`](Work::run) depends on nothing else, so it may run anywhere, and
/// in the simulator runs inline.
#[derive(Debug)]
pub enum Work {
    /// Read a large request and write the upstream's.
    Prepare(Box<Prepare>),
    /// Write a large request for another upstream.
    Encode(Box<Encode>),
    /// Read a large answer and write the client's.
    Finish(Box<Finish>),
}

/// What came of a [`Work`].
#[derive(Debug)]
pub enum WorkDone {
    /// Of [`Work::Prepare`].
    Prepared(Result<Box<Prepared>, Box<Failure>>),
    /// Of [`Work::Encode`].
    Encoded(Result<Box<Prompt>, Box<Failure>>),
    /// Of [`Work::Finish`].
    Finished(Result<Box<Finished>, Box<Failure>>),
}

impl Work {
    /// Does the job.
    pub fn run(self) -> WorkDone {
        let mut tape = Tape::new();
        match self {
            Work::Prepare(prepare) => WorkDone::Prepared(prepare.run(&mut tape)),
            Work::Encode(encode) => WorkDone::Encoded(encode.run(&mut tape)),
            Work::Finish(finish) => WorkDone::Finished(finish.run(&mut tape)),
        }
    }
}
