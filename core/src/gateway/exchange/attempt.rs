//! Attempting: a connection is taken or made, and the request is sent on it.

use core::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::super::Shard;
use super::super::auth;
use super::super::ctx::{Ticket, UpstreamId};
use super::super::io::{Op, Output, ResolveFailure};
use super::super::local::Local;
use super::super::prepare::{Destination, Prepared, Prompt};
use super::super::{provider, upstream};
use super::deadlines::Phase;
use super::plan::Told;
use super::state::{State, Step};
use super::{Answer, Exchange};
use crate::base::ExchangeId;
use crate::config::{Authorization, Caller, Credentials, Provider, Secret};
use crate::dialect::Dialect;
use crate::ir::{Blame, Class, Failure};
use crate::wire::http1::{BodyLength, Fields, RequestHead};

/// Named to upstreams; some refuse requests without it (RFC 9110 §10.1.5).
const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

impl Shard {
    /// The request is read and encoded, or refused.
    pub(in crate::gateway) fn prepared(
        &mut self,
        id: ExchangeId,
        prepared: Result<Box<Prepared>, Box<Failure>>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.state != State::Preparing {
            return;
        }
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.answer_failure(id, *failure);
                return;
            }
        };
        exchange.access.model = Some(prepared.model.clone());
        exchange.access.stream = prepared.stream;
        exchange.step(Step::Prepared);
        let is_local = matches!(prepared.destination, Destination::Demo(_));
        exchange.prepared = Some(prepared);
        exchange.is_awaited();
        exchange.rearm(&mut self.ctx);
        if is_local {
            self.attempt_local(id);
        } else {
            self.join(id);
        }
    }

    /// A target was found: its times begin to run.
    pub(in crate::gateway) fn begin_attempt(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(provider) = exchange.provider() else {
            return;
        };
        exchange.access.provider = Some(Arc::clone(&provider.name));
        let dropped = exchange.prompt().map(|prompt| prompt.dropped.clone());
        exchange.access.dropped = dropped.unwrap_or_default();
        let Some(timers) = exchange.timers().cloned() else {
            return;
        };
        // The time for the whole answer is that of the target which was asked first.
        let total = if exchange.access.stream {
            timers.total_stream
        } else {
            Some(timers.total)
        };
        if let Some(total) = total.filter(|_| exchange.plan.attempts == 1) {
            exchange.is_due(exchange.started + total);
        }
        exchange.deadlines.set(Phase::Connect, now + timers.connect);
        // Of the client's patience no attempt that follows takes more.
        let is_held = exchange.deadlines.is_set(Phase::Hold)
            || exchange.opened.is_some()
            || exchange.is_rival();
        if exchange.access.stream && !is_held {
            let hold = now + self.ctx.limits.timers.commit_hold;
            exchange.deadlines.set(Phase::Hold, hold);
        }
        exchange.rearm(&mut self.ctx);
        self.attempt(id);
    }

    fn attempt_local(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.access.provider = Some("demo".into());
        let meta = exchange.meta(&self.ctx);
        let dialect = exchange.request.dialect;
        let Some(prepared) = &exchange.prepared else {
            return;
        };
        let Destination::Demo(request) = &prepared.destination else {
            return;
        };
        let local = Local::new(request, prepared.input_tokens_estimate, dialect, meta);
        exchange.answer = Answer::Local(Box::new(local));
        exchange.step(Step::Local);
        self.begin_local(id);
    }

    /// Seeks a connection: a kept one, else a new one, whose address may have to be looked up.
    pub(in crate::gateway) fn attempt(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(prompt) = exchange.prompt() else {
            return;
        };
        let index = prompt.upstream.provider;
        let is_current = Arc::ptr_eq(&exchange.snapshot, &self.ctx.snapshot);
        let may_reuse = is_current && !exchange.attempt.needs_fresh;
        // One that is not used grows old all the same, and so is not taken for nothing.
        if may_reuse && self.has_idle(index) && self.is_seat_lost(id) {
            self.choose_anew(id);
            return;
        }
        if may_reuse && let Some(upstream) = self.take_idle(index, id) {
            if let Some(exchange) = self.exchanges.get_mut(id) {
                exchange.attempt.upstream = Some(upstream);
            }
            self.upstream_ready(upstream);
            return;
        }
        self.seek_address(id, index, is_current);
    }

    fn seek_address(&mut self, id: ExchangeId, index: usize, is_current: bool) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(settings) = exchange.snapshot.providers.get(index) else {
            return;
        };
        let state = self.providers.get_mut(index).filter(|_| is_current);
        let addresses = match &state {
            Some(state) => state.addresses(settings, self.ctx.now.mono),
            None => provider::ProviderState::default().addresses(settings, self.ctx.now.mono),
        };
        if let Some(addresses) = addresses {
            self.connect(id, index, addresses);
            return;
        }
        exchange.attempt.is_waiting = true;
        let (host, port) = provider::endpoint(settings);
        let host: Arc<str> = host.into();
        let ticket = match state {
            Some(state) => {
                state.waiting.push(id);
                if core::mem::replace(&mut state.is_resolving, true) {
                    return;
                }
                Ticket::Provider {
                    index,
                    generation: self.ctx.generation,
                }
            }
            None => Ticket::Lookup {
                exchange: id,
                seat: exchange.plan.seats,
            },
        };
        if self.ctx.tickets.len() >= self.ctx.limits.shard.host_jobs_max {
            if let Some(state) = self.providers.get_mut(index).filter(|_| is_current) {
                state.is_resolving = false;
                state.waiting.retain(|&waiting| waiting != id);
            }
            let message = "the gateway has as many names to look up as it may";
            let failure = Failure::new(Class::Overloaded, message).blame(Blame::Gateway);
            self.answer_failure(id, failure);
            return;
        }
        let ticket = self.ctx.tickets.insert(ticket);
        self.ctx
            .outbox
            .push(Output::Op(Op::Resolve { ticket, host, port }));
    }

    /// A lookup ended.
    pub(in crate::gateway) fn resolved(
        &mut self,
        ticket: Ticket,
        result: &Result<Vec<core::net::SocketAddr>, ResolveFailure>,
    ) {
        let waiting = match ticket {
            Ticket::Exchange { .. } => return,
            // A later attempt waits for the addresses of another provider.
            Ticket::Lookup { exchange, seat } => {
                let waiting = self.exchanges.get(exchange);
                if waiting.is_none_or(|it| it.plan.seats != seat) {
                    return;
                }
                vec![exchange]
            }
            Ticket::Provider { index, generation } => {
                let is_current = generation == self.ctx.generation;
                let Some(state) = self.providers.get_mut(index).filter(|_| is_current) else {
                    return;
                };
                state.is_resolving = false;
                if let Ok(addresses) = result {
                    state.resolved(addresses.clone(), self.ctx.now.mono);
                }
                core::mem::take(&mut state.waiting)
            }
        };
        for id in waiting {
            let Some(exchange) = self.exchanges.get_mut(id) else {
                continue;
            };
            if !core::mem::take(&mut exchange.attempt.is_waiting) {
                continue;
            }
            let Some(index) = exchange.prompt().map(|prompt| prompt.upstream.provider) else {
                continue;
            };
            match result {
                Ok(addresses) => self.connect(id, index, addresses.iter().copied().collect()),
                Err(failure) => {
                    let provider = exchange.snapshot.providers.get(index);
                    let host = provider.map_or("", |provider| provider::endpoint(provider).0);
                    let message = format!("the provider's name `{host}`: {failure}");
                    let failure = Failure::new(Class::BadGateway, message);
                    self.attempt_over(id, Told::new(failure));
                }
            }
        }
    }

    /// The connection can take the request.
    pub(in crate::gateway) fn upstream_ready(&mut self, id: UpstreamId) {
        let Some(exchange_id) = self.upstreams.get(id).and_then(|it| it.exchange) else {
            return;
        };
        if self.is_seat_lost(exchange_id) {
            self.upstream_unused(id);
            self.choose_anew(exchange_id);
            return;
        }
        self.send_request(id, exchange_id);
    }

    fn send_request(&mut self, id: UpstreamId, exchange_id: ExchangeId) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_id) else {
            return;
        };
        let Some(prompt) = exchange.prompt() else {
            return;
        };
        let Some(provider) = exchange.snapshot.providers.get(prompt.upstream.provider) else {
            return;
        };
        let head = exchange.request.head.as_deref();
        let stream = exchange.access.stream;
        let callers = &exchange.snapshot.callers;
        let key = exchange.key().map(|key| &key.secret);
        let request = Outbound::new(provider, key, prompt, head, stream, callers);
        let (http, out) = upstream.request_out();
        let length = BodyLength::Length(prompt.body_len);
        let sent = http.send_head(
            &Method::POST,
            &request.target,
            request.fields(),
            length,
            out,
        );
        let sent = sent.and_then(|()| {
            for part in &prompt.body {
                http.send_body(part.clone(), out)?;
            }
            http.send_end(out)
        });
        if let Err(error) = sent {
            let message = format!("the request cannot be sent to the upstream: {error}");
            self.upstream_failed(id, Failure::new(Class::Internal, message));
            return;
        }
        upstream.flush(&mut self.ctx);
        upstream.socket.read(&mut self.ctx.outbox);
        let spot = exchange.spot(self.ctx.generation);
        let target = spot.and_then(|spot| self.targets.get(spot));
        let latency = target.map(|target| &target.latency);
        let deadline = self.ctx.now.mono + exchange.first_content_time(latency);
        let hedge = exchange.hedge_time(target);
        exchange.deadlines.clear(Phase::Connect);
        exchange.deadlines.clear(Phase::Tls);
        exchange.deadlines.set(Phase::FirstContent, deadline);
        let longest = exchange.timers().map(|timers| timers.first_content);
        exchange.attempt.content_due = self.ctx.now.mono + longest.unwrap_or_default();
        if let Some(hedge) = hedge {
            exchange
                .deadlines
                .set(Phase::Hedge, self.ctx.now.mono + hedge);
        }
        exchange.rearm(&mut self.ctx);
    }

    /// The connection failed before or while it carried a request, and is of no more use.
    pub(in crate::gateway) fn upstream_failed(&mut self, id: UpstreamId, failure: Failure) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        let exchange = upstream.exchange.take();
        self.upstream_close(id);
        if let Some(exchange) = exchange {
            self.attempt_failed(exchange, failure);
        }
    }

    /// The connection broke while it carried a request. A kept connection that the server had
    /// closed in the meantime, and that gave no byte of an answer, is replaced by a fresh one, once
    /// (RFC 9112 §9.3.1): the server cannot have begun with the request.
    pub(in crate::gateway) fn upstream_broken(&mut self, id: UpstreamId, failure: Failure) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        let is_stale = upstream.is_reused && !upstream.http.received_any();
        let exchange_id = upstream.exchange.take();
        self.upstream_close(id);
        let Some(exchange_id) = exchange_id else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_id) else {
            return;
        };
        if is_stale && !exchange.attempt.needs_fresh && exchange.state == State::Attempting {
            exchange.step(Step::Stale);
            exchange.attempt.needs_fresh = true;
            exchange.attempt.upstream = None;
            if let Some(connect) = exchange.timers().map(|timers| timers.connect) {
                exchange
                    .deadlines
                    .set(Phase::Connect, self.ctx.now.mono + connect);
                exchange.rearm(&mut self.ctx);
            }
            self.attempt(exchange_id);
            return;
        }
        self.attempt_failed(exchange_id, failure);
    }

    /// Takes earlier reasoning out of the request, whose signatures the upstream did not accept,
    /// and sends it again: once, with the same key. Says whether it does.
    pub(in crate::gateway) fn retry_without_reasoning(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return false;
        };
        if exchange.attempt.is_stripped {
            return false;
        }
        exchange.attempt.is_stripped = true;
        let snapshot = Arc::clone(&exchange.snapshot);
        let prompt = exchange.routed_mut().and_then(|it| it.prompt.as_mut());
        if !prompt.is_some_and(|it| it.strip_reasoning(&snapshot, &mut self.ctx.tape)) {
            return false;
        }
        exchange.answer = Answer::None;
        exchange.step(Step::Mended);
        // The refusal was an answer, whose time is over; a new connection may have to be made.
        exchange.deadlines.clear(Phase::Idle);
        if let Some(connect) = exchange.timers().map(|timers| timers.connect) {
            let deadline = self.ctx.now.mono + connect;
            exchange.deadlines.set(Phase::Connect, deadline);
            exchange.rearm(&mut self.ctx);
        }
        self.attempt(id);
        true
    }

    /// Time is up for something that the exchange waits for.
    pub(in crate::gateway) fn exchange_alarm(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.clock.fired();
        }
        loop {
            let Some(exchange) = self.exchanges.get_mut(id) else {
                return;
            };
            let Some(phase) = exchange.deadlines.take_due(self.ctx.now.mono) else {
                break;
            };
            match phase {
                Phase::Total => self.too_late(id),
                Phase::Backoff => self.backoff_over(id),
                Phase::Connect => self.timed_out(id, "the upstream could not be reached in time"),
                Phase::Tls => self.handshake_over(id),
                Phase::Hedge => self.hedge(id),
                Phase::FirstContent if self.is_worth_waiting(id) => {}
                Phase::FirstContent => {
                    self.timed_out(id, "the upstream sent no content in time");
                }
                // It is we who do not read: the client has more to take than it may have queued.
                Phase::Idle if self.is_client_full(id) => self.await_data_anew(id),
                Phase::Idle => self.timed_out(id, "the upstream fell silent"),
                Phase::Ending => self.stop_waiting_for_end(id),
                Phase::Hold => self.commit_held(id),
                Phase::KeepAlive => self.keep_alive(id),
                Phase::Token => self.local_token(id),
                Phase::Decode => self.decode_more(id),
            }
        }
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.rearm(&mut self.ctx);
        }
    }

    /// The time for a TLS handshake is over, or for waiting until it may begin.
    fn handshake_over(&mut self, id: ExchangeId) {
        let upstream = self.exchanges.get(id).and_then(|it| it.attempt.upstream);
        let upstream = upstream.and_then(|upstream| self.upstreams.get(upstream));
        if upstream.is_none_or(|it| it.phase != upstream::Phase::Queued) {
            self.timed_out(id, "the upstream's TLS handshake took too long");
            return;
        }
        // Those of others took too long; another target may have a connection.
        let message = "the gateway made as many other TLS handshakes as it may";
        self.close_upstream_of(id);
        let failure = Failure::new(Class::Timeout, message).blame(Blame::Gateway);
        self.attempt_failed(id, failure);
    }

    fn timed_out(&mut self, id: ExchangeId, message: &str) {
        self.close_upstream_of(id);
        self.attempt_failed(id, Failure::new(Class::Timeout, message));
    }

    /// Time is up for the whole answer: nobody else is asked. Others who wait for the same call go
    /// on with it, as long as each has time.
    fn too_late(&mut self, id: ExchangeId) {
        let id = self.hand_over(id);
        self.close_upstream_of(id);
        let mut failure = Failure::new(Class::Timeout, "the answer took too long");
        let exchange = self.exchanges.get(id);
        if exchange.is_some_and(|it| it.patience <= self.ctx.now.mono) {
            // Else clients in a hurry could open the breakers of targets that are well.
            failure.blame = Blame::Client;
        }
        self.answer_failure(id, failure);
    }

    /// Closes the connection that works for an exchange.
    pub(in crate::gateway) fn close_upstream_of(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if let Some(upstream) = exchange.attempt.upstream.take() {
            if let Some(upstream) = self.upstreams.get_mut(upstream) {
                upstream.exchange = None;
            }
            self.upstream_close(upstream);
        }
    }
}

