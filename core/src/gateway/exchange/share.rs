//! Sharing: what a caller asks several times at once, not streamed, its upstream is asked once, if
//! the caller wants that (`coalesce`).
//!
//! The first of these requests leads, the others follow: they wait in `Choosing` without a place
//! anywhere, and get what the leader gets, an error too. When the leader's client leaves, or its
//! time is up, the first follower's client takes its place at what is under way. What befell the
//! leader alone (it was not let in, its client would not wait) is not the others' answer: the first
//! of them leads then.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::super::Shard;
use super::super::auth;
use super::Exchange;
use super::deadlines::Phase;
use super::respond::Passed;
use crate::base::{ExchangeId, OutBuf};
use crate::config::{Credentials, Provider};
use crate::record::Outcome;

/// More requests than these, the first not counted, share no answer: one turn gives it to all.
const FOLLOWERS_MAX: usize = 64;

/// What a request asks, and who asks: a hash that nobody can choose to collide.
type Asked = [u8; 32];

/// Whether others ask the same.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::gateway) enum Flight {
    /// It is asked alone.
    #[default]
    Alone,
    /// It is asked for others too, if there are any.
    Leads(Asked),
    /// Another one is asked for it.
    Follows(Asked),
    /// The one that it followed was not answered as others would be.
    Left,
}

/// For each request that others may follow, those that do.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Flights(BTreeMap<Asked, Vec<ExchangeId>>);

impl Shard {
    /// The request is ready to be sent: alone, or for others too; or another one is already.
    pub(in crate::gateway) fn join(&mut self, id: ExchangeId) {
        let generation = self.ctx.generation;
        let snapshot = &self.ctx.snapshot;
        let exchange = self.exchanges.get(id);
        // One that began under an earlier config may ask another target.
        let exchange = exchange.filter(|it| Arc::ptr_eq(&it.snapshot, snapshot));
        match exchange.and_then(|exchange| exchange.asked(generation)) {
            Some(asked) => self.join_those_who(id, asked),
            None => self.choose(id),
        }
    }

    fn join_those_who(&mut self, id: ExchangeId, asked: Asked) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.flight = match self.flights.0.get_mut(&asked) {
            None => {
                self.flights.0.insert(asked, Vec::new());
                Flight::Leads(asked)
            }
            Some(followers) if followers.len() < FOLLOWERS_MAX => {
                followers.push(id);
                Flight::Follows(asked)
            }
            Some(_) => Flight::Alone,
        };
        if !matches!(exchange.flight, Flight::Follows(_)) {
            self.choose(id);
        }
    }

    /// A request goes on that waited in vain, or for one that it followed.
    pub(in crate::gateway) fn choose_pending(&mut self, id: ExchangeId) {
        match self.exchanges.get_mut(id) {
            Some(exchange) if matches!(exchange.flight, Flight::Left) => {
                // Meanwhile the config may be another, as for those who wait in a line.
                if !Arc::ptr_eq(&exchange.snapshot, &self.ctx.snapshot) {
                    exchange.adopt(&self.ctx.snapshot);
                }
                exchange.flight = Flight::Alone;
                self.join(id);
            }
            _ => self.choose(id),
        }
    }

    /// The request is answered: so are those that follow it.
    pub(in crate::gateway) fn answer_followers(
        &mut self,
        id: ExchangeId,
        status: u16,
        body: &mut OutBuf,
        passed: Option<Passed<'_>>,
    ) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get(id) else {
            return;
        };
        if !matches!(exchange.flight, Flight::Leads(_)) || exchange.is_own_failure() {
            return;
        }
        let access = exchange.access.clone();
        let retry_after = exchange.request.retry_after;
        let target = exchange.target_name();
        let parts: Vec<Bytes> = body.take_parts().collect();
        let copy = || {
            let mut body = OutBuf::new();
            parts.iter().for_each(|part| body.push(part.clone()));
            body
        };
        *body = copy();
        for follower in self.land(id) {
            let Some(exchange) = self.exchanges.get_mut(follower) else {
                continue;
            };
            exchange.flight = Flight::Alone;
            exchange.request.retry_after = retry_after;
            exchange.request.shared_target.clone_from(&target);
            let own = &mut exchange.access;
            own.shared_with = Some(access.request_id.clone());
            own.provider.clone_from(&access.provider);
            own.answered_by.clone_from(&access.answered_by);
            own.outcome.clone_from(&access.outcome);
            own.finish.clone_from(&access.finish);
            own.dropped.clone_from(&access.dropped);
            if own.outcome == Outcome::Complete {
                own.first_content = Some(now - exchange.started);
            }
            self.answer_whole(follower, status, copy(), passed);
        }
    }

    /// The client of the request left, or its time is up: another's takes its place, if one
    /// follows. Gives the exchange whose client that was.
    pub(in crate::gateway) fn hand_over(&mut self, id: ExchangeId) -> ExchangeId {
        let flight = self.exchanges.get(id).map(|exchange| exchange.flight);
        let Some(Flight::Leads(asked)) = flight else {
            return id;
        };
        let followers = self.flights.0.get_mut(&asked);
        let Some(followers) = followers.filter(|it| !it.is_empty()) else {
            return id;
        };
        let heir = followers.remove(0);
        let Some((exchange, other)) = self.exchanges.get_two_mut(id, heir) else {
            return id;
        };
        other.flight = Flight::Alone;
        exchange.swap_clients(other);
        exchange.rearm(&mut self.ctx);
        if let Some(client) = self.clients.get_mut(exchange.client) {
            client.exchange = Some(id);
        }
        heir
    }

    /// The exchange ends: it is followed by none, and follows none.
    pub(in crate::gateway) fn leave_flight(&mut self, id: ExchangeId) {
        for follower in self.land(id) {
            if let Some(exchange) = self.exchanges.get_mut(follower)
                && matches!(exchange.flight, Flight::Follows(_))
            {
                exchange.flight = Flight::Left;
                self.pending_choices.push_back(follower);
            }
        }
    }

    /// Takes the exchange out of its group; gives those that followed it.
    fn land(&mut self, id: ExchangeId) -> Vec<ExchangeId> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Vec::new();
        };
        match core::mem::take(&mut exchange.flight) {
            Flight::Leads(asked) => self.flights.0.remove(&asked).unwrap_or_default(),
            Flight::Follows(asked) => {
                if let Some(followers) = self.flights.0.get_mut(&asked) {
                    followers.retain(|&follower| follower != id);
                }
                Vec::new()
            }
            Flight::Alone | Flight::Left => Vec::new(),
        }
    }
}

