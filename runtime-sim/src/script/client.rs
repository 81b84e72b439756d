//! [`ClientPeer`]: a scripted client. It asks, reads answers strictly, and may be slow or vanish.

use core::time::Duration;

use tollgate_core::base::{Instant, Rng};

use super::journal::{Asked, Seen, Shared};
use super::request::{Ask, Asker};
use crate::check::answer::Response;
use crate::check::http::{Part, Reader};
use crate::faults::Fault;
use crate::peer::{End, Peer, PeerIo};

/// A client waits so long at most; all deadlines of the gateway are far shorter.
const PATIENCE: Duration = Duration::from_secs(3 * 60 * 60);

const TOKEN_PATIENCE: u64 = 1;
const TOKEN_VANISH: u64 = 2;
const TOKEN_SEND: u64 = 3;
const TOKEN_NEXT: u64 = 4;
const TOKEN_LEAVE: u64 = 5;

/// One connection of a client.
pub(crate) struct ClientPeer {
    shared: Shared,
    name: String,
    rng: Rng,
    asks: Vec<Ask>,
    /// Requests handed over to be sent.
    asked: usize,
    answered: usize,
    /// Handed over and not sent.
    outgoing: Vec<u8>,
    /// Bytes sent at a time, and the longest pause between.
    pace: Option<(usize, Duration)>,
    is_sending: bool,
    is_pipelining: bool,
    vanish: Option<Vanish>,
    received: u64,
    /// When it last heard of the gateway.
    heard_at: Instant,
    reader: Reader,
    response: Option<Response>,
    is_over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Vanish {
    when: When,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Close,
    /// FIN, and it waits for the gateway's.
    HalfClose,
    Reset,
}

#[derive(Clone, Copy, Debug)]
enum When {
    Sent(u64),
    Received(u64),
    After(Duration),
}

impl ClientPeer {
    /// The client of this number, with so many requests at most.
    pub(crate) fn draw(shared: Shared, number: usize, asks_max: u64, mut rng: Rng) -> ClientPeer {
        let mut faults = shared.faults.borrow_mut();
        let name = format!("c{number}");
        let count = (1 + rng.below(5)).min(asks_max);
        let session = format!("session-{}", rng.below(6));
        let session = rng.chance(1, 2).then_some(session.as_str());
        let mut asker = Asker::draw(&shared, session, number);
        let asks: Vec<Ask> = (0..count)
            .map(|index| asker.ask(format!("{name}-{index}"), &mut faults, &mut rng))
            .collect();
        let total: usize = asks.iter().map(|ask| ask.bytes.len()).sum();
        let is_slow = faults.strikes(Fault::SlowSender, &mut rng);
        let pause = [1, 50, 500, 20_000][rng.below(4) as usize];
        let pace = (
            1 + rng.below(total as u64 / 4 + 1) as usize,
            Duration::from_millis(pause),
        );
        let when = match rng.below(3) {
            0 => When::Sent(rng.below(total as u64 + 1)),
            1 => When::Received(1 + rng.below(4000)),
            _ => When::After(Duration::from_millis(rng.below(5000))),
        };
        let vanishes = faults.strikes(Fault::Vanish, &mut rng);
        let is_half = faults.strikes(Fault::HalfClose, &mut rng);
        let how = if is_half {
            How::HalfClose
        } else if rng.chance(1, 2) {
            How::Reset
        } else {
            How::Close
        };
        let vanish = Vanish { when, how };
        let vanishes = vanishes || is_half;
        let is_pipelining = faults.strikes(Fault::Pipelining, &mut rng);
        drop(faults);
        ClientPeer {
            shared,
            name,
            rng,
            asks,
            asked: 0,
            answered: 0,
            outgoing: Vec::new(),
            pace: is_slow.then_some(pace),
            is_sending: false,
            is_pipelining,
            vanish: vanishes.then_some(vanish),
            received: 0,
            heard_at: Instant::ZERO,
            reader: Reader::default(),
            response: None,
            is_over: false,
        }
    }

    /// Hands over the next request.
    fn ask(&mut self, io: &mut PeerIo) {
        let Some(ask) = self.asks.get(self.asked) else {
            return;
        };
        let begin = io.sent + self.outgoing.len() as u64;
        let asked = Asked {
            link: io.link,
            topic: ask.topic.clone(),
            caller: ask.caller,
            patience: ask.patience,
            dialect: ask.dialect,
            is_stream: ask.is_stream,
            kind: ask.kind,
            content: ask.content.clone(),
            model: ask.model,
            session: ask.session.clone(),
            head_end: begin + ask.head_len as u64,
            end: begin + ask.bytes.len() as u64,
            body_bytes: ask.body_len as u64,
            before: self.asked,
        };
        if let Some(read) = self.shared.delivered.borrow_mut().get_mut(io.link) {
            read.mark(asked.head_end);
            read.mark(asked.end);
        }
        self.shared
            .journal
            .borrow_mut()
            .asked
            .insert(ask.marker.clone(), asked);
        self.outgoing.extend_from_slice(&ask.bytes);
        self.asked += 1;
        self.heard_at = io.now;
        self.send(io);
    }

