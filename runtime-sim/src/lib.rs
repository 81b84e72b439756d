//! Carries the operations of `tollgate-core` on a simulated network, under a virtual clock, with
//! seeded faults and checkers: the third runtime, beside smol and monoio.
//!
//! ```text
//!   seed ──▶ scenario: config, limits, faults, clients, upstreams
//!               │
//!   clients ◀──▶ World: clock, queue of events, links ◀──▶ upstreams
//!   (script)    │  ▲                                       (script)
//!            Input│  │Output     every operation, answer, record and
//!               ▼  │             byte of memory is held against `check`
//!              Shard
//! ```
//!
//! [`world::World`] drives any [`Machine`](tollgate_core::gateway::io::Machine);
//! [`scenario::run`] is a whole run with real shards. A seed decides all: the same seed gives the
//! same trace, to the byte.
//!
//! ```
//! use tollgate_sim::scenario::{Options, run};
//!
//! let report = run(&Options::new(7));
//! assert_eq!(report.violation, None);
//! assert_eq!(report.trace_hash, run(&Options::new(7)).trace_hash);
//! ```
//!
//! What it is not: a test of sockets (the runtimes' own tests are) nor of TLS, which core treats as
//! bytes in and bytes out.

mod check;
pub mod faults;
mod net;
pub mod peer;
mod queue;
pub mod scenario;
mod script;
mod setup;
pub mod shrink;
mod text;
mod trace;
pub mod world;

pub use trace::Trace;
