//! What happened: records that leave a shard for logs and dashboards.

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Record {}
