//! The contract of `tollgate_core::gateway::io`, held by this runtime. Each has the same tests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use tollgate_smol as runtime;

mod contract;
