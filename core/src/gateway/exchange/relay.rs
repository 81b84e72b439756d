//! Relaying: the upstream's answer on its way to the client.
//!
//! Nothing reaches the client before the first real content, so that an early error still becomes a
//! status; unless that takes longer than the hold, after which the head and signs of life go out.
//! From then on a failure is an event in the client's own grammar.

use bytes::{Bytes, BytesMut};

use super::super::Shard;
use super::super::ctx::{Ctx, UpstreamId};
use super::super::io::Work;
use super::deadlines::Phase;
use super::gather::Gather;
use super::mask::mask;
use super::plan::Told;
use super::respond::Passed;
use super::state::{State, Step};
use super::stream::{Progress, StreamRelay};
use super::whole::{Finish, Finished};
use super::{Answer, Exchange, Holding, Streaming};
use crate::base::{ExchangeId, Instant, Limits, OutBuf};
use crate::dialect::{ReplyMeta, Watched};
use crate::ir::{Blame, Class, Failure};
use crate::policy::retry::{self, Next};
use crate::record::Outcome;
use crate::wire::coding::{Codings, Decoder};
use crate::wire::http1::{ResponseBody, ResponseHead};

/// How long usage and the end are waited for once the model has finished.
const ENDING_TIME: core::time::Duration = core::time::Duration::from_secs(5);
/// The same, once usage is known: only the mark of the end is missing, which some never send.
const MARK_TIME: core::time::Duration = core::time::Duration::from_millis(250);
/// Between two steps of decoding: everybody else's work comes first.
const DECODE_PAUSE: core::time::Duration = core::time::Duration::from_millis(1);
/// What is decoded of a compressed stream at once.
const DECODED_STEP_BYTES: usize = 64 * 1024;
/// An error's body beyond this is nothing that a person or program wants to read.
const ERROR_BYTES_MAX: usize = 1024 * 1024;

impl Shard {
    /// The head of the upstream's answer has come.
    pub(in crate::gateway) fn answer_head(&mut self, upstream: UpstreamId, head: ResponseHead) {
        let Some(id) = self.upstreams.get(upstream).and_then(|it| it.exchange) else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.step(Step::Head);
        let status = head.status.as_u16();
        let codings = match Codings::parse(head.fields.all("content-encoding")) {
            Ok(codings) => codings,
            Err(error) => {
                let message = format!("the upstream's content-encoding: {error}");
                self.upstream_failed(upstream, Failure::new(Class::BadGateway, message));
                return;
            }
        };
        if !(200..300).contains(&status) && !(400..600).contains(&status) {
            let message = format!("the upstream answered with status {status}");
            self.upstream_failed(upstream, Failure::new(Class::BadGateway, message));
            return;
        }
        let rest = exchange.limit_told(status, &head.fields, self.ctx.now.wall);
        let is_stream = status < 300 && is_event_stream(&head, exchange.access.stream);
        if status < 300 && !is_stream && exchange.plan.said.is_some() {
            let message = "the upstream does not stream what it was to continue";
            self.upstream_failed(upstream, Failure::new(Class::BadGateway, message));
            return;
        }
        exchange.answer = if is_stream {
            let is_coded = !codings.is_identity();
            let decoder = is_coded.then(|| Box::new(Decoder::new(&codings, usize::MAX)));
            let mut streaming = Box::new(exchange.streaming(&self.ctx));
            streaming.decoder = decoder;
            streaming.fields = Some(Box::new(head.fields));
            Answer::Stream(streaming)
        } else {
            let bytes_max = match status {
                200..300 => self.ctx.limits.shard.response_bytes_max,
                _ => ERROR_BYTES_MAX.min(self.ctx.limits.shard.response_bytes_max),
            };
            let expected = match head.body {
                ResponseBody::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
                ResponseBody::Chunked | ResponseBody::CloseDelimited | ResponseBody::None => 0,
            };
            exchange.deadlines.clear(Phase::FirstContent);
            exchange.deadlines.clear(Phase::Hedge);
            exchange.await_data(self.ctx.now.mono);
            Answer::Whole(Box::new(Holding {
                status,
                body: Gather::new(expected.min(bytes_max)),
                bytes_max,
                codings,
                fields: head.fields,
            }))
        };
        exchange.rearm(&mut self.ctx);
        if status < 300 {
            self.accepted_by_upstream(id);
        }
        if let Some(rest) = rest {
            self.rest_key(id, rest);
        }
    }

