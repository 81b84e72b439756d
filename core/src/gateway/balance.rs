//! Evening out connections between shards. The kernel spreads them by a hash, and a Unix socket has
//! one shard that listens; so a shard that serves far more clients than another hands new ones
//! over.

use crate::base::ShardId;
use crate::policy::lease::Among;

/// More clients than this beyond twice another shard's, and a new one is handed over.
const SLACK: usize = 8;

/// What a shard knows of how busy the others are.
#[derive(Debug)]
pub(super) struct Balance {
    own: usize,
    /// Clients of each shard, as last told, and counted on while handing over.
    loads: Vec<u32>,
    told: usize,
}

impl Balance {
    pub(super) fn new(own: ShardId, shards: u16) -> Balance {
        Balance {
            own: usize::from(own.0),
            loads: vec![0; usize::from(shards)],
            told: 0,
        }
    }

    /// The shard itself.
    pub(super) fn own(&self) -> ShardId {
        ShardId(u16::try_from(self.own).unwrap_or(u16::MAX))
    }

    /// Whether there is anybody to share with.
    pub(super) fn is_alone(&self) -> bool {
        self.loads.len() < 2
    }

    pub(super) fn heard(&mut self, from: ShardId, clients: u32) {
        if let Some(load) = self.loads.get_mut(usize::from(from.0)) {
            *load = clients;
        }
    }

    /// Who should take a new connection of a shard that serves `clients` already.
    pub(super) fn receiver(&mut self, clients: usize) -> Option<ShardId> {
        let own = self.own;
        let others = self
            .loads
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| *index != own);
        let (index, load) = others.min_by_key(|(_, load)| **load)?;
        let is_far_less = clients > 2 * (*load as usize) + SLACK;
        if !is_far_less {
            return None;
        }
        *load += 1;
        u16::try_from(index).ok().map(ShardId)
    }

    /// What to tell the others, when it has changed enough: by a quarter, and by half the slack.
    pub(super) fn news(&mut self, clients: usize) -> Option<u32> {
        let change = clients.abs_diff(self.told);
        if self.is_alone() || change < (SLACK / 2).max(self.told / 4) {
            return None;
        }
        self.told = clients;
        u32::try_from(clients).ok()
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> u16 {
        u16::try_from(self.loads.len()).unwrap_or(u16::MAX)
    }

    /// Which of how many shards this one is.
    pub(super) fn among(&self) -> Among {
        Among {
            own: self.own().0,
            shards: self.shards(),
        }
    }

    /// How many turns after `from` this shard's comes, where each has one.
    pub(super) fn turn_after(&self, from: ShardId) -> u32 {
        let shards = self.loads.len().max(1);
        let turn = (self.own + shards - usize::from(from.0) % shards) % shards;
        u32::try_from(turn).unwrap_or(0)
    }

    /// All shards but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.own;
        (0..self.shards())
            .filter(move |index| usize::from(*index) != own)
            .map(ShardId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_shard_hands_over_until_it_is_even() {
        let mut balance = Balance::new(ShardId(0), 3);
        assert_eq!(balance.receiver(8), None);
        assert_eq!(balance.receiver(9), Some(ShardId(1)));
        assert_eq!(balance.receiver(9), Some(ShardId(2)));
        assert_eq!(balance.receiver(9), None);
        balance.heard(ShardId(2), 100);
        balance.heard(ShardId(1), 50);
        assert_eq!(balance.receiver(100), None);
        assert_eq!(balance.receiver(109), Some(ShardId(1)));
    }

    #[test]
    fn small_changes_are_not_worth_a_message() {
        let mut balance = Balance::new(ShardId(1), 2);
        assert_eq!(balance.news(3), None);
        assert_eq!(balance.news(4), Some(4));
        assert_eq!(balance.news(7), None);
        assert_eq!(balance.news(100), Some(100));
        assert_eq!(balance.news(120), None);
        assert_eq!(balance.news(70), Some(70));
        assert_eq!(balance.others().collect::<Vec<_>>(), [ShardId(0)]);
        assert_eq!(Balance::new(ShardId(0), 1).news(50), None);
    }
}
