//! [`StreamRelay`]: events of an upstream's stream on their way to the client, without sockets,
//! timers or HTTP. Bytes of the body go in, bytes of the client's body come out, and it is said how
//! the answer fares.
//!
//! Three ways lead through it. *Pass*: both sides speak the same API; events go on as they came,
//! and are only looked at. *Translate*: each event is read, and written anew in the client's API.
//! *Collect*: the client wants the answer whole. What is translated may break off and be continued,
//! see [`resume`](super::resume).

use bytes::{Bytes, BytesMut};

use super::mask::{mask, without_key};
use super::resume::{Said, Splice};
use crate::base::limits::{JsonLimits, SseLimits};
use crate::base::{Limits, OutBuf};
use crate::config::Secret;
use crate::dialect::{Dialect, ReplyMeta, StreamDecoder, StreamEncoder, Watch, Watched};
use crate::ir::{BlockKind, Class, Collector, Delta, Failure, PartKind, Piece, Usage};
use crate::wire::json::Tape;
use crate::wire::sse;

/// One streamed answer.
#[derive(Debug)]
pub(in crate::gateway) struct StreamRelay {
    frames: sse::Decoder,
    /// The beginning of an event whose rest has not come.
    carry: BytesMut,
    way: Way,
    /// For the client, and not yet given to its connection.
    pub(in crate::gateway) output: OutBuf,
    status: Progress,
    broken_in_row: usize,
    broken_events_max: usize,
    broken_events: u32,
    failure: Option<Box<Failure>>,
    /// With what the upstream was asked, and must not be told in its errors.
    key: Option<Secret>,
    /// What was said, if it may be continued should this answer break.
    said: Option<Box<Said>>,
    /// Joins this answer to one that broke.
    splice: Option<Box<Splice>>,
    /// What was learnt from events that were read.
    watched: Watched,
    /// What the event that was passed on last lacks at its end.
    missing: &'static [u8],
    /// The place of a byte order mark is passed.
    has_begun: bool,
    /// How far the current input was passed on.
    passed_in_input: usize,
    tape: Tape,
    json: JsonLimits,
}

/// The data that ends a Chat stream; no JSON.
const DONE: &[u8] = b"[DONE]";

#[derive(Debug)]
enum Way {
    Pass {
        watch: Box<Watch>,
        /// Makes events of the client's API for what is not the upstream's: errors, keep-alives.
        own: Box<StreamEncoder>,
    },
    Read {
        decoder: Box<StreamDecoder>,
        deltas: Vec<Delta>,
        sink: Sink,
    },
}

/// What becomes of an event that was read.
#[derive(Debug)]
enum Sink {
    Translate(Box<StreamEncoder>),
    Collect(Box<Collector>),
    /// It waits for [`StreamRelay::go_on`].
    Hold,
}

impl Way {
    fn read(upstream: Dialect, sink: Sink, limits: &Limits) -> Way {
        Way::Read {
            decoder: Box::new(StreamDecoder::new(upstream, limits)),
            deltas: Vec::new(),
            sink,
        }
    }
}

/// How the answer fares.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::gateway) struct Progress {
    /// Content has come: the answer is committed to this upstream.
    pub(in crate::gateway) has_content: bool,
    /// The answer is complete; nothing after it matters.
    pub(in crate::gateway) is_complete: bool,
    /// The model has finished; only usage and the end are missing.
    pub(in crate::gateway) has_finish: bool,
    /// Events with content so far.
    pub(in crate::gateway) content_events: u32,
    /// Data events so far, comments and pings not counted.
    pub(in crate::gateway) data_events: u64,
}

impl Progress {
    /// An event was read that has content, or has not.
    fn content(&mut self, is_content: bool) {
        self.has_content |= is_content;
        self.content_events = self.content_events.saturating_add(u32::from(is_content));
    }
}

impl StreamRelay {
    /// Passes the events on.
    pub(in crate::gateway) fn pass(dialect: Dialect, meta: ReplyMeta, limits: &Limits) -> Self {
        let way = Way::Pass {
            watch: Box::new(Watch::new(dialect, meta.stream_usage)),
            own: Box::new(StreamEncoder::new(dialect, meta)),
        };
        StreamRelay::new(way, limits)
    }

