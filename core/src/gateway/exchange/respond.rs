//! Writing to the client: whole answers, the head of a stream, its pieces, errors.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::super::Shard;
use super::deadlines::Phase;
use super::{Answer, Exchange, Streaming};
use crate::base::{ExchangeId, OutBuf};
use crate::config::Credentials;
use crate::dialect::Dialect;
use crate::ir::{Class, Failure};
use crate::policy::retry::retry_after;
use crate::record::Outcome;
use crate::wire::coding;
use crate::wire::http1::{BodyLength, Fields, SendError};

/// Fields of an upstream's answer that go on to a client of the same API: identification and
/// limits.
const PASSED: [&str; 4] = [
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
];
/// The same, by how their names begin.
const PASSED_STARTS: [&str; 3] = ["anthropic-", "openai-", "x-ratelimit-"];

impl Shard {
    /// Answers with a whole body. `passed` are the fields of the upstream's answer, if there was
    /// one.
    pub(in crate::gateway) fn answer_whole(
        &mut self,
        id: ExchangeId,
        status: u16,
        mut body: OutBuf,
        passed: Option<&Fields>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(client) = self.clients.get_mut(exchange.client) else {
            return;
        };
        if let Some(streaming) = exchange.early.take() {
            self.answer_early(id, streaming, body);
            return;
        }
        let is_events = exchange.access.stream && status < 300;
        let content_type = if is_events {
            "text/event-stream"
        } else {
            "application/json"
        };
        exchange.access.status = Some(status);
        // The answer to HEAD tells the length of a body that it has not (RFC 9110 §9.3.2).
        if exchange.access.method != Method::HEAD {
            exchange.access.response_bytes = body.len() as u64;
        }
        let date = Bytes::copy_from_slice(self.ctx.date.at(self.ctx.now.wall));
        let head = ResponseFields::new(exchange, content_type, passed, date);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let out = &mut client.socket.output;
        if !client.http.is_request_complete() {
            client.http.refuse_request();
        }
        if self.ctx.is_draining() {
            client.http.close_after_response();
        }
        let length = BodyLength::Length(body.len() as u64);
        let sent = client
            .http
            .send_head(status, head.iter(), length, out)
            .and_then(|()| {
                client.http.send_body_pieces(&mut body, out)?;
                client.http.send_end(out)
            });
        self.answered(id, sent);
    }