    /// Sends what is handed over, at the client's pace.
    fn send(&mut self, io: &mut PeerIo) {
        if self.is_sending || self.is_over || self.outgoing.is_empty() {
            return;
        }
        let most = self.pace.map_or(usize::MAX, |(count, _)| count);
        let mut count = most.min(self.outgoing.len());
        let mut is_last = false;
        if let Some(Vanish {
            when: When::Sent(at),
            ..
        }) = self.vanish
        {
            let left = at.saturating_sub(io.sent) as usize;
            is_last = left <= count;
            count = count.min(left);
        }
        io.send(self.outgoing.drain(..count).collect::<Vec<u8>>());
        if is_last {
            self.vanish(io);
            return;
        }
        if let Some((_, pause)) = self.pace {
            self.is_sending = true;
            let pause = Duration::from_micros(self.rng.below(pause.as_micros() as u64 + 1));
            io.wake(pause, TOKEN_SEND);
        }
    }

    /// How long nothing may come: inside a stream there are signs of life.
    fn silence_max(&self) -> Duration {
        const LATE: [Fault; 5] = [
            Fault::Bandwidth,
            Fault::BlackHole,
            Fault::SlowReader,
            Fault::SmallWindow,
            Fault::SlowSender,
        ];
        if self.shared.faults.borrow().has(&LATE) {
            return PATIENCE;
        }
        let timers = &self.shared.limits.timers;
        let asked = self.asks.get(self.answered);
        if self.shared.setup.is_resilient {
            return self.silence_of_chain();
        }
        // A full shard accepts later.
        let is_held = !self.shared.faults.borrow().has(&[Fault::SmallLimits]);
        match &self.response {
            // Latency, late ticks and late completions come on top.
            Some(response) if response.is_stream() => timers.keep_alive + Duration::from_secs(2),
            // Work at the host comes before; and a connection may have to be made a second time.
            None if asked.is_some_and(|ask| ask.is_stream) && is_held => {
                let wait_max = self.shared.snapshot.retry.wait_max;
                2 * (timers.upstream.connect + timers.commit_hold)
                    + wait_max
                    + Duration::from_secs(10)
            }
            _ => PATIENCE,
        }
    }

    /// The same where several upstreams may be asked: signs of life begin some time after the first
    /// of them was reached, whatever becomes of it.
    fn silence_of_chain(&self) -> Duration {
        let timers = &self.shared.limits.timers;
        let retry = &self.shared.snapshot.retry;
        let asked = self.asks.get(self.answered);
        let is_held = !self.shared.faults.borrow().has(&[Fault::SmallLimits]);
        match &self.response {
            Some(response) if response.is_stream() => timers.keep_alive + Duration::from_secs(2),
            None if asked.is_some_and(|ask| ask.is_stream) && is_held => {
                // A connection may be made a second time for each attempt.
                let reaching = 2 * timers.upstream.connect + retry.wait_max;
                retry.attempts_max * reaching + timers.commit_hold + Duration::from_secs(10)
            }
            _ => PATIENCE,
        }
    }

    fn vanish(&mut self, io: &mut PeerIo) {
        self.is_over = true;
        match self.vanish.map(|vanish| vanish.how) {
            Some(How::Reset) => io.reset(),
            Some(How::HalfClose) => io.finish(),
            Some(How::Close) | None => io.close(),
        }
    }

    /// Ends the connection in peace.
    fn leave(&mut self, io: &mut PeerIo) {
        self.is_over = true;
        io.close();
    }

    fn read(&mut self, io: &mut PeerIo) -> Result<(), String> {
        while !self.is_over {
            let ask = self.asks.get(self.answered);
            let is_head = ask.is_some_and(|ask| ask.is_head);
            let Some(part) = self.reader.next(is_head)? else {
                return Ok(());
            };
            match part {
                Part::Head(head) if head.status < 200 => {}
                Part::Head(head) => {
                    if self.answered >= self.asked {
                        return Err(format!("a response to nothing: {head:?}"));
                    }
                    let marker = ask.map_or("", |ask| &ask.marker);
                    let seen = Seen {
                        status: head.status,
                        is_unread: head.status == 408 && head.field("x-request-id") != Some(marker),
                        ..Seen::default()
                    };
                    let response = Response::new(&self.shared, marker, is_head, head)?;
                    let mut journal = self.shared.journal.borrow_mut();
                    journal.seen.insert(marker.to_owned(), seen);
                    drop(journal);
                    self.response = Some(response);
                }
                Part::Body(bytes) => {
                    if let Some(response) = &mut self.response {
                        response.push(&self.shared, &bytes)?;
                        if response.has_content() {
                            self.note_content(io.now);
                        }
                    }
                }
                Part::End => self.response_end(io)?,
            }
        }
        Ok(())
    }

