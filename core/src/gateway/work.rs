//! [`Work`]: pure functions that take longer than a turn may, and so run on a host thread.

use bytes::Bytes;

/// One job with its inputs. [`run`](Work::run) depends on nothing else, so it may run anywhere, and in
/// the simulator runs inline.
#[derive(Debug)]
pub enum Work {
    /// Undo the content coding of a body.
    Decompress {
        /// The body as received.
        body: Bytes,
        /// The most that may come out.
        bytes_max: usize,
    },
}

/// What came of a [`Work`].
#[derive(Debug)]
pub enum WorkDone {
    /// The decoded body.
    Decompressed(Result<Bytes, ()>),
}

impl Work {
    /// Does the job.
    pub fn run(self) -> WorkDone {
        match self {
            Work::Decompress { body, .. } => WorkDone::Decompressed(Ok(body)),
        }
    }
}
