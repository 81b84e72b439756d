//! [`ServerPeer`]: a scripted upstream. It reads requests with a parser of its own, and plays an
//! answer with whatever faults the seed has for it.

use core::time::Duration;
use std::collections::VecDeque;

use tollgate_core::base::{Instant, Rng, Seed};
use tollgate_core::config::{Credentials, Key};
use tollgate_core::dialect::Dialect;

use super::answer::{Answer, error};
use super::journal::{Attempt, Sent, Shared, Used, is_shared};
use super::plan::{Mark, Plan, Planner, Step, Then};
use super::read::{Request, take_request};
use crate::faults::Fault;
use crate::peer::{End, Peer, PeerIo};
use crate::setup::PROVIDERS;

/// How much longer than told a connection may idle: its end is on its way.
const IDLE_SLACK: Duration = Duration::from_secs(3);

/// One connection to an upstream.
pub(crate) struct ServerPeer {
    shared: Shared,
    /// Its number in [`PROVIDERS`].
    provider: usize,
    dialect: Dialect,
    rng: Rng,
    seed: u64,
    input: Vec<u8>,
    /// It has carried a request.
    is_used: bool,
    /// What is still to be done for the request in hand.
    steps: VecDeque<Step>,
    serving: Option<Serving>,
    /// Tells wake-ups of earlier requests apart.
    turn: u64,
    /// When it had answered its last request.
    answered_at: Option<Instant>,
    is_over: bool,
}

struct Serving {
    marker: String,
    attempt: usize,
}

impl ServerPeer {
    pub(crate) fn new(shared: Shared, provider: usize, rng: Rng, seed: u64) -> ServerPeer {
        let (_, dialect, ..) = PROVIDERS[provider];
        ServerPeer {
            shared,
            provider,
            dialect,
            is_used: false,
            rng,
            seed,
            input: Vec::new(),
            steps: VecDeque::new(),
            serving: None,
            turn: 0,
            answered_at: None,
            is_over: false,
        }
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        self.shared.strikes(fault, self.provider, &mut self.rng)
    }

    fn serve(&mut self, io: &mut PeerIo) {
        if self.serving.is_some() || self.is_over {
            return;
        }
        match take_request(&mut self.input, self.dialect) {
            Ok(None) => self.early(io),
            Ok(Some(request)) => self.begin(io, &request),
            Err(message) => self.shared.fail("upstream request", message),
        }
    }

