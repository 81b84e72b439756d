//! What the tests of the whole gateway share: a shard in memory whose network and clock the test
//! holds in its hand ([`world`]), and readers of what it writes that share no code with it
//! ([`http`], [`events`], [`messages`], [`chat`]).

#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod asked;
pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod messages;
pub(crate) mod said;
pub(crate) mod shared;
pub(crate) mod talk;
pub(crate) mod world;

use tollgate_core::dialect::Dialect;

/// Both APIs.
pub(crate) const DIALECTS: [Dialect; 2] = [Dialect::Anthropic, Dialect::OpenAiChat];

/// Every pair of a client's API and an upstream's.
pub(crate) fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    DIALECTS
        .into_iter()
        .flat_map(|client| DIALECTS.map(|upstream| (client, upstream)))
}