    /// Some of the upstream's body has come.
    pub(in crate::gateway) fn answer_body(&mut self, upstream: UpstreamId, piece: Bytes) {
        let Some(id) = self.upstreams.get(upstream).and_then(|it| it.exchange) else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        match &mut exchange.answer {
            Answer::Stream(streaming) => {
                let before = streaming.relay.progress();
                match &mut streaming.decoder {
                    None => streaming.relay.push(&piece),
                    Some(_) => {
                        streaming.undecoded = Some(piece);
                        self.decode_more(id);
                        return;
                    }
                }
                self.relayed(id, before);
            }
            Answer::Whole(holding) => {
                holding.body.push(piece);
                let is_too_long = holding.body.len() > holding.bytes_max;
                exchange.await_data(self.ctx.now.mono);
                if is_too_long {
                    let message = "the upstream's answer is longer than the gateway may hold";
                    self.upstream_failed(upstream, Failure::new(Class::BadGateway, message));
                }
            }
            Answer::Local(_) | Answer::None => {}
        }
    }

    /// Decodes as much as one turn may of what came compressed; the rest follows in later turns,
    /// and until then the upstream is not read. A client that has enough to take is waited for: a
    /// few bytes may decode to a thousand times as many.
    pub(in crate::gateway) fn decode_more(&mut self, id: ExchangeId) {
        if self.is_client_queue_full(id) {
            return;
        }
        let bytes_max = self.ctx.limits.shard.turn_bytes_max;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Answer::Stream(streaming) = &mut exchange.answer else {
            return;
        };
        let Some(piece) = streaming.undecoded.take() else {
            return;
        };
        let before = streaming.relay.progress();
        let Some(decoder) = &mut streaming.decoder else {
            return;
        };
        match decode(decoder, &mut streaming.relay, &piece, bytes_max) {
            Ok(rest) => streaming.undecoded = rest,
            Err(failure) => {
                self.close_upstream_of(id);
                self.attempt_failed(id, *failure);
                return;
            }
        }
        let is_over = streaming.undecoded.is_none();
        if !is_over {
            exchange
                .deadlines
                .set(Phase::Decode, self.ctx.now.mono + DECODE_PAUSE);
            exchange.rearm(&mut self.ctx);
        }
        self.relayed(id, before);
        self.flush_stream(id);
        let upstream = self.exchanges.get(id).and_then(|it| it.attempt.upstream);
        let is_stopped = upstream
            .and_then(|id| self.upstreams.get(id))
            .is_some_and(|it| !it.socket.is_reading());
        if let Some(upstream) = upstream.filter(|_| is_over && is_stopped) {
            self.pending_upstreams.push(upstream);
        }
    }

    /// The upstream's body has ended as its framing said.
    pub(in crate::gateway) fn answer_end(&mut self, upstream: UpstreamId) {
        let Some(id) = self.upstreams.get(upstream).and_then(|it| it.exchange) else {
            return;
        };
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        match &mut exchange.answer {
            Answer::Stream(streaming) => {
                let before = streaming.relay.progress();
                match streaming.decoder.as_ref().map(|decoder| decoder.finish()) {
                    None | Some(Ok(())) => streaming.relay.end_of_body(),
                    Some(Err(error)) => {
                        let message = format!("the upstream's content-encoding: {error}");
                        streaming
                            .relay
                            .fail(Failure::new(Class::BadGateway, message));
                    }
                }
                self.relayed(id, before);
            }
            Answer::Whole(_) => self.finish_whole(id),
            Answer::Local(_) | Answer::None => {}
        }
    }

