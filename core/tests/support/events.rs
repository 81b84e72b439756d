//! Event streams read the plain way, and random cuts.

use std::ops::Range;

/// One event: a block of lines with data in it, the blank line behind it included.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
    /// Where it lies in the text.
    pub(crate) range: Range<usize>,
}

/// The events of a stream. The last needs no blank line. Lines end with LF or CRLF.
pub(crate) fn read(text: &str) -> Vec<Event> {
    let mut all = Vec::new();
    let (mut name, mut data) = (String::new(), Vec::new());
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        let plain = line.trim_end_matches(['\r', '\n']);
        if let Some(rest) = plain.strip_prefix("data:") {
            data.push(rest.strip_prefix(' ').unwrap_or(rest).to_owned());
        } else if let Some(rest) = plain.strip_prefix("event:") {
            name = rest.trim_start().to_owned();
        }
        let is_last = at == text.len();
        if plain.is_empty() || is_last {
            if !data.is_empty() {
                all.push(Event {
                    name: core::mem::take(&mut name),
                    data: core::mem::take(&mut data).join("\n"),
                    range: start..at,
                });
            }
            start = at;
        }
    }
    all
}

/// Numbers for cuts: xorshift, so that a seed means the same cuts forever.
pub(crate) struct Cutter(u64);

impl Cutter {
    pub(crate) fn new(seed: u64) -> Cutter {
        Cutter(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Up to this length a stream is cut at every single place.
const SHORT_BYTES_MAX: usize = 4096;

/// How a stream's bytes come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cuts {
    Whole,
    /// In two pieces, the first of them of this length.
    At(usize),
    /// One byte at a time.
    Bytes,
    /// At places that the seed chooses.
    Seeded(u64),
}

impl Cuts {
    /// The pieces of `bytes`.
    pub(crate) fn apply(self, bytes: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Cuts::Whole => vec![bytes.to_vec()],
            Cuts::At(at) => vec![bytes[..at].to_vec(), bytes[at..].to_vec()],
            Cuts::Bytes => bytes.iter().map(|&byte| vec![byte]).collect(),
            Cuts::Seeded(seed) => {
                let mut cutter = Cutter::new(seed);
                let longest = [3, 40, 500, 4000][cutter.below(4)];
                let (mut pieces, mut rest) = (Vec::new(), bytes);
                while !rest.is_empty() {
                    let len = (1 + cutter.below(longest)).min(rest.len());
                    pieces.push(rest[..len].to_vec());
                    rest = &rest[len..];
                }
                pieces
            }
        }
    }

    /// Every cutting that a stream of `bytes_len` bytes, framing included, is tried under: whole,
    /// byte by byte, at every single place while it is short, else at 64 sets of places.
    pub(crate) fn all(bytes_len: usize) -> Vec<Cuts> {
        let mut all = vec![Cuts::Whole, Cuts::Bytes];
        match bytes_len <= SHORT_BYTES_MAX {
            true => all.extend((1..bytes_len).map(Cuts::At)),
            false => all.extend((0..64).map(Cuts::Seeded)),
        }
        all.extend((64..72).map(Cuts::Seeded));
        all
    }

    /// The length of the chunks in which an upstream sends.
    pub(crate) fn chunk_len(self) -> usize {
        match self {
            Cuts::Whole | Cuts::At(_) | Cuts::Bytes => usize::MAX,
            Cuts::Seeded(seed) => 1 + Cutter::new(!seed).below(700),
        }
    }
}