    /// Translates the events.
    pub(in crate::gateway) fn translate(
        upstream: Dialect,
        client: Dialect,
        meta: ReplyMeta,
        limits: &Limits,
    ) -> Self {
        let sink = Sink::Translate(Box::new(StreamEncoder::new(client, meta)));
        StreamRelay::new(Way::read(upstream, sink, limits), limits)
    }

    /// Collects the events for a client that does not stream.
    pub(in crate::gateway) fn collect(upstream: Dialect, limits: &Limits) -> Self {
        let sink = Sink::Collect(Box::new(Collector::new(limits.shard.response_bytes_max)));
        StreamRelay::new(Way::read(upstream, sink, limits), limits)
    }

    /// Translates the events, and remembers what is said, so that another answer can continue it.
    /// A failure is told once it is clear that nobody does, see [`StreamRelay::give_up`].
    pub(in crate::gateway) fn resumable(
        upstream: Dialect,
        client: Dialect,
        meta: ReplyMeta,
        limits: &Limits,
    ) -> Self {
        StreamRelay {
            said: Some(Box::new(Said::new(limits.shard.response_bytes_max))),
            ..StreamRelay::translate(upstream, client, meta, limits)
        }
    }

    /// Continues what was `said`, once [`StreamRelay::go_on`] gives the encoder that said it.
    pub(in crate::gateway) fn resume(upstream: Dialect, said: &Said, limits: &Limits) -> Self {
        StreamRelay {
            splice: Some(Box::new(said.splice())),
            said: Some(Box::new(said.clone())),
            ..StreamRelay::new(Way::read(upstream, Sink::Hold, limits), limits)
        }
    }

    /// Goes on where `encoder` stopped.
    pub(in crate::gateway) fn go_on(&mut self, mut encoder: Box<StreamEncoder>) {
        let Way::Read { sink, .. } = &mut self.way else {
            return;
        };
        let held = self.splice.as_mut().map(|it| core::mem::take(&mut it.held));
        for delta in held.into_iter().flatten() {
            encoder.delta(delta, &mut self.output);
        }
        *sink = Sink::Translate(encoder);
    }

    /// Gives up an answer that broke, if another one can continue it: with what was said, and the
    /// encoder to go on with.
    pub(in crate::gateway) fn break_off(&mut self) -> Option<(Box<Said>, Box<StreamEncoder>)> {
        let said = self.said.take_if(|said| said.can_be_continued())?;
        let Way::Read { sink, .. } = &mut self.way else {
            return None;
        };
        match core::mem::replace(sink, Sink::Hold) {
            Sink::Translate(encoder) => Some((said, encoder)),
            Sink::Collect(_) | Sink::Hold => None,
        }
    }

    /// Tells no errors with this in them.
    pub(in crate::gateway) fn hide(&mut self, key: Option<Secret>) {
        self.key = key;
    }

    fn new(way: Way, limits: &Limits) -> StreamRelay {
        let sse: &SseLimits = &limits.sse;
        StreamRelay {
            frames: sse::Decoder::new(sse),
            carry: BytesMut::new(),
            way,
            output: OutBuf::new(),
            status: Progress::default(),
            broken_in_row: 0,
            broken_events_max: limits.shard.broken_events_max,
            broken_events: 0,
            failure: None,
            key: None,
            said: None,
            splice: None,
            watched: Watched::default(),
            missing: b"",
            has_begun: false,
            passed_in_input: 0,
            tape: Tape::new(),
            json: limits.json.clone(),
        }
    }

    pub(in crate::gateway) const fn progress(&self) -> Progress {
        self.status
    }

