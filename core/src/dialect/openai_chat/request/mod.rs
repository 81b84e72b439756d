//! Requests: [`decode`] reads a client's, [`encode`] writes one for an upstream, [`edit`] changes
//! one in place where both sides speak this API.

mod decode;
mod edit;
mod encode;
mod encode_messages;
mod encode_parts;
mod messages;
mod notes;
mod pairing;
mod parts;
mod tools;
mod write;

pub use decode::decode;
pub use edit::edit;
pub use encode::encode;

pub(super) use write::{write_call, write_details, write_joined, write_url};
