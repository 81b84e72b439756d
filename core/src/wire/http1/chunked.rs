//! The chunked transfer coding (RFC 9112 §7.1), read strictly: hexadecimal digits, then at once
//! CRLF or `;`. httparse's own reader accepts blanks and bare LF here, and so it is not used.
//!
//! ```text
//!  Size ─▶ (Extension) ─▶ SizeLf ─▶ Data ─▶ DataCr ─▶ DataLf ─▶ Size
//!                            └ size 0 ─▶ Trailers ─▶ End
//! ```

use bytes::{Buf, BytesMut};

use super::error::ErrorKind;
use super::framing::{BodyStep, take};
use super::head::parse_trailers;
use super::scan::{LineScan, SectionLimits};
use super::syntax::is_value_byte;
use crate::base::limits::Http1Limits;

/// Digits of a chunk size: as many as a `u64` has, and so it cannot overflow.
const SIZE_DIGITS_MAX: u8 = 16;
/// Digits of an ordinary chunk's size.
const SHORT_SIZE_DIGITS_MAX: usize = 8;

/// Where in the body the reader is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Size { size: u64, digits: u8 },
    Extension { size: u64, len: usize },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers(LineScan),
    End,
}

/// Reads one chunked body.
#[derive(Debug)]
pub(super) struct ChunkedReader {
    place: Place,
}

impl Default for ChunkedReader {
    fn default() -> ChunkedReader {
        ChunkedReader {
            place: Place::Size { size: 0, digits: 0 },
        }
    }
}

impl ChunkedReader {
    /// The next piece of content; framing is consumed on the way.
    pub(super) fn next(
        &mut self,
        input: &mut BytesMut,
        limits: &Http1Limits,
    ) -> Result<BodyStep, ErrorKind> {
        loop {
            match &mut self.place {
                Place::Data { left } => {
                    let step = take(input, left);
                    if *left == 0 {
                        self.place = Place::DataCr;
                    }
                    return Ok(step);
                }
                Place::Trailers(scan) => {
                    let Some(section) = scan.section(input, &trailer_limits(limits))? else {
                        return Ok(BodyStep::NeedData);
                    };
                    self.place = Place::End;
                    let block = input.split_to(section.len).freeze();
                    if section.lines > 0 {
                        let fields = parse_trailers(block, section.lines)?;
                        return Ok(BodyStep::Trailers(Box::new(fields)));
                    }
                }
                Place::End => return Ok(BodyStep::End),
                _ => {
                    if !self.framing(input, limits)? {
                        return Ok(BodyStep::NeedData);
                    }
                }
            }
        }
    }

    /// Consumes framing up to content; false if the input ended before.
    fn framing(&mut self, input: &mut BytesMut, limits: &Http1Limits) -> Result<bool, ErrorKind> {
        let (mut used, mut place) = match self.place {
            Place::DataCr => next_chunk(input).unwrap_or((0, Place::DataCr)),
            place => (0, place),
        };
        for byte in input.get(used..).unwrap_or_default() {
            if matches!(place, Place::Data { .. } | Place::Trailers(_)) {
                break;
            }
            place = place.after(*byte, limits)?;
            used += 1;
        }
        input.advance(used);
        self.place = place;
        Ok(matches!(place, Place::Data { .. } | Place::Trailers(_)))
    }
}

/// The end of one chunk and the whole size line of the next, as most of them stand: CRLF, few
/// digits, CRLF. `None` for everything else, which is then read byte by byte.
fn next_chunk(input: &[u8]) -> Option<(usize, Place)> {
    let line = input.strip_prefix(b"\r\n")?;
    let mut size = 0;
    for (digits, byte) in line.iter().take(SHORT_SIZE_DIGITS_MAX + 1).enumerate() {
        if let Some(digit) = hex_value(*byte) {
            size = size << 4 | digit;
            continue;
        }
        let is_plain = size > 0 && line.get(digits..digits + 2) == Some(b"\r\n");
        return is_plain.then_some((digits + 4, Place::Data { left: size }));
    }
    None
}

impl Place {
    /// The place after one byte of framing.
    fn after(self, byte: u8, limits: &Http1Limits) -> Result<Place, ErrorKind> {
        Ok(match (self, byte) {
            (Place::Size { digits: 1.., size }, b'\r') => Place::SizeLf { size },
            (Place::Size { digits: 1.., size }, b';') => Place::Extension { size, len: 0 },
            (Place::Size { size, digits }, byte) => {
                let digit = hex_value(byte).ok_or(ErrorKind::BadChunkSize)?;
                if digits == SIZE_DIGITS_MAX {
                    return Err(ErrorKind::BadChunkSize);
                }
                Place::Size {
                    size: size << 4 | digit,
                    digits: digits + 1,
                }
            }
            (Place::Extension { size, .. }, b'\r') => Place::SizeLf { size },
            //= RFC 9112 §7.1.1: a recipient MUST ignore unrecognised chunk extensions, and ought
            // to limit their length.
            (Place::Extension { .. }, byte) if !is_value_byte(byte) => {
                return Err(ErrorKind::BadChunkExtension);
            }
            (Place::Extension { len, .. }, _) if len >= limits.chunk_extension_bytes_max => {
                return Err(ErrorKind::ChunkExtensionTooLong);
            }
            (Place::Extension { size, len }, _) => Place::Extension { size, len: len + 1 },
            (Place::SizeLf { size: 0 }, b'\n') => Place::Trailers(LineScan::default()),
            (Place::SizeLf { size }, b'\n') => Place::Data { left: size },
            (Place::SizeLf { .. }, _) => return Err(ErrorKind::BadChunkSize),
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size { size: 0, digits: 0 },
            (Place::DataCr | Place::DataLf, _) => return Err(ErrorKind::BadChunkData),
            (place @ (Place::Data { .. } | Place::Trailers(_) | Place::End), _) => place,
        })
    }
}

fn hex_value(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

fn trailer_limits(limits: &Http1Limits) -> SectionLimits {
    SectionLimits {
        bytes_max: limits.trailer_bytes_max,
        bytes_error: ErrorKind::TrailersTooLarge,
        start_line_bytes_max: None,
        fields_max: limits.fields_max,
    }
}
