//! The gateway itself: the shard and all it is made of.

pub mod io;
mod work;
