//! tollgate-core
#![forbid(unsafe_code)]

pub mod base;
pub mod wire;
