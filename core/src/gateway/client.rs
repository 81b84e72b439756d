//! Connections of clients: accepting them, reading requests, watching for their end, closing them.

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::Shard;
use super::ctx::{Alarm, AlarmClock, ClientId, Ctx};
use super::endpoint::Glimpse;
use super::io::{IoFailure, Op, Output, PEERS, Peer};
use super::socket::{Received, Socket};
use crate::base::{ExchangeId, Instant, ListenerId, WriteBatch};
use crate::wire::http1::{BodyLength, Event, Reuse, ServerConn};

/// How long to wait before accepting again when the system has no descriptor or no memory left.
const ACCEPT_BACKOFF: core::time::Duration = core::time::Duration::from_millis(100);

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) socket: Socket,
    pub(super) http: ServerConn,
    pub(super) peer: Peer,
    /// The request being received or answered.
    pub(super) exchange: Option<ExchangeId>,
    pub(super) phase: Phase,
    /// It came when the gateway was ending already.
    pub(super) is_late: bool,
    /// What the head looks like that has begun to come; `None` before its first byte.
    pub(super) glimpse: Option<Glimpse>,
    /// Until when the client must have sent what is awaited of it.
    pub(super) read_deadline: Option<Instant>,
    /// Until when it must have taken what is being written.
    pub(super) write_deadline: Option<Instant>,
    pub(super) clock: AlarmClock,
}

/// What a client's connection is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Not there yet: its `Accept` is in flight.
    Accepting(ListenerId),
    /// Requests are read and answered.
    Serving,
    /// The last answer is on its way; then the connection is shut down.
    Finishing,
    /// Our side is shut down; what the client still sends is dropped, up to this many bytes more,
    /// so that it can read the answer before a reset destroys it (RFC 9112 §9.6).
    Lingering(usize),
    /// `Close` was issued.
    Closing,
}

impl Client {
    fn new(id: ClientId, listener: ListenerId, ctx: &Ctx) -> Client {
        Client {
            id,
            socket: Socket::new(id.conn()),
            http: ServerConn::new(&ctx.limits.http1),
            peer: Peer::Unix,
            exchange: None,
            phase: Phase::Accepting(listener),
            is_late: false,
            glimpse: None,
            read_deadline: None,
            write_deadline: None,
            clock: AlarmClock::default(),
        }
    }

    /// Sends what is queued, and gives the client its time to take it.
    pub(super) fn flush(&mut self, ctx: &mut Ctx) {
        let was_writing = self.socket.is_writing();
        self.socket.flush(&ctx.limits.shard, &mut ctx.outbox);
        if self.socket.is_writing() && !was_writing {
            self.write_deadline = Some(ctx.now.mono + ctx.limits.timers.client_write);
            self.rearm(ctx);
        }
    }

    /// Whether an answer, or a part of one, has not been taken yet.
    pub(super) fn is_sending(&self) -> bool {
        self.socket.is_writing() || !self.socket.output.is_empty()
    }

    pub(super) fn rearm(&mut self, ctx: &mut Ctx) {
        let deadlines = [self.read_deadline, self.write_deadline];
        if let Some(deadline) = deadlines.into_iter().flatten().min() {
            self.clock
                .set(deadline, Alarm::Client(self.id), &mut ctx.timers);
        }
    }

    fn close(&mut self, abort: bool, ctx: &mut Ctx) {
        self.phase = Phase::Closing;
        self.read_deadline = None;
        self.write_deadline = None;
        self.clock.cancel(&mut ctx.timers);
        self.socket.close(abort, &mut ctx.outbox);
    }
}

impl Shard {
    /// Whether no connection of `listener` is taken any more.
    fn is_deaf(&self, listener: ListenerId) -> bool {
        self.is_unlistened || (listener == PEERS && self.ctx.is_draining())
    }

    /// Asks for the next connection of `listener`, unless the shard is full or ends.
    pub(super) fn accept(&mut self, listener: ListenerId) {
        if self.is_deaf(listener) {
            return;
        }
        if self.clients.len() >= self.ctx.limits.shard.clients_max {
            self.idle_listeners.push(listener);
            return;
        }
        let ctx = &self.ctx;
        let id = self
            .clients
            .insert_with(|id| Client::new(id, listener, ctx));
        let conn = id.conn();
        self.ctx
            .outbox
            .push(Output::Op(Op::Accept { listener, conn }));
    }

    /// Accepts again where a limit had stopped it.
    pub(super) fn accept_again(&mut self) {
        if self.is_unlistened || self.is_accept_paused {
            return;
        }
        while self.clients.len() < self.ctx.limits.shard.clients_max {
            let Some(listener) = self.idle_listeners.pop() else {
                break;
            };
            self.accept(listener);
        }
    }

