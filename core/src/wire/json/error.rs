//! Why a text is not JSON, or not JSON we take, and where.

use core::fmt;

/// A text that was refused, and the place of the fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JsonError {
    /// Bytes before the fault.
    pub offset: usize,
    /// Line of the fault, from 1; lines end with LF.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub kind: JsonErrorKind,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JsonErrorKind {
    /// Something else stands where this was expected.
    Expected(&'static str),
    /// The text ends where this was expected.
    Unfinished(&'static str),
    /// A control character stands unescaped in a string (RFC 8259 §7).
    ControlCharacter,
    /// A backslash is followed by none of the escapes of RFC 8259 §7.
    Escape,
    /// Not UTF-8 (RFC 8259 §8.1).
    Utf8,
    /// A byte order mark (RFC 8259 §8.1 forbids sending it).
    ByteOrderMark,
    /// Arrays and objects nest deeper than `JsonLimits::depth_max`, which is given.
    TooDeep(usize),
    /// More values than `JsonLimits::values_max`, which is given.
    TooManyValues(usize),
    /// 4 GiB or more.
    TooLong,
}

/// A fault before its line is counted: what, and after how many bytes.
pub(super) type Fault = (usize, JsonErrorKind);

impl JsonError {
    pub(super) fn new(text: &[u8], (offset, kind): Fault) -> JsonError {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let line = before.get(line_start..).unwrap_or_default();
        JsonError {
            offset,
            line: memchr::memchr_iter(b'\n', before).count() + 1,
            column: line.iter().filter(|&&byte| byte & 0xC0 != 0x80).count() + 1,
            kind,
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at line {} column {}",
            self.kind, self.line, self.column
        )
    }
}

impl fmt::Display for JsonErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonErrorKind::Expected(what) => write!(f, "expected {what}"),
            JsonErrorKind::Unfinished(what) => write!(f, "the text ends before {what}"),
            JsonErrorKind::ControlCharacter => f.write_str("unescaped control character"),
            JsonErrorKind::Escape => f.write_str("invalid escape"),
            JsonErrorKind::Utf8 => f.write_str("invalid UTF-8"),
            JsonErrorKind::ByteOrderMark => f.write_str("unexpected byte order mark"),
            JsonErrorKind::TooDeep(depth) => write!(f, "nested deeper than {depth} levels"),
            JsonErrorKind::TooManyValues(values) => write!(f, "more than {values} values"),
            JsonErrorKind::TooLong => f.write_str("longer than 4 GiB"),
        }
    }
}

impl core::error::Error for JsonError {}
