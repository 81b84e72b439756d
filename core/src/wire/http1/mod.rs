//! HTTP/1.0 and HTTP/1.1 for both roles, after RFC 9110 and RFC 9112: [`ServerConn`] receives
//! requests, [`ClientConn`] receives responses. Bytes in, events out; events in, bytes out; no I/O.
//!
//! ```text
//!   input: BytesMut ──next_event()──▶ Head  (Body)*  [Trailers]  End      then next_cycle()
//!   out: OutBuf     ◀──send_*()─────  head  (body)*              end
//! ```
//!
//! It is strict. A gateway stands between two readers, and whatever they could understand in two
//! ways lets a client smuggle a request past one of them, or an upstream a response. Such a message
//! is refused and its connection closed: both Content-Length and Transfer-Encoding, a repeated or
//! malformed length, any coding but `chunked`, folded lines, bare LF, blanks before a colon, chunk
//! sizes that are not plain digits, a missing or doubled Host.
//!
//! Invariants:
//! - Errors latch, and are the same however the bytes were split.
//! - No byte is scanned twice while a head arrives, and a limit that is passed is noticed at the
//!   byte that passes it.
//! - Body bytes are slices of the input, and leave as the same slices.
//! - What cannot be sent safely is refused before anything of it is written.
//! - Memory is bounded by the input that the caller holds; a connection itself holds none.
//!
//! [`state`](self) has the one transition table that both roles follow. HTTP/2, upgrades and
//! content codings are not here.
//!
//! ```
//! use bytes::BytesMut;
//! use tollgate_core::base::{OutBuf, limits::Http1Limits};
//! use tollgate_core::wire::http1::{BodyLength, Event, Reuse, ServerConn};
//!
//! let mut conn = ServerConn::new(&Http1Limits::default());
//! let mut input = BytesMut::from("GET /health HTTP/1.1\r\nHost: example.com\r\n\r\n");
//! let Event::Head(head) = conn.next_event(&mut input)? else {
//!     panic!("the head is complete");
//! };
//! assert_eq!((head.path(), head.body), ("/health", BodyLength::None));
//! assert!(matches!(conn.next_event(&mut input)?, Event::End));
//!
//! let mut out = OutBuf::new();
//! conn.send_head(http::StatusCode::OK, [("x-id", "1")], BodyLength::Length(2), &mut out)?;
//! conn.send_body("ok".into(), &mut out)?;
//! conn.send_end(&mut out)?;
//! assert_eq!(conn.next_cycle(), Reuse::KeepAlive);
//! assert_eq!(
//!     out.take_all(),
//!     "HTTP/1.1 200 OK\r\nx-id: 1\r\ncontent-length: 2\r\n\r\nok"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chunked;
mod client;
mod date;
mod encode;
mod error;
mod fields;
mod framing;
mod head;
mod scan;
mod server;
mod state;
mod syntax;

use bytes::Bytes;

pub use client::ClientConn;
pub use date::HttpDate;
pub use error::{Blame, ErrorKind, Http1Error, SendError};
pub use fields::{Fields, FieldsIter};
pub use framing::{BodyLength, ResponseBody};
pub use head::{RequestHead, ResponseHead};
pub use server::ServerConn;
pub use state::{CloseReason, Reuse};

use state::OutOfTurn;

/// What a start line may hold besides its target: a method, two blanks and the version.
const START_LINE_SLACK: usize = 64;

/// What [`ServerConn::next_event`] and [`ClientConn::next_event`] take out of the input.
#[derive(Clone, Debug)]
pub enum Event<H> {
    /// The head of a message is complete.
    Head(H),
    /// Some of the body; never empty.
    Body(Bytes),
    /// The trailer section after a chunked body. Trailers are never merged into the head's fields
    /// (RFC 9110 §6.5.1).
    Trailers(Fields),
    /// The message is complete.
    End,
    /// More input is needed.
    NeedData,
    /// The input holds bytes that are not for the current exchange: a later request, which waits
    /// for [`ServerConn::next_cycle`], or what an upstream should not have sent.
    Paused,
    /// Nothing more will come.
    Closed,
}

impl From<OutOfTurn> for ErrorKind {
    fn from(_: OutOfTurn) -> ErrorKind {
        ErrorKind::OutOfTurn
    }
}

impl From<OutOfTurn> for SendError {
    fn from(_: OutOfTurn) -> SendError {
        SendError::OutOfTurn
    }
}
