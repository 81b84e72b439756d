//! The states of an exchange, and the only table of its transitions.
//!
//! ```text
//!  Receiving ─received──▶ Preparing ──prepared──▶ Attempting ──head──▶ Relaying ──answered──▶ Done
//!      │                      │  │                   │  ▲                  │                   ▲ ▲
//!      │                      │  └──answered (local, │  └──stale, mended───┘                   │ │
//!      │                      │     admin)───────────┼─────────────────────────────────────────┘ │
//!      └─────refused──────────┴──────refused─────────┴──────refused, failed, client gone─────────┘
//! ```
//!
//! - *Receiving*: the head has come, the body is coming (or is dropped, when the request is refused
//!   already).
//! - *Preparing*: the body is read and encoded for its target, here or on a host thread.
//! - *Attempting*: a connection is sought or made, the request is sent, the answer's head awaited.
//! - *Relaying*: the answer goes to the client.
//! - *Done*: settled: the record is written, the connection given back. An exchange is removed in
//!   the same turn.

/// Where an exchange is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::gateway) enum State {
    Receiving,
    Preparing,
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
    /// The request is ready to be sent.
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
            (State::Preparing, Step::Prepared) => State::Attempting,
            (State::Attempting, Step::Head) => State::Relaying,
            (State::Attempting, Step::Stale) | (State::Relaying, Step::Mended) => State::Attempting,
            (
                State::Receiving | State::Preparing | State::Attempting | State::Relaying,
                Step::Answered | Step::ClientGone,
            ) => State::Done,
            (state, step) => panic!("no way from {state:?} by {step:?}"),
        }
    }
}