    /// The relay has taken something in: moves on as far as that allows.
    fn relayed(&mut self, id: ExchangeId, before: Progress) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Answer::Stream(streaming) = &mut exchange.answer else {
            return;
        };
        let is_committed = streaming.is_committed;
        let progress = streaming.relay.progress();
        let failure = streaming.relay.failure().cloned();
        let queue_bytes_max = self.ctx.limits.shard.client_queue_bytes_max;
        let is_too_much_to_hold = streaming.relay.output.len() >= queue_bytes_max;
        if progress.data_events > before.data_events && exchange.deadlines.is_set(Phase::Idle) {
            exchange.await_data(now);
        }
        let hold_events = exchange.manner().map_or(1, |it| it.hold_events);
        let is_continued = exchange.plan.said.is_some();
        if progress.has_content && !before.has_content {
            self.race_won(id);
            if let Some(exchange) = self.exchanges.get_mut(id) {
                let waited = now - exchange.started;
                exchange.access.first_content.get_or_insert(waited);
                exchange.deadlines.clear(Phase::FirstContent);
                exchange.deadlines.clear(Phase::Hedge);
                exchange.await_data(now);
                // What is held, or collected, may be silent before its next alarm comes.
                exchange.rearm(&mut self.ctx);
            }
            self.content_came(id);
        }
        // Before a failure is looked at: what comes of content and an error must not depend on
        // whether one read brought them both. Of comments and pings without end so much is held,
        // then the client's pace bounds them.
        let is_enough = progress.content_events >= hold_events
            || progress.is_complete
            || (progress.has_content && is_continued);
        if !is_committed && (is_enough || is_too_much_to_hold) {
            // What goes to the client decides a race, even if it is no content.
            self.race_won(id);
            self.commit(id);
        }
        if let Some(failure) = failure {
            self.close_upstream_of(id);
            self.relay_failed(id, failure);
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if progress.is_complete {
            self.relay_complete(id);
        } else if progress.has_finish && progress.data_events > before.data_events {
            exchange.await_end(now, !before.has_finish);
            exchange.rearm(&mut self.ctx);
        }
    }

