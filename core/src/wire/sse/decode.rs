//! The decoder: lines, fields and blocks after §9.2.6 "Interpreting an event stream".
//!
//! ```text
//!           input ──────────────────────────────────────────────────────▶
//!           │ frames returned │ blocks without data │ lines of the event │ part of a line │
//!           0                 raw_start             block_start          line_start       scanned
//! ```
//! `rebase` takes away all before `block_start`.
//!
//! A line that ends with CR may yet turn out to end with CRLF, so it waits for one byte more. That
//! would hold each event of a stream with bare CRs back until the next one; there the blank line's
//! CR ends the event at once, and an LF behind it would be one more blank line, which means
//! nothing. Which rule applies depends on the line before alone, never on how the stream is cut.

use core::fmt;
use core::ops::Range;

use super::frame::{Data, Frame};
use crate::base::limits::SseLimits;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Why a stream cannot be decoded further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SseError {
    /// An event is longer than `SseLimits::event_bytes_max`, which is given.
    EventTooLong(usize),
}

impl fmt::Display for SseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SseError::EventTooLong(max) => write!(f, "an event is longer than {max} bytes"),
        }
    }
}

impl core::error::Error for SseError {}

/// Decodes one event stream. Errors latch.
#[derive(Debug)]
pub struct Decoder {
    event_bytes_max: usize,
    strict: bool,
    failed: Option<SseError>,
    /// Whether the place of a byte order mark is passed.
    started: bool,
    ended: bool,
    // All places count from the front of the input; see the drawing above.
    raw_start: usize,
    block_start: usize,
    line_start: usize,
    scanned: usize,
    /// Whether the line before ended with a CR that no LF followed.
    bare_cr: bool,
    name: Range<usize>,
    data: Lines,
    last_event_id: Vec<u8>,
    retry_ms: Option<u64>,
    comments: u64,
}