    /// Goes on with a stream whose head is out: `body` holds its events.
    fn answer_early(&mut self, id: ExchangeId, mut streaming: Box<Streaming>, mut body: OutBuf) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        streaming.relay.output.append(&mut body);
        exchange.answer = Answer::Stream(streaming);
        self.end_stream(id);
    }

    /// Answers with an error in the client's API.
    pub(in crate::gateway) fn answer_failure(&mut self, id: ExchangeId, failure: Failure) {
        self.close_upstream_of(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if let Some(streaming) = exchange.early.take() {
            exchange.answer = Answer::Stream(streaming);
        }
        if let Answer::Stream(streaming) = &exchange.answer
            && streaming.is_committed
        {
            self.attempt_failed(id, failure);
            return;
        }
        let fields = match core::mem::take(&mut exchange.answer) {
            Answer::Whole(holding) => Some(holding.fields),
            Answer::Stream(streaming) => {
                exchange.note(streaming.relay.watched(), streaming.relay.broken_events());
                None
            }
            Answer::Local(_) | Answer::None => None,
        };
        exchange.access.outcome = Outcome::Failed {
            class: failure.class,
            blame: failure.blame,
            message: failure.message.detach(),
        };
        let mut body = OutBuf::new();
        let request_id = exchange.request.request_id.clone();
        let request_id = String::from_utf8_lossy(&request_id);
        let dialect = exchange.request.dialect;
        let status = dialect.encode_failure(&failure, &request_id, &mut body);
        exchange.request.retry_after = failure.retry_after;
        self.answer_whole(id, status, body, fields.as_ref());
    }

    /// An upstream answered with an error: it goes on as it is to a client of the same API, else it
    /// is told anew.
    pub(in crate::gateway) fn finish_error(&mut self, id: ExchangeId, body: &Bytes) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let is_same = exchange
            .prompt()
            .is_some_and(|prompt| prompt.is_same_dialect);
        let upstream = exchange.upstream_dialect();
        let key: Option<String> = exchange.provider_key().map(str::to_owned);
        let Answer::Whole(holding) = &mut exchange.answer else {
            return;
        };
        let status = holding.status;
        let codings = core::mem::take(&mut holding.codings);
        let bytes_max = self.ctx.limits.shard.response_bytes_max;
        let body = coding::decode_whole(&codings, body, bytes_max).unwrap_or_default();
        let body = without_key(body, key.as_deref());
        let mut failure = upstream.decode_failure(status, &body, &self.ctx.limits);
        failure.upstream_status = Some(status);
        if failure.retry_after.is_none() {
            let field = |name: &str| holding.fields.first(name);
            failure.retry_after = retry_after(field, self.ctx.now.wall);
        }
        if upstream.is_signature_refusal(&failure) && self.retry_without_reasoning(id) {
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let is_json = is_same
            && exchange.early.is_none()
            && self.ctx.tape.parse(&body, &self.ctx.limits.json).is_ok();
        if !is_json {
            self.answer_failure(id, failure);
            return;
        }
        let Answer::Whole(holding) = core::mem::take(&mut exchange.answer) else {
            return;
        };
        exchange.access.outcome = Outcome::Failed {
            class: failure.class,
            blame: failure.blame,
            message: failure.message.detach(),
        };
        let mut passed = OutBuf::new();
        passed.push(body);
        self.answer_whole(id, status, passed, Some(&holding.fields));
    }

    /// Sends the head of a streamed answer: from now on errors are events.
    pub(in crate::gateway) fn commit(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let fields = match &mut exchange.answer {
            Answer::Stream(streaming) if streaming.is_committed || streaming.is_collected => return,
            Answer::Stream(streaming) => {
                streaming.is_committed = true;
                streaming.fields.take()
            }
            Answer::Local(_) => None,
            Answer::Whole(_) | Answer::None => return,
        };
        let Some(client) = self.clients.get_mut(exchange.client) else {
            return;
        };
        if self.ctx.is_draining() {
            client.http.close_after_response();
        }
        exchange.access.status = Some(200);
        let date = Bytes::copy_from_slice(self.ctx.date.at(self.ctx.now.wall));
        let head = ResponseFields::new(exchange, "text/event-stream", fields.as_deref(), date);
        let out = &mut client.socket.output;
        let sent = client
            .http
            .send_head(StatusCode::OK, head.iter(), BodyLength::Chunked, out);
        exchange.release_request(&mut self.ctx);
        if sent.is_err() {
            self.answered(id, sent);
        }
    }

    /// The hold is over: the head goes out, and signs of life, before there is any content.
    pub(in crate::gateway) fn commit_held(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        match &exchange.answer {
            Answer::Stream(_) => {
                self.commit(id);
                self.keep_alive(id);
            }
            // Not even the upstream's head has come, or what it began is no stream: what becomes of
            // it, good or bad, is told in events.
            Answer::None | Answer::Whole(_) if exchange.early.is_none() => {
                let begun = Answer::Stream(Box::new(exchange.streaming(&self.ctx)));
                let held = core::mem::replace(&mut exchange.answer, begun);
                self.commit(id);
                self.hold_on(id, held);
                self.keep_alive(id);
            }
            Answer::Local(_) | Answer::None | Answer::Whole(_) => {}
        }
    }

    /// Goes on holding an answer that comes whole, beside the stream that the client reads.
    fn hold_on(&mut self, id: ExchangeId, held: Answer) {
        let (Answer::Whole(_), Some(exchange)) = (&held, self.exchanges.get_mut(id)) else {
            return;
        };
        if let Answer::Stream(begun) = core::mem::replace(&mut exchange.answer, held) {
            exchange.early = Some(begun);
        }
    }

    /// Tells a client that hears nothing that the answer is still on its way.
    pub(in crate::gateway) fn keep_alive(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(streaming) = stream_of(&mut exchange.early, &mut exchange.answer) else {
            return;
        };
        if !streaming.is_committed {
            return;
        }
        let is_idle = self
            .clients
            .get(exchange.client)
            .is_some_and(|client| client.socket.output.is_empty());
        if is_idle {
            streaming.relay.keep_alive();
        }
        let next = self.ctx.now.mono + self.ctx.limits.timers.keep_alive;
        exchange.deadlines.set(Phase::KeepAlive, next);
        self.flush_stream(id);
    }

    /// Gives the client's connection what the relay has for it, as one chunk in one write.
    pub(in crate::gateway) fn flush_stream(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(streaming) = stream_of(&mut exchange.early, &mut exchange.answer) else {
            return;
        };
        if !streaming.is_committed || streaming.is_collected {
            return;
        }
        let Some(client) = self.clients.get_mut(exchange.client) else {
            return;
        };
        let output = &mut streaming.relay.output;
        if !output.is_empty() {
            exchange.access.response_bytes += output.len() as u64;
            let next = self.ctx.now.mono + self.ctx.limits.timers.keep_alive;
            exchange.deadlines.set(Phase::KeepAlive, next);
            let sent = client
                .http
                .send_body_pieces(output, &mut client.socket.output);
            exchange.rearm(&mut self.ctx);
            if sent.is_err() {
                self.answered(id, sent);
                return;
            }
        }
        client.flush(&mut self.ctx);
    }

    /// Sends the last of a stream.
    pub(in crate::gateway) fn finish_stream(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Answer::Stream(streaming) = &exchange.answer else {
            return;
        };
        let (watched, broken) = (streaming.relay.watched(), streaming.relay.broken_events());
        exchange.note(watched, broken);
        self.end_stream(id);
    }

    fn end_stream(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Answer::Stream(mut streaming) = core::mem::take(&mut exchange.answer) else {
            return;
        };
        let Some(client) = self.clients.get_mut(exchange.client) else {
            return;
        };
        let output = &mut streaming.relay.output;
        exchange.access.response_bytes += output.len() as u64;
        let out = &mut client.socket.output;
        let sent = client
            .http
            .send_body_pieces(output, out)
            .and_then(|()| client.http.send_end(out));
        self.answered(id, sent);
    }
}

