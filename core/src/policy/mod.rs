//! Decisions about attempts: facts and time in, a decision out.

pub mod retry;