    /// Why the answer failed, once it did.
    pub(in crate::gateway) fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }

    /// Events that could not be read and were skipped.
    pub(in crate::gateway) const fn broken_events(&self) -> u32 {
        self.broken_events
    }

    /// What was learnt of the answer.
    pub(in crate::gateway) fn watched(&self) -> Watched {
        match &self.way {
            Way::Pass { watch, .. } => watch.watched(),
            Way::Read { .. } => self.watched.clone(),
        }
    }

    /// What it took so far.
    pub(in crate::gateway) fn usage(&self) -> Usage {
        match &self.way {
            Way::Pass { watch, .. } => watch.usage(),
            Way::Read { .. } => self.watched.usage,
        }
    }

    /// Memory held: events begun and output not yet taken.
    pub(in crate::gateway) fn held_bytes(&self) -> usize {
        let collected = match &self.way {
            Way::Read {
                sink: Sink::Collect(collector),
                ..
            } => collector.bytes(),
            Way::Pass { .. } | Way::Read { .. } => 0,
        };
        let said = self.said.as_ref().map_or(0, |said| said.bytes());
        self.carry.capacity() + self.output.len() + collected + said
    }

    /// Takes the next piece of the upstream's body.
    pub(in crate::gateway) fn push(&mut self, piece: &Bytes) {
        if self.is_over() {
            return;
        }
        if self.carry.is_empty() {
            self.take_frames(piece, false);
            let used = self.frames.rebase();
            self.pass_blank(piece, used);
            if used < piece.len() && !self.is_over() {
                self.carry
                    .extend_from_slice(piece.get(used..).unwrap_or_default());
            }
            return;
        }
        self.carry.extend_from_slice(piece);
        let whole = core::mem::take(&mut self.carry).freeze();
        self.take_frames(&whole, false);
        let used = self.frames.rebase();
        self.pass_blank(&whole, used);
        if used < whole.len() && !self.is_over() {
            // The buffer is ours alone again unless an event's text was kept.
            self.carry = match whole.try_into_mut() {
                Ok(mut buffer) => buffer.split_off(used),
                Err(whole) => BytesMut::from(whole.get(used..).unwrap_or_default()),
            };
        }
    }

    /// The upstream's body has ended as its framing said.
    pub(in crate::gateway) fn end_of_body(&mut self) {
        if self.is_over() {
            return;
        }
        let rest = core::mem::take(&mut self.carry).freeze();
        self.take_frames(&rest, true);
        if self.is_over() {
            // Without a blank line it would be no event for the client.
            self.output.put(core::mem::take(&mut self.missing));
            return;
        }
        match &mut self.way {
            Way::Pass { watch, own } => match watch.end_of_body() {
                None => {
                    self.output.put(core::mem::take(&mut self.missing));
                    // There are clients that wait for it.
                    own.end_mark(&mut self.output);
                    self.status.is_complete = true;
                }
                Some(failure) => self.fail(failure),
            },
            Way::Read {
                decoder, deltas, ..
            } => {
                decoder.end_of_body(deltas);
                self.take_deltas();
            }
        }
    }

    /// Ends the answer with an error, told in the client's API where it sees a stream that nobody
    /// can continue.
    pub(in crate::gateway) fn fail(&mut self, failure: Failure) {
        if self.is_over() {
            return;
        }
        self.failure = Some(Box::new(failure));
        if self.said.is_none() {
            self.tell_failure();
        }
    }

    /// Nobody continues the answer.
    pub(in crate::gateway) fn give_up(&mut self) {
        if self.said.take().is_some() {
            self.tell_failure();
        }
    }

    /// Tells the client why the answer failed, where it sees a stream.
    fn tell_failure(&mut self) {
        let Some(failure) = self.failure.clone() else {
            return;
        };
        match &mut self.way {
            Way::Pass { own, .. } => {
                self.output.put(core::mem::take(&mut self.missing));
                own.delta(Delta::Failure(failure), &mut self.output);
            }
            Way::Read {
                sink: Sink::Translate(encoder),
                ..
            } => encoder.delta(Delta::Failure(failure), &mut self.output),
            Way::Read {
                sink: Sink::Collect(_) | Sink::Hold,
                ..
            } => {}
        }
    }

    /// Writes a sign of life; never inside an event.
    pub(in crate::gateway) fn keep_alive(&mut self) {
        if self.is_over() {
            return;
        }
        match &mut self.way {
            Way::Pass { .. } if !self.missing.is_empty() => {}
            Way::Pass { own: encoder, .. }
            | Way::Read {
                sink: Sink::Translate(encoder),
                ..
            } => encoder.keep_alive(&mut self.output),
            Way::Read {
                sink: Sink::Collect(_) | Sink::Hold,
                ..
            } => {}
        }
    }

    /// The whole answer for a client that does not stream; only once it is complete.
    pub(in crate::gateway) fn into_response(self) -> Option<crate::ir::Response> {
        match self.way {
            Way::Read {
                sink: Sink::Collect(collector),
                ..
            } => collector.finish(),
            Way::Pass { .. } | Way::Read { .. } => None,
        }
    }

    const fn is_over(&self) -> bool {
        self.status.is_complete || self.failure.is_some()
    }

    /// Comments and blank lines behind the last event go on at once where bytes are passed.
    fn pass_blank(&mut self, input: &Bytes, used: usize) {
        let passed = self.passed_in_input;
        if let Way::Pass { .. } = self.way
            && !self.is_over()
            && passed < used
        {
            let blank = input.get(passed..used).unwrap_or_default();
            let blank = without_mark(blank, &mut self.has_begun);
            self.output.put(blank);
        }
        self.passed_in_input = 0;
    }

    fn take_frames(&mut self, input: &Bytes, is_end: bool) {
        while !self.is_over() {
            let next = if is_end {
                self.frames.finish(input)
            } else {
                self.frames.next(input)
            };
            let frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => {
                    let message = format!("the upstream's event stream: {error}");
                    self.fail(Failure::new(Class::BadGateway, message));
                    return;
                }
            };
            let raw = frame.raw_range();
            let is_cut = frame.unterminated;
            let name = frame.name;
            let data = frame.data.into_bytes(input);
            match &mut self.way {
                Way::Pass { .. } => {
                    self.passed_in_input = raw.end;
                    let raw = input.get(raw).unwrap_or_default();
                    let raw = without_mark(raw, &mut self.has_begun);
                    self.pass_event(name, &data, raw, is_cut);
                }
                Way::Read {
                    decoder, deltas, ..
                } => {
                    match decoder.event(name, &data, deltas) {
                        Ok(()) => {
                            self.broken_in_row = 0;
                            self.status.has_finish |= decoder.is_whole();
                        }
                        Err(broken) => {
                            self.skip(&broken.reason);
                            continue;
                        }
                    }
                    self.take_deltas();
                }
            }
        }
    }

    /// An event goes on as it came, unless it is broken: the client's parser would give up on it.
    fn pass_event(&mut self, name: &[u8], data: &Bytes, raw: &[u8], is_cut: bool) {
        let Way::Pass { watch, .. } = &mut self.way else {
            return;
        };
        if is_cut && data.is_empty() {
            // The beginning of an event, and the end of the body.
            return;
        }
        let missing: &[u8] = match (is_cut, raw.ends_with(b"\n")) {
            (false, _) => b"",
            (true, true) => b"\n",
            (true, false) => b"\n\n",
        };
        let mut root = None;
        if data.trim_ascii() != DONE && !data.is_empty() {
            match self.tape.parse(data, &self.json) {
                Ok(parsed) => root = Some(parsed),
                Err(error) => {
                    self.skip(&format!("not valid JSON: {error}"));
                    return;
                }
            }
            self.broken_in_row = 0;
        }
        let seen = watch.look(name, data, root);
        if let Some(mut failure) = seen.failure {
            mask(&mut failure, self.key.as_ref());
            let error = root.and_then(|root| root.get("error"));
            if !seen.foreign && error.is_some_and(|error| !error.is_null()) {
                // It is in the client's API already.
                let raw = without_key(Bytes::copy_from_slice(raw), self.key.as_ref());
                self.output.push(raw);
                self.missing = missing;
                self.failure = Some(failure);
            } else {
                self.fail(*failure);
            }
            return;
        }
        self.status.content(seen.content);
        self.status.has_content |= seen.terminal;
        self.status.is_complete |= seen.terminal;
        self.status.has_finish |= watch.has_finish();
        self.status.data_events += u64::from(!seen.ping);
        self.missing = missing;
        if seen.hidden {
            self.output
                .put(raw.get(..blocks_before(raw)).unwrap_or_default());
        } else {
            self.output.put(raw);
        }
    }

    fn skip(&mut self, reason: &str) {
        self.broken_events = self.broken_events.saturating_add(1);
        self.broken_in_row += 1;
        if self.broken_in_row >= self.broken_events_max {
            let count = self.broken_in_row;
            let message = format!("{count} events in a row could not be read; the last: {reason}");
            self.fail(Failure::new(Class::BadGateway, message));
        }
    }

    fn take_deltas(&mut self) {
        let Way::Read { deltas, .. } = &mut self.way else {
            return;
        };
        let mut taken = core::mem::take(deltas);
        let mut spliced = Vec::new();
        for mut delta in taken.drain(..) {
            note(&delta, &mut self.status, &mut self.watched);
            if let Delta::Failure(failure) = &mut delta {
                mask(failure, self.key.as_ref());
                self.failure = Some(failure.clone());
                if self.said.is_some() {
                    continue;
                }
            }
            match &mut self.splice {
                None => self.take_delta(delta),
                Some(splice) => {
                    splice.take(delta, &mut spliced);
                    for delta in spliced.drain(..) {
                        self.take_delta(delta);
                    }
                }
            }
        }
        if let Way::Read { deltas, .. } = &mut self.way {
            // Its memory is used again.
            *deltas = taken;
        }
    }

    fn take_delta(&mut self, delta: Delta) {
        if let Some(said) = &mut self.said {
            said.note(&delta);
        }
        let Way::Read { sink, .. } = &mut self.way else {
            return;
        };
        match sink {
            Sink::Translate(encoder) => {
                encoder.delta(delta, &mut self.output);
                if self.failure.is_none()
                    && let Some(failure) = encoder.failure()
                {
                    self.failure = Some(Box::new(failure.clone()));
                    self.status.is_complete = false;
                }
            }
            Sink::Collect(collector) => {
                if let Err(failure) = collector.push(delta) {
                    self.failure = Some(failure);
                }
            }
            Sink::Hold => {
                let is_held = self.splice.as_mut().is_some_and(|it| it.hold(delta));
                if !is_held && self.failure.is_none() {
                    let message = "the upstream's stream has no content in many events";
                    self.failure = Some(Box::new(Failure::new(Class::BadGateway, message)));
                }
            }
        }
    }
}

