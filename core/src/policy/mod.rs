//! Decisions about attempts: facts and time in, a decision out.

pub mod balance;
pub mod breaker;
pub mod hedge;
pub mod keys;
pub mod latency;
pub mod queue;
pub mod rate;
pub mod retry;
