//! The checkers: one file for each property that must hold in every run.

mod affinity;
pub(crate) mod answer;
pub(crate) mod attempts;
mod breaker;
pub(crate) mod contract;
mod deadline;
pub(crate) mod http;
mod keys;
mod limits;
pub(crate) mod memory;
mod message;
mod rescue;
mod resume;
pub(crate) mod run;
mod share;
pub(crate) mod stream;
mod tokens;
mod usage;
