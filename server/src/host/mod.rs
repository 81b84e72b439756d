//! [`Services`]: what the shards ask of their host. All of it happens on plain threads; a shard's
//! thread never waits for any of it.

mod line;
mod pool;
mod record;
mod resolve;
mod time;
mod work;

use std::sync::Arc;

use tollgate_core::base::ShardId;
use tollgate_core::config::AccessLog;
use tollgate_core::gateway::io::{Host, ResolveReply, Work, WorkReply};
use tollgate_core::record::Record;

use self::record::Recorder;
use self::resolve::Resolver;
use self::work::Workers;

/// The host of all shards.
#[derive(Debug)]
pub(crate) struct Services {
    recorder: Recorder,
    resolver: Resolver,
    workers: Workers,
}

impl Services {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses one.
    pub(crate) fn start(log: AccessLog) -> Result<Services, String> {
        Ok(Services {
            recorder: Recorder::start(log)?,
            resolver: Resolver::start()?,
            workers: Workers::start()?,
        })
    }

    /// From now on, requests are logged so.
    pub(crate) fn log_as(&self, format: AccessLog) {
        self.recorder.log_as(format);
    }

    /// Tells people, on stderr, without waiting for it.
    pub(crate) fn say(&self, text: String) {
        self.recorder.say(text);
    }

    /// Writes out what was logged until now.
    pub(crate) fn flush(&self) {
        self.recorder.flush();
    }
}

impl Host for Services {
    fn resolve(&self, host: Arc<str>, port: u16, reply: ResolveReply) {
        self.resolver.resolve(host, port, reply);
    }

    fn perform(&self, work: Work, reply: WorkReply) {
        self.workers.perform(work, reply);
    }

    fn record(&self, shard: ShardId, record: Box<Record>) {
        self.recorder.record(shard, record);
    }
}