/// The stream that the client reads: the answer, or what was begun before it.
fn stream_of<'a>(
    early: &'a mut Option<Box<Streaming>>,
    answer: &'a mut Answer,
) -> Option<&'a mut Streaming> {
    match (early, answer) {
        (Some(streaming), _) | (None, Answer::Stream(streaming)) => Some(streaming),
        (None, Answer::Local(_) | Answer::None | Answer::Whole(_)) => None,
    }
}

/// Upstreams have been seen to repeat the key that they refuse: it is ours, not the client's.
fn without_key(body: Bytes, key: Option<&str>) -> Bytes {
    const MASK: &[u8] = b"[redacted]";
    let Some(key) = key.filter(|key| key.len() >= 4) else {
        return body;
    };
    let finder = memchr::memmem::Finder::new(key);
    if finder.find(&body).is_none() {
        return body;
    }
    let mut masked = Vec::with_capacity(body.len());
    let mut rest = body.as_ref();
    while let Some(at) = finder.find(rest) {
        masked.extend_from_slice(rest.get(..at).unwrap_or_default());
        masked.extend_from_slice(MASK);
        rest = rest.get(at + key.len()..).unwrap_or_default();
    }
    masked.extend_from_slice(rest);
    Bytes::from(masked)
}

impl Exchange {
    fn provider_key(&self) -> Option<&str> {
        match &self.provider()?.credentials {
            Credentials::Key(key) => Some(key.expose()),
            Credentials::Client | Credentials::None => None,
        }
    }
}

