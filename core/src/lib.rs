//! tollgate-core
#![forbid(unsafe_code)]

pub mod base;
