//! The states of an exchange, and the only table of its transitions.
//!
//! ```text
//!                                      Encoding
//!                                       │    ▲
//!                                encoded│    │encoding
//!                                       ▼    │
//!  Receiving ─received─▶ Preparing ─▶ Choosing ─chosen─▶ Attempting ─head─▶ Relaying
//!                                      ▲  │ │             ▲ │  │ ▲             │ │
//!                                      │  │ └──local──────┼─┼──┼─┼────▶        │ │
//!                                      │  │               └─┘  │ └──mended─────┘ │
//!                                      │  │              stale │                 │
//!                                      └──┼────failed──────────┴─────────────────┘
//!                                         ▼
//!             every state ──answered, refused, gave up, client gone, outrun──▶ Done
//! ```
//!
//! - *Receiving*: the head has come, the body is coming (or is dropped, when the request is refused
//!   already).
//! - *Preparing*: the body is read, and encoded for the target that will be asked first, here or on
//!   a host thread.
//! - *Choosing*: a target and a key are looked for, or waited for.
//! - *Encoding*: a long request is being encoded for another target on a host thread.
//! - *Attempting*: a connection is sought or made, the request is sent, the answer's head awaited.
//! - *Relaying*: the answer is read; once content has come it goes to the client.
//! - *Done*: settled: the record is written, the connection given back. An exchange is removed in
//!   the same turn.

/// Where an exchange is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::gateway) enum State {
    Receiving,
    Preparing,
    Choosing,
    Encoding,
    Attempting,
    Relaying,
    Done,
}

/// What moves an exchange on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::gateway) enum Step {
    /// The answer is handed over, whole or with an error in it.
    Answered,
    /// The client is gone.
    ClientGone,
    /// The head of the upstream's answer has come.
    Head,
    /// A target was found, and the request is ready to be sent to it.
    Chosen,
    /// The request has to be encoded for the target that was found.
    Encoding,
    /// It is.
    Encoded,
    /// Another attempt at the same request has the place of this one, or needs it no more.
    Outrun,
    /// The attempt failed, and the client has seen nothing of it.
    Failed,
    /// The built-in model answers.
    Local,
    /// The request is read.
    Prepared,
    /// The request has come whole.
    Received,
    /// The upstream refused the request for a reason that is mended: it is sent once more.
    Mended,
    /// The connection turned out to be dead before a byte of the answer came.
    Stale,
}

impl State {
    /// The state after `step`.
    ///
    /// # Panics
    /// If the table has no such transition: the exchange's code is wrong, and going on could send
    /// one answer twice or to nobody.
    pub(in crate::gateway) fn after(self, step: Step) -> State {
        match (self, step) {
            (State::Receiving, Step::Received) => State::Preparing,
            (State::Preparing, Step::Prepared) | (State::Encoding, Step::Encoded) => {
                State::Choosing
            }
            (State::Choosing, Step::Encoding) => State::Encoding,
            (State::Choosing, Step::Chosen) => State::Attempting,
            (State::Choosing, Step::Local) | (State::Attempting, Step::Head) => State::Relaying,
            (State::Attempting, Step::Stale) | (State::Relaying, Step::Mended) => State::Attempting,
            (State::Attempting | State::Relaying, Step::Failed) => State::Choosing,
            (
                State::Receiving
                | State::Preparing
                | State::Choosing
                | State::Encoding
                | State::Attempting
                | State::Relaying,
                Step::Answered | Step::ClientGone | Step::Outrun,
            ) => State::Done,
            (state, step) => panic!("no way from {state:?} by {step:?}"),
        }
    }
}
