//! What happens when somebody goes: how soon after its client an upstream call ends, in each phase
//! of a request; and how a gateway that is told to end treats its streams and connections.
//!
//! Clients, upstream and gateway are on one machine, so the figures are the gateway's own time and
//! that of the system's loopback.

mod drain;
mod gateway;
mod leave;
mod upstream;

pub use drain::{Drained, drain};
pub use gateway::Gateway;
pub use leave::{PHASES, Phase, leave};
