//! The one transition table, for both roles.
//!
//! A connection has two sides, the request and the response, whichever of them we send: the table
//! does not know which role we play.
//!
//! ```text
//!              Head              End
//!     Idle ───────────▶ Body ───────────▶ Done       each side of an exchange
//!     │ ▲ └╌╌ Interim (response)          │
//!     │ └───────────── Cycle ─────────────┘          both sides at once
//!     └──▶ Closed    Eof, where neither side has begun
//!
//!     any ──▶ Failed    Fault: what came makes no message, or ended within one
//!     any ──▶ Closed    Close
//! ```
//!
//! | side     | from       | on      | while the other is | to     |
//! |----------|------------|---------|--------------------|--------|
//! | request  | Idle       | Head    | Idle               | Body   |
//! | response | Idle       | Interim | Body, Done         | Idle   |
//! | response | Idle       | Head    | Body, Done, Failed | Body   |
//! | either   | Body       | End     | any                | Done   |
//! | either   | Done       | Cycle   | Done               | Idle   |
//! | either   | Idle       | Eof     | Idle               | Closed |
//! | either   | any        | Fault   | any                | Failed |
//! | either   | any        | Close   | any                | Closed |
//!
//! Everything else is out of turn. A response may begin and even end while the request's body is
//! still on its way (RFC 9112 §9.5: an early response), and it may follow a request that failed
//! (the 400 that says so). A message without content passes through Body like any other.

/// One of the two messages of an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Request,
    Response,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Idle,
    Body,
    Done,
    Closed,
    Failed,
}

/// What happened to a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Signal {
    Interim,
    Head,
    End,
    Cycle,
    Eof,
    Fault,
    Close,
}

/// The table has no row for what was tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct OutOfTurn;

/// What becomes of a connection after an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reuse {
    /// The next exchange may begin.
    KeepAlive,
    /// The connection has to be closed.
    Close(CloseReason),
}

/// Why a connection cannot carry a further exchange; the first reason found counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// The body was, or is, delimited by the end of the connection (RFC 9112 §6.3).
    CloseDelimited,
    /// Bytes followed a response that nobody had asked for.
    ExtraBytes,
    /// A side failed with an error.
    Failed,
    /// An HTTP/1.0 peer that did not ask for persistence (RFC 9112 §9.3).
    Http10,
    /// Our side asked for the end.
    Local,
    /// The peer sent `Connection: close` (RFC 9112 §9.6).
    Peer,
    /// The request was answered before its body was complete.
    RequestUnfinished,
    /// The response is not complete.
    ResponseUnfinished,
    /// CONNECT: what follows is not HTTP (RFC 9110 §9.3.6).
    Tunnel,
    /// A final response in place of the 100 that the client waits for: it may or may not send the
    /// body (RFC 9110 §10.1.1).
    UnmetExpectation,
}

/// Both sides of the current exchange, and whether another may follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    request: Phase,
    response: Phase,
    close: Option<CloseReason>,
}

impl State {
    pub(super) const fn new() -> State {
        State {
            request: Phase::Idle,
            response: Phase::Idle,
            close: None,
        }
    }

    /// Moves one side along the table.
    pub(super) fn apply(&mut self, side: Side, signal: Signal) -> Result<(), OutOfTurn> {
        let (from, other) = match side {
            Side::Request => (self.request, self.response),
            Side::Response => (self.response, self.request),
        };
        let to = next(side, from, signal, other).ok_or(OutOfTurn)?;
        match side {
            Side::Request => self.request = to,
            Side::Response => self.response = to,
        }
        Ok(())
    }

    /// Ends the exchange: both sides are Idle again, or both are Closed for good.
    pub(super) fn cycle(&mut self) -> Reuse {
        let (to, reuse) = match self.close_reason() {
            None => (Signal::Cycle, Reuse::KeepAlive),
            Some(reason) => (Signal::Close, Reuse::Close(reason)),
        };
        let (request, response) = (self.request, self.response);
        let ends = (
            next(Side::Request, request, to, response),
            next(Side::Response, response, to, request),
        );
        if let (Some(request), Some(response)) = ends {
            self.request = request;
            self.response = response;
        }
        reuse
    }

