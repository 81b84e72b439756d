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
    at: usize,
    nodes: &'s mut Vec<Node>,
    /// The innermost open container.
    open: u32,
    in_object: bool,
    depth: usize,
    depth_max: usize,
    values_max: usize,
}

impl<'s> Scanner<'s> {
    pub(super) fn new(
        text: &'s [u8],
        limits: &JsonLimits,
        nodes: &'s mut Vec<Node>,
    ) -> Scanner<'s> {
        Scanner {
            text,
            at: 0,
            nodes,
            open: NONE,
            in_object: false,
            depth: 0,
            depth_max: limits.depth_max,
            values_max: limits.values_max.min(NONE as usize - 1),
        }
    }

    pub(super) fn document(&mut self) -> Result<(), Fault> {
        loop {
            self.skip_space();
            if self.value()? {
                if self.in_object {
                    self.key()?;
                }
                continue;
            }
            loop {
                self.skip_space();
                if self.open == NONE {
                    return match self.peek() {
                        None => Ok(()),
                        Some(_) => Err(self.fault("the end of the text")),
                    };
                }
                match (self.peek(), self.in_object) {
                    (Some(b','), in_object) => {
                        self.at += 1;
                        if in_object {
                            self.skip_space();
                            self.key()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => self.close(),
                    (_, true) => return Err(self.fault("',' or '}'")),
                    (_, false) => return Err(self.fault("',' or ']'")),
                }
            }
        }
    }

    /// Reads a value; of an array or object that is not empty, only the start, and says `true`.
    #[inline(always)]
    fn value(&mut self) -> Result<bool, Fault> {
        let Some(first) = self.peek() else {
            return Err(self.fault("a value"));
        };
        match first {
            b'"' => self.string()?,
            b'{' => return self.begin(Kind::Object, b'}'),
            b'[' => return self.begin(Kind::Array, b']'),
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal(b"true", Kind::Bool)?,
            b'f' => self.literal(b"false", Kind::Bool)?,
            b'n' => self.literal(b"null", Kind::Null)?,
            _ => return Err(self.fault("a value")),
        }
        Ok(false)
    }

    #[inline(always)]
    fn key(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("a key in quotes"));
        }
        self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.fault("':'"));
        }
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn begin(&mut self, kind: Kind, closing: u8) -> Result<bool, Fault> {
        if self.depth >= self.depth_max {
            return Err((self.at, JsonErrorKind::TooDeep(self.depth_max)));
        }
        let index = self.nodes.len() as u32;
        let start = self.at;
        self.at += 1;
        self.push(start, kind, false)?;
        if let Some(node) = self.nodes.last_mut() {
            node.next = self.open;
        }
        self.open = index;
        self.in_object = kind == Kind::Object;
        self.depth += 1;
        self.skip_space();
        if self.peek() == Some(closing) {
            self.close();
            return Ok(false);
        }
        Ok(true)
    }

    #[inline(always)]
    fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
        let next = self.nodes.len() as u32;
        let Some(node) = self.nodes.get_mut(self.open as usize) else {
            return;
        };
        node.end = self.at as u32;
        let around = core::mem::replace(&mut node.next, next);
        self.open = around;
        self.in_object = self
            .nodes
            .get(around as usize)
            .is_some_and(|node| node.kind == Kind::Object);
    }

    #[inline(always)]
    fn string(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_len(self.text.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err((self.at, JsonErrorKind::ControlCharacter)),
                None => return Err(self.fault("the closing quote of a string")),
            }
        }
        self.at += 1;
        self.push(start, Kind::String, escaped)
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let start = self.at;
        match self.text.get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.text.get(start + 2..start + 6);
                if !digits.is_some_and(|all| all.iter().all(u8::is_ascii_hexdigit)) {
                    return Err((start, JsonErrorKind::Escape));
                }
                self.at += 6;
            }
            _ => return Err((start, JsonErrorKind::Escape)),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        // RFC 8259 §6: no leading zeros, digits on both sides of the point.
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.push(start, Kind::Number, false)
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.fault("a digit"));
        }
        Ok(())
    }

    fn literal(&mut self, word: &'static [u8], kind: Kind) -> Result<(), Fault> {
        let start = self.at;
        if !self
            .text
            .get(start..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            return Err(self.fault("a value"));
        }
        self.at += word.len();
        self.push(start, kind, false)
    }

    #[inline]
    fn push(&mut self, start: usize, kind: Kind, escaped: bool) -> Result<(), Fault> {
        let index = self.nodes.len();
        if index >= self.values_max {
            return Err((start, JsonErrorKind::TooManyValues(self.values_max)));
        }
        // No cast loses anything: the text is below 4 GiB, the number of nodes below `NONE`.
        self.nodes.push(Node {
            start: start as u32,
            end: self.at as u32,
            next: index as u32 + 1,
            kind,
            escaped,
        });
        Ok(())
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[cold]
    fn fault(&self, expected: &'static str) -> Fault {
        let kind = match self.peek() {
            Some(_) => JsonErrorKind::Expected(expected),
            None => JsonErrorKind::Unfinished(expected),
        };
        (self.at, kind)
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
