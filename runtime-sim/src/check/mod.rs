//! The checkers: one file for each property that must hold in every run.

pub(crate) mod answer;
pub(crate) mod attempts;
pub(crate) mod contract;
pub(crate) mod http;
pub(crate) mod memory;
pub(crate) mod run;
pub(crate) mod stream;
