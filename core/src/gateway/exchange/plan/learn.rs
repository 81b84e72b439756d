//! What answers tell of a target and a key beside whether they fail: how long they take.

use super::super::super::Shard;
use crate::base::ExchangeId;

impl Shard {
    /// The target took too long: that is how long it takes, at least.
    pub(in crate::gateway::exchange) fn waited_in_vain(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        let seat = self.exchanges.get(id).and_then(|it| it.plan.seat);
        let seat = seat.filter(|seat| seat.generation == Some(self.ctx.generation));
        if let Some(seat) = seat
            && let Some(state) = self.targets.get_mut(seat.target)
        {
            state.latency.observe(now.since(seat.since), now);
        }
    }
}