impl Exchange {
    /// What is sent to the provider.
    pub(in crate::gateway) fn prompt(&self) -> Option<&Prompt> {
        match &self.prepared.as_deref()?.destination {
            Destination::Chain(routed) => routed.prompt.as_ref(),
            Destination::Demo(_) => None,
        }
    }

    /// The provider that is asked.
    pub(in crate::gateway) fn provider(&self) -> Option<&Provider> {
        self.snapshot
            .providers
            .get(self.prompt()?.upstream.provider)
    }

    /// The API that the upstream speaks.
    pub(in crate::gateway) fn upstream_dialect(&self) -> Dialect {
        self.provider()
            .map_or(self.request.dialect, |provider| provider.dialect)
    }
}

/// The head of a request to an upstream.
struct Outbound<'a> {
    target: String,
    fields: Vec<(&'a [u8], &'a [u8])>,
    bearer: Option<Bytes>,
}

impl<'a> Outbound<'a> {
    fn new(
        provider: &'a Provider,
        key: Option<&'a Secret>,
        prompt: &'a Prompt,
        client: Option<&'a RequestHead>,
        stream: bool,
        callers: &[Caller],
    ) -> Outbound<'a> {
        let accept: &[u8] = if stream {
            b"text/event-stream"
        } else {
            b"application/json"
        };
        let mut request = Outbound {
            target: target(provider, client, prompt.is_same_dialect),
            fields: Vec::with_capacity(16),
            bearer: None,
        };
        let fields = &mut request.fields;
        fields.push((b"host", provider.base.authority.as_bytes()));
        fields.push((b"content-type", b"application/json"));
        fields.push((b"accept", accept));
        fields.push((b"accept-encoding", b"identity"));
        fields.push((b"user-agent", USER_AGENT.as_bytes()));
        let configured = provider.headers.iter().chain(&prompt.upstream.headers);
        if let Some(head) = client {
            // Betas and versions mean something to an upstream of the same API alone.
            if prompt.is_same_dialect {
                pass_fields(provider, &head.fields, fields);
            }
        }
        for (name, value) in configured {
            // What the client sent and is let through wins over the config's default.
            let is_sent = fields
                .iter()
                .any(|(sent, _)| sent.eq_ignore_ascii_case(name.as_bytes()));
            if !is_sent {
                fields.push((name.as_bytes(), value.as_bytes()));
            }
        }
        request.authorize(provider, key, client, callers);
        request
    }

    fn authorize(
        &mut self,
        provider: &'a Provider,
        key: Option<&'a Secret>,
        client: Option<&'a RequestHead>,
        callers: &[Caller],
    ) {
        match (&provider.credentials, &provider.authorization, key) {
            (Credentials::None, ..) | (Credentials::Keys(_), _, None) => {}
            (Credentials::Client, ..) => {
                for name in auth::KEY_FIELDS {
                    let value = client.and_then(|head| head.fields.first(name));
                    let value = value.filter(|value| !auth::is_own_key(callers, value));
                    self.fields
                        .extend(value.map(|value| (name.as_bytes(), value)));
                }
            }
            (Credentials::Keys(_), Authorization::Bearer, Some(key)) => {
                self.bearer = Some(Bytes::from(format!("Bearer {}", key.expose())));
            }
            (Credentials::Keys(_), Authorization::Field(name), Some(key)) => {
                self.fields.push((name.as_bytes(), key.expose().as_bytes()));
            }
        }
        if let (Some(proxy), false) = (&provider.proxy, provider.base.https) {
            let authorization = proxy.authorization.as_ref();
            let value = authorization.map(|it| it.expose().as_bytes());
            self.fields
                .extend(value.map(|value| (&b"proxy-authorization"[..], value)));
        }
    }

    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let bearer = self
            .bearer
            .iter()
            .map(|value| (&b"authorization"[..], value.as_ref()));
        self.fields.iter().copied().chain(bearer)
    }
}