/// The fields of an answer.
struct ResponseFields<'a> {
    fields: Vec<(&'a [u8], &'a [u8])>,
    owned: Vec<(&'static str, Bytes)>,
}

impl<'a> ResponseFields<'a> {
    fn new(
        exchange: &'a Exchange,
        content_type: &'static str,
        passed: Option<&'a Fields>,
        date: Bytes,
    ) -> ResponseFields<'a> {
        let mut fields: Vec<(&[u8], &[u8])> = Vec::with_capacity(12);
        fields.push((b"content-type", content_type.as_bytes()));
        if content_type == "text/event-stream" {
            // Caches and proxies in between must not hold events back.
            fields.push((b"cache-control", b"no-cache"));
            fields.push((b"x-accel-buffering", b"no"));
        }
        fields.push((b"x-request-id", &exchange.request.request_id));
        let is_same = exchange
            .prompt()
            .is_some_and(|prompt| prompt.is_same_dialect);
        let mut has_request_id = false;
        let mut has_retry_after = false;
        for (name, value) in passed.into_iter().flat_map(Fields::iter) {
            let is_retry = name.eq_ignore_ascii_case(b"retry-after")
                || name.eq_ignore_ascii_case(b"retry-after-ms");
            if is_passed(name) && (is_same || is_retry) {
                has_request_id |= name.eq_ignore_ascii_case(b"request-id");
                has_retry_after |= name.eq_ignore_ascii_case(b"retry-after");
                fields.push((name, value));
            }
        }
        let mut owned = vec![("date", date)];
        if exchange.request.dialect == Dialect::Anthropic && !has_request_id {
            owned.push(("request-id", exchange.request.request_id.clone()));
        }
        if let Some(wait) = exchange.request.retry_after.filter(|_| !has_retry_after) {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            owned.push(("retry-after", Bytes::from(seconds.to_string())));
        }
        if let Some(allow) = exchange.request.allow {
            owned.push(("allow", Bytes::from_static(allow.as_bytes())));
        }
        if !exchange.access.dropped.is_empty() {
            owned.push(("x-tollgate-dropped", list_of(&exchange.access.dropped)));
        }
        ResponseFields { fields, owned }
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let owned = self
            .owned
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_ref()));
        self.fields.iter().copied().chain(owned)
    }
}

fn is_passed(name: &[u8]) -> bool {
    // Whose account it is that was asked is nobody's business.
    let is_account = memchr::memmem::find(&name.to_ascii_lowercase(), b"organization").is_some();
    if is_account {
        return false;
    }
    PASSED
        .iter()
        .any(|passed| name.eq_ignore_ascii_case(passed.as_bytes()))
        || PASSED_STARTS.iter().any(|start| {
            name.get(..start.len())
                .is_some_and(|it| it.eq_ignore_ascii_case(start.as_bytes()))
        })
}

/// A list for a field: what could not stand in one is left out, and it has a bound.
fn list_of(items: &[String]) -> Bytes {
    const BYTES_MAX: usize = 2048;
    let mut list = String::new();
    for item in items {
        let is_plain = item
            .bytes()
            .all(|byte| (0x21..0x7F).contains(&byte) && byte != b',');
        if !is_plain {
            continue;
        }
        if list.len() + item.len() > BYTES_MAX {
            list.push_str(", ...");
            break;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(item);
    }
    Bytes::from(list)
}

/// What becomes of an answer that cannot be written: it is ours, so the fault is too.
pub(in crate::gateway) fn send_failure(error: SendError) -> Failure {
    Failure::new(
        Class::Internal,
        format!("the answer cannot be written: {error}"),
    )
}
