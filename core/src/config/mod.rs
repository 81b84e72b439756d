//! The config: from text to typed tables to a checked [`Snapshot`].

/// A checked config, shared by all shards and never changed; a reload replaces it.
#[derive(Debug, Default)]
pub struct Snapshot {}
