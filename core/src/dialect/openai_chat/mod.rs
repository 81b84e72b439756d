//! OpenAI Chat Completions (`POST /v1/chat/completions`) and the vendors that imitate it.

mod answer;
pub mod failure;
mod fields;
pub mod models;
pub mod request;
pub mod response;
pub mod stream;
mod usage;
pub mod watch;

/// Where requests go.
pub const PATH: &str = "/v1/chat/completions";
