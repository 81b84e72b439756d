//! Protocol machines: bytes in, events out, and back. Each is usable by itself, does no I/O, works
//! on buffers of its caller, is bounded by [`Limits`](crate::base::Limits), and knows nothing of
//! language models.

pub mod coding;
pub mod http1;
pub mod json;
pub mod sse;
pub mod tls;
