//! What an upstream does with a request: the steps of its answer, with whatever faults the seed has
//! for it.

use core::time::Duration;
use std::collections::VecDeque;

use tollgate_core::base::{Instant, Rng};
use tollgate_core::dialect::Dialect;

use super::answer::{Answer, Event, error, error_event, ping, refusal};
use super::journal::{Cut, Says, Shared, Wait};
use super::outage::{self, How};
use super::read::Request;
use crate::faults::Fault;

/// Something to do, after a pause.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) after: Duration,
    pub(super) bytes: Vec<u8>,
    /// Places in `bytes`, and what is reached there.
    pub(super) marks: Vec<(usize, Mark)>,
    pub(super) then: Then,
}

/// What is reached at a place of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mark {
    /// Whoever has read as far may take the answer for complete.
    Finish,
    /// It is over, whatever it was.
    Over,
    /// From here on nothing comes but signs of life.
    Pings,
    /// What it says ([`Says`]) is said.
    Said,
    /// All that it should hold has come, unspoilt.
    Whole,
    /// Tokens of prompt and answer are told; with `true` so that it is understood.
    Used([u64; 2], bool),
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Then {
    #[default]
    Continue,
    Close,
    /// FIN is sent, and what comes is still read.
    HalfClose,
    Reset,
    /// The same, if all that was sent has been read: else FIN, for a reset would destroy it.
    ResetIdle,
    /// The answer is over and the connection stays.
    Done,
}

/// What is done with one request.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: VecDeque<Step>,
    pub(super) says: Says,
    /// It holds events that cannot be read.
    pub(super) is_broken: bool,
    /// It falls silent at the border of an event.
    is_silent: bool,
    /// Its framing tells its end.
    is_framed: bool,
}

/// Plans one answer.
pub(super) struct Planner<'a> {
    pub(super) shared: &'a Shared,
    pub(super) rng: &'a mut Rng,
    pub(super) provider: usize,
    pub(super) dialect: Dialect,
    pub(super) now: Instant,
    pub(super) plan: Plan,
}

