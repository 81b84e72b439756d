//! The scripts: clients, upstream servers, what they say, and the journal in which they note it for
//! each other's checkers.

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod journal;
pub(crate) mod outage;
mod plan;
mod read;
pub(crate) mod request;
pub(crate) mod server;