/// Passes on what the provider's allow-list names.
fn pass_fields<'a>(
    provider: &'a Provider,
    sent: &'a Fields,
    fields: &mut Vec<(&'a [u8], &'a [u8])>,
) {
    let passed = sent.iter();
    fields.extend(passed.filter(|(name, _)| provider.passes_client_field(name)));
}

/// The request target: the API's path behind the provider's prefix, with the client's query where
/// both speak the same API, in absolute form for a plain-text proxy (RFC 9112 §3.2.2).
fn target(provider: &Provider, client: Option<&RequestHead>, is_same_dialect: bool) -> String {
    let mut target = String::with_capacity(64);
    // Writing into a string cannot fail.
    if provider.proxy.is_some() && !provider.base.https {
        let _ = write!(target, "http://{}", provider.base.authority);
    }
    target.push_str(&provider.base.prefix);
    target.push_str(match provider.dialect {
        Dialect::Anthropic if provider.base.prefix.ends_with("/v1") => "/messages",
        Dialect::Anthropic => "/v1/messages",
        Dialect::OpenAiChat => "/chat/completions",
    });
    let query = client
        .and_then(|head| head.query())
        .filter(|_| is_same_dialect);
    if let Some(query) = query {
        let _ = write!(target, "?{query}");
    }
    target
}