    pub(super) fn accepted(
        &mut self,
        listener: ListenerId,
        id: ClientId,
        result: Result<Peer, IoFailure>,
    ) {
        let peer = match result {
            Ok(peer) => peer,
            Err(failure) => {
                self.clients.remove(id);
                self.idle_listeners.push(listener);
                match failure {
                    IoFailure::Canceled => {}
                    // Of that one connection, which is gone.
                    IoFailure::Reset => self.accept_again(),
                    // The connection still waits in the kernel's queue: what has just failed for
                    // want of a descriptor, or of memory, would fail again at once.
                    _ => {
                        self.is_accept_paused = true;
                        self.close_one_idle_upstream();
                        let at = self.ctx.now.mono + ACCEPT_BACKOFF;
                        self.ctx.timers.arm(at, Alarm::Accept);
                    }
                }
                return;
            }
        };
        self.accept(listener);
        if listener != PEERS
            && !self.ctx.is_draining()
            && let Some(to) = self.balance.receiver(self.clients.len())
        {
            let conn = id.conn();
            self.ctx.outbox.push(Output::Op(Op::HandOff { conn, to }));
            return;
        }
        let is_deaf = self.is_deaf(listener);
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let ctx = &mut self.ctx;
        client.peer = peer;
        client.is_late = ctx.is_draining();
        client.phase = Phase::Serving;
        client.read_deadline = Some(ctx.now.mono + ctx.limits.timers.client_idle);
        client.rearm(ctx);
        if is_deaf {
            client.close(false, ctx);
            return;
        }
        client.socket.read(&mut ctx.outbox);
    }

    pub(super) fn client_read(
        &mut self,
        id: ClientId,
        buf: BytesMut,
        result: Result<usize, IoFailure>,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let received = client.socket.read_done(buf, result);
        match (client.phase, received) {
            (Phase::Closing | Phase::Accepting(_), _) => {}
            (Phase::Lingering(left), Received::Bytes) => {
                let count = client.socket.input.len();
                client.socket.input = BytesMut::new();
                if count > left {
                    client.close(false, &mut self.ctx);
                } else {
                    client.phase = Phase::Lingering(left - count);
                    client.socket.read(&mut self.ctx.outbox);
                }
            }
            (Phase::Lingering(_), Received::End | Received::Failed(_)) => {
                client.close(false, &mut self.ctx);
            }
            (Phase::Finishing, Received::Bytes) => client.socket.input.clear(),
            (Phase::Serving, Received::Bytes) => self.client_progress(id),
            (Phase::Serving | Phase::Finishing, Received::End) => self.client_ended(id),
            (Phase::Serving | Phase::Finishing, Received::Failed(_)) => {
                self.client_gone(id, true);
            }
        }
    }

    /// The client sent its FIN. While it waits for an answer that means it is gone: SDKs that time
    /// out or are interrupted close their sockets, and none half-closes.
    fn client_ended(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.http.end_of_input();
        self.client_gone(id, false);
    }