    /// Records that no exchange may follow the current one.
    pub(super) fn forbid_reuse(&mut self, reason: CloseReason) {
        self.close.get_or_insert(reason);
    }

    /// Whether another exchange may follow, so far.
    pub(super) const fn is_persistent(&self) -> bool {
        self.close.is_none()
    }

    pub(super) const fn request(&self) -> Phase {
        self.request
    }

    pub(super) const fn response(&self) -> Phase {
        self.response
    }

    fn close_reason(&self) -> Option<CloseReason> {
        if self.close.is_some() {
            return self.close;
        }
        match (self.request, self.response) {
            (Phase::Done, Phase::Done) => None,
            (Phase::Failed, _) | (_, Phase::Failed) => Some(CloseReason::Failed),
            (_, Phase::Done) => Some(CloseReason::RequestUnfinished),
            _ => Some(CloseReason::ResponseUnfinished),
        }
    }
}

/// The table.
const fn next(side: Side, from: Phase, signal: Signal, other: Phase) -> Option<Phase> {
    use Phase::{Body, Closed, Done, Failed, Idle};
    use Side::{Request, Response};
    Some(match (side, from, signal, other) {
        (Request, Idle, Signal::Head, Idle) => Body,
        (Response, Idle, Signal::Interim, Body | Done) => Idle,
        (Response, Idle, Signal::Head, Body | Done | Failed) => Body,
        (_, Body, Signal::End, _) => Done,
        (_, Done, Signal::Cycle, Done) => Idle,
        (_, Idle, Signal::Eof, Idle) => Closed,
        (_, _, Signal::Fault, _) => Failed,
        (_, _, Signal::Close, _) => Closed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 5] = [
        Phase::Idle,
        Phase::Body,
        Phase::Done,
        Phase::Closed,
        Phase::Failed,
    ];
    const SIGNALS: [Signal; 7] = [
        Signal::Interim,
        Signal::Head,
        Signal::End,
        Signal::Cycle,
        Signal::Eof,
        Signal::Fault,
        Signal::Close,
    ];

    /// The drawn table and the coded one have the same rows, and no others.
    #[test]
    fn the_documented_table_is_the_table() {
        let source = include_str!("state.rs");
        let mut rows = Vec::new();
        for line in source.lines() {
            let Some(row) = line.strip_prefix("//! | ") else {
                continue;
            };
            let cells: Vec<String> = row.split('|').map(|c| c.trim().to_owned()).collect();
            if cells[0] != "side" {
                rows.push(cells);
            }
        }
        assert_eq!(rows.len(), 8);
        for side in [Side::Request, Side::Response] {
            for from in PHASES {
                for signal in SIGNALS {
                    for other in PHASES {
                        let documented = lookup(&rows, side, from, signal, other);
                        let coded = next(side, from, signal, other).map(|to| format!("{to:?}"));
                        assert_eq!(coded, documented, "{side:?} {from:?} {signal:?} {other:?}");
                    }
                }
            }
        }
    }

    fn lookup(
        rows: &[Vec<String>],
        side: Side,
        from: Phase,
        signal: Signal,
        other: Phase,
    ) -> Option<String> {
        let side = format!("{side:?}").to_lowercase();
        let covers =
            |cell: &str, value: &str| cell == "any" || cell.split(", ").any(|item| item == value);
        rows.iter()
            .find(|row| {
                (row[0] == "either" || row[0] == side)
                    && covers(&row[1], &format!("{from:?}"))
                    && row[2] == format!("{signal:?}")
                    && covers(&row[3], &format!("{other:?}"))
            })
            .map(|row| row[4].clone())
    }

    #[test]
    fn the_first_reason_to_close_counts() {
        let mut state = State::new();
        state.forbid_reuse(CloseReason::Peer);
        state.forbid_reuse(CloseReason::Local);
        assert_eq!(state.cycle(), Reuse::Close(CloseReason::Peer));
        assert_eq!(state.request(), Phase::Closed);
    }
}
