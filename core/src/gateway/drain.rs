//! Draining: idle connections are closed, what runs may finish until the deadline. As long as
//! something runs, new connections are taken, and told that the gateway is not ready; nothing else
//! is done for them.

use super::Shard;
use super::client::Phase;
use super::ctx::Alarm;
use super::io::{Op, Output, PEERS};
use crate::base::{Instant, ListenerId};
use crate::ir::{Blame, Class, Failure};

impl Shard {
    pub(super) fn drain(&mut self, deadline: Instant) {
        if self.ctx.is_draining() {
            return;
        }
        self.ctx.drain_deadline = Some(deadline);
        self.ctx.timers.arm(deadline, Alarm::Drain);
        if !self.balance.is_alone() {
            self.idle_listeners.retain(|&listener| listener != PEERS);
            let listener = PEERS;
            self.ctx.outbox.push(Output::Op(Op::Unlisten { listener }));
        }
        self.close_idle_upstreams();
        self.leave_idle_clients();
    }

    /// Nothing runs any more: nobody else is heard.
    fn unlisten(&mut self) {
        self.is_unlistened = true;
        self.idle_listeners.clear();
        for index in 0..self.listeners {
            let listener = ListenerId(index);
            self.ctx.outbox.push(Output::Op(Op::Unlisten { listener }));
        }
        self.leave_idle_clients();
    }

    fn leave_idle_clients(&mut self) {
        for id in self.clients.keys() {
            let is_idle = self.clients.get(id).is_some_and(|client| {
                client.phase == Phase::Serving
                    && client.exchange.is_none()
                    && !client.socket.has_input()
            });
            if is_idle {
                self.client_leave(id);
            }
        }
    }

    /// Time is up: exchanges still running end with an error.
    pub(super) fn drain_alarm(&mut self) {
        for id in self.exchanges.keys() {
            let message = "the gateway is shutting down";
            let failure = Failure::new(Class::Unavailable, message).blame(Blame::Gateway);
            self.close_upstream_of(id);
            self.answer_failure(id, failure.clone());
            // Requests that have not come whole.
            if let Some(client) = self.exchanges.get(id).map(|exchange| exchange.client) {
                self.client_gone(client, true);
            }
        }
        // Requests of which not even the head has come.
        for id in self.clients.keys() {
            let is_begun = self
                .clients
                .get(id)
                .is_some_and(|client| client.phase == Phase::Serving && client.exchange.is_none());
            if is_begun {
                self.client_gone(id, true);
            }
        }
    }

    /// Says once that nothing is left. What the host still does is for nobody, and is not waited
    /// for: a resolver that hears nothing may take a minute to say so.
    pub(super) fn drained(&mut self) {
        if self.ctx.is_draining() && !self.is_unlistened && self.exchanges.is_empty() {
            self.unlisten();
        }
        let is_empty =
            self.clients.is_empty() && self.upstreams.is_empty() && self.exchanges.is_empty();
        if self.ctx.is_draining() && is_empty && !self.is_drained {
            self.is_drained = true;
            self.ctx.outbox.push(Output::Drained);
        }
    }
}
