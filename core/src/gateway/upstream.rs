//! Connections to upstreams: opening them (with a proxy's CONNECT and TLS where needed), carrying
//! one request at a time, keeping them for the next, closing them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use core::net::SocketAddr;
use http::Method;

use super::Shard;
use super::ctx::{Alarm, AlarmClock, Ctx, UpstreamId};
use super::exchange::deadlines;
use super::io::{IoFailure, Op, Output};
use super::provider::ProviderState;
use super::socket::{Received, Socket};
use crate::base::{ExchangeId, Instant, OutBuf, WriteBatch};
use crate::config::{Provider, Snapshot};
use crate::ir::{Blame, Class, Failure};
use crate::wire::http1::{BodyLength, ClientConn, Event, Reuse};
use crate::wire::tls;

/// Plaintext taken out of TLS at once.
const PLAINTEXT_BYTES_MAX: usize = 64 * 1024;
/// How long the rest of a complete answer (the last chunk) is waited for, so that the connection
/// can be used again.
const DRAIN_TIME: core::time::Duration = core::time::Duration::from_secs(1);

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    id: UpstreamId,
    pub(super) socket: Socket,
    pub(super) http: ClientConn,
    tls: Option<Box<tls::Session>>,
    /// With TLS: received and decrypted, and not yet consumed.
    plaintext: BytesMut,
    /// With TLS: to be encrypted and sent.
    outgoing: OutBuf,
    /// The config it was made under.
    snapshot: Arc<Snapshot>,
    pub(super) provider: usize,
    generation: u32,
    pub(super) exchange: Option<ExchangeId>,
    pub(super) phase: Phase,
    /// Addresses still to be tried.
    addresses: VecDeque<SocketAddr>,
    /// Whether an earlier request was carried.
    pub(super) is_reused: bool,
    deadline: Option<Instant>,
    clock: AlarmClock,
}

/// What an upstream connection is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// `Connect` is in flight.
    Connecting,
    /// CONNECT was sent to the proxy.
    Tunnelling,
    /// TLS shakes hands.
    Handshaking,
    /// TLS would, but others do already.
    Queued,
    /// It carries a request.
    Serving,
    /// The answer is complete; the end of its framing is awaited.
    Draining,
    /// It waits for the next request.
    Idle,
    /// `Close` was issued.
    Closing,
}

/// What opening a connection came to.
pub(super) enum Opened {
    /// It can take the request.
    Ready,
    /// It is not there yet.
    Waiting,
    /// It failed for good.
    Failed(Box<Failure>),
}

impl Upstream {
    pub(super) fn new(
        id: UpstreamId,
        snapshot: Arc<Snapshot>,
        provider: usize,
        exchange: ExchangeId,
        addresses: VecDeque<SocketAddr>,
        ctx: &Ctx,
    ) -> Upstream {
        Upstream {
            id,
            socket: Socket::new(id.conn()),
            http: ClientConn::new(&ctx.limits.http1),
            tls: None,
            plaintext: BytesMut::new(),
            outgoing: OutBuf::new(),
            snapshot,
            provider,
            generation: ctx.generation,
            exchange: Some(exchange),
            phase: Phase::Connecting,
            addresses,
            is_reused: false,
            deadline: None,
            clock: AlarmClock::default(),
        }
    }

    pub(super) fn settings(&self) -> Option<&Provider> {
        self.snapshot.providers.get(self.provider)
    }

    /// Where the request is written: encrypted later where TLS is spoken.
    pub(super) fn request_out(&mut self) -> (&mut ClientConn, &mut OutBuf) {
        match self.tls {
            Some(_) => (&mut self.http, &mut self.outgoing),
            None => (&mut self.http, &mut self.socket.output),
        }
    }

