//! Anthropic Messages as a client's and as an upstream's API: rules one by one on small examples,
//! and all recorded exchanges.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod failures;
mod grammar;
mod random;
mod recordings;
mod requests;
mod responses;
#[path = "../support/shared.rs"]
mod shared;
mod streams;
mod support;
