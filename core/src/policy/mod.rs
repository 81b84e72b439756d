//! Decisions about attempts: facts and time in, a decision out.

pub mod affinity;
pub mod balance;
pub mod breaker;
mod date;
pub mod hedge;
pub mod keys;
pub mod latency;
pub mod lease;
pub mod limits;
pub mod queue;
pub mod rate;
pub mod retry;