    /// Bytes of memory held.
    pub(super) fn held_bytes(&self) -> usize {
        self.socket.held_bytes() + self.plaintext.capacity() + self.outgoing.len()
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self, ctx: &mut Ctx) {
        if let Some(tls) = &mut self.tls {
            // A failed session fails its next `receive` as well, and is dealt with there; its alert
            // is in the output.
            let _ = tls.send(&mut self.outgoing, &mut self.socket.output);
        }
        self.socket.flush(&ctx.limits.shard, &mut ctx.outbox);
    }

    /// The next event of the answer.
    pub(super) fn next_event(
        &mut self,
    ) -> Result<Event<crate::wire::http1::ResponseHead>, crate::wire::http1::Http1Error> {
        match self.tls {
            Some(_) => self.http.next_event(&mut self.plaintext),
            None => self.http.next_event(&mut self.socket.input),
        }
    }

    /// Begins with the first address, or goes on with the next.
    pub(super) fn connect(&mut self, ctx: &mut Ctx) -> bool {
        let Some(address) = self.addresses.pop_front() else {
            return false;
        };
        let conn = self.id.conn();
        ctx.outbox.push(Output::Op(Op::Connect { conn, address }));
        true
    }

    /// The connection stands: asks the proxy, shakes hands, or is ready.
    fn connected(&mut self, ctx: &mut Ctx) -> Opened {
        let Some(settings) = self.snapshot.providers.get(self.provider) else {
            return Opened::Failed(Box::new(Failure::new(Class::Internal, "no such provider")));
        };
        let Some(proxy) = settings.proxy.as_ref().filter(|_| settings.base.https) else {
            return self.secure(ctx);
        };
        // = RFC 9110 §9.3.6: the target of CONNECT is host and port.
        let base = &settings.base;
        let is_v6 = base.host.contains(':');
        let (open, close) = if is_v6 { ("[", "]") } else { ("", "") };
        let target = format!("{open}{}{close}:{}", base.host, base.port);
        let mut fields = vec![("host", target.as_str())];
        if let Some(authorization) = &proxy.authorization {
            fields.push(("proxy-authorization", authorization.expose()));
        }
        self.phase = Phase::Tunnelling;
        let out = &mut self.socket.output;
        let sent = self
            .http
            .send_head(&Method::CONNECT, &target, fields, BodyLength::None, out);
        if let Err(error) = sent {
            let message = format!("the proxy cannot be asked: {error}");
            return Opened::Failed(Box::new(Failure::new(Class::BadGateway, message)));
        }
        let _ = self.http.send_end(&mut self.socket.output);
        self.flush(ctx);
        self.socket.read(&mut ctx.outbox);
        Opened::Waiting
    }

    fn secure(&mut self, ctx: &mut Ctx) -> Opened {
        let Some(settings) = self.snapshot.providers.get(self.provider) else {
            return Opened::Failed(Box::new(Failure::new(Class::Internal, "no such provider")));
        };
        let Some(config) = settings.tls.as_ref().filter(|_| settings.base.https) else {
            self.phase = Phase::Serving;
            return Opened::Ready;
        };
        if ctx.handshakes >= ctx.limits.shard.handshakes_max {
            self.phase = Phase::Queued;
            ctx.handshake_queue.push_back(self.id);
            return Opened::Waiting;
        }
        match tls::Session::connect(config, &settings.base.host, ctx.now.wall) {
            Ok(mut session) => {
                session.flush(&mut self.socket.output);
                self.tls = Some(Box::new(session));
                self.phase = Phase::Handshaking;
                ctx.handshakes += 1;
                self.flush(ctx);
                self.socket.read(&mut ctx.outbox);
                Opened::Waiting
            }
            Err(error) => Opened::Failed(Box::new(Failure::new(
                Class::BadGateway,
                error_text(&error),
            ))),
        }
    }

