//! Protocol machines: bytes in, events out, and back. They know nothing of LLMs, hold no sockets, and
//! can be used on their own.

pub mod coding;
pub mod json;
pub mod tls;
