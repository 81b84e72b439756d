//! Chat Completions: every rule by a fixture of its own, and every recording.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "only its reader is wanted here")]
#[path = "../support/events.rs"]
mod events;
mod failures;
mod grammar;
mod messages;
mod recordings;
mod requests;
mod responses;
#[path = "../support/shared.rs"]
mod shared;
mod streams;
mod support;