    /// Bytes came while the connection is being opened.
    fn opening(&mut self, ctx: &mut Ctx) -> Opened {
        if self.phase == Phase::Tunnelling {
            match self.http.next_event(&mut self.socket.input) {
                Ok(Event::Head(head)) if head.status.is_success() => {
                    self.http = ClientConn::new(&ctx.limits.http1);
                    return self.secure(ctx);
                }
                Ok(Event::Head(head)) => {
                    let status = head.status.as_u16();
                    let message =
                        format!("the proxy refused the way to the upstream with {status}");
                    return Opened::Failed(Box::new(Failure::new(Class::BadGateway, message)));
                }
                Ok(_) => {
                    self.socket.read(&mut ctx.outbox);
                    return Opened::Waiting;
                }
                Err(error) => {
                    let message = format!("the proxy's answer: {error}");
                    return Opened::Failed(Box::new(Failure::new(Class::BadGateway, message)));
                }
            }
        }
        if let Err(failure) = self.decrypt(ctx) {
            return Opened::Failed(failure);
        }
        if self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            self.socket.read(&mut ctx.outbox);
            return Opened::Waiting;
        }
        ctx.handshakes -= 1;
        self.phase = Phase::Serving;
        Opened::Ready
    }

    /// Takes received bytes through TLS.
    fn decrypt(&mut self, ctx: &mut Ctx) -> Result<(), Box<Failure>> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        let received = tls.receive(
            &mut self.socket.input,
            &mut self.plaintext,
            PLAINTEXT_BYTES_MAX,
        );
        tls.flush(&mut self.socket.output);
        self.socket.flush(&ctx.limits.shard, &mut ctx.outbox);
        received.map_err(|error| Box::new(Failure::new(Class::BadGateway, error_text(&error))))
    }

    fn rearm(&mut self, ctx: &mut Ctx) {
        if let Some(deadline) = self.deadline {
            self.clock
                .set(deadline, Alarm::Upstream(self.id), &mut ctx.timers);
        }
    }

    pub(super) fn close(&mut self, ctx: &mut Ctx) {
        match self.phase {
            Phase::Handshaking => ctx.handshakes -= 1,
            Phase::Queued => ctx.handshake_queue.retain(|&queued| queued != self.id),
            _ => {}
        }
        self.phase = Phase::Closing;
        self.exchange = None;
        self.deadline = None;
        self.clock.cancel(&mut ctx.timers);
        self.tls = None;
        self.plaintext = BytesMut::new();
        self.outgoing = OutBuf::new();
        self.socket.close(false, &mut ctx.outbox);
    }
}

fn error_text(error: &tls::TlsError) -> String {
    format!("the upstream's TLS: {error}")
}