    /// Perhaps an answer before the request is there.
    fn early(&mut self, io: &mut PeerIo) {
        let has_head = self.input.windows(4).any(|at| at == b"\r\n\r\n");
        if has_head && self.strikes(Fault::EarlyAnswer) {
            let body = error(self.dialect).to_string();
            let length = body.len();
            io.send(format!(
                "HTTP/1.1 413 Content Too Large\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            ));
            io.close();
            self.is_over = true;
        }
    }

    fn begin(&mut self, io: &mut PeerIo, request: &Request) {
        self.check_idle(io);
        self.answered_at = None;
        let attempt = self
            .shared
            .journal
            .borrow()
            .sent
            .get(&request.marker)
            .map_or(0, Vec::len);
        if let Err(message) = self.check(request) {
            self.shared.fail("upstream request", message);
            return;
        }
        let mut hash = self.seed ^ attempt as u64;
        for byte in request.marker.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.rng = Rng::new(Seed(hash));
        let is_long = self.strikes(Fault::LongAnswer);
        let kind = (is_long, request.prefill.is_some());
        let answer = Answer::draw(&request.marker, attempt, kind, &mut self.rng);
        let asked = self.asked(io, request);
        let planner = Planner {
            shared: &self.shared,
            rng: &mut self.rng,
            provider: self.provider,
            dialect: self.dialect,
            now: io.now,
            plan: Plan::default(),
        };
        let plan = planner.plan(request, &answer);
        // When the first byte of the answer is read.
        self.mark(io, 1);
        let sent = Sent {
            link: io.link,
            told: answer.told(),
            prefill: request.prefill.clone(),
            begin_at: io.sent,
            finish_at: None,
            is_broken: plan.is_broken,
            asked,
            says: plan.says,
            said_at: None,
            whole_at: None,
            pings_at: None,
            over_at: None,
            used: Vec::new(),
        };
        let mut journal = self.shared.journal.borrow_mut();
        let attempts = journal.sent.entry(request.marker.clone()).or_default();
        attempts.push(sent);
        drop(journal);
        io.tag(Some(request.marker.clone()));
        self.serving = Some(Serving {
            marker: request.marker.clone(),
            attempt,
        });
        self.turn += 1;
        self.steps = plan.steps;
        self.go_on(io);
    }

    /// When the machine has read so many bytes more than were sent is taken note of.
    fn mark(&self, io: &PeerIo, count: u64) {
        if let Some(read) = self.shared.delivered.borrow_mut().get_mut(io.link) {
            read.mark(io.sent + count);
        }
    }

    fn reach(&self, io: &PeerIo, count: usize, mark: Mark) {
        self.mark(io, count as u64);
        let at = io.sent + count as u64;
        if let Mark::Used(tokens, is_certain) = mark {
            self.note(|sent| {
                sent.used.push(Used {
                    at,
                    tokens,
                    is_certain,
                });
            });
            return;
        }
        self.note(|sent| {
            let place = match mark {
                Mark::Finish => &mut sent.finish_at,
                Mark::Over => &mut sent.over_at,
                Mark::Pings => &mut sent.pings_at,
                Mark::Said => &mut sent.said_at,
                Mark::Whole => &mut sent.whole_at,
                Mark::Used(..) => return,
            };
            place.get_or_insert(at);
        });
    }

    /// With what it is asked.
    fn asked(&mut self, io: &PeerIo, request: &Request) -> Attempt {
        let delivered = self.shared.delivered.borrow();
        let read = delivered.get(io.link);
        Attempt {
            provider: self.provider,
            dialect: self.dialect,
            key: request.key.as_deref().map(|key| Key::new(key).fingerprint),
            shard: read.map_or(0, |read| read.shard),
            at: read.map_or(io.now, |read| read.asked_at),
            is_reused: core::mem::replace(&mut self.is_used, true),
        }
    }

    /// Was the connection kept no longer than it may?
    fn check_idle(&self, io: &PeerIo) {
        // What delays the end of an answer, or of the connection, on its way.
        const LATE: [Fault; 5] = [
            Fault::Bandwidth,
            Fault::BlackHole,
            Fault::SlowReader,
            Fault::SlowUpstream,
            Fault::SmallWindow,
        ];
        let delivered = self.shared.delivered.borrow();
        let read = delivered.get(io.link).cloned().unwrap_or_default();
        let Some(answered_at) = self.answered_at.filter(|_| read.bytes == io.sent) else {
            return;
        };
        let idle = io.now - answered_at.max(read.at);
        let idle_max = self.shared.limits.timers.upstream_idle + IDLE_SLACK;
        if idle > idle_max && !self.shared.faults.borrow().has(&LATE) {
            let message = format!("link {} was kept idle for {idle:?}", io.link);
            self.shared.fail("pool", message);
        }
    }

    /// Is it what the client asked for, and may it be asked (again)?
    fn check(&self, request: &Request) -> Result<(), String> {
        let journal = self.shared.journal.borrow();
        let marker = &request.marker;
        let is_same = journal
            .asked_about(marker)
            .any(|asked| asked.content == request.content && asked.is_stream == request.stream);
        if !is_same {
            return Err(format!("{marker}: not what the client asked for"));
        }
        self.is_own_key(request.key.as_deref())?;
        if self.shared.setup.is_resilient || is_shared(marker) {
            // How often it may be asked is looked at when all is known.
            return Ok(());
        }
        let delivered = self.shared.delivered.borrow();
        let attempts = journal.sent.get(marker).map_or(&[][..], Vec::as_slice);
        let was_answered = attempts.iter().any(|sent| {
            delivered
                .get(sent.link)
                .is_some_and(|read| read.bytes > sent.begin_at)
        });
        if attempts.len() > 1 || was_answered {
            return Err(format!("{marker}: asked again after {attempts:?}"));
        }
        Ok(())
    }

    /// Is it one of this provider's keys, where it has any?
    fn is_own_key(&self, key: Option<&str>) -> Result<(), String> {
        let provider = &self.shared.snapshot.providers[self.provider];
        let is_own = match (&provider.credentials, key) {
            (Credentials::Keys(keys), Some(key)) => {
                let fingerprint = Key::new(key).fingerprint;
                keys.iter().any(|own| own.fingerprint == fingerprint)
            }
            (Credentials::Keys(_), None) => false,
            (Credentials::Client | Credentials::None, key) => key.is_none(),
        };
        if is_own {
            return Ok(());
        }
        Err(format!("{} was sent the key {key:?}", provider.name))
    }

    /// Waits for the next step, if there is one.
    fn go_on(&mut self, io: &mut PeerIo) {
        if let Some(step) = self.steps.front() {
            io.wake(step.after, self.turn);
        }
    }

    fn note(&self, change: impl FnOnce(&mut Sent)) {
        let Some(serving) = &self.serving else { return };
        let mut journal = self.shared.journal.borrow_mut();
        if let Some(sent) = journal
            .sent
            .get_mut(&serving.marker)
            .and_then(|attempts| attempts.get_mut(serving.attempt))
        {
            change(sent);
        }
    }
}

impl Peer for ServerPeer {
    fn connected(&mut self, io: &mut PeerIo) {
        let count = 256 + self.rng.below(1024) as usize;
        let pause = Duration::from_millis(1 + self.rng.below(100));
        if self.strikes(Fault::SlowUpstream) {
            io.read_slowly(Some((count, pause)));
        }
    }

    fn received(&mut self, io: &mut PeerIo, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.serve(io);
    }

    fn ended(&mut self, io: &mut PeerIo, end: End) {
        self.check_idle(io);
        self.is_over = true;
        io.tag(None);
        if end == End::Fin {
            io.close();
        }
    }

    fn woke(&mut self, io: &mut PeerIo, token: u64) {
        if token != self.turn || self.is_over {
            return;
        }
        let Some(step) = self.steps.pop_front() else {
            return;
        };
        for &(count, mark) in &step.marks {
            self.reach(io, count, mark);
        }
        io.send(step.bytes);
        let read = self
            .shared
            .delivered
            .borrow()
            .get(io.link)
            .map(|it| it.bytes);
        let then = match step.then {
            Then::ResetIdle if read == Some(io.sent) => Then::Reset,
            Then::ResetIdle => Then::Close,
            then => then,
        };
        match then {
            Then::Continue => {}
            Then::Close | Then::ResetIdle => {
                self.is_over = true;
                io.close();
            }
            Then::HalfClose => {
                self.is_over = true;
                io.finish();
            }
            Then::Reset => {
                self.is_over = true;
                io.reset();
            }
            Then::Done => {
                self.serving = None;
                self.answered_at = Some(io.now);
                io.tag(None);
                self.serve(io);
            }
        }
        if token == self.turn {
            self.go_on(io);
        }
    }
}
