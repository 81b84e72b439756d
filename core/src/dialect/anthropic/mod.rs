//! Anthropic Messages (`POST /v1/messages`).

pub mod failure;
mod finish;
pub mod models;
mod overflow;
mod parts;
mod read;
pub mod request;
pub mod response;
pub mod stream;
mod text;
mod usage;
pub mod watch;