impl Shard {
    pub(super) fn upstream_connected(&mut self, id: UpstreamId, result: Result<(), IoFailure>) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        if upstream.phase != Phase::Connecting {
            return;
        }
        let failure = match result {
            Ok(()) => {
                let opened = upstream.connected(&mut self.ctx);
                self.opened(id, opened);
                return;
            }
            Err(failure) => failure,
        };
        let provider = upstream.provider;
        let is_current = upstream.generation == self.ctx.generation;
        let name = upstream
            .settings()
            .map_or("?", |settings| &settings.name)
            .to_owned();
        if upstream.addresses.is_empty() {
            if let Some(state) = self.providers.get_mut(provider).filter(|_| is_current) {
                state.unreachable();
            }
            let message = format!("no connection to the provider `{name}`: {failure}");
            let failure = match failure {
                IoFailure::DescriptorsExhausted => {
                    Failure::new(Class::Overloaded, message).blame(Blame::Gateway)
                }
                _ => Failure::new(Class::BadGateway, message),
            };
            self.upstream_failed(id, failure);
        } else {
            self.connect_next(id);
        }
    }

    /// An address did not answer: its connection is closed, and the next address gets one of its
    /// own.
    fn connect_next(&mut self, id: UpstreamId) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        let addresses = core::mem::take(&mut upstream.addresses);
        let Some(exchange) = upstream.exchange.take() else {
            return;
        };
        let provider = upstream.provider;
        upstream.close(&mut self.ctx);
        self.connect(exchange, provider, addresses);
    }

    /// Opens a connection for `exchange`.
    pub(super) fn connect(
        &mut self,
        exchange: ExchangeId,
        provider: usize,
        addresses: VecDeque<SocketAddr>,
    ) {
        if self.upstreams.len() >= self.ctx.limits.shard.upstreams_max
            && !self.close_one_idle_upstream()
        {
            let message = "the gateway has as many upstream connections as it may";
            let failure = Failure::new(Class::Overloaded, message).blame(Blame::Gateway);
            self.answer_failure(exchange, failure);
            return;
        }
        let Some(owner) = self.exchanges.get_mut(exchange) else {
            return;
        };
        let snapshot = Arc::clone(&owner.snapshot);
        let ctx = &self.ctx;
        let id = self
            .upstreams
            .insert_with(|id| Upstream::new(id, snapshot, provider, exchange, addresses, ctx));
        owner.attempt.upstream = Some(id);
        if let Some(upstream) = self.upstreams.get_mut(id) {
            upstream.connect(&mut self.ctx);
        }
    }

    /// Begins a handshake that had to wait for others, if it need no longer; says whether it does.
    pub(super) fn begin_handshake(&mut self) -> bool {
        if self.ctx.handshakes >= self.ctx.limits.shard.handshakes_max {
            return false;
        }
        let Some(id) = self.ctx.handshake_queue.pop_front() else {
            return false;
        };
        let exchange = self.upstreams.get(id).and_then(|it| it.exchange);
        if let Some(exchange) = exchange.filter(|&it| self.is_seat_lost(it)) {
            // Others shook hands with the same target in vain, perhaps: the turn is the next one's.
            self.upstream_close(id);
            self.choose_anew(exchange);
            return true;
        }
        if let Some(upstream) = self.upstreams.get_mut(id) {
            let opened = upstream.secure(&mut self.ctx);
            if let Some(exchange) = exchange.and_then(|it| self.exchanges.get_mut(it)) {
                // The upstream's own time begins now.
                exchange.deadlines.clear(deadlines::Phase::Tls);
            }
            self.opened(id, opened);
        }
        true
    }

    fn opened(&mut self, id: UpstreamId, opened: Opened) {
        match opened {
            Opened::Ready => self.upstream_ready(id),
            Opened::Waiting => self.handshake_begins(id),
            Opened::Failed(failure) => self.upstream_failed(id, *failure),
        }
    }

    /// Connecting is over, and the time for TLS begins, if it is so.
    fn handshake_begins(&mut self, id: UpstreamId) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        if matches!(upstream.phase, Phase::Queued | Phase::Handshaking)
            && let Some(exchange) = upstream.exchange
        {
            self.await_handshake(exchange);
        }
    }

    pub(super) fn upstream_read(
        &mut self,
        id: UpstreamId,
        buf: BytesMut,
        result: Result<usize, IoFailure>,
    ) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        let received = upstream.socket.read_done(buf, result);
        match (upstream.phase, received) {
            (Phase::Closing | Phase::Connecting, _) => {}
            // A server that speaks unasked, or ends the connection, is not asked again.
            (Phase::Idle, _) => self.upstream_close(id),
            (Phase::Tunnelling | Phase::Handshaking, Received::Bytes) => {
                let opened = upstream.opening(&mut self.ctx);
                self.opened(id, opened);
            }
            (Phase::Tunnelling | Phase::Handshaking | Phase::Queued, _) => {
                let message = "the connection ended while it was being opened";
                self.upstream_failed(id, Failure::new(Class::BadGateway, message));
            }
            (Phase::Serving | Phase::Draining, Received::Bytes) => self.upstream_progress(id),
            (Phase::Serving | Phase::Draining, Received::End) => self.upstream_ended(id, None),
            (Phase::Serving | Phase::Draining, Received::Failed(failure)) => {
                self.upstream_ended(id, Some(failure));
            }
        }
    }

    /// No more bytes come: what has come may still be whole.
    fn upstream_ended(&mut self, id: UpstreamId, failure: Option<IoFailure>) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        let is_clean = failure.is_none()
            && upstream
                .tls
                .as_mut()
                .is_none_or(|tls| tls.receive_end().is_ok());
        if is_clean {
            upstream.http.end_of_input();
            self.upstream_progress(id);
            return;
        }
        // What came before the break counts; the end of the body does not.
        self.upstream_progress(id);
        let message = match failure {
            Some(failure) => format!("the upstream's connection broke: {failure}"),
            None => "the upstream's TLS connection was cut off".to_owned(),
        };
        self.upstream_broken(id, Failure::new(Class::BadGateway, message));
    }

    /// Takes the answer out of what has been received.
    pub(super) fn upstream_progress(&mut self, id: UpstreamId) {
        loop {
            let Some(upstream) = self.upstreams.get_mut(id) else {
                return;
            };
            if !matches!(upstream.phase, Phase::Serving | Phase::Draining) {
                break;
            }
            if upstream
                .exchange
                .is_some_and(|exchange| self.is_client_full(exchange))
            {
                break;
            }
            let Some(upstream) = self.upstreams.get_mut(id) else {
                return;
            };
            if let Err(failure) = upstream.decrypt(&mut self.ctx) {
                self.upstream_broken(id, *failure);
                break;
            }
            let event = match upstream.next_event() {
                Ok(event) => event,
                Err(error) => {
                    let message = format!("the upstream's answer: {error}");
                    self.upstream_broken(id, Failure::new(Class::BadGateway, message));
                    break;
                }
            };
            match event {
                Event::Head(head) => self.answer_head(id, head),
                Event::Body(piece) => self.answer_body(id, piece),
                Event::Trailers(_) => {}
                Event::End => {
                    self.answer_end(id);
                    self.upstream_answered(id);
                    break;
                }
                Event::NeedData if !upstream.socket.input.is_empty() && upstream.tls.is_some() => {}
                Event::NeedData => {
                    upstream.socket.read(&mut self.ctx.outbox);
                    break;
                }
                Event::Paused | Event::Closed => {
                    self.upstream_close(id);
                    break;
                }
            }
        }
        self.flush_answer_of(id);
    }

    /// The answer has come to the end of its framing: the connection is kept, or closed.
    fn upstream_answered(&mut self, id: UpstreamId) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        if upstream.phase == Phase::Closing {
            return;
        }
        upstream.exchange = None;
        upstream.is_reused = true;
        let is_reusable = upstream.http.next_cycle() == Reuse::KeepAlive;
        self.upstream_keep(id, is_reusable);
    }

    /// The connection stands, and the request that it was for goes elsewhere.
    pub(super) fn upstream_unused(&mut self, id: UpstreamId) {
        if let Some(upstream) = self.upstreams.get_mut(id) {
            upstream.exchange = None;
            self.upstream_keep(id, true);
        }
    }

    /// Keeps a connection for another request, if it is good for one, else closes it.
    fn upstream_keep(&mut self, id: UpstreamId, is_reusable: bool) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        let is_reusable = is_reusable
            && upstream.generation == self.ctx.generation
            && !upstream.socket.is_ended()
            && upstream.socket.input.is_empty()
            && upstream.plaintext.is_empty()
            && !self.ctx.is_draining();
        let limit = self.ctx.limits.shard.idle_per_target_max;
        let state = self.providers.get_mut(upstream.provider);
        match state.filter(|state| is_reusable && state.idle.len() < limit) {
            Some(state) => {
                upstream.phase = Phase::Idle;
                upstream.plaintext = BytesMut::new();
                upstream.socket.rest();
                upstream.socket.read(&mut self.ctx.outbox);
                upstream.deadline = Some(self.ctx.now.mono + self.ctx.limits.timers.upstream_idle);
                upstream.rearm(&mut self.ctx);
                state.idle.push(id);
            }
            None => upstream.close(&mut self.ctx),
        }
    }

    /// The answer is complete for the client, but the end of its framing has not come.
    pub(super) fn upstream_release(&mut self, id: UpstreamId) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        if upstream.phase != Phase::Serving {
            return;
        }
        upstream.exchange = None;
        upstream.phase = Phase::Draining;
        upstream.deadline = Some(self.ctx.now.mono + DRAIN_TIME);
        upstream.rearm(&mut self.ctx);
    }

    /// Whether a connection to the provider is kept.
    pub(super) fn has_idle(&self, provider: usize) -> bool {
        let state = self.providers.get(provider);
        state.is_some_and(|state| !state.idle.is_empty())
    }

    /// Takes a kept connection for `exchange`, the one used last: the others may then grow too old.
    pub(super) fn take_idle(
        &mut self,
        provider: usize,
        exchange: ExchangeId,
    ) -> Option<UpstreamId> {
        let state: &mut ProviderState = self.providers.get_mut(provider)?;
        let id = state.idle.pop()?;
        let upstream = self.upstreams.get_mut(id)?;
        upstream.phase = Phase::Serving;
        upstream.exchange = Some(exchange);
        upstream.deadline = None;
        upstream.clock.cancel(&mut self.ctx.timers);
        Some(id)
    }

    pub(super) fn upstream_written(
        &mut self,
        id: UpstreamId,
        batch: WriteBatch,
        result: Result<(), IoFailure>,
    ) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        let written = upstream.socket.write_done(batch, result);
        if upstream.phase == Phase::Closing {
            return;
        }
        match written {
            Ok(()) => upstream.flush(&mut self.ctx),
            // The answer may be there already (413 before the body's end), or its reading fails
            // too.
            Err(_) if upstream.http.is_request_complete() => {
                upstream.socket.output.clear();
                upstream.socket.read(&mut self.ctx.outbox);
            }
            Err(failure) => {
                let message = format!("the upstream's connection broke: {failure}");
                self.upstream_broken(id, Failure::new(Class::BadGateway, message));
            }
        }
    }

    /// Closes a connection, whatever it is doing.
    pub(super) fn upstream_close(&mut self, id: UpstreamId) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        if upstream.phase == Phase::Closing {
            return;
        }
        if upstream.phase == Phase::Idle
            && upstream.generation == self.ctx.generation
            && let Some(state) = self.providers.get_mut(upstream.provider)
        {
            state.forget(id);
        }
        upstream.close(&mut self.ctx);
    }

    pub(super) fn upstream_closed(&mut self, id: UpstreamId) {
        self.upstreams.remove(id);
    }

    pub(super) fn upstream_alarm(&mut self, id: UpstreamId) {
        let Some(upstream) = self.upstreams.get_mut(id) else {
            return;
        };
        upstream.clock.fired();
        match upstream.deadline {
            Some(deadline) if deadline <= self.ctx.now.mono => self.upstream_close(id),
            Some(_) => upstream.rearm(&mut self.ctx),
            None => {}
        }
    }

    /// Makes room for another connection.
    pub(super) fn close_one_idle_upstream(&mut self) -> bool {
        let busiest = self.providers.iter().max_by_key(|state| state.idle.len());
        let Some(&oldest) = busiest.and_then(|state| state.idle.first()) else {
            return false;
        };
        self.upstream_close(oldest);
        true
    }

    /// Closes every connection that waits for a request.
    pub(super) fn close_idle_upstreams(&mut self) {
        for id in self.upstreams.keys() {
            if self
                .upstreams
                .get(id)
                .is_some_and(|upstream| upstream.phase == Phase::Idle)
            {
                self.upstream_close(id);
            }
        }
    }
}
