//! The wire cases: what users of such gateways suffer from, and what must hold instead. Each case
//! is a test, on every pair of a client's API and an upstream's to which it applies.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "fixtures are written in place"
)]

mod bad_answers;
mod bad_requests;
mod bodies;
mod borders;
mod cache;
mod compressed;
mod content;
mod elsewhere;
mod endings;
mod endpoints;
mod failures;
mod finishes;
mod fixtures;
mod leaving;
mod losses;
mod outbound;
mod overflow;
#[allow(dead_code)] // Its other half is for the tests of resilience.
#[path = "../resilience/play.rs"]
mod play;
mod sessions;
mod silence;
#[path = "../support/mod.rs"]
mod support;
mod thinking;
mod tools;
mod upkeep;
mod usage;
mod ways;
