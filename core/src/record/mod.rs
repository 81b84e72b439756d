//! What happened: records that leave a shard for logs and dashboards. They are data; writing them
//! anywhere is the host's business.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use crate::base::{JsonStr, Peer, UnixMillis};
use crate::ir::{Blame, Class, FinishReason, Usage};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Record {
    /// A request ended. Each accepted request ends in exactly one.
    Access(Access),
}

/// A request from its arrival to its end.
#[derive(Clone, Debug)]
pub struct Access {
    /// The request's id, as the client was told.
    pub request_id: Bytes,
    /// When its head had come.
    pub time: UnixMillis,
    /// The client.
    pub peer: Peer,
    /// Who called, by the name in the config; `None` where callers need no key.
    pub caller: Option<Arc<str>>,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The API that the client spoke, where the path tells one: the dialect's name in the config.
    pub api: Option<&'static str>,
    /// The model's name as the client wrote it.
    pub model: Option<JsonStr>,
    /// Where it was answered: the provider's name, or `demo`.
    pub provider: Option<Arc<str>>,
    /// The model that answered, as the provider names it.
    pub answered_by: Option<JsonStr>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The status that the client was sent; `None` if it was gone before.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// How the answer ended, where there was one.
    pub finish: Option<FinishReason>,
    /// What it took.
    pub usage: Usage,
    /// From the head of the request to the end of the answer.
    pub duration: Duration,
    /// From the head of the request to the first content of the answer.
    pub first_content: Option<Duration>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body, framing not counted.
    pub response_bytes: u64,
    /// The upstreams that were asked, in order.
    pub attempts: Vec<Attempted>,
    /// Events that could not be read and were skipped.
    pub broken_events: u32,
    /// JSON paths of what the target had no place for.
    pub dropped: Vec<String>,
    /// How long it waited, all in all, for a key, a target, or other requests of its client.
    pub waited: Duration,
    /// The id of the request whose answer it got too: then nothing was asked for it, and the usage
    /// is in that one's record.
    pub shared_with: Option<Bytes>,
}

/// An upstream that was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attempted {
    /// The provider's name.
    pub provider: Arc<str>,
    /// What the model is called there.
    pub model: Option<JsonStr>,
    /// What the key is called in logs.
    pub key: Option<Arc<str>>,
    /// How long before that was waited: for a key, a place, or until the target may be well again.
    pub waited: Duration,
    /// How long it took, from the decision to ask until its end.
    pub duration: Duration,
    /// How it ended.
    pub ending: Ending,
    /// What it took as far as it was told, if it did not answer.
    pub usage: Usage,
}

impl Attempted {
    /// How it failed, if it did.
    pub const fn failed(&self) -> Option<Class> {
        match self.ending {
            Ending::Failed(class) => Some(class),
            Ending::Answered | Ending::CalledOff => None,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// It is the one that answered.
    Answered,
    /// It was called off: another one was faster, or the client left.
    CalledOff,
    /// It failed.
    Failed(Class),
}

/// How a request ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The whole answer was handed over.
    Complete,
    /// The client went away first.
    ClientGone,
    /// An error was answered, as a status or inside the stream.
    Failed {
        /// What kind.
        class: Class,
        /// Whose fault.
        blame: Blame,
        /// What happened.
        message: JsonStr,
    },
}
