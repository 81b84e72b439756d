//! OpenAI Chat Completions (`POST /v1/chat/completions`) and the vendors that imitate it.

mod answer;
mod fields;
pub mod models;
pub mod request;
mod usage;

/// Where requests go.
pub const PATH: &str = "/v1/chat/completions";