impl Planner<'_> {
    pub(super) fn plan(mut self, request: &Request, answer: &Answer) -> Plan {
        let pause = Duration::from_millis(self.rng.below(50));
        let outage = self.shared.outage(self.provider, self.now);
        let mut is_read = true;
        if self.strikes(Fault::Interim) {
            let count = [1, 2, 20][self.below(3)];
            is_read = count < 20;
            for _ in 0..count {
                self.push(
                    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec(),
                    None,
                );
            }
        }
        if let Some(how) = outage {
            self.fail_as(how);
        } else if self.strikes(Fault::ClientsFault) {
            self.refuse();
        } else if self.strikes(Fault::ErrorStatus) {
            if self.shared.setup.is_resilient && self.rng.chance(2, 3) {
                self.limit();
            } else {
                self.error();
            }
        } else if self.strikes(Fault::Html) {
            let status = ["200 OK", "502 Bad Gateway", "404 Not Found"][self.below(3)];
            self.whole(status, "text/html", b"<html>no</html>", None);
        } else if self.strikes(Fault::ErrorBody) {
            let body = error(self.dialect).to_string().into_bytes();
            self.whole("200 OK", "application/json", &body, None);
        } else if request.stream != self.strikes(Fault::WrongShape) {
            self.stream(request, answer);
        } else {
            let body = answer.whole(self.dialect);
            self.whole("200 OK", "application/json", &body, Some(Mark::Finish));
            self.mark_end(Mark::Whole);
            self.mark_end(Mark::Used(answer.tokens(), false));
        }
        if let Some(first) = self.plan.steps.front_mut() {
            first.after = pause;
        }
        if !is_read {
            // Nobody reads what comes behind so many.
            self.plan.says = Says::Nothing;
            for step in &mut self.plan.steps {
                let is_read = |mark| !matches!(mark, Mark::Whole | Mark::Used(..));
                step.marks.retain(|&(_, mark)| is_read(mark));
            }
        }
        let is_dead = matches!(outage, Some(How::Reset | How::Refused | How::Silent));
        if !is_dead && !self.spoil() {
            self.end();
        }
        self.plan
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        self.shared.strikes(fault, self.provider, self.rng)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn push(&mut self, bytes: Vec<u8>, end: Option<Mark>) {
        let marks = end.map(|mark| (bytes.len(), mark)).into_iter().collect();
        self.plan.steps.push_back(Step {
            bytes,
            marks,
            ..Step::default()
        });
    }

    fn push_end(&mut self, after: Duration, then: Then) {
        self.plan.steps.push_back(Step {
            after,
            then,
            ..Step::default()
        });
    }

    fn mark_end(&mut self, mark: Mark) {
        if let Some(step) = self.plan.steps.back_mut() {
            step.marks.push((step.bytes.len(), mark));
        }
    }

    /// A whole answer; `end` is what is reached at its end.
    fn whole(&mut self, status: &str, content_type: &str, body: &[u8], end: Option<Mark>) {
        let length = body.len();
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.push(bytes, end);
        self.mark_end(Mark::Over);
        self.plan.is_framed = true;
    }

    /// What a provider says while it fails for all.
    fn fail_as(&mut self, how: How) {
        match how {
            How::Status(status) => {
                let body = error(self.dialect).to_string().into_bytes();
                self.whole(status, "application/json", &body, Some(Mark::Said));
                self.plan.says = Says::Fault;
            }
            How::Reset | How::Refused => self.push_end(Duration::ZERO, Then::Reset),
            How::Silent => self.push_end(Duration::ZERO, Then::Continue),
            How::Exhausted(seconds) => {
                let status = format!("429 Too Many Requests\r\nretry-after: {seconds}");
                let body = br#"{"type":"error","error":{"type":"rate_limit_error","message":"!"}}"#;
                self.whole(&status, "application/json", body, Some(Mark::Said));
                self.plan.says = Says::Limit {
                    status: 429,
                    wait: Wait::For(Duration::from_secs(seconds)),
                };
            }
        }
    }

    /// The client's own fault, whoever is asked.
    fn refuse(&mut self) {
        let kind = self.below(3);
        let body = refusal(self.dialect, kind).to_string().into_bytes();
        self.whole(
            "400 Bad Request",
            "application/json",
            &body,
            Some(Mark::Said),
        );
        // What does not fit here may fit elsewhere.
        self.plan.says = match kind {
            0 => Says::TooLong,
            _ => Says::Refusal,
        };
    }

    fn error(&mut self) {
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
        match status[..3].parse() {
            // How the gateway reads it depends on a body that says something else.
            Ok(status @ (401 | 429)) => {
                let wait = Wait::For(Duration::ZERO);
                self.plan.says = Says::Limit { status, wait };
            }
            Ok(500 | 503 | 529) => self.plan.says = Says::Fault,
            _ => {}
        }
        let waits = [
            "",
            "\r\nretry-after: 2",
            "\r\nretry-after: soon",
            "\r\nretry-after-ms: 10",
        ];
        let status = format!("{status}{}", waits[self.below(waits.len())]);
        let said = Some(Mark::Said);
        match self.below(4) {
            0 => self.whole(&status, "text/html", b"<html>busy</html>", said),
            1 => self.whole(&status, "application/json", b"{\"detail\":", said),
            _ => {
                let body = error(self.dialect).to_string().into_bytes();
                self.whole(&status, "application/json", &body, said);
            }
        }
    }

    /// A status that says something of the key.
    fn limit(&mut self) {
        let refused = Duration::from_secs(10);
        let second = Duration::from_secs(1);
        let date = outage::date(self.now + 5 * second);
        let by_date = format!("429 Too Many Requests\r\nretry-after: {}", date.text);
        let has_jumps = self.shared.faults.borrow().has(&[Fault::WallJump]);
        let until_date = match date.at {
            Some(at) if !has_jumps => Wait::Until(at),
            _ => Wait::For(Duration::ZERO),
        };
        let (status, wait) = [
            ("429 Too Many Requests", Wait::Untold(second)),
            (
                "429 Too Many Requests\r\nretry-after: 2",
                Wait::For(2 * second),
            ),
            (
                "429 Too Many Requests\r\nretry-after: 30",
                Wait::For(30 * second),
            ),
            (
                "429 Too Many Requests\r\nretry-after-ms: 700",
                Wait::For(second * 7 / 10),
            ),
            (&by_date, until_date),
            ("401 Unauthorized", Wait::Untold(refused)),
            ("402 Payment Required", Wait::Untold(refused)),
            ("403 Forbidden\r\nretry-after: 1", Wait::Untold(refused)),
        ][self.below(8)];
        let body: &[u8] = match self.below(4) {
            0 => b"<html>no</html>",
            1 => b"",
            _ => br#"{"type":"error","error":{"type":"some_error","message":"not this key"}}"#,
        };
        self.whole(status, "application/json", body, Some(Mark::Said));
        let status = status[..3].parse().unwrap_or_default();
        self.plan.says = Says::Limit { status, wait };
    }

    fn stream(&mut self, request: &Request, answer: &Answer) {
        let (events, ends_early, mut is_spoilt) = self.spoilt_events(request, answer);
        let is_chunked = self.rng.chance(7, 8);
        let framing = if is_chunked {
            "transfer-encoding: chunked"
        } else {
            "connection: close"
        };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n\r\n");
        self.push(head.into_bytes(), None);
        let mut pauses_left = 8;
        let mut is_clear = true;
        let pings_at = self.pings_at(events.len());
        let mut rest = events
            .into_iter()
            .take(pings_at.unwrap_or(usize::MAX))
            .peekable();
        while rest.peek().is_some() {
            let count = 1 + self.below(4);
            let mut step = one_chunk(rest.by_ref().take(count), is_chunked, &mut is_clear);
            step.after = Duration::from_micros(self.rng.below(40_000));
            if self.strikes(Fault::SlowTokens) && pauses_left > 0 {
                pauses_left -= 1;
                step.after = Duration::from_millis(self.rng.below(100_000));
            }
            if self.strikes(Fault::BrokenChunk) && is_chunked {
                step.bytes.extend_from_slice(b"xyz\r\n");
                is_spoilt = true;
                is_clear = false;
            }
            self.plan.steps.push_back(step);
        }
        if pings_at.is_some() {
            self.pings(is_chunked);
            return;
        }
        if self.plan.is_silent {
            return;
        }
        // Chat tells what was used only where it was asked to.
        let is_told = request.with_usage || self.dialect == Dialect::Anthropic;
        let ends_well = !ends_early && !is_spoilt && is_told;
        if !is_chunked || ends_early {
            self.push_end(Duration::ZERO, Then::Close);
        } else {
            self.push(b"0\r\n\r\n".to_vec(), ends_well.then_some(Mark::Whole));
            self.plan.is_framed = true;
        }
    }

    /// After how many events nothing but signs of life comes, if so.
    fn pings_at(&mut self, events: usize) -> Option<usize> {
        let at = self.below(events + 1);
        self.strikes(Fault::OnlyPings).then_some(at)
    }

    /// Signs of life for longer than anybody may wait.
    fn pings(&mut self, is_chunked: bool) {
        self.mark_end(Mark::Pings);
        let pause = Duration::from_millis(1000 + self.rng.below(19_000));
        let count = 900 * 1000 / pause.as_millis() as usize;
        for number in 0..count {
            let bytes = ping(self.dialect, number);
            let event = Event {
                bytes,
                ..Event::default()
            };
            let mut step = one_chunk([event].into_iter(), is_chunked, &mut true);
            step.after = pause;
            self.plan.steps.push_back(step);
        }
    }

    /// The events of a stream, whether its body ends behind them without its end being told, and
    /// whether they are not as they should be.
    fn spoilt_events(&mut self, request: &Request, answer: &Answer) -> (Vec<Event>, bool, bool) {
        let mut events = answer.events(self.dialect, request.with_usage);
        let whole = events.len();
        let mut ends_early = false;
        let mut is_spoilt = false;
        if self.strikes(Fault::MissingEnd) {
            events.pop();
        }
        if self.strikes(Fault::ErrorEvent) {
            let at = self.below(events.len());
            events.truncate(at);
            events.push(Event {
                bytes: error_event(self.dialect),
                ..Event::default()
            });
            is_spoilt = true;
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
                        is_broken: true,
                        ..Event::default()
                    },
                );
            }
            self.plan.is_broken = true;
            is_spoilt = true;
        }
        let at = self.below(events.len());
        if let Some(at) = self.shared.cut.map_or_else(
            || self.strikes(Fault::TruncatedAtEvent).then_some(at),
            |cut| cut.event(),
        ) {
            events.truncate(at);
            ends_early = self.rng.chance(1, 2);
        }
        let at = self.below(events.len() + 1);
        let is_silent = match self.shared.cut {
            None => self.strikes(Fault::SilenceAtEvent),
            Some(cut) => matches!(cut, Cut::Silence(_)),
        };
        if is_silent {
            let at = self.shared.cut.and_then(Cut::event).unwrap_or(at);
            events.truncate(at);
            self.plan.is_silent = true;
        }
        is_spoilt |= events.len() != whole;
        (events, ends_early, is_spoilt)
    }

    /// Silence or truncation, at any byte. After it nothing more is done.
    fn spoil(&mut self) -> bool {
        let is_silent = self.strikes(Fault::Silence);
        let is_cut = self.strikes(Fault::TruncatedAnywhere);
        let is_half = self.strikes(Fault::HalfClose);
        if self.plan.is_silent {
            return true;
        }
        if let Some(cut) = self.shared.cut {
            if let Some(at) = cut.byte() {
                self.cut_at(at);
            }
            self.push_end(Duration::ZERO, Then::Close);
            return true;
        }
        if !is_silent && !is_cut {
            return false;
        }
        let all: usize = self.plan.steps.iter().map(|step| step.bytes.len()).sum();
        let at = self.below(all + 1);
        if at == all && is_silent && self.plan.is_framed {
            // Silence after all was said is none.
            return false;
        }
        self.cut_at(at);
        let then = [Then::Continue, Then::Close, Then::Reset][self.below(3)];
        let then = match then {
            _ if is_silent => Then::Continue,
            Then::Close if is_half => Then::HalfClose,
            then => then,
        };
        let after = Duration::from_millis(self.rng.below(2000));
        self.push_end(after, then);
        true
    }

    /// Nothing is sent behind the first so many bytes.
    fn cut_at(&mut self, at: usize) {
        let mut left = at;
        let mut steps = VecDeque::new();
        for mut step in core::mem::take(&mut self.plan.steps) {
            let is_last = step.bytes.len() > left;
            if is_last {
                step.bytes.truncate(left);
                step.marks.retain(|&(at, _)| at <= left);
                step.then = Then::Continue;
            }
            left = left.saturating_sub(step.bytes.len());
            steps.push_back(step);
            if is_last {
                break;
            }
        }
        self.plan.steps = steps;
    }

    /// What becomes of the connection afterwards.
    fn end(&mut self) {
        if self.strikes(Fault::AnswerJunk) {
            // Not a response: one in HTTP/1.1 cannot be told from the answer to the next request.
            self.push(b"stray bytes\r\n\r\n".to_vec(), None);
        }
        let is_closed = self.strikes(Fault::CloseAfter);
        let is_half = self.strikes(Fault::HalfClose);
        let idle = Duration::from_millis(self.rng.below(20_000));
        let closes_idle = self.strikes(Fault::CloseIdle);
        let then = if is_closed { Then::Close } else { Then::Done };
        let then = if is_half { Then::HalfClose } else { then };
        self.push_end(Duration::ZERO, then);
        if closes_idle && then == Then::Done {
            let then = if self.rng.chance(1, 2) {
                Then::Close
            } else {
                Then::ResetIdle
            };
            self.push_end(idle, then);
        }
    }
}

/// Some events together; `is_clear` says whether what they tell is understood, and from which on it
/// may be not.
fn one_chunk(events: impl Iterator<Item = Event>, is_chunked: bool, is_clear: &mut bool) -> Step {
    let mut data = Vec::new();
    let mut marks = Vec::new();
    let mut has_finish = false;
    for event in events {
        data.extend_from_slice(&event.bytes);
        *is_clear &= !event.is_broken;
        // Its data is there before the blank line behind it is.
        let known = data.len().saturating_sub(2);
        if event.is_finish && !core::mem::replace(&mut has_finish, true) {
            marks.push((known, Mark::Finish));
        }
        if let Some(tokens) = event.tokens {
            marks.push((known, Mark::Used(tokens, false)));
            marks.push((data.len(), Mark::Used(tokens, *is_clear)));
        }
    }
    if !is_chunked {
        return Step {
            marks,
            bytes: data,
            ..Step::default()
        };
    }
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    for (at, _) in &mut marks {
        *at += bytes.len();
    }
    bytes.extend_from_slice(&data);
    bytes.extend_from_slice(b"\r\n");
    Step {
        bytes,
        marks,
        ..Step::default()
    }
}
