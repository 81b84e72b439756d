//! [`ServerPeer`]: a scripted upstream. It reads requests with a parser of its own, and plays an
//! answer with whatever faults the seed has for it.

use core::time::Duration;
use std::collections::VecDeque;

use serde_json::Value;
use tollgate_core::base::{Instant, Rng, Seed};
use tollgate_core::config::{Credentials, Key};
use tollgate_core::dialect::Dialect;

use super::answer::{Answer, Event, error, error_event};
use super::journal::{Attempt, Limit, Sent, Shared};
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

/// Something to do, after a pause.
#[derive(Debug, Default)]
struct Step {
    after: Duration,
    bytes: Vec<u8>,
    /// Where in `bytes` the answer is complete.
    finish_at: Option<usize>,
    /// Where in `bytes` an error is told whole that takes the key out.
    limit_at: Option<usize>,
    then: Then,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Then {
    #[default]
    Continue,
    Close,
    Reset,
    /// The answer is over and the connection stays.
    Done,
}

/// A request as it came.
struct Request {
    marker: String,
    /// The key that it came with.
    key: Option<String>,
    content: String,
    stream: bool,
    with_usage: bool,
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
        self.shared
            .faults
            .borrow_mut()
            .strikes(fault, &mut self.rng)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
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
        let answer = Answer::draw(&request.marker, attempt, &mut self.rng);
        let asked = self.asked(io, request);
        self.shared
            .journal
            .borrow_mut()
            .sent
            .entry(request.marker.clone())
            .or_default()
            .push(Sent {
                link: io.link,
                told: answer.told(),
                begin_at: io.sent,
                finish_at: None,
                is_broken: false,
                asked,
                limit: None,
            });
        io.tag(Some(request.marker.clone()));
        self.serving = Some(Serving {
            marker: request.marker.clone(),
            attempt,
        });
        self.turn += 1;
        self.steps = self.plan(request, &answer);
        self.go_on(io);
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
        const LATE: [Fault; 4] = [
            Fault::Bandwidth,
            Fault::BlackHole,
            Fault::SlowReader,
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
        let asked = journal.asked.get(marker);
        let is_same = asked.is_some_and(|asked| {
            asked.content == request.content && asked.is_stream == request.stream
        });
        if !is_same {
            return Err(format!("{marker}: not what the client asked for"));
        }
        self.is_own_key(request.key.as_deref())?;
        if self.shared.setup.is_resilient {
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

    fn plan(&mut self, request: &Request, answer: &Answer) -> VecDeque<Step> {
        let mut steps = VecDeque::new();
        let pause = Duration::from_millis(self.rng.below(50));
        if self.strikes(Fault::Interim) {
            let count = [1, 2, 20][self.below(3)];
            for _ in 0..count {
                let bytes = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec();
                steps.push_back(Step {
                    bytes,
                    ..Step::default()
                });
            }
        }
        if self.strikes(Fault::ErrorStatus) {
            if self.shared.setup.is_resilient && self.rng.chance(2, 3) {
                self.plan_limit(&mut steps);
            } else {
                self.plan_error(&mut steps);
            }
        } else if self.strikes(Fault::Html) {
            let status = ["200 OK", "502 Bad Gateway", "404 Not Found"][self.below(3)];
            whole(&mut steps, status, "text/html", b"<html>no</html>", false);
        } else if request.stream != self.strikes(Fault::WrongShape) {
            self.plan_stream(&mut steps, request, answer);
        } else {
            let body = answer.whole(self.dialect);
            whole(&mut steps, "200 OK", "application/json", &body, true);
        }
        if let Some(first) = steps.front_mut() {
            first.after = pause;
        }
        if !self.spoil(&mut steps) {
            self.plan_end(&mut steps);
        }
        steps
    }

    fn plan_error(&mut self, steps: &mut VecDeque<Step>) {
        let statuses = [
            "400 Bad Request",
            "401 Unauthorized",
            "404 Not Found",
            "429 Too Many Requests",
            "500 Internal Server Error",
            "503 Service Unavailable",
            "529 Overloaded",
            "302 Found",
        ];
        let status = statuses[self.below(statuses.len())];
        if let Ok(status @ (401 | 429)) = status[..3].parse() {
            // How the gateway reads it depends on a body that says something else.
            self.note_limit(status, Duration::ZERO);
        }
        let waits = [
            "",
            "\r\nretry-after: 2",
            "\r\nretry-after: soon",
            "\r\nretry-after-ms: 10",
        ];
        let status = format!("{status}{}", waits[self.below(waits.len())]);
        match self.below(4) {
            0 => whole(steps, &status, "text/html", b"<html>busy</html>", false),
            1 => whole(steps, &status, "application/json", b"{\"detail\":", false),
            _ => {
                let body = error(self.dialect).to_string().into_bytes();
                whole(steps, &status, "application/json", &body, false);
            }
        }
    }

    /// A status that says something of the key.
    fn plan_limit(&mut self, steps: &mut VecDeque<Step>) {
        let refused = Duration::from_secs(600);
        let second = Duration::from_secs(1);
        let (status, wait) = [
            ("429 Too Many Requests", second),
            ("429 Too Many Requests\r\nretry-after: 2", 2 * second),
            ("429 Too Many Requests\r\nretry-after: 30", 30 * second),
            (
                "429 Too Many Requests\r\nretry-after-ms: 700",
                second * 7 / 10,
            ),
            ("401 Unauthorized", refused),
            ("402 Payment Required", refused),
            ("403 Forbidden\r\nretry-after: 1", refused),
        ][self.below(7)];
        let body: &[u8] = match self.below(4) {
            0 => b"<html>no</html>",
            1 => b"",
            _ => br#"{"type":"error","error":{"type":"some_error","message":"not this key"}}"#,
        };
        whole(steps, status, "application/json", body, false);
        if let Some(step) = steps.back_mut() {
            step.limit_at = Some(step.bytes.len());
        }
        self.note_limit(status[..3].parse().unwrap_or_default(), wait);
    }

    fn note_limit(&mut self, status: u16, wait: Duration) {
        self.note(|sent| {
            sent.limit = Some(Limit {
                status,
                wait,
                end_at: None,
            });
        });
    }

    fn plan_stream(&mut self, steps: &mut VecDeque<Step>, request: &Request, answer: &Answer) {
        let (events, ends_early) = self.spoilt_events(request, answer);
        let is_chunked = self.rng.chance(7, 8);
        let framing = if is_chunked {
            "transfer-encoding: chunked"
        } else {
            "connection: close"
        };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n\r\n");
        steps.push_back(Step {
            bytes: head.into_bytes(),
            ..Step::default()
        });
        let mut pauses_left = 8;
        let mut rest = events.into_iter().peekable();
        while rest.peek().is_some() {
            let count = 1 + self.below(4);
            let mut step = one_chunk(rest.by_ref().take(count), is_chunked);
            step.after = Duration::from_micros(self.rng.below(40_000));
            if self.strikes(Fault::SlowTokens) && pauses_left > 0 {
                pauses_left -= 1;
                step.after = Duration::from_millis(self.rng.below(100_000));
            }
            if self.strikes(Fault::BrokenChunk) && is_chunked {
                step.bytes.extend_from_slice(b"xyz\r\n");
            }
            steps.push_back(step);
        }
        if !is_chunked || ends_early {
            steps.push_back(Step {
                then: Then::Close,
                ..Step::default()
            });
        } else {
            steps.push_back(Step {
                bytes: b"0\r\n\r\n".to_vec(),
                ..Step::default()
            });
        }
    }

    /// The events of a stream, and whether its body ends behind them without its end being told.
    fn spoilt_events(&mut self, request: &Request, answer: &Answer) -> (Vec<Event>, bool) {
        let mut events = answer.events(self.dialect, request.with_usage);
        let mut ends_early = false;
        if self.strikes(Fault::MissingEnd) {
            events.pop();
        }
        if self.strikes(Fault::ErrorEvent) {
            let at = self.below(events.len());
            events.truncate(at);
            events.push(Event {
                bytes: error_event(self.dialect),
                is_finish: false,
            });
        }
        if self.strikes(Fault::BrokenEvent) {
            let count = 1 + self.below(6);
            let at = self.below(events.len());
            for _ in 0..count {
                let bytes = b"data: {\"broken\n\n".to_vec();
                events.insert(
                    at,
                    Event {
                        bytes,
                        is_finish: false,
                    },
                );
            }
            self.note(|sent| sent.is_broken = true);
        }
        if self.strikes(Fault::TruncatedAtEvent) {
            let at = self.below(events.len());
            events.truncate(at);
            ends_early = self.rng.chance(1, 2);
        }
        (events, ends_early)
    }

    /// Silence or truncation, at any byte. After it nothing more is done.
    fn spoil(&mut self, steps: &mut VecDeque<Step>) -> bool {
        let is_silent = self.strikes(Fault::Silence);
        let is_cut = self.strikes(Fault::TruncatedAnywhere);
        if !is_silent && !is_cut {
            return false;
        }
        let at = self.below(steps.len() + 1);
        steps.truncate(at);
        if let Some(last) = steps.back_mut() {
            let cut = self.rng.below(last.bytes.len() as u64 + 1) as usize;
            last.bytes.truncate(cut);
            if last.finish_at.is_some_and(|finish| finish > cut) {
                last.finish_at = None;
            }
            last.limit_at = last.limit_at.filter(|&end| end <= cut);
        }
        let then = [Then::Continue, Then::Close, Then::Reset][self.below(3)];
        let then = if is_silent { Then::Continue } else { then };
        let after = Duration::from_millis(self.rng.below(2000));
        steps.push_back(Step {
            after,
            then,
            ..Step::default()
        });
        true
    }

    /// What becomes of the connection afterwards.
    fn plan_end(&mut self, steps: &mut VecDeque<Step>) {
        if self.strikes(Fault::AnswerJunk) {
            // Not a response: one in HTTP/1.1 cannot be told from the answer to the next request.
            let bytes = b"stray bytes\r\n\r\n".to_vec();
            steps.push_back(Step {
                bytes,
                ..Step::default()
            });
        }
        let is_closed = self.strikes(Fault::CloseAfter);
        let idle = Duration::from_millis(self.rng.below(20_000));
        let closes_idle = self.strikes(Fault::CloseIdle);
        let then = if is_closed { Then::Close } else { Then::Done };
        steps.push_back(Step {
            then,
            ..Step::default()
        });
        if closes_idle && !is_closed {
            let then = if self.rng.chance(1, 2) {
                Then::Close
            } else {
                Then::Reset
            };
            steps.push_back(Step {
                after: idle,
                then,
                ..Step::default()
            });
        }
    }

    fn note(&mut self, change: impl FnOnce(&mut Sent)) {
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

/// A whole answer. `is_answer` tells that it is what was asked for, and not an error.
fn whole(
    steps: &mut VecDeque<Step>,
    status: &str,
    content_type: &str,
    body: &[u8],
    is_answer: bool,
) {
    let length = body.len();
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    let finish_at = is_answer.then_some(bytes.len());
    steps.push_back(Step {
        bytes,
        finish_at,
        ..Step::default()
    });
}

fn one_chunk(events: impl Iterator<Item = Event>, is_chunked: bool) -> Step {
    let mut data = Vec::new();
    let mut finish_at = None;
    for event in events {
        data.extend_from_slice(&event.bytes);
        if event.is_finish && finish_at.is_none() {
            // Its data is there before the blank line behind it is.
            finish_at = Some(data.len() - 2);
        }
    }
    if !is_chunked {
        return Step {
            bytes: data,
            finish_at,
            ..Step::default()
        };
    }
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    let finish_at = finish_at.map(|at| at + bytes.len());
    bytes.extend_from_slice(&data);
    bytes.extend_from_slice(b"\r\n");
    Step {
        bytes,
        finish_at,
        ..Step::default()
    }
}

impl Peer for ServerPeer {
    fn connected(&mut self, _io: &mut PeerIo) {}

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
        if let Some(at) = step.finish_at {
            let at = io.sent + at as u64;
            self.note(|sent| {
                sent.finish_at.get_or_insert(at);
            });
        }
        if let Some(at) = step.limit_at {
            let at = io.sent + at as u64;
            self.note(|sent| {
                if let Some(limit) = &mut sent.limit {
                    limit.end_at = Some(at);
                }
            });
            if let Some(read) = self.shared.delivered.borrow_mut().get_mut(io.link) {
                read.marks.push((at, None));
            }
        }
        io.send(step.bytes);
        match step.then {
            Then::Continue => {}
            Then::Close => {
                self.is_over = true;
                io.close();
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

/// Takes one request out of `input`, once it is whole. It must be one that a strict server takes.
fn take_request(input: &mut Vec<u8>, dialect: Dialect) -> Result<Option<Request>, String> {
    let Some(end) = input.windows(4).position(|at| at == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = core::str::from_utf8(&input[..end]).map_err(|_| "a head that is not text")?;
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default();
    let path = match dialect {
        Dialect::Anthropic => "/v1/messages",
        Dialect::OpenAiChat => "/v1/chat/completions",
    };
    if start != format!("POST {path} HTTP/1.1") {
        return Err(format!("the request line {start:?}"));
    }
    let mut length = None;
    let mut hosts = 0;
    let mut key = None;
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else {
            return Err(format!("the field line {line:?}"));
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" if length.is_none() => length = value.parse::<usize>().ok(),
            "content-length" | "transfer-encoding" => return Err(format!("framing: {head:?}")),
            "host" => hosts += 1,
            "authorization" | "x-api-key" if key.is_none() => {
                let value = value.strip_prefix("Bearer ").unwrap_or(value);
                key = Some(value.to_owned());
            }
            "authorization" | "x-api-key" => return Err(format!("two keys: {head:?}")),
            _ => {}
        }
    }
    let Some(length) = length.filter(|_| hosts == 1) else {
        return Err(format!("no length, or not one host: {head:?}"));
    };
    let begin = end + 4;
    if input.len() < begin + length {
        return Ok(None);
    }
    let body: Value = serde_json::from_slice(&input[begin..begin + length])
        .map_err(|error| format!("the body: {error}"))?;
    input.drain(..begin + length);
    let content = content_of(&body).ok_or_else(|| format!("no content in {body}"))?;
    let (marker, _) = content.split_once(' ').ok_or("no marker")?;
    let marker = marker.to_owned();
    let stream = body["stream"].as_bool().unwrap_or(false);
    let with_usage = body["stream_options"]["include_usage"]
        .as_bool()
        .unwrap_or(false);
    Ok(Some(Request {
        marker,
        key,
        content,
        stream,
        with_usage,
    }))
}

/// The last message, as text or as a part.
fn content_of(body: &Value) -> Option<String> {
    let content = &body["messages"].as_array()?.last()?["content"];
    let text = content.as_str().or_else(|| content[0]["text"].as_str())?;
    Some(text.to_owned())
}
