//! How shards keep to limits together: what one asks the others for, and what they lend it.

use super::Shard;
use super::io::{Limited, Message, Output};
use super::lines::{Resource, lend};
use crate::base::{ExchangeId, Instant, ShardId};

impl Shard {
    /// Another shard asks for `amount` of a limit: it gets what nobody uses here.
    pub(super) fn heard_borrow(&mut self, from: ShardId, of: Limited, amount: u64) {
        let now = self.ctx.now.mono;
        let resource = self.lines.resource(of);
        let lent = match (of, resource) {
            (Limited::Key { .. }, Some(Resource::Provider(provider))) => {
                let state = self.providers.get_mut(provider);
                state.and_then(|state| {
                    let ask = state.key_ask(of, amount)?;
                    state.keys.lend(ask, from.0, now)
                })
            }
            (_, Some(resource)) => {
                let lent = self.lines.lend(resource, from.0, amount, now);
                lent.map(|lent| (lent, None))
            }
            (_, None) => None,
        };
        if lent.is_none() {
            self.lines.asked_early(from.0, of, amount);
        }
        let (amount, until) = lent.unwrap_or((0, None));
        let message = Message::Lend {
            of,
            amount,
            is_answer: true,
            until,
        };
        self.lines.say(from.0, message);
    }

    /// Another shard lends `amount` of a limit, perhaps nothing: those who wait for it look again.
    pub(super) fn heard_lend(
        &mut self,
        from: ShardId,
        of: Limited,
        amount: u64,
        answer: Option<Option<Instant>>,
    ) {
        let Some(resource) = self.lines.resource(of) else {
            // It was lent under a config that is gone here, and is of use where it came from.
            if answer.is_some() && amount > 0 {
                self.lines.say(from.0, lend(of, amount));
            }
            return;
        };
        let is_news = match (of, resource) {
            (Limited::Key { .. }, Resource::Provider(provider)) => {
                self.providers.get_mut(provider).is_some_and(|state| {
                    let ask = state.key_ask(of, amount);
                    ask.is_some_and(|ask| state.keys.gain(ask, from.0, answer))
                })
            }
            _ => self.lines.gain(resource, from.0, amount, answer),
        };
        if !is_news {
            return;
        }
        // The first one is woken. Those behind it who waited to know may go elsewhere.
        let waited = self.lines.who_wait_for(resource).skip(1);
        let exchanges = &self.exchanges;
        let asked = waited.filter(|&id| exchanges.get(id).is_some_and(|it| it.plan.is_asking()));
        let choices = &mut self.pending_choices;
        choices.extend(asked);
        self.lines.wake(resource);
        self.lines.nobody_waits(resource);
    }

    /// Places with a key that are free go to other shards that wait for them.
    pub(super) fn pay_with_key(&mut self, provider: usize, key: usize) {
        let Some(state) = self.providers.get_mut(provider) else {
            return;
        };
        while let Some((to, ask)) = state.keys.pay(key) {
            if let Some(of) = self.lines.key(provider, state, ask) {
                self.lines.say(to, lend(of, ask.amount));
            }
        }
    }

    /// Under a new config, shards get what they wait for of what is not occupied here.
    pub(super) fn share_anew(&mut self) {
        let early = self.lines.share_anew();
        for provider in 0..self.providers.len() {
            let keys = self.providers.get(provider).map_or(0, |it| it.keys.len());
            (0..keys).for_each(|key| self.pay_with_key(provider, key));
        }
        for (from, of, amount) in early {
            self.heard_borrow(ShardId(from), of, amount);
        }
        self.lines.forget_early();
    }

    /// What the request kept is for others again.
    pub(super) fn let_go(&mut self, id: ExchangeId) {
        let exchange = self.exchanges.get_mut(id);
        let Some(keeps) = exchange.and_then(|it| it.plan.keeps.take()) else {
            return;
        };
        if let (Some(key), Some(state)) = (keeps.key, self.providers.get_mut(keeps.provider)) {
            state.keys.let_go(key);
            self.lines.due(Resource::Provider(keeps.provider));
        }
        if let Some(target) = keeps.target {
            self.lines.let_go(target);
        }
    }

    /// What was decided about limits goes out to the other shards.
    pub(super) fn send_letters(&mut self) {
        while let Some(resource) = self.lines.next_due() {
            let Resource::Provider(provider) = resource else {
                continue;
            };
            let Some(state) = self.providers.get_mut(provider) else {
                continue;
            };
            if self.lines.is_unwaited(resource) {
                state.keys.nobody_waits();
            }
            for key in 0..state.keys.len() {
                self.pay_with_key(provider, key);
            }
        }
        while let Some((to, message)) = self.lines.next_letter() {
            let to = ShardId(to);
            self.ctx.outbox.push(Output::Send { to, message });
        }
    }
}