    /// The answer failed inside its stream.
    fn relay_failed(&mut self, id: ExchangeId, failure: Failure) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Answer::Stream(streaming) = &mut exchange.answer else {
            return;
        };
        if !streaming.is_committed {
            self.attempt_over(id, Told::new(failure));
            return;
        }
        let may_go_on = retry::next(&failure) != Next::Nowhere && self.ctx.now.mono < exchange.due;
        if may_go_on && let Some((said, encoder)) = streaming.relay.break_off() {
            let broken_events = streaming.relay.broken_events();
            // What it said last goes out before the next one speaks.
            self.flush_stream(id);
            if let Some(exchange) = self.exchanges.get_mut(id) {
                exchange.opened = Some(encoder);
                exchange.plan.said = Some(said);
                exchange.access.broken_events += broken_events;
                self.attempt_over(id, Told::new(failure));
            }
            return;
        }
        streaming.relay.give_up();
        self.failed_late(id, &failure);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.access.outcome = Outcome::Failed {
            class: failure.class,
            blame: failure.blame,
            message: failure.message.detach(),
        };
        self.finish_stream(id);
    }

    /// The answer is complete.
    fn relay_complete(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Answer::Stream(streaming) = &mut exchange.answer else {
            return;
        };
        exchange.access.outcome = Outcome::Complete;
        if !streaming.is_collected {
            self.finish_stream(id);
            return;
        }
        let Answer::Stream(streaming) = core::mem::take(&mut exchange.answer) else {
            return;
        };
        let Streaming { relay, fields, .. } = *streaming;
        exchange.note(relay.watched(), relay.broken_events());
        let meta = exchange.meta(&self.ctx);
        let dialect = exchange.request.dialect;
        let Some(response) = relay.into_response() else {
            let message = "the upstream's stream ended before it was complete";
            self.close_upstream_of(id);
            self.attempt_over(id, Told::new(Failure::new(Class::BadGateway, message)));
            return;
        };
        let mut body = OutBuf::new();
        dialect.encode_response(&response, &meta, &mut body);
        let is_same = exchange.prompt().is_some_and(|it| it.is_same_dialect);
        let passed = fields.as_deref().map(|fields| Passed { fields, is_same });
        self.answer_whole(id, 200, body, passed);
    }

    /// The model had finished, and neither usage nor the end came: that is complete.
    pub(in crate::gateway) fn stop_waiting_for_end(&mut self, id: ExchangeId) {
        let is_held_back = self.is_client_full(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if is_held_back {
            // It is the client that is slow: what is missing may be here, and is not looked at.
            let later = self.ctx.now.mono + ENDING_TIME;
            exchange.deadlines.set(Phase::Ending, later);
            exchange.rearm(&mut self.ctx);
            return;
        }
        let Answer::Stream(streaming) = &mut exchange.answer else {
            return;
        };
        let before = streaming.relay.progress();
        streaming.relay.end_of_body();
        self.close_upstream_of(id);
        self.relayed(id, before);
    }

    /// The way to the upstream failed.
    pub(in crate::gateway) fn attempt_failed(&mut self, id: ExchangeId, failure: Failure) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.attempt.upstream = None;
        match &mut exchange.answer {
            Answer::Stream(streaming) if streaming.relay.progress().has_finish => {
                // Nothing but the end is missing.
                let before = streaming.relay.progress();
                streaming.relay.end_of_body();
                self.relayed(id, before);
            }
            Answer::Stream(streaming) if streaming.is_committed => {
                streaming.relay.fail(failure.clone());
                self.relay_failed(id, failure);
            }
            Answer::Stream(_) | Answer::Whole(_) | Answer::None => {
                self.attempt_over(id, Told::new(failure));
            }
            Answer::Local(_) => {}
        }
    }

    /// The answer is there whole: reads it, here or on a host thread.
    fn finish_whole(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let upstream = exchange.upstream_dialect();
        let meta = exchange.meta(&self.ctx);
        let (client, stream) = (exchange.request.dialect, exchange.access.stream);
        let Answer::Whole(holding) = &mut exchange.answer else {
            return;
        };
        let body = core::mem::take(&mut holding.body).into_bytes();
        if holding.status >= 300 {
            // The answer was understood: its connection may be used again.
            exchange.attempt.upstream = None;
            self.finish_error(id, &body);
            return;
        }
        let is_long = body.len() > self.ctx.limits.shard.turn_bytes_max;
        let finish = Finish {
            upstream,
            client,
            stream,
            codings: core::mem::take(&mut holding.codings),
            body,
            meta,
            limits: self.ctx.limits.json.clone(),
            bytes_max: self.ctx.limits.shard.response_bytes_max,
        };
        if !is_long {
            let finished = finish.run(&mut self.ctx.tape);
            self.finished(id, finished);
            return;
        }
        exchange.attempt.upstream = None;
        exchange.deadlines.clear(Phase::Idle);
        if self
            .ctx
            .perform(Work::Finish(Box::new(finish)), id, exchange.plan.seats)
            .is_none()
        {
            let message = "the gateway works on as many large answers as it may";
            let failure = Failure::new(Class::Overloaded, message).blame(Blame::Gateway);
            self.answer_failure(id, failure);
        }
    }

    /// A whole answer is read.
    pub(in crate::gateway) fn finished(
        &mut self,
        id: ExchangeId,
        finished: Result<Box<Finished>, Box<Failure>>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        if exchange.state != State::Relaying {
            return;
        }
        let finished = match finished {
            Ok(finished) => *finished,
            Err(mut failure) => {
                mask(&mut failure, exchange.key().map(|key| &key.secret));
                self.close_upstream_of(id);
                self.attempt_over(id, Told::new(*failure));
                return;
            }
        };
        self.whole_came(id);
        self.race_won(id);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.access.usage = finished.watched.usage;
        exchange.access.answered_by = finished.watched.model;
        exchange.access.finish = finished.watched.finish;
        exchange.access.outcome = Outcome::Complete;
        exchange.access.first_content = Some(self.ctx.now.mono - exchange.started);
        let fields = match core::mem::take(&mut exchange.answer) {
            Answer::Whole(holding) => Some(holding.fields),
            Answer::Stream(_) | Answer::Local(_) | Answer::None => None,
        };
        let is_same = exchange.prompt().is_some_and(|it| it.is_same_dialect);
        let passed = fields.as_ref().map(|fields| Passed { fields, is_same });
        self.answer_whole(id, 200, finished.body, passed);
    }

    /// Writes what has come for the client of this upstream connection.
    pub(in crate::gateway) fn flush_answer_of(&mut self, upstream: UpstreamId) {
        if let Some(id) = self.upstreams.get(upstream).and_then(|it| it.exchange) {
            self.flush_stream(id);
        }
    }

    /// Gives the upstream its time again.
    pub(in crate::gateway) fn await_data_anew(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.await_data(now);
        }
    }

    /// Whether the client has so much to take that its upstream is not read for now.
    pub(in crate::gateway) fn is_client_full(&self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get(id) else {
            return false;
        };
        let Answer::Stream(streaming) = &exchange.answer else {
            return false;
        };
        streaming.undecoded.is_some() || self.is_client_queue_full(id)
    }

    /// Whether as much is queued for the client as may be.
    fn is_client_queue_full(&self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get(id) else {
            return false;
        };
        let Answer::Stream(streaming) = &exchange.answer else {
            return false;
        };
        // Before it is committed, what is held has a bound of its own; and that the client still
        // has an earlier answer to take is no reason to let the upstream's time run out.
        if streaming.is_collected || !streaming.is_committed {
            return false;
        }
        let queued = self
            .clients
            .get(exchange.client)
            .map_or(0, |it| it.socket.output.len());
        queued + streaming.relay.output.len() >= self.ctx.limits.shard.client_queue_bytes_max
    }

    /// The client has taken something: its upstream may be read again.
    pub(in crate::gateway) fn client_took(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else {
            return;
        };
        if let Answer::Local(_) = exchange.answer {
            self.local_token(id);
            return;
        }
        if let Answer::Stream(streaming) = &exchange.answer
            && streaming.undecoded.is_some()
        {
            if !exchange.deadlines.is_set(Phase::Decode) {
                self.decode_more(id);
            }
            return;
        }
        let Some(upstream) = exchange.attempt.upstream else {
            return;
        };
        let is_stopped = self
            .upstreams
            .get(upstream)
            .is_some_and(|it| !it.socket.is_reading());
        if is_stopped && exchange.state == State::Relaying && !self.is_client_full(id) {
            self.await_data_anew(id);
            self.upstream_progress(upstream);
        }
    }
}