    fn note_content(&self, now: Instant) {
        let marker = self.asks.get(self.answered).map_or("", |ask| &ask.marker);
        let is_message = self.response.as_ref().is_some_and(Response::is_message);
        if let Some(seen) = self.shared.journal.borrow_mut().seen.get_mut(marker) {
            seen.content_at.get_or_insert(now);
            seen.is_message |= is_message;
        }
    }

    fn response_end(&mut self, io: &mut PeerIo) -> Result<(), String> {
        let Some(mut response) = self.response.take() else {
            return Ok(());
        };
        let is_complete = response.end(&self.shared)?;
        if is_complete {
            self.note_content(io.now);
        }
        let marker = self.asks.get(self.answered).map_or("", |ask| &ask.marker);
        if let Some(seen) = self.shared.journal.borrow_mut().seen.get_mut(marker) {
            seen.is_complete = is_complete;
            seen.is_ended = true;
            seen.body_bytes = response.body_bytes();
            seen.is_over = !response.closes();
            seen.is_beyond = response.is_beyond();
            seen.is_message |= response.is_message();
            seen.answer = response.answer();
        }
        self.answered += 1;
        let pause = [0, 10, 2000, 30_000][self.rng.below(4) as usize];
        let pause = Duration::from_millis(self.rng.below(pause + 1));
        if response.closes() {
            io.wake(pause.min(Duration::from_secs(1)), TOKEN_LEAVE);
        } else if self.answered < self.asks.len() {
            if !self.is_pipelining {
                io.wake(pause, TOKEN_NEXT);
            }
        } else if self.rng.chance(7, 8) {
            io.wake(pause, TOKEN_LEAVE);
        }
        Ok(())
    }
}

impl Peer for ClientPeer {
    fn connected(&mut self, io: &mut PeerIo) {
        io.tag(Some(self.name.clone()));
        io.wake(PATIENCE, TOKEN_PATIENCE);
        let mut faults = self.shared.faults.borrow_mut();
        let is_slow = faults.strikes(Fault::SlowReader, &mut self.rng);
        // Whoever is slow takes the longest answer within its patience all the same.
        let least = if faults.has(&[Fault::LongAnswer]) {
            80
        } else {
            1
        };
        drop(faults);
        let count = least.max(1 + self.rng.below(512) as usize);
        let pause = Duration::from_millis(1 + self.rng.below(500));
        if is_slow {
            io.read_slowly(Some((count, pause)));
        }
        if let Some(Vanish {
            when: When::After(time),
            ..
        }) = self.vanish
        {
            io.wake(time, TOKEN_VANISH);
        }
        let at_once = if self.is_pipelining {
            self.asks.len()
        } else {
            1
        };
        for _ in 0..at_once {
            if !self.is_over {
                self.ask(io);
            }
        }
    }

    fn received(&mut self, io: &mut PeerIo, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        self.received += bytes.len() as u64;
        let silence = io.now - core::mem::replace(&mut self.heard_at, io.now);
        if silence > self.silence_max() {
            let message = format!("{}: no sign of life for {silence:?}", self.name);
            self.shared.fail("silence", message);
        }
        self.reader.push(bytes);
        if let Err(message) = self.read(io) {
            let marker = self.asks.get(self.answered).map_or("?", |ask| &ask.marker);
            self.shared.fail("answer", format!("{marker}: {message}"));
        }
        if let Some(Vanish {
            when: When::Received(at),
            ..
        }) = self.vanish
            && self.received >= at
            && !self.is_over
        {
            self.vanish(io);
        }
    }

    fn ended(&mut self, io: &mut PeerIo, end: End) {
        let was_over = core::mem::replace(&mut self.is_over, true);
        if end == End::Fin {
            let is_junk = self.response.is_none() && self.reader.is_within();
            if is_junk && !was_over {
                self.shared
                    .fail("answer", format!("{}: half a head, then FIN", self.name));
            }
            io.close();
        }
    }

    fn woke(&mut self, io: &mut PeerIo, token: u64) {
        if self.is_over && token != TOKEN_PATIENCE {
            return;
        }
        match token {
            TOKEN_PATIENCE => {
                self.is_over = true;
                io.reset();
            }
            TOKEN_VANISH => self.vanish(io),
            TOKEN_SEND => {
                self.is_sending = false;
                self.send(io);
            }
            TOKEN_NEXT => self.ask(io),
            _ => self.leave(io),
        }
    }
}