/// What is passed on of a stream's first bytes: a byte order mark is part of no event, and there
/// are clients that do not survive it.
fn without_mark<'a>(raw: &'a [u8], has_begun: &mut bool) -> &'a [u8] {
    if raw.is_empty() || core::mem::replace(has_begun, true) {
        return raw;
    }
    raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw)
}

/// Length of the blocks of comments before an event: they have been passed on already where they
/// came in a read of their own, and so they are where they did not.
fn blocks_before(raw: &[u8]) -> usize {
    let mut at = 0;
    let mut end = 0;
    while let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) {
        let is_blank = rest.starts_with(b"\n") || rest.starts_with(b"\r");
        if !is_blank && !rest.starts_with(b":") {
            break;
        }
        let line = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let is_crlf = rest.get(line..line + 2) == Some(b"\r\n");
        at += line + if is_crlf { 2 } else { 1 };
        if is_blank {
            end = at;
        }
    }
    end.min(raw.len())
}

/// What a delta says about how the answer fares.
fn note(delta: &Delta, status: &mut Progress, watched: &mut Watched) {
    if !matches!(delta, Delta::Ping) {
        status.data_events += 1;
    }
    match delta {
        Delta::Start(start) => watched.model = start.model.as_ref().map(|model| model.detach()),
        Delta::BlockStart { kind, .. } => status.content(is_content(kind)),
        Delta::Append {
            piece: Piece::Text(text),
            ..
        } => status.content(!text.is_empty()),
        Delta::Append { .. } | Delta::BlockStop { .. } | Delta::Logprobs { .. } => {}
        Delta::Finish { choice, finish } => {
            status.has_finish = true;
            if *choice == 0 {
                watched.finish = Some(finish.reason.clone());
            }
        }
        Delta::Usage(usage) => watched.usage.update(usage),
        Delta::Failure(_) | Delta::Ping => {}
        Delta::End => {
            status.has_content = true;
            status.is_complete = true;
        }
    }
}

/// Whether a block is content by its mere beginning.
const fn is_content(kind: &BlockKind) -> bool {
    match kind {
        BlockKind::ToolCall { .. } => true,
        BlockKind::Whole(part) => !matches!(part, PartKind::Text { .. }),
        BlockKind::Refusal | BlockKind::Text | BlockKind::Thinking => false,
    }
}