impl Exchange {
    /// What is asked, if its answer may be shared: the body, and all of the head that a target
    /// might see; under one config.
    fn asked(&self, generation: u32) -> Option<Asked> {
        let prepared = self.prepared.as_deref()?;
        let body = prepared.body_sha256.filter(|_| !prepared.stream)?;
        let head = self.request.head.as_deref()?;
        let routed = self.routed()?;
        let providers: Vec<&Provider> = routed
            .chain
            .upstreams()
            .filter_map(|upstream| self.snapshot.providers.get(upstream.provider))
            .collect();
        let is_seen = |name: &[u8]| {
            let mut keys = auth::KEY_FIELDS.iter();
            let is_key = keys.any(|key| name.eq_ignore_ascii_case(key.as_bytes()));
            providers.iter().any(|provider| {
                let is_passed_on = matches!(provider.credentials, Credentials::Client);
                provider.passes_client_field(name) || (is_key && is_passed_on)
            })
        };
        let mut hash = Sha256::new();
        hash.update(self.claim.standing.client.to_le_bytes());
        hash.update(generation.to_le_bytes());
        hash.update(body);
        let mut text = |text: &[u8]| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        text(self.request.dialect.name().as_bytes());
        text(head.query().unwrap_or_default().as_bytes());
        for (name, value) in head.fields.iter() {
            if is_seen(name) {
                text(&name.to_ascii_lowercase());
                text(value);
            }
        }
        Some(hash.finalize().into())
    }

    /// Whether it failed for a reason that others need not share.
    fn is_own_failure(&self) -> bool {
        let is_failed = matches!(self.access.outcome, Outcome::Failed { .. });
        is_failed && (self.plan.attempts == 0 || self.plan.is_hasty)
    }

    /// Both exchange their clients, with all that is theirs; what was done for this one stays.
    fn swap_clients(&mut self, other: &mut Exchange) {
        use core::mem::swap;
        swap(&mut self.client, &mut other.client);
        swap(&mut self.request.request_id, &mut other.request.request_id);
        swap(&mut self.started, &mut other.started);
        swap(&mut self.access, &mut other.access);
        swap(&mut self.access.attempts, &mut other.access.attempts);
        swap(&mut self.access.provider, &mut other.access.provider);
        swap(&mut self.access.dropped, &mut other.access.dropped);
        swap(&mut self.access.waited, &mut other.access.waited);
        // Why the one who leaves does so is told by its own patience.
        swap(&mut self.due, &mut other.due);
        swap(&mut self.patience, &mut other.patience);
        let total = self.timers().map(|timers| timers.total);
        if let Some(total) = total.filter(|_| self.plan.attempts > 0) {
            self.due = self.due.min(self.started + total);
        }
        self.deadlines.set(Phase::Total, self.due);
    }
}
