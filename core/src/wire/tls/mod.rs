//! TLS (RFC 8446, RFC 5246) as bytes in, bytes out: both runtimes and the simulator run the same
//! code and never know it.
//!
//! ```text
//!  ciphertext of the socket ──▶ receive ──▶ ┌─────────┐ ──▶ plaintext of the server
//!                                           │ Session │
//!  ciphertext for the socket ◀── flush ◀─── └─────────┘ ◀── send ◀── plaintext for the server
//! ```
//!
//! A [`Session`] is the client's end of one connection. After every call of
//! [`receive`](Session::receive), failed ones too, [`flush`](Session::flush) has what must be
//! written: steps of the handshake, alerts, answers to key updates. [`ClientConfig`] holds what
//! sessions share: trusted roots and the tickets of earlier sessions.
//!
//! Here is no socket, no clock (wall time is handed in when a session begins) and no server's end.
//! Randomness is drawn by the cryptography provider; what lies above a session stays reproducible.
//!
//! Invariants: plaintext leaves only after its record was authenticated; nothing is sent in the
//! clear, so [`send`](Session::send) takes nothing before the handshake is done; an error latches;
//! the end of the stream is clean only after `close_notify`.
//!
//! `client.rs` is the only file that knows rustls.

mod client;
mod error;
#[cfg(test)]
mod tests;

pub use client::{ClientConfig, Session};
pub use error::{CertificateFault, TlsError};
