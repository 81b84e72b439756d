//! tollgate-core
#![forbid(unsafe_code)]

pub mod base;
pub mod config;
pub mod gateway;
pub mod record;
