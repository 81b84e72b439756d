//! Content codings (RFC 9110 §8.4): compressed bodies in, plain bodies out, as the bytes come.
//!
//! [`Codings`] is what a `Content-Encoding` field says; a [`Decoder`] undoes it piece by piece, and
//! [`decode_whole`] at once. gzip (RFC 1952), deflate (RFC 1950, and RFC 1951 bare, as some servers
//! send it) and zstd (RFC 8878, within the window of RFC 9659) are known.
//!
//! It does not compress, and does not know brotli: nothing asks for it.
//!
//! What enters may be a bomb, so there are two bounds: all that ever comes out, and what comes out
//! of one call. A decoder holds 48 KiB per layer of gzip or deflate; zstd needs its window, up to 8
//! MiB, some blocks of 128 KiB and tables. Bombs of time remain: a byte of gzip can cost 20 ns and
//! give nothing, so callers bound what they push in one turn too.
//!
//! Invariants: the output is the same however the input is split; a stream counts as whole only
//! when its last checksum was seen and right; errors latch.
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use tollgate_core::wire::coding::{Codings, Decoder, decode_whole};
//!
//! let codings = Codings::parse([&b"gzip"[..]]).unwrap();
//! let body = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbH\xcd\xc9\xc9\x07\0\x86\xa6\x106\x05\0\0\0";
//! let whole = decode_whole(&codings, &Bytes::from_static(body), 1024).unwrap();
//! assert_eq!(&whole[..], b"hello");
//!
//! let mut decoder = Decoder::new(&codings, usize::MAX);
//! let mut plain = BytesMut::new();
//! assert_eq!(decoder.push(&body[..14], &mut plain, 4096), Ok(14));
//! assert_eq!(&plain[..], b"hel"); // What could be known by then.
//! assert_eq!(decoder.push(&body[14..], &mut plain, 4096), Ok(11));
//! assert!(decoder.finish().is_ok());
//! ```

mod decoder;
mod error;
mod inflate;
#[cfg(test)]
mod tests;
mod zstd;

use smallvec::SmallVec;

pub use decoder::{Decoder, decode_whole};
pub use error::CodingError;

/// What to ask servers for, as the value of `Accept-Encoding`: gzip, because every server has it
/// and because a gzip stream can be flushed after each event. ([`Coding::Zstd`] could be too, but
/// its decoder here gives out nothing before the window is full or the frame ends.)
pub const ACCEPT_ENCODING: &str = "gzip";

/// What requests may be coded in: the value of `Accept-Encoding` in a response with status 415
/// (RFC 9110 §12.5.3).
pub const REQUEST_CODINGS: &str = "zstd, gzip, deflate";

/// Layers in one message; nobody sends two.
const CODINGS_MAX: usize = 3;

/// One way of compressing a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coding {
    /// `deflate`: zlib (RFC 1950), or the bare stream (RFC 1951) as some servers understand the
    /// word.
    Deflate,
    /// `gzip` or `x-gzip` (RFC 1952): one member or several.
    Gzip,
    /// `zstd` (RFC 8878): one frame or several.
    Zstd,
}

impl Coding {
    /// The name in the registry of IANA.
    pub const fn name(self) -> &'static str {
        match self {
            Coding::Deflate => "deflate",
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }

    fn from_name(name: &[u8]) -> Option<Coding> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("gzip") || is("x-gzip") {
            Some(Coding::Gzip)
        } else if is("deflate") {
            Some(Coding::Deflate)
        } else if is("zstd") {
            Some(Coding::Zstd)
        } else {
            None
        }
    }
}

/// The codings of a body, in the order in which they were applied; none for a plain one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Codings(SmallVec<[Coding; CODINGS_MAX]>);

impl Codings {
    /// Reads the values of all `Content-Encoding` fields of a message, in order. `identity` and
    /// empty elements say nothing (RFC 9110 §5.6.1, §8.4.1).
    ///
    /// # Errors
    /// [`CodingError::Unknown`], and [`CodingError::TooMany`] over three.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Codings, CodingError> {
        let mut codings = SmallVec::new();
        for value in values {
            for name in value.split(|&byte| byte == b',') {
                let name = name.trim_ascii();
                if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                    continue;
                }
                let coding = Coding::from_name(name).ok_or_else(|| CodingError::unknown(name))?;
                if codings.len() == CODINGS_MAX {
                    return Err(CodingError::TooMany(CODINGS_MAX));
                }
                codings.push(coding);
            }
        }
        Ok(Codings(codings))
    }

    /// Whether the body is plain.
    pub fn is_identity(&self) -> bool {
        self.0.is_empty()
    }

    /// The codings, the one applied first first.
    pub fn as_slice(&self) -> &[Coding] {
        &self.0
    }
}

impl From<Coding> for Codings {
    fn from(coding: Coding) -> Codings {
        Codings(SmallVec::from_iter([coding]))
    }
}
