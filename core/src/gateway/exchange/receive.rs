//! Receiving a request: what it is for, whether it is welcome, and its body.
//!
//! A request that is refused by its head is still read to its end while that is not much, so that
//! the connection stays usable; beyond that the answer goes out at once and the connection ends.

use std::sync::Arc;

use bytes::Bytes;

use super::super::Shard;
use super::super::auth;
use super::super::client::Client;
use super::super::ctx::{AlarmClock, ClientId, Ctx};
use super::super::endpoint::{self, Endpoint, Glimpse, NoEndpoint};
use super::super::io::Work;
use super::super::prepare::Prepare;
use super::claim::Claim;
use super::deadlines::Deadlines;
use super::gather::Gather;
use super::patience;
use super::plan::Plan;
use super::race::Race;
use super::share::Flight;
use super::state::{State, Step};
use super::{Answer, Attempt, Exchange, Inbound};
use crate::base::{ExchangeId, Instant};
use crate::ir::{Blame, Class, Failure, Usage};
use crate::policy::balance::Session;
use crate::record::{Access, Outcome};
use crate::wire::coding::Codings;
use crate::wire::http1::{BodyLength, Http1Error, RequestHead};

/// Longest request id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Where Claude Code names the conversation.
const SESSION_FIELD: &str = "x-claude-code-session-id";

impl Exchange {
    /// How much of the body is declared and has not come.
    pub(in crate::gateway) fn body_bytes_missing(&self) -> usize {
        let Some(head) = &self.request.head else {
            return 0;
        };
        match head.body {
            BodyLength::Length(length) => {
                usize::try_from(length.saturating_sub(self.request.received)).unwrap_or(usize::MAX)
            }
            BodyLength::None | BodyLength::Chunked => 0,
        }
    }
}

