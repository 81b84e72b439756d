//! A panic in a worker is reported. In a process of its own: what the worker had is lost with it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use tollgate_smol as runtime;

#[path = "contract/panic.rs"]
mod contract;
