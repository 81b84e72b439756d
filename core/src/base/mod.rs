//! Building blocks without protocol knowledge: time, ids, tables, buffers, timers, limits, and the
//! two types of raw JSON text that the whole crate passes around instead of parsed values.

pub mod arena;
pub mod buf;
pub mod hash;
pub mod ids;
pub mod json_text;
pub mod limits;
pub mod peer;
pub mod rng;
pub mod time;
pub mod timer;

pub use arena::Arena;
pub use buf::{OutBuf, WriteBatch};
pub use ids::{ConnId, ExchangeId, Id, ListenerId, ShardId, TicketId};
pub use json_text::{JsonStr, RawJson};
pub use limits::Limits;
pub use peer::Peer;
pub use rng::{Rng, Seed};
pub use time::{Instant, Now, UnixMillis};