impl Shard {
    /// The head of a request has come.
    pub(in crate::gateway) fn request_head(&mut self, id: ClientId, head: RequestHead) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let ctx = &mut self.ctx;
        let is_full = self.exchanges.len() >= ctx.limits.shard.exchanges_max;
        let exchange_id = self.exchanges.insert_with(|exchange_id| {
            let mut exchange = new_exchange(exchange_id, client, head, ctx);
            if is_full {
                let message = "the gateway answers as many requests as it may";
                exchange.refuse(Failure::new(Class::Overloaded, message).blame(Blame::Gateway));
            }
            exchange.judge(ctx);
            let is_open = matches!(
                exchange.request.endpoint,
                Some(Endpoint::Health | Endpoint::Ready | Endpoint::Metrics)
            );
            if client.is_late && !is_open {
                let message = "the gateway is shutting down";
                exchange.refuse(Failure::new(Class::Unavailable, message).blame(Blame::Gateway));
            }
            exchange
        });
        client.exchange = Some(exchange_id);
        client.glimpse = None;
        if let Some(exchange) = self.exchanges.get_mut(exchange_id) {
            // The client's patience may end before its request does.
            exchange.rearm(&mut self.ctx);
        }
        if client.http.waits_for_continue() {
            self.expect_continue(id, exchange_id);
        }
        self.refuse_early(exchange_id);
    }

    /// RFC 9110 §10.1.1: 100 (Continue) for a request that is welcome, else the answer at once.
    fn expect_continue(&mut self, id: ClientId, exchange_id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(exchange_id) else {
            return;
        };
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if exchange.request.refusal.is_some() {
            self.answer_refusal(exchange_id);
            return;
        }
        // Only out of turn could it fail, and it was asked just now.
        let _ = client.http.send_continue(&mut client.socket.output);
        client.flush(&mut self.ctx);
    }

    /// Answers a refused request before its body is over, where the body is too long to be read and
    /// dropped.
    fn refuse_early(&mut self, exchange_id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(exchange_id) else {
            return;
        };
        if exchange.request.refusal.is_none() || exchange.state != State::Receiving {
            return;
        }
        let limits = &self.ctx.limits.shard;
        let dropped_max = limits.lingering_bytes_max.min(limits.turn_bytes_max);
        let received = usize::try_from(exchange.request.received).unwrap_or(usize::MAX);
        let ahead = exchange.body_bytes_missing().saturating_add(received);
        if ahead > dropped_max {
            self.answer_refusal(exchange_id);
        }
    }

    fn answer_refusal(&mut self, exchange_id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(exchange_id) else {
            return;
        };
        let Some(refusal) = exchange.request.refusal.take() else {
            return;
        };
        self.answer_failure(exchange_id, *refusal);
    }

    /// Some of the body has come.
    pub(in crate::gateway) fn request_body(&mut self, id: ClientId, piece: Bytes) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Some(exchange_id) = client.exchange else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(exchange_id) else {
            return;
        };
        exchange.request.received += piece.len() as u64;
        if exchange.request.refusal.is_none() {
            exchange.keep_body(piece, &mut self.ctx);
        }
        self.refuse_early(exchange_id);
    }

    /// The request has come whole.
    pub(in crate::gateway) fn request_end(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Some(exchange_id) = client.exchange else {
            return;
        };
        client.read_deadline = None;
        let Some(exchange) = self.exchanges.get_mut(exchange_id) else {
            return;
        };
        exchange.access.request_bytes = exchange.request.received;
        if exchange.request.refusal.is_some() {
            self.answer_refusal(exchange_id);
            return;
        }
        exchange.step(Step::Received);
        match exchange.request.endpoint.clone() {
            Some(Endpoint::Generate(_)) => self.prepare(exchange_id),
            Some(endpoint) => self.answer_admin(exchange_id, &endpoint),
            None => {}
        }
    }

    fn prepare(&mut self, exchange_id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(exchange_id) else {
            return;
        };
        let body = core::mem::take(&mut exchange.request.body).into_bytes();
        let is_long = body.len() > self.ctx.limits.shard.turn_bytes_max
            || !exchange.request.codings.is_identity();
        let codings = core::mem::take(&mut exchange.request.codings);
        let snapshot = Arc::clone(&exchange.snapshot);
        let head = exchange.request.head.as_deref();
        let session = head.and_then(|head| head.fields.first(SESSION_FIELD));
        let session = session.map(Session::of);
        let dialect = exchange.request.dialect;
        let mut prepare = Prepare::new(snapshot, dialect, codings, body, session);
        prepare.may_share = exchange.claim.coalesce;
        if !is_long {
            let prepared = prepare.run(&mut self.ctx.tape);
            self.prepared(exchange_id, prepared);
            return;
        }
        if self
            .ctx
            .perform(Work::Prepare(Box::new(prepare)), exchange_id, 0)
            .is_none()
        {
            let message = "the gateway works on as many large requests as it may";
            let failure = Failure::new(Class::Overloaded, message).blame(Blame::Gateway);
            self.answer_failure(exchange_id, failure);
        }
    }

    /// The head cannot be understood, or the framing of the body is broken.
    pub(in crate::gateway) fn refuse_malformed(&mut self, id: ClientId, error: Http1Error) {
        let class = match error.status().as_u16() {
            413 | 414 | 431 => Class::RequestTooLarge,
            _ => Class::InvalidRequest,
        };
        let failure = Failure::new(class, format!("malformed HTTP request: {error}"));
        self.refuse_unread(id, &failure, error.status());
    }

    /// The client takes too long to send its request.
    pub(in crate::gateway) fn refuse_slow(&mut self, id: ClientId) {
        let message = "the request did not come in time";
        let failure = Failure::new(Class::RequestTimeout, message);
        self.refuse_unread(id, &failure, http::StatusCode::REQUEST_TIMEOUT);
    }

    fn refuse_unread(&mut self, id: ClientId, failure: &Failure, status: http::StatusCode) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if let Some(exchange_id) = client.exchange {
            if self
                .exchanges
                .get(exchange_id)
                .is_some_and(|it| it.state == State::Receiving)
            {
                client.http.refuse_request();
                self.answer_failure(exchange_id, failure.clone());
            } else {
                // What follows a request that is being answered is broken: it is never read.
                client.http.close_after_response();
            }
            return;
        }
        let mut body = crate::base::OutBuf::new();
        // Of a head that is still coming the bytes are with the read for the rest.
        let glimpse = match client.glimpse {
            Some(glimpse) if client.socket.input.is_empty() => glimpse,
            _ => Glimpse::of(&client.socket.input),
        };
        let request_id = self.ctx.fresh_id();
        let id_text = String::from_utf8_lossy(&request_id);
        if !glimpse.is_head {
            glimpse.dialect.encode_failure(failure, &id_text, &mut body);
        }
        self.answer_bare(id, status, &request_id, body.take_all());
    }
}

impl Exchange {
    /// Marks the request as refused, for the first reason found.
    fn refuse(&mut self, failure: Failure) {
        if self.request.refusal.is_none() {
            self.request.refusal = Some(Box::new(failure));
        }
        self.request.endpoint = None;
    }

    /// Looks at the head: is there such an endpoint, may this client use it, and is its body of a
    /// kind and a size that can be taken?
    fn judge(&mut self, ctx: &mut Ctx) {
        let Some(head) = self.request.head.take() else {
            return;
        };
        match endpoint::find(&head) {
            Ok(endpoint) => {
                if let Endpoint::Generate(dialect) = endpoint {
                    self.request.dialect = dialect;
                    self.access.api = Some(dialect.name());
                }
                self.request.endpoint = Some(endpoint);
            }
            Err(NoEndpoint::Unknown) => {
                let message = format!("there is nothing at {} {}", head.method, head.path());
                self.refuse(Failure::new(Class::NotFound, message));
            }
            Err(NoEndpoint::Method(allow)) => {
                let message = format!("{} takes {allow}, not {}", head.path(), head.method);
                self.request.allow = Some(allow);
                self.refuse(Failure::new(Class::MethodNotAllowed, message));
            }
        }
        self.judge_caller(&head);
        match patience::told(&head.fields) {
            Ok(None) => {}
            Ok(Some(patience)) => self.is_patient_until(self.started + patience),
            Err(failure) => self.refuse(*failure),
        }
        if let Some(Endpoint::Generate(_)) = self.request.endpoint {
            self.judge_body(&head, ctx);
        }
        self.request.head = Some(head);
    }