    /// Ends a connection whose client is gone, and what was done for it.
    pub(super) fn client_gone(&mut self, id: ClientId, abort: bool) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let exchange = client.exchange.take();
        client.close(abort, &mut self.ctx);
        if let Some(exchange) = exchange {
            self.settle_client_gone(exchange);
        }
    }

    /// Takes requests out of what has been received.
    pub(super) fn client_progress(&mut self, id: ClientId) {
        loop {
            let Some(client) = self.clients.get_mut(id) else {
                return;
            };
            if client.phase != Phase::Serving {
                return;
            }
            let event = match client.http.next_event(&mut client.socket.input) {
                Ok(event) => event,
                Err(error) => {
                    self.refuse_malformed(id, error);
                    return;
                }
            };
            match event {
                Event::Head(head) => self.request_head(id, head),
                Event::Body(piece) => self.request_body(id, piece),
                Event::Trailers(_) => {}
                Event::End => self.request_end(id),
                Event::NeedData => {
                    self.await_request(id);
                    return;
                }
                Event::Paused => {
                    self.await_pipelined(id);
                    return;
                }
                Event::Closed => {
                    self.client_gone(id, false);
                    return;
                }
            }
        }
    }

    /// Reads on: the rest of a request, the next one, or the client's end while it is answered.
    fn await_request(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let ctx = &mut self.ctx;
        let timers = &ctx.limits.timers;
        match client.exchange {
            None if client.socket.input.is_empty() => {
                let deadline = ctx.now.mono + timers.client_idle;
                if ctx.is_draining() {
                    self.client_leave(id);
                    return;
                }
                client.read_deadline = Some(deadline);
                client.socket.rest();
                client.socket.read(&mut ctx.outbox);
            }
            None => {
                // From the first byte of a head to its last: later bytes do not extend the time.
                let glimpse = Glimpse::of(&client.socket.input);
                if client.glimpse.replace(glimpse).is_none() {
                    client.read_deadline = Some(ctx.now.mono + timers.request_head);
                }
                client.socket.read(&mut ctx.outbox);
            }
            Some(_) if client.http.is_request_complete() => {
                client.read_deadline = None;
                client.socket.rest();
                client.socket.read(&mut ctx.outbox);
            }
            Some(exchange) => {
                let started = self.exchanges.get(exchange).map(|it| it.started);
                let whole = started.unwrap_or(ctx.now.mono) + timers.request_body;
                let idle = ctx.now.mono + timers.request_body_idle;
                client.read_deadline = Some(idle.min(whole));
                let expected = self
                    .exchanges
                    .get(exchange)
                    .map_or(0, |it| it.body_bytes_missing());
                client.socket.read_body(expected, &mut ctx.outbox);
            }
        }
        client.rearm(ctx);
    }

    /// Ends a connection without a request, once what is on its way has been taken.
    pub(super) fn client_leave(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.is_sending() {
            client.phase = Phase::Finishing;
        } else {
            client.close(false, &mut self.ctx);
        }
    }

    /// A pipelining client is watched for its end, up to a limit of what it may send ahead.
    fn await_pipelined(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.read_deadline = None;
        if client.socket.input.len() < self.ctx.limits.shard.pipelined_bytes_max {
            client.socket.watch(&mut self.ctx.outbox);
        }
    }

    pub(super) fn client_written(
        &mut self,
        id: ClientId,
        batch: WriteBatch,
        result: Result<(), IoFailure>,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let written = client.socket.write_done(batch, result);
        client.write_deadline = None;
        if client.phase == Phase::Closing {
            return;
        }
        if written.is_err() {
            self.client_gone(id, true);
            return;
        }
        client.flush(&mut self.ctx);
        if client.phase == Phase::Finishing && !client.is_sending() {
            self.linger(id);
            return;
        }
        if let Some(exchange) = client.exchange {
            self.client_took(exchange);
        }
    }

    /// Ends our side, and waits a little for the client to end its own.
    pub(super) fn linger(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let ctx = &mut self.ctx;
        if client.socket.is_ended() {
            client.close(false, ctx);
            return;
        }
        client.phase = Phase::Lingering(ctx.limits.shard.lingering_bytes_max);
        client.socket.input = BytesMut::new();
        client.socket.shutdown(&mut ctx.outbox);
        client.socket.read(&mut ctx.outbox);
        client.read_deadline = Some(ctx.now.mono + ctx.limits.timers.linger);
        client.rearm(ctx);
    }

    pub(super) fn client_shut(&mut self, id: ClientId, result: Result<(), IoFailure>) {
        if let (Some(client), Err(_)) = (self.clients.get_mut(id), result)
            && client.phase != Phase::Closing
        {
            client.close(true, &mut self.ctx);
        }
    }

    pub(super) fn client_closed(&mut self, id: ClientId) {
        self.clients.remove(id);
        self.accept_again();
    }

    /// The answer is handed over: goes on with the next request, or ends the connection.
    pub(super) fn client_answered(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.exchange = None;
        if self.ctx.is_draining() {
            client.http.close_after_response();
        }
        let reuse = client.http.next_cycle();
        client.flush(&mut self.ctx);
        match reuse {
            Reuse::KeepAlive => self.pending_clients.push(id),
            Reuse::Close(_) => {
                client.phase = Phase::Finishing;
                if !client.is_sending() {
                    self.linger(id);
                }
            }
        }
    }

    pub(super) fn client_alarm(&mut self, id: ClientId) {
        let now = self.ctx.now.mono;
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.clock.fired();
        if client
            .write_deadline
            .is_some_and(|deadline| deadline <= now)
        {
            self.client_gone(id, true);
            return;
        }
        if client.read_deadline.is_none_or(|deadline| deadline > now) {
            client.rearm(&mut self.ctx);
            return;
        }
        client.read_deadline = None;
        match client.phase {
            Phase::Lingering(_) => client.close(true, &mut self.ctx),
            Phase::Serving if client.exchange.is_some() || client.socket.has_input() => {
                client.rearm(&mut self.ctx);
                self.refuse_slow(id);
            }
            Phase::Serving if client.is_sending() => {
                // Still taking its last answer, at its own pace: `client_write` bounds that.
                let idle = self.ctx.limits.timers.client_idle;
                client.read_deadline = Some(now + idle);
                client.rearm(&mut self.ctx);
            }
            Phase::Serving => client.close(false, &mut self.ctx),
            // What is being written still has its time.
            Phase::Finishing => client.rearm(&mut self.ctx),
            Phase::Accepting(_) | Phase::Closing => {}
        }
    }

    /// Writes a whole answer that belongs to no exchange: the request could not even be read.
    pub(super) fn answer_bare(
        &mut self,
        id: ClientId,
        status: StatusCode,
        request_id: &[u8],
        body: Bytes,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.http.refuse_request();
        let fields = [
            ("content-type", b"application/json".as_slice()),
            ("x-request-id", request_id),
            ("request-id", request_id),
        ];
        let length = BodyLength::Length(body.len() as u64);
        let out = &mut client.socket.output;
        // None can fail: the fields are ours, and nothing has been sent in this exchange.
        let sent = client.http.send_head(status, fields, length, out).is_ok()
            && client.http.send_body(body, out).is_ok()
            && client.http.send_end(out).is_ok();
        client.phase = Phase::Finishing;
        client.flush(&mut self.ctx);
        if !sent || !client.is_sending() {
            self.linger(id);
        }
    }
}
