//! Chat Completions: every rule by a fixture of its own, and every recording.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod failures;
mod grammar;
mod messages;
mod recordings;
mod requests;
mod responses;
mod streams;
mod support;