impl Exchange {
    /// Gives the upstream its time for the next data.
    fn await_data(&mut self, now: Instant) {
        if let Some(idle) = self.timers().map(|timers| timers.idle) {
            self.deadlines.set(Phase::Idle, now + idle);
        }
    }

    /// The model has finished: just now, or what it told since may be all that was missing.
    fn await_end(&mut self, now: Instant, is_first: bool) {
        let Answer::Stream(streaming) = &self.answer else {
            return;
        };
        if streaming.relay.usage().output.is_some() {
            self.deadlines.set_earlier(Phase::Ending, now + MARK_TIME);
        } else if is_first {
            self.deadlines.set(Phase::Ending, now + ENDING_TIME);
        }
    }

    /// A stream of which nothing has come.
    pub(in crate::gateway) fn streaming(&self, ctx: &Ctx) -> Streaming {
        let mut relay = self.relay(self.meta(ctx), &ctx.limits);
        relay.hide(self.key().map(|key| key.secret.clone()));
        Streaming {
            relay,
            decoder: None,
            undecoded: None,
            fields: None,
            is_committed: false,
            is_collected: !self.access.stream,
        }
    }

    fn relay(&self, meta: ReplyMeta, limits: &Limits) -> StreamRelay {
        let upstream = self.upstream_dialect();
        let client = self.request.dialect;
        let is_resumable = self.manner().is_some_and(|manner| manner.resume);
        if !self.access.stream {
            StreamRelay::collect(upstream, limits)
        } else if let Some(said) = &self.plan.said {
            StreamRelay::resume(upstream, said, limits)
        } else if is_resumable {
            StreamRelay::resumable(upstream, client, meta, limits)
        } else if upstream == client {
            StreamRelay::pass(client, meta, limits)
        } else {
            StreamRelay::translate(upstream, client, meta, limits)
        }
    }

    /// Takes over what the relay learnt.
    pub(in crate::gateway) fn note(&mut self, watched: Watched, broken_events: u32) {
        self.access.usage = watched.usage;
        self.access.answered_by = watched.model;
        self.access.finish = watched.finish;
        // Those of an attempt that this one continues are missing in the answer as well.
        self.access.broken_events += broken_events;
    }
}

/// Whether events follow. Some servers leave the type out or call it text; JSON and HTML are none.
fn is_event_stream(head: &ResponseHead, is_asked_for: bool) -> bool {
    let content_type = head.fields.first("content-type").unwrap_or_default();
    let is = |start: &str| {
        content_type
            .get(..start.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(start.as_bytes()))
    };
    if is("text/event-stream") {
        return true;
    }
    is_asked_for && !is("application/json") && !is("text/html") && !is("application/problem")
}

/// Decodes `piece` in steps until about `bytes_max` bytes came out; gives back what is left to do.
fn decode(
    decoder: &mut Decoder,
    relay: &mut StreamRelay,
    piece: &Bytes,
    bytes_max: usize,
) -> Result<Option<Bytes>, Box<Failure>> {
    let mut rest = piece.clone();
    let mut total = 0;
    while total < bytes_max {
        let mut decoded = BytesMut::new();
        let taken = decoder
            .push(&rest, &mut decoded, DECODED_STEP_BYTES)
            .map_err(|error| {
                let message = format!("the upstream's content-encoding: {error}");
                Box::new(Failure::new(Class::BadGateway, message))
            })?;
        rest = rest.slice(taken.min(rest.len())..);
        let is_all = decoded.len() < DECODED_STEP_BYTES;
        total += decoded.len();
        relay.push(&decoded.freeze());
        if is_all {
            return Ok(None);
        }
    }
    Ok(Some(rest))
}