    fn judge_caller(&mut self, head: &RequestHead) {
        let is_open = matches!(
            self.request.endpoint,
            None | Some(Endpoint::Health | Endpoint::Metrics | Endpoint::Ready | Endpoint::Root)
        );
        if is_open {
            return;
        }
        match auth::caller(&self.snapshot.callers, &head.fields) {
            Ok(caller) => {
                self.claim = Claim::new(&self.snapshot, caller, self.access.peer);
                self.access.caller = caller.map(|caller| Arc::clone(&caller.name));
            }
            Err(message) => {
                self.refuse(Failure::new(Class::Authentication, message).blame(Blame::Client));
            }
        }
    }

    fn judge_body(&mut self, head: &RequestHead, ctx: &mut Ctx) {
        if let Some(content_type) = head.fields.first("content-type")
            && !is_json(content_type)
        {
            let message = format!(
                "the body must be `content-type: application/json`, not `{}`",
                String::from_utf8_lossy(content_type)
            );
            self.refuse(Failure::new(Class::UnsupportedMediaType, message));
            return;
        }
        match Codings::parse(head.fields.all("content-encoding")) {
            Ok(codings) => self.request.codings = codings,
            Err(error) => {
                let message = format!("content-encoding: {error}");
                self.refuse(Failure::new(Class::UnsupportedMediaType, message));
                return;
            }
        }
        if let BodyLength::Length(length) = head.body {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            self.charge(length, ctx);
            self.request.body = Gather::new(self.request.charged);
        }
    }

    /// Charges `total` bytes of body, all in all, to the limits.
    fn charge(&mut self, total: usize, ctx: &mut Ctx) {
        let limits = &ctx.limits.shard;
        if total > limits.request_bytes_max {
            let max = limits.request_bytes_max;
            let message = format!("the request body is longer than {max} bytes");
            self.refuse(Failure::new(Class::RequestTooLarge, message));
            return;
        }
        let more = total.saturating_sub(self.request.charged);
        if ctx.bodies_bytes.saturating_add(more) > limits.bodies_bytes_max {
            let message = "the gateway holds as many request bytes as it may";
            self.refuse(Failure::new(Class::Overloaded, message).blame(Blame::Gateway));
            return;
        }
        ctx.bodies_bytes += more;
        self.request.charged += more;
    }

    fn keep_body(&mut self, piece: Bytes, ctx: &mut Ctx) {
        let received = usize::try_from(self.request.received).unwrap_or(usize::MAX);
        if received > self.request.charged {
            self.charge(received, ctx);
            if self.request.refusal.is_some() {
                self.request.body = Gather::default();
                return;
            }
        }
        self.request.body.push(piece);
    }
}

fn new_exchange(id: ExchangeId, client: &Client, head: RequestHead, ctx: &mut Ctx) -> Exchange {
    let request_id = match head.fields.first("x-request-id") {
        Some(id) if is_request_id(id) => Bytes::copy_from_slice(id),
        _ => ctx.fresh_id(),
    };
    let access = Access {
        request_id: request_id.clone(),
        time: ctx.now.wall,
        peer: client.peer,
        caller: None,
        method: head.method.clone(),
        path: head.path().to_owned(),
        api: None,
        model: None,
        provider: None,
        answered_by: None,
        stream: false,
        status: None,
        outcome: Outcome::ClientGone,
        finish: None,
        usage: Usage::default(),
        duration: core::time::Duration::ZERO,
        first_content: None,
        request_bytes: 0,
        response_bytes: 0,
        attempts: Vec::new(),
        broken_events: 0,
        dropped: Vec::new(),
        waited: core::time::Duration::ZERO,
        shared_with: None,
    };
    let dialect = endpoint::dialect(&head);
    Exchange {
        id,
        client: client.id,
        state: State::Receiving,
        snapshot: Arc::clone(&ctx.snapshot),
        request: Inbound {
            dialect,
            endpoint: None,
            refusal: None,
            allow: None,
            head: Some(Box::new(head)),
            codings: Codings::default(),
            body: Gather::default(),
            received: 0,
            charged: 0,
            request_id,
            retry_after: None,
            shared_target: None,
        },
        prepared: None,
        attempt: Attempt::default(),
        answer: Answer::None,
        claim: Claim::new(&ctx.snapshot, None, client.peer),
        plan: Plan::default(),
        race: Race::Alone,
        flight: Flight::Alone,
        opened: None,
        deadlines: Deadlines::new(),
        clock: AlarmClock::default(),
        started: ctx.now.mono,
        due: Instant::FAR,
        patience: Instant::FAR,
        access: Box::new(access),
    }
}

/// An id that can stand in a field, in JSON and in a log line as it is.
fn is_request_id(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= REQUEST_ID_BYTES_MAX
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

/// `application/json` and what is built on it (RFC 6839 §3.1), parameters ignored.
fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    essence == b"application/json" || essence.ends_with(b"+json")
}
