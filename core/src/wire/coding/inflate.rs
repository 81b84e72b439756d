//! gzip (RFC 1952) and deflate (RFC 1950, RFC 1951): the frames around `flate2`'s raw inflate.
//!
//! Its backend is `zlib-rs`: flushed event streams are made of small blocks, and so are attacks,
//! and `miniz_oxide` spends a hundred times as long on an empty block (2 µs a byte, measured).

use bytes::BytesMut;
use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Output asked for at once: little for the small pieces of event streams, more for more.
const CHUNK_BYTES_MIN: usize = 512;
const CHUNK_BYTES_MAX: usize = 16 * 1024;

/// Flags of a gzip member (RFC 1952 §2.3.1).
const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

/// What a stage says when its input breaks the standard.
pub(super) type Fault = &'static str;

/// One or more gzip members.
#[derive(Debug)]
pub(super) struct Gzip {
    inflate: Decompress,
    crc: Crc,
    part: Part,
    collected: Collected<10>,
    flags: u8,
    /// Whether a member has ended and nothing followed yet.
    whole: bool,
}

/// Where in a member the next byte lies (RFC 1952 §2.3).
#[derive(Clone, Copy, Debug)]
enum Part {
    Fixed,
    ExtraLength,
    Extra(usize),
    Name,
    Comment,
    HeaderCrc,
    Body,
    Trailer,
}

impl Gzip {
    pub(super) fn new() -> Gzip {
        Gzip {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            part: Part::Fixed,
            collected: Collected::new(),
            flags: 0,
            whole: false,
        }
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn step(
        &mut self,
        input: &mut &[u8],
        output: &mut BytesMut,
        room: usize,
    ) -> Result<(), Fault> {
        let end = output.len().saturating_add(room);
        loop {
            if !matches!(self.part, Part::Body) {
                if input.is_empty() || !self.frame(input)? {
                    return Ok(());
                }
                continue;
            }
            let start = output.len();
            let room = end.saturating_sub(start);
            let ended = inflate(&mut self.inflate, input, output, room)?;
            self.crc.update(output.get(start..).unwrap_or_default());
            if !ended {
                return Ok(());
            }
            self.part = Part::Trailer;
        }
    }

    /// Reads a part of a member's header or its trailer; `false` if more input is needed.
    fn frame(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        self.whole = false;
        match self.part {
            Part::Fixed => {
                let Some(fixed) = self.collected.take::<10>(input) else {
                    return Ok(false);
                };
                let [0x1f, 0x8b, method, flags, ..] = fixed else {
                    return Err("no gzip header");
                };
                if method != 8 || flags & FLAGS_RESERVED != 0 {
                    return Err("an unknown kind of gzip");
                }
                self.flags = flags;
                self.part = Part::ExtraLength;
            }
            Part::ExtraLength if self.flags & FLAG_EXTRA != 0 => {
                let Some(length) = self.collected.take::<2>(input) else {
                    return Ok(false);
                };
                self.part = Part::Extra(usize::from(u16::from_le_bytes(length)));
            }
            Part::ExtraLength => self.part = Part::Name,
            Part::Extra(length) => {
                let skipped = length.min(input.len());
                *input = input.get(skipped..).unwrap_or_default();
                self.part = Part::Extra(length - skipped);
                if skipped == length {
                    self.part = Part::Name;
                }
            }
            Part::Name if self.flags & FLAG_NAME == 0 || skip_text(input) => {
                self.part = Part::Comment;
            }
            Part::Comment if self.flags & FLAG_COMMENT == 0 || skip_text(input) => {
                self.part = Part::HeaderCrc;
            }
            // The text goes on in the next piece.
            Part::Name | Part::Comment => return Ok(false),
            Part::HeaderCrc => {
                // Not compared: the body has a checksum of its own, and the rest is not used.
                if self.flags & FLAG_HEADER_CRC != 0 && self.collected.take::<2>(input).is_none() {
                    return Ok(false);
                }
                self.part = Part::Body;
            }
            Part::Body => {}
            Part::Trailer => return self.trailer(input),
        }
        Ok(true)
    }

    fn trailer(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        let Some([a, b, c, d, e, f, g, h]) = self.collected.take::<8>(input) else {
            return Ok(false);
        };
        if u32::from_le_bytes([a, b, c, d]) != self.crc.sum() {
            return Err("its checksum does not match");
        }
        if u32::from_le_bytes([e, f, g, h]) != self.crc.amount() {
            return Err("its length does not match");
        }
        self.inflate.reset(false);
        self.crc.reset();
        self.part = Part::Fixed;
        self.whole = true;
        Ok(true)
    }
}

/// One zlib stream, or the bare stream within.
#[derive(Debug)]
pub(super) struct Deflate {
    state: DeflateState,
}

#[derive(Debug)]
enum DeflateState {
    Start(Collected<2>),
    /// With the first two bytes, and how many of them inflate has taken.
    Body(Decompress, [u8; 2], usize),
    End,
}

impl Deflate {
    pub(super) const fn new() -> Deflate {
        Deflate {
            state: DeflateState::Start(Collected::new()),
        }
    }

    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.state, DeflateState::End)
    }

    pub(super) fn step(
        &mut self,
        input: &mut &[u8],
        output: &mut BytesMut,
        room: usize,
    ) -> Result<(), Fault> {
        let end = output.len().saturating_add(room);
        if let DeflateState::Start(collected) = &mut self.state {
            let Some(first) = collected.take::<2>(input) else {
                return Ok(());
            };
            self.state = DeflateState::Body(Decompress::new(is_zlib(first)), first, 0);
        }
        if let DeflateState::Body(state, first, taken) = &mut self.state {
            let mut head = first.get(*taken..).unwrap_or_default();
            let mut ended = false;
            if !head.is_empty() {
                ended = inflate(state, &mut head, output, room)?;
                *taken = first.len() - head.len();
            }
            if head.is_empty() && !ended {
                let room = end.saturating_sub(output.len());
                ended = inflate(state, input, output, room)?;
            }
            if !ended {
                return Ok(());
            }
            if !head.is_empty() {
                return Err("something follows its end");
            }
            self.state = DeflateState::End;
        }
        if input.is_empty() {
            Ok(())
        } else {
            Err("something follows its end")
        }
    }
}