/// The `data:` lines of an event so far.
#[derive(Debug, Default)]
enum Lines {
    #[default]
    None,
    One(Range<usize>),
    Joined(Vec<u8>),
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: &SseLimits) -> Decoder {
        Decoder {
            event_bytes_max: limits.event_bytes_max,
            strict: false,
            failed: None,
            started: false,
            ended: false,
            raw_start: 0,
            block_start: 0,
            line_start: 0,
            scanned: 0,
            bare_cr: false,
            name: 0..0,
            data: Lines::None,
            last_event_id: Vec::new(),
            retry_ms: None,
            comments: 0,
        }
    }

    /// Drops an event that lacks its blank line at the end of the stream, as the standard has it.
    #[must_use]
    pub fn strict(self) -> Decoder {
        Decoder {
            strict: true,
            ..self
        }
    }

    /// The next event in `input`, or `None` where the rest holds no whole one. `input` begins with
    /// the first byte not yet taken away by [`rebase`](Decoder::rebase); between two calls it may
    /// only grow.
    ///
    /// # Errors
    /// Where an event exceeds the limit.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Option<Frame<'a>>, SseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if !self.started && !self.start(input) {
            return Ok(None);
        }
        while let Some((line, after)) = self.line(input) {
            if after - self.block_start > self.event_bytes_max {
                return Err(self.fail());
            }
            self.line_start = after;
            self.scanned = after;
            if !line.is_empty() {
                self.field(input, line);
                continue;
            }
            if let Some(frame) = self.dispatch(input, false) {
                return Ok(Some(frame));
            }
        }
        if input.len().saturating_sub(self.block_start) > self.event_bytes_max {
            return Err(self.fail());
        }
        Ok(None)
    }

    /// The stream has ended: the next event of what is left, also one that its blank line is
    /// missing of. To be called until it returns `None`.
    ///
    /// # Errors
    /// As [`next`](Decoder::next).
    pub fn finish<'a>(&mut self, input: &'a [u8]) -> Result<Option<Frame<'a>>, SseError> {
        self.ended = true;
        if let Some(frame) = self.next(input)? {
            return Ok(Some(frame));
        }
        if self.strict {
            return Ok(None);
        }
        let rest = self.line_start..input.len();
        if !rest.is_empty() {
            self.line_start = rest.end;
            self.scanned = rest.end;
            self.field(input, rest);
        }
        Ok(self.dispatch(input, true))
    }

    /// Bytes at the front of the input that nothing will be read from any more: frames returned,
    /// and behind the last of them comments and blocks without data.
    pub const fn consumed(&self) -> usize {
        self.block_start
    }

    /// Counts all places anew from [`consumed`](Decoder::consumed), which it returns: that many
    /// bytes the caller removes from the front of its buffer now. Those behind the last frame
    /// returned will be in no frame's `raw`; a relay passes them on here, so that comments arrive
    /// when they come.
    pub const fn rebase(&mut self) -> usize {
        let taken = self.block_start;
        self.raw_start = 0;
        self.block_start = 0;
        self.line_start -= taken;
        self.scanned -= taken;
        // An empty name may lie anywhere, also before what is taken.
        self.name.start = self.name.start.saturating_sub(taken);
        self.name.end = self.name.end.saturating_sub(taken);
        if let Lines::One(line) = &mut self.data {
            line.start -= taken;
            line.end -= taken;
        }
        taken
    }

    /// The last value of an `id:` line up to the frame returned last; it holds for later frames
    /// too.
    pub fn last_event_id(&self) -> &[u8] {
        &self.last_event_id
    }

    /// The last value of a `retry:` line, in milliseconds.
    pub const fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Comment lines so far: a sign of life from a stream that has no event to give.
    pub const fn comments(&self) -> u64 {
        self.comments
    }

    /// Passes over a byte order mark, once enough is there to tell.
    fn start(&mut self, input: &[u8]) -> bool {
        if input.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(input) && !self.ended
        {
            return false;
        }
        self.started = true;
        if input.starts_with(BYTE_ORDER_MARK) {
            self.block_start = BYTE_ORDER_MARK.len();
            self.line_start = BYTE_ORDER_MARK.len();
            self.scanned = BYTE_ORDER_MARK.len();
        }
        true
    }

    /// The next whole line, and where the one after it begins.
    #[inline]
    fn line(&mut self, input: &[u8]) -> Option<(Range<usize>, usize)> {
        let rest = input.get(self.scanned..)?;
        let end = match rest.first()? {
            b'\n' => self.scanned,
            _ => match memchr::memchr2(b'\n', b'\r', rest) {
                Some(at) => self.scanned + at,
                None => {
                    self.scanned = input.len();
                    return None;
                }
            },
        };
        let line = self.line_start..end;
        if input.get(end) == Some(&b'\n') {
            self.bare_cr = false;
            return Some((line, end + 1));
        }
        if line.is_empty() && self.bare_cr {
            return Some((line, end + 1));
        }
        match input.get(end + 1) {
            Some(b'\n') => {
                self.bare_cr = false;
                Some((line, end + 2))
            }
            None if !self.ended => {
                self.scanned = end;
                None
            }
            _ => {
                self.bare_cr = true;
                Some((line, end + 1))
            }
        }
    }

    /// Takes in one line that is not blank.
    #[inline]
    fn field(&mut self, input: &[u8], line: Range<usize>) {
        let text = input.get(line.clone()).unwrap_or_default();
        match text.first() {
            Some(b'd') => {
                if let Some(value) = value_of(text, b"data") {
                    self.add_data(input, line.end - value.len()..line.end);
                }
            }
            Some(b'e') => {
                if let Some(value) = value_of(text, b"event") {
                    self.name = line.end - value.len()..line.end;
                }
            }
            Some(b':') => {
                self.comments += 1;
                if self.block_start == line.start {
                    self.block_start = self.line_start;
                }
            }
            Some(b'i') => {
                if let Some(id) = value_of(text, b"id").filter(|id| !id.contains(&0)) {
                    self.last_event_id.clear();
                    self.last_event_id.extend_from_slice(id);
                }
            }
            Some(b'r') => {
                if let Some(digits) = value_of(text, b"retry") {
                    self.retry_ms = milliseconds(digits).or(self.retry_ms);
                }
            }
            _ => {}
        }
    }

    #[inline]
    fn add_data(&mut self, input: &[u8], line: Range<usize>) {
        let text = |range: Range<usize>| input.get(range).unwrap_or_default();
        self.data = match core::mem::take(&mut self.data) {
            Lines::None => Lines::One(line),
            Lines::One(first) => {
                let mut joined = text(first).to_vec();
                joined.push(b'\n');
                joined.extend_from_slice(text(line));
                Lines::Joined(joined)
            }
            Lines::Joined(mut joined) => {
                joined.push(b'\n');
                joined.extend_from_slice(text(line));
                Lines::Joined(joined)
            }
        };
    }

    /// Ends a block before `line_start`: an event, if it has data.
    #[inline]
    fn dispatch<'a>(&mut self, input: &'a [u8], unterminated: bool) -> Option<Frame<'a>> {
        let text = |range: Range<usize>| input.get(range).unwrap_or_default();
        let name = core::mem::replace(&mut self.name, 0..0);
        self.block_start = self.line_start;
        let data = match core::mem::take(&mut self.data) {
            Lines::None => return None,
            Lines::One(line) => Data::Line {
                start: line.start,
                bytes: text(line),
            },
            Lines::Joined(joined) => Data::Joined(joined),
        };
        let raw_start = core::mem::replace(&mut self.raw_start, self.line_start);
        Some(Frame {
            raw: text(raw_start..self.line_start),
            raw_start,
            name: text(name),
            data,
            unterminated,
        })
    }

    #[cold]
    fn fail(&mut self) -> SseError {
        let error = SseError::EventTooLong(self.event_bytes_max);
        self.failed = Some(error);
        error
    }
}

/// The value of a line whose field name is `name`: what follows the colon and one space.
#[inline]
fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest {
        [] => Some(rest),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// ASCII digits alone, as the standard has it.
fn milliseconds(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    };
    Some(digits.iter().fold(0, add))
}
