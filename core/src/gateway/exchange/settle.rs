//! Settling: every exchange ends here, exactly once. Its connection is given back or closed, what
//! it held is freed, its record is written, and its client goes on.

use super::super::Shard;
use super::super::ctx::Ctx;
use super::gather::Gather;
use super::respond::send_failure;
use super::state::Step;
use super::{Answer, Exchange};
use crate::base::ExchangeId;
use crate::ir::Blame;
use crate::policy::breaker::Verdict;
use crate::record::{Ending, Outcome, Record};
use crate::wire::http1::SendError;

impl Shard {
    /// The answer is handed over to the client's connection, or could not be.
    pub(in crate::gateway) fn answered(&mut self, id: ExchangeId, sent: Result<(), SendError>) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.step(Step::Answered);
        let client_id = exchange.client;
        if let Err(error) = sent {
            let failure = send_failure(error);
            exchange.access.outcome = Outcome::Failed {
                class: failure.class,
                blame: failure.blame,
                message: failure.message,
            };
            if let Some(client) = self.clients.get_mut(client_id) {
                client.http.abort_response();
            }
        }
        self.settle(id);
        self.client_answered(client_id);
    }

    /// The client went away; what was done for it alone ends at once.
    pub(in crate::gateway) fn settle_client_gone(&mut self, id: ExchangeId) {
        let id = self.hand_over(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.step(Step::ClientGone);
        exchange.access.outcome = Outcome::ClientGone;
        if let Answer::Stream(streaming) = core::mem::take(&mut exchange.answer) {
            exchange.note(streaming.relay.watched(), streaming.relay.broken_events());
        }
        self.close_upstream_of(id);
        self.settle(id);
    }

    fn settle(&mut self, id: ExchangeId) {
        // The answer is complete, but perhaps not its framing: then the rest is read in a moment,
        // and the connection used again.
        if let Some(upstream) = self.exchanges.get(id).and_then(|it| it.attempt.upstream) {
            self.upstream_release(upstream);
        }
        if let Some(exchange) = self.exchanges.get_mut(id) {
            let verdict = verdict_of(&exchange.access.outcome);
            let ending = match &exchange.access.outcome {
                Outcome::Failed { class, .. } => Ending::Failed(*class),
                Outcome::Complete => Ending::Answered,
                Outcome::ClientGone => Ending::CalledOff,
            };
            exchange.note_attempt(&mut self.ctx, ending);
            self.call_off_rival(id);
            self.leave(id, verdict);
        }
        self.depart(id);
        self.leave_flight(id);
        let Some(mut exchange) = self.exchanges.remove(id) else {
            return;
        };
        exchange.clock.cancel(&mut self.ctx.timers);
        if exchange.attempt.is_waiting {
            self.forget_lookup(id);
        }
        exchange.release_request(&mut self.ctx);
        exchange.access.duration = self.ctx.now.mono - exchange.started;
        self.ctx.counters.settled(&exchange.access);
        self.ctx.record(Record::Access(*exchange.access));
    }
}

impl Shard {
    /// The exchange waits no longer for a provider's addresses.
    pub(in crate::gateway) fn forget_lookup(&mut self, id: ExchangeId) {
        for state in &mut self.providers {
            state.waiting.retain(|&waiting| waiting != id);
        }
    }
}

impl Exchange {
    /// Frees the request: it will not be sent again.
    pub(in crate::gateway) fn release_request(&mut self, ctx: &mut Ctx) {
        ctx.bodies_bytes -= core::mem::take(&mut self.request.charged);
        self.request.body = Gather::default();
        self.request.head = None;
        if let Some(prepared) = &mut self.prepared {
            prepared.forget_body();
        }
    }
}

/// What an answer says about the target that it came from.
const fn verdict_of(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Complete => Verdict::Well,
        Outcome::Failed {
            blame: Blame::Upstream,
            ..
        } => Verdict::Failed,
        Outcome::Failed { .. } | Outcome::ClientGone => Verdict::Nothing,
    }
}
