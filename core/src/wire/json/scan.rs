//! The scan itself: the grammar of RFC 8259 in one pass, without recursion and without a stack of
//! its own. The text is valid UTF-8 and shorter than 4 GiB; [`Tape`](super::Tape) has seen to it.

use super::error::{Fault, JsonErrorKind};
use super::tape::Node;
use super::value::Kind;
use crate::base::limits::JsonLimits;

/// No container is open.
const NONE: u32 = u32::MAX;
/// Bytes looked at together in long strings; the compiler turns the loop into vector instructions.
const BLOCK_BYTES: usize = 32;

pub(super) struct Scanner<'s> {
    text: &'s [u8],
    nodes: &'s mut Vec<Node>,
    /// The innermost open container.
    open: u32,
    in_object: bool,
    depth: usize,
    depth_max: usize,
    values_max: usize,
    /// Set where a method returns `None`. Small results stay in registers, a `Result` would not.
    fault: Fault,
}

impl<'s> Scanner<'s> {
    pub(super) fn new(
        text: &'s [u8],
        limits: &JsonLimits,
        nodes: &'s mut Vec<Node>,
    ) -> Scanner<'s> {
        Scanner {
            text,
            nodes,
            open: NONE,
            in_object: false,
            depth: 0,
            depth_max: limits.depth_max,
            values_max: limits.values_max.min(NONE as usize - 1),
            fault: (0, JsonErrorKind::Unfinished("a value")),
        }
    }

    pub(super) fn document(&mut self) -> Result<(), Fault> {
        let mut at = 0;
        let mut is_key = false;
        let end = loop {
            // Keys and strings share one scan, so that it is worth being inlined.
            let (place, byte) = self.token(at);
            let scanned = match byte {
                b'"' => self.string(place),
                _ if is_key => self.fault(place, "a key in quotes"),
                b'{' | b'[' => self.begin(place, byte),
                _ => self.scalar(place, byte),
            };
            let Some(behind) = scanned else { break None };
            at = behind;
            if is_key {
                let (place, byte) = self.token(at);
                if byte != b':' {
                    break self.fault(place, "':'");
                }
                at = place + 1;
                is_key = false;
                continue;
            }
            if byte == b'{' || byte == b'[' {
                let (place, next) = self.token(at);
                // The closing bracket of either kind is the opening one's code plus 2.
                if next != byte + 2 {
                    is_key = self.in_object;
                    continue;
                }
                at = self.close(place);
            }
            match self.behind_value(at) {
                None => break None,
                Some((place, false)) => break Some(place),
                Some((place, true)) => at = place,
            }
            is_key = self.in_object;
        };
        end.map(|_| ()).ok_or(self.fault)
    }

    /// Goes on behind a value: past closing brackets and up to one comma. False at the end of the
    /// document.
    #[inline(always)]
    fn behind_value(&mut self, mut at: usize) -> Option<(usize, bool)> {
        loop {
            let (place, byte) = self.token(at);
            if self.open == NONE {
                if place < self.text.len() {
                    return self.fault(place, "the end of the text");
                }
                return Some((place, false));
            }
            match (byte, self.in_object) {
                (b',', _) => return Some((place + 1, true)),
                (b'}', true) | (b']', false) => at = self.close(place),
                (_, true) => return self.fault(place, "',' or '}'"),
                (_, false) => return self.fault(place, "',' or ']'"),
            }
        }
    }

    /// Begins an array or object; the place behind its bracket.
    #[inline(always)]
    fn begin(&mut self, start: usize, bracket: u8) -> Option<usize> {
        if self.depth >= self.depth_max {
            return self.fail(start, JsonErrorKind::TooDeep(self.depth_max));
        }
        let index = self.nodes.len() as u32;
        self.in_object = bracket == b'{';
        let kind = if self.in_object {
            Kind::Object
        } else {
            Kind::Array
        };
        let behind = self.push(start, start + 1, self.open, kind, false)?;
        self.open = index;
        self.depth += 1;
        Some(behind)
    }

    /// Ends the innermost container; the place behind its bracket.
    #[inline(always)]
    fn close(&mut self, at: usize) -> usize {
        self.depth -= 1;
        let next = self.nodes.len() as u32;
        let Some(node) = self.nodes.get_mut(self.open as usize) else {
            return at + 1;
        };
        node.end = (at + 1) as u32;
        let around = core::mem::replace(&mut node.next, next);
        self.open = around;
        self.in_object = self
            .nodes
            .get(around as usize)
            .is_some_and(|node| node.kind == Kind::Object);
        at + 1
    }

    /// Reads a string; the place behind it.
    #[inline(always)]
    fn string(&mut self, start: usize) -> Option<usize> {
        let mut at = start + 1;
        let mut escaped = false;
        loop {
            at += plain_len(self.text.get(at..).unwrap_or_default());
            match self.text.get(at) {
                Some(b'"') => return self.push_leaf(start, at + 1, Kind::String, escaped),
                Some(b'\\') => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                Some(_) => return self.fail(at, JsonErrorKind::ControlCharacter),
                None => return self.fault(at, "the closing quote of a string"),
            }
        }
    }

    fn escape(&mut self, start: usize) -> Option<usize> {
        match self.text.get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Some(start + 2),
            Some(b'u') => {
                let digits = self.text.get(start + 2..start + 6);
                if !digits.is_some_and(|all| all.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fail(start, JsonErrorKind::Escape);
                }
                Some(start + 6)
            }
            _ => self.fail(start, JsonErrorKind::Escape),
        }
    }

    /// Reads a value that is neither a string nor a container; the place behind it.
    #[inline(always)]
    fn scalar(&mut self, start: usize, first: u8) -> Option<usize> {
        match first {
            b'0'..=b'9' | b'-' => self.number(start, first),
            b'n' => self.literal(start, b"null", Kind::Null),
            b't' => self.literal(start, b"true", Kind::Bool),
            b'f' => self.literal(start, b"false", Kind::Bool),
            _ => self.fault(start, "a value"),
        }
    }

    fn number(&mut self, start: usize, first: u8) -> Option<usize> {
        let mut at = start + usize::from(first == b'-');
        // RFC 8259 §6: no leading zeros, digits on both sides of the point.
        if self.text.get(at) == Some(&b'0') {
            at += 1;
        } else {
            at = self.digits(at)?;
        }
        if self.text.get(at) == Some(&b'.') {
            at = self.digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = self.text.get(at) {
            at += 1;
            if let Some(b'+' | b'-') = self.text.get(at) {
                at += 1;
            }
            at = self.digits(at)?;
        }
        self.push_leaf(start, at, Kind::Number, false)
    }

    #[inline(always)]
    fn digits(&mut self, start: usize) -> Option<usize> {
        let mut at = start;
        while let Some(b'0'..=b'9') = self.text.get(at) {
            at += 1;
        }
        if at == start {
            return self.fault(at, "a digit");
        }
        Some(at)
    }

    #[inline(always)]
    fn literal(&mut self, start: usize, word: &'static [u8], kind: Kind) -> Option<usize> {
        let end = start + word.len();
        if self.text.get(start..end) != Some(word) {
            return self.fault(start, "a value");
        }
        self.push_leaf(start, end, kind, false)
    }

    #[inline(always)]
    fn push_leaf(&mut self, start: usize, end: usize, kind: Kind, escaped: bool) -> Option<usize> {
        let next = self.nodes.len() as u32 + 1;
        self.push(start, end, next, kind, escaped)
    }

    #[inline(always)]
    fn push(
        &mut self,
        start: usize,
        end: usize,
        next: u32,
        kind: Kind,
        escaped: bool,
    ) -> Option<usize> {
        if self.nodes.len() >= self.values_max {
            return self.fail(start, JsonErrorKind::TooManyValues(self.values_max));
        }
        // No cast loses anything: the text is below 4 GiB, the number of nodes below `NONE`.
        self.nodes.push(Node {
            start: start as u32,
            end: end as u32,
            next,
            kind,
            escaped,
        });
        Some(end)
    }

    /// The first byte from `at` on that is no white space, and its place; zero, which begins no
    /// token either, at the end.
    #[inline(always)]
    fn token(&self, mut at: usize) -> (usize, u8) {
        loop {
            match self.text.get(at) {
                Some(&byte) if byte > b' ' => return (at, byte),
                Some(b' ' | b'\t' | b'\n' | b'\r') => at += 1,
                Some(&byte) => return (at, byte),
                None => return (at, 0),
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn fault<T>(&mut self, at: usize, expected: &'static str) -> Option<T> {
        let kind = match self.text.get(at) {
            Some(_) => JsonErrorKind::Expected(expected),
            None => JsonErrorKind::Unfinished(expected),
        };
        self.fail(at, kind)
    }

    #[cold]
    #[inline(never)]
    fn fail<T>(&mut self, at: usize, kind: JsonErrorKind) -> Option<T> {
        self.fault = (at, kind);
        None
    }
}

/// Bytes at the start of `text` that stand for themselves in a JSON string: all before the first
/// quote, backslash or control character.
#[inline]
pub(super) fn plain_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let hits = special(u64::from_le_bytes(*word));
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
        if at == BLOCK_BYTES {
            return at + plain_len_long(text.get(at..).unwrap_or_default());
        }
    }
    at + plain_len_short(text.get(at..).unwrap_or_default())
}

/// As [`plain_len`], for text whose first bytes were plain: probably long.
#[inline(never)]
fn plain_len_long(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = text
        .get(at..)
        .and_then(|rest| rest.first_chunk::<BLOCK_BYTES>())
    {
        if block
            .iter()
            .fold(false, |found, &byte| found | is_special(byte))
        {
            break;
        }
        at += BLOCK_BYTES;
    }
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let hits = special(u64::from_le_bytes(*word));
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + plain_len_short(text.get(at..).unwrap_or_default())
}

fn plain_len_short(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| !is_special(byte)).count()
}

const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Marks the special bytes of a word: the lowest mark is exact, those above it may be false.
const fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bytes_are_found_wherever_they_stand() {
        for len in 0..150 {
            for at in 0..len {
                for special in [0, 0x1F, b'"', b'\\'] {
                    for filler in [b' ', b'!', b'#', b'[', b']', 0x7F, 0x80, 0xDC, 0xFF] {
                        let mut text = vec![filler; len];
                        assert_eq!(plain_len(&text), len);
                        text[at] = special;
                        assert_eq!(plain_len(&text), at, "{special} among {filler}");
                        if at + 1 < len {
                            text[at + 1] = b'"' ^ 1;
                            assert_eq!(plain_len(&text), at);
                        }
                    }
                }
            }
        }
    }
}
