//! Event streams after the WHATWG HTML standard, §9.2 "Server-sent events": a decoder and an
//! encoder, both on bytes.
//!
//! The decoder works on the buffer that the reads fill. It returns frames that point into it, never
//! looks at a byte twice, and gives the same frames however the stream was cut. The data of a frame
//! with one `data:` line, which is every frame of every known vendor, is not copied.
//!
//! It is no client: it neither reconnects nor decodes UTF-8. Broken UTF-8, which the standard turns
//! into U+FFFD, is left to whoever reads the data.
//!
//! Invariants: what [`Decoder::rebase`] takes away together with what it leaves is the stream, to
//! the byte; frames lie one behind another in it; no more than `SseLimits::event_bytes_max` bytes
//! are waited for.
//!
//! ```
//! use tollgate_core::base::limits::SseLimits;
//! use tollgate_core::wire::sse::Decoder;
//!
//! let mut decoder = Decoder::new(&SseLimits::default());
//! let mut input = b": hello\n\nevent: ping\ndata: {}\n\ndata: cut".to_vec();
//! let frame = decoder.next(&input).unwrap().unwrap();
//! assert_eq!((frame.name, frame.data.as_bytes()), (&b"ping"[..], &b"{}"[..]));
//! assert!(decoder.next(&input).unwrap().is_none());
//! input.drain(..decoder.rebase());
//! input.extend_from_slice(b" off\n\n");
//! assert_eq!(decoder.next(&input).unwrap().unwrap().data.as_bytes(), b"cut off");
//! ```

mod decode;
mod encode;
mod frame;

pub use decode::{Decoder, SseError};
pub use encode::{begin_event, comment, end_event, event};
pub use frame::{Data, Frame};
