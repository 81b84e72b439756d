//! tollgate-core
#![forbid(unsafe_code)]

pub mod base;
pub mod config;
pub mod dialect;
pub mod gateway;
pub mod ir;
pub mod policy;
pub mod record;
pub mod wire;
