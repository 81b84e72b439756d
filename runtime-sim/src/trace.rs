//! What happened in a run: a hash of all of it always, the lines themselves when asked for.

use core::fmt;

use tollgate_core::base::Instant;

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    is_kept: bool,
    lines: Vec<String>,
}

impl Trace {
    pub(crate) const fn new(is_kept: bool) -> Trace {
        Trace {
            hash: 0xCBF2_9CE4_8422_2325,
            is_kept,
            lines: Vec::new(),
        }
    }

    pub(crate) fn line(&mut self, at: Instant, what: fmt::Arguments<'_>) {
        self.note(at.as_nanos());
        if self.is_kept {
            self.lines.push(format!("{at} {what}"));
        }
    }

    /// Takes a number into the hash.
    pub(crate) const fn note(&mut self, number: u64) {
        // FNV-1a, eight bytes at a time.
        self.hash = (self.hash ^ number)
            .wrapping_mul(0x0100_0000_01B3)
            .rotate_left(23);
    }

    /// Takes bytes into the hash.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.note(u64::from(byte));
        }
        self.note(bytes.len() as u64);
    }

    /// Two runs did the same if theirs are equal.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, where they were kept.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
