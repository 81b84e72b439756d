//! What is to be seen of machines from outside, for the checkers.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use tollgate_core::gateway::io::{Machine, ReadClass};

use super::World;
use crate::net::{Link, Origin};
use crate::peer::LinkId;

impl<M: Machine> World<M> {
    /// Tags of upstream connections that are open for clients who have just gone.
    pub(super) fn left_open(&self, shard: usize, ended: &[LinkId]) -> Vec<String> {
        let slot = &self.slots[shard];
        let mut left = Vec::new();
        for &client in ended {
            let Some(client) = &self.links[client].tag else {
                continue;
            };
            let start = format!("{client}-");
            for link in &self.links {
                let (Some(conn), Some(tag)) = (link.conn, &link.tag) else {
                    continue;
                };
                if link.origin == Origin::Shard
                    && link.shard == shard
                    && tag.starts_with(&start)
                    && !slot.contract.is_closing(conn)
                {
                    left.push(tag.clone());
                }
            }
        }
        left
    }

    /// How many connections without a request a machine keeps to the address to which it keeps
    /// most, if it has just begun to wait on one.
    pub(super) fn idle(&mut self, shard: usize) -> usize {
        if !core::mem::take(&mut self.slots[shard].has_rested) {
            return 0;
        }
        let delivered = self.delivered.borrow();
        let mut counts: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for (link, read) in self.links.iter().zip(&*delivered) {
            let is_read = read.bytes == link.sent && read.asks_since.is_none();
            let is_idle = link.shard == shard && is_resting(link) && is_read;
            if let Some(address) = link.address.filter(|_| is_idle) {
                *counts.entry(address).or_default() += 1;
            }
        }
        counts.into_values().max().unwrap_or_default()
    }
}

/// Whether a connection of a shard's has answered and waits for another request.
fn is_resting(link: &Link) -> bool {
    let is_quiet = matches!(link.read, Some((ReadClass::Quiet { .. }, _)));
    link.origin == Origin::Shard && is_quiet && link.tag.is_none() && !link.is_closing
}
