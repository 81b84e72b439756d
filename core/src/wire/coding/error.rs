//! Why a body cannot be decoded.

use core::fmt;

use super::Coding;

/// Bytes of an unknown coding's name that are repeated to whoever sent it.
const NAME_BYTES_MAX: usize = 64;

/// Why a body cannot be decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CodingError {
    /// A coding that is not known, by its name; 415 to a client (RFC 9110 §15.5.16).
    Unknown(Box<str>),
    /// More codings on top of each other than this many.
    TooMany(usize),
    /// Not what the coding's standard describes, and where it departs.
    Malformed(Coding, &'static str),
    /// The body ends before the coding does.
    Truncated(Coding),
    /// More than this many bytes came out; 413 to a client.
    TooLong(usize),
}

impl CodingError {
    pub(super) fn unknown(name: &[u8]) -> CodingError {
        let shown = name.get(..NAME_BYTES_MAX).unwrap_or(name);
        CodingError::Unknown(String::from_utf8_lossy(shown).into())
    }

    /// The same with the limit that the caller set, where a layer within exceeded its own.
    pub(super) fn with_limit(self, bytes_max: usize) -> CodingError {
        match self {
            CodingError::TooLong(_) => CodingError::TooLong(bytes_max),
            other => other,
        }
    }
}

impl fmt::Display for CodingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodingError::Unknown(name) => write!(f, "content coding {name:?} is not known"),
            CodingError::TooMany(max) => write!(f, "more than {max} content codings"),
            CodingError::Malformed(coding, what) => {
                write!(f, "the body is not {}: {what}", coding.name())
            }
            CodingError::Truncated(coding) => {
                write!(f, "the body ends in the middle of its {}", coding.name())
            }
            CodingError::TooLong(max) => {
                write!(f, "the body is longer than {max} bytes once decoded")
            }
        }
    }
}

impl core::error::Error for CodingError {}
