//! Work that takes longer than a shard's turn may: pure functions of core, run on as many threads
//! as there are processors.

use tollgate_core::gateway::io::{Work, WorkReply};

use super::pool::Pool;
use crate::settings::processors;

/// Does long work.
#[derive(Debug)]
pub(super) struct Workers(Pool);

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses one.
    pub(super) fn start() -> Result<Workers, String> {
        Pool::start("work", processors()).map(Workers)
    }

    /// Does `work`, and calls `reply` from another thread.
    pub(super) fn perform(&self, work: Work, reply: WorkReply) {
        self.0.submit(Box::new(move || reply(work.run())));
    }
}
