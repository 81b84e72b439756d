//! Writing to the client: whole answers, the head of a stream, its pieces, errors.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::super::endpoint::Endpoint;
use super::super::{Shard, metrics};
use super::deadlines::Phase;
use super::mask::without_key;
use super::plan::{ErrorAnswer, Told};
use super::{Answer, Exchange, Holding};
use crate::base::{ExchangeId, OutBuf};
use crate::dialect::{Dialect, StreamEncoder};
use crate::ir::{Class, Delta, Failure};
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

/// Fields of its own that an answer has at most.
const OWN_FIELDS: usize = 7;

impl Shard {
    /// Answers with a whole body. `passed` are the fields of the upstream's answer, if there was
    /// one.
    pub(in crate::gateway) fn answer_whole(
        &mut self,
        id: ExchangeId,
        status: u16,
        mut body: OutBuf,
        passed: Option<Passed<'_>>,
    ) {
        self.answer_followers(id, status, &mut body, passed);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(client) = self.clients.get_mut(exchange.client) else {
            return;
        };
        if exchange.opened.take().is_some() {
            self.answer_opened(id, body);
            return;
        }
        let is_events = exchange.access.stream && status < 300;
        let content_type = match exchange.request.endpoint {
            _ if is_events => "text/event-stream",
            Some(Endpoint::Metrics) if status < 300 => metrics::CONTENT_TYPE,
            _ => "application/json",
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

    /// Ends a stream whose head is out, and that has had no content: `body` holds its events.
    fn answer_opened(&mut self, id: ExchangeId, mut body: OutBuf) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(client) = self.clients.get_mut(exchange.client) else {
            return;
        };
        exchange.access.response_bytes += body.len() as u64;
        let out = &mut client.socket.output;
        let sent = client
            .http
            .send_body_pieces(&mut body, out)
            .and_then(|()| client.http.send_end(out));
        self.answered(id, sent);
    }

    /// Answers with an error in the client's API: nobody else is asked.
    pub(in crate::gateway) fn answer_failure(&mut self, id: ExchangeId, failure: Failure) {
        self.answer_told(id, Told::new(failure));
    }

    /// Answers with an error: as the upstream told it to a client of the same API, else told anew.
    pub(in crate::gateway) fn answer_told(&mut self, id: ExchangeId, told: Told) {
        self.close_upstream_of(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.is_rival() {
            self.call_off(id);
            return;
        }
        let Told { failure, answer } = told;
        if let Answer::Stream(streaming) = &exchange.answer
            && streaming.is_committed
        {
            self.attempt_failed(id, failure);
            return;
        }
        match core::mem::take(&mut exchange.answer) {
            Answer::Stream(streaming) => {
                exchange.note(streaming.relay.watched(), streaming.relay.broken_events());
            }
            Answer::Local(local) => {
                exchange.opened = local.broken_off();
                exchange.access.finish = None;
            }
            Answer::Whole(_) | Answer::None => {}
        }
        exchange.access.outcome = Outcome::Failed {
            class: failure.class,
            blame: failure.blame,
            message: failure.message.detach(),
        };
        let mut body = OutBuf::new();
        if let Some(encoder) = &mut exchange.opened {
            encoder.delta(Delta::Failure(Box::new(failure)), &mut body);
            self.answer_opened(id, body);
            return;
        }
        exchange.request.retry_after = failure.retry_after;
        let (answer, status) = match answer {
            Some(mut answer) if answer.is_passed => {
                body.push(core::mem::take(&mut answer.body));
                let status = answer.status;
                (Some(answer), status)
            }
            answer => {
                let request_id = exchange.request.request_id.clone();
                let request_id = String::from_utf8_lossy(&request_id);
                let dialect = exchange.request.dialect;
                let status = dialect.encode_failure(&failure, &request_id, &mut body);
                (answer, status)
            }
        };
        let passed = answer.as_ref().map(|answer| Passed {
            fields: &answer.fields,
            is_same: answer.is_same,
        });
        self.answer_whole(id, status, body, passed);
    }

    /// An upstream answered with an error.
    pub(in crate::gateway) fn finish_error(&mut self, id: ExchangeId, body: &Bytes) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let is_same = exchange
            .prompt()
            .is_some_and(|prompt| prompt.is_same_dialect);
        let upstream = exchange.upstream_dialect();
        let key = exchange.key().map(|key| key.secret.clone());
        let Answer::Whole(holding) = core::mem::take(&mut exchange.answer) else {
            return;
        };
        let Holding {
            status,
            codings,
            fields,
            ..
        } = *holding;
        let bytes_max = self.ctx.limits.shard.response_bytes_max;
        let body = coding::decode_whole(&codings, body, bytes_max).unwrap_or_default();
        let body = without_key(body, key.as_ref());
        let mut failure = upstream.decode_failure(status, &body, &self.ctx.limits);
        failure.upstream_status = Some(status);
        if failure.retry_after.is_none() {
            let field = |name: &str| fields.first(name);
            failure.retry_after = retry_after(field, self.ctx.now.wall);
        }
        if failure.retry_after.is_none() && failure.class == Class::RateLimit {
            let exchange = self.exchanges.get(id);
            let told = exchange.and_then(|it| it.limit_met(&fields, self.ctx.now.wall));
            failure.retry_after = told;
        }
        if upstream.is_signature_refusal(&failure) && self.retry_without_reasoning(id) {
            return;
        }
        let is_passed = is_same && self.ctx.tape.parse(&body, &self.ctx.limits.json).is_ok();
        let answer = ErrorAnswer {
            status,
            body,
            fields,
            is_same,
            is_passed,
        };
        let told = Told {
            failure,
            answer: Some(answer),
        };
        self.attempt_over(id, told);
    }

    /// Lets a streamed answer through to the client: from now on errors are events.
    pub(in crate::gateway) fn commit(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let fields = match &mut exchange.answer {
            Answer::Stream(streaming) if streaming.is_committed || streaming.is_collected => return,
            Answer::Stream(streaming) => {
                streaming.is_committed = true;
                exchange.deadlines.clear(Phase::Hold);
                exchange.deadlines.clear(Phase::Hedge);
                if exchange.plan.said.is_some()
                    && let Some(encoder) = exchange.opened.take()
                {
                    streaming.relay.go_on(encoder);
                    self.ctx.counters.continuations += 1;
                    return;
                }
                streaming.fields.take()
            }
            Answer::Local(_) => None,
            Answer::Whole(_) | Answer::None => return,
        };
        if !exchange.manner().is_some_and(|manner| manner.resume) {
            exchange.release_request(&mut self.ctx);
        }
        if exchange.opened.take().is_none() {
            self.send_stream_head(id, fields.as_deref());
        }
    }

    /// Sends the head of a stream; says whether it could.
    fn send_stream_head(&mut self, id: ExchangeId, fields: Option<&Fields>) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return false;
        };
        let Some(client) = self.clients.get_mut(exchange.client) else {
            return false;
        };
        if self.ctx.is_draining() {
            client.http.close_after_response();
        }
        exchange.access.status = Some(200);
        let date = Bytes::copy_from_slice(self.ctx.date.at(self.ctx.now.wall));
        let is_same = exchange.prompt().is_some_and(|it| it.is_same_dialect);
        let passed = fields.map(|fields| Passed { fields, is_same });
        let head = ResponseFields::new(exchange, "text/event-stream", passed, date);
        let out = &mut client.socket.output;
        let sent = client
            .http
            .send_head(StatusCode::OK, head.iter(), BodyLength::Chunked, out);
        let is_sent = sent.is_ok();
        if !is_sent {
            self.answered(id, sent);
        }
        is_sent
    }

    /// The hold is over: the head goes out, and signs of life, before there is any content. Which
    /// target gives the content is still open.
    pub(in crate::gateway) fn commit_held(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let is_begun = match &exchange.answer {
            Answer::Stream(streaming) => streaming.is_committed,
            Answer::Local(_) => true,
            Answer::Whole(_) | Answer::None => false,
        };
        if is_begun || exchange.opened.is_some() || !exchange.access.stream {
            return;
        }
        let meta = exchange.meta(&self.ctx);
        let encoder = StreamEncoder::new(exchange.request.dialect, meta);
        exchange.opened = Some(Box::new(encoder));
        if self.send_stream_head(id, None) {
            self.keep_alive(id);
        }
    }

    /// Tells a client that hears nothing that the answer is still on its way.
    pub(in crate::gateway) fn keep_alive(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(client) = self.clients.get_mut(exchange.client) else {
            return;
        };
        let next = self.ctx.now.mono + self.ctx.limits.timers.keep_alive;
        exchange.deadlines.set(Phase::KeepAlive, next);
        exchange.rearm(&mut self.ctx);
        let is_idle = client.socket.output.is_empty();
        match (&mut exchange.answer, &mut exchange.opened) {
            (Answer::Stream(streaming), _) if streaming.is_committed => {
                if is_idle {
                    streaming.relay.keep_alive();
                }
                self.flush_stream(id);
            }
            (_, Some(encoder)) => {
                let mut sign = OutBuf::new();
                if is_idle {
                    encoder.keep_alive(&mut sign);
                }
                exchange.access.response_bytes += sign.len() as u64;
                let out = &mut client.socket.output;
                let sent = client.http.send_body_pieces(&mut sign, out);
                if sent.is_err() {
                    self.answered(id, sent);
                    return;
                }
                client.flush(&mut self.ctx);
            }
            _ => {}
        }
    }

    /// Gives the client's connection what the relay has for it, as one chunk in one write.
    pub(in crate::gateway) fn flush_stream(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Answer::Stream(streaming) = &mut exchange.answer else {
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

/// Fields of an upstream's answer that may go on to the client.
#[derive(Clone, Copy)]
pub(in crate::gateway) struct Passed<'a> {
    pub(in crate::gateway) fields: &'a Fields,
    /// Whether both speak the same API.
    pub(in crate::gateway) is_same: bool,
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
        passed: Option<Passed<'a>>,
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
        let is_same = passed.is_some_and(|passed| passed.is_same);
        let mut has_request_id = false;
        let mut has_retry_after = false;
        for (name, value) in passed.into_iter().flat_map(|it| it.fields.iter()) {
            let is_retry = name.eq_ignore_ascii_case(b"retry-after")
                || name.eq_ignore_ascii_case(b"retry-after-ms");
            if is_passed(name) && (is_same || is_retry) {
                has_request_id |= name.eq_ignore_ascii_case(b"request-id");
                // Within one API fields pass as they are.
                let is_seconds = name.eq_ignore_ascii_case(b"retry-after");
                has_retry_after |= is_seconds || (is_same && is_retry);
                fields.push((name, value));
            }
        }
        let mut owned = Vec::with_capacity(OWN_FIELDS);
        owned.push(("date", date));
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
        let shared = exchange.request.shared_target.as_ref();
        let is_asked = exchange.plan.attempts > 0 || shared.is_some();
        // A message must be known from a model's answer also where nobody was left to ask.
        if (is_asked || exchange.plan.is_message) && exchange.snapshot.target_headers {
            let attempts = exchange.plan.attempts.to_string();
            owned.push(("x-tollgate-attempts", Bytes::from(attempts)));
            let target = exchange.target_name().or_else(|| shared.cloned());
            let target = target.filter(|target| is_plain(target));
            owned.extend(target.map(|target| ("x-tollgate-target", Bytes::from(target))));
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
    let is = |passed: &&str| name.eq_ignore_ascii_case(passed.as_bytes());
    let begins = |start: &&str| {
        name.get(..start.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(start.as_bytes()))
    };
    // Whose account it is that was asked is nobody's business.
    let names = |word: &&str| {
        let mut parts = name.windows(word.len());
        parts.any(|it| it.eq_ignore_ascii_case(word.as_bytes()))
    };
    PASSED.iter().any(is)
        || (PASSED_STARTS.iter().any(begins) && !["organization", "project"].iter().any(names))
}

/// Whether `text` can be one of a list in a field.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| (0x21..0x7F).contains(&byte) && byte != b',')
}

/// A list for a field: what could not stand in one is left out, and it has a bound.
fn list_of(items: &[String]) -> Bytes {
    const BYTES_MAX: usize = 2048;
    let mut list = String::new();
    for item in items {
        if !is_plain(item) {
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
