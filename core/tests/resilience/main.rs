//! What becomes of a request when upstreams fail: the faults of FailoverBench, keys, breakers, the
//! commit point. Each against a chain of two targets, unless it says otherwise.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "fixtures are written in place"
)]

mod admission;
mod breaker;
mod combined;
mod commit;
mod conditions;
mod crowds;
mod deadlines;
mod failover;
#[allow(dead_code)] // Its other half is for the wire cases.
#[path = "../wire_cases/fixtures.rs"]
mod fixtures;
mod headers;
mod hedging;
mod keys;
mod last_resort;
mod lending;
mod metrics;
mod moments;
mod patterns;
mod play;
mod providers;
mod ready;
mod resuming;
mod settings;
mod shards;
mod sharing;
mod strategies;
#[path = "../support/mod.rs"]
mod support;