/// Whether a stream begins as RFC 1950 §2.2 wants. A bare one cannot begin so: as RFC 1951 these
/// bits would be a stored block with padding that is not zero.
fn is_zlib([first, second]: [u8; 2]) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([first, second]) % 31 == 0
}

/// Inflates until the input is used up, `room` bytes were appended, or the stream ends (`true`).
fn inflate(
    state: &mut Decompress,
    input: &mut &[u8],
    output: &mut BytesMut,
    room: usize,
) -> Result<bool, Fault> {
    let end = output.len().saturating_add(room);
    loop {
        let start = output.len();
        let wanted = input.len().saturating_mul(4);
        let chunk = wanted
            .clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)
            .min(end - start);
        if chunk == 0 {
            return Ok(false);
        }
        output.resize(start + chunk, 0);
        let (taken_before, given_before) = (state.total_in(), state.total_out());
        let target = output.get_mut(start..).unwrap_or_default();
        let status = state.decompress(input, target, FlushDecompress::None);
        // Both are at most the lengths handed in, so they fit.
        let taken = (state.total_in() - taken_before) as usize;
        let given = (state.total_out() - given_before) as usize;
        output.truncate(start + given);
        *input = input.get(taken..).unwrap_or_default();
        match status {
            Err(_) => return Err("its compressed data is broken"),
            Ok(Status::StreamEnd) => return Ok(true),
            // A full chunk may have more behind it, without any further input.
            Ok(_) if given == chunk => {}
            Ok(_) if input.is_empty() || taken == 0 && given == 0 => return Ok(false),
            Ok(_) => {}
        }
    }
}

/// Skips a text that ends with NUL; `false` if it goes on.
fn skip_text(input: &mut &[u8]) -> bool {
    match memchr::memchr(0, input) {
        Some(nul) => {
            *input = input.get(nul + 1..).unwrap_or_default();
            true
        }
        None => {
            *input = &[];
            false
        }
    }
}

/// The first bytes of something that comes in pieces.
#[derive(Debug)]
struct Collected<const MAX: usize> {
    bytes: [u8; MAX],
    length: usize,
}

impl<const MAX: usize> Collected<MAX> {
    const fn new() -> Collected<MAX> {
        Collected {
            bytes: [0; MAX],
            length: 0,
        }
    }

    /// `N` bytes (at most `MAX`) from the front of what came, once they are there.
    fn take<const N: usize>(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        while self.length < N {
            let (&byte, rest) = input.split_first()?;
            *self.bytes.get_mut(self.length)? = byte;
            self.length += 1;
            *input = rest;
        }
        self.length = 0;
        self.bytes.first_chunk::<N>().copied()
    }
}
