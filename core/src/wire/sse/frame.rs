//! What the decoder returns.

use core::ops::Range;

use bytes::Bytes;

/// One event, as it lies in the decoder's input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Every byte since the frame before, or since the last [`rebase`](super::Decoder::rebase):
    /// blocks without data, comments, this event's lines and the blank line that ends it.
    pub raw: &'a [u8],
    /// Where `raw` begins in the input.
    pub raw_start: usize,
    /// The value of the last `event:` line; empty where there is none, which means `message`.
    pub name: &'a [u8],
    /// The values of the `data:` lines, joined by LF.
    pub data: Data<'a>,
    /// Whether the stream ended before the event's blank line. A strict reader drops such an event.
    pub unterminated: bool,
}

impl Frame<'_> {
    /// Where `raw` lies in the input.
    pub fn raw_range(&self) -> Range<usize> {
        self.raw_start..self.raw_start + self.raw.len()
    }

    /// Where the data lies in the input, if it lies in one piece.
    pub fn data_range(&self) -> Option<Range<usize>> {
        match &self.data {
            Data::Line { bytes, start } => Some(*start..start + bytes.len()),
            Data::Joined(_) => None,
        }
    }
}

/// The data of an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Data<'a> {
    /// One line, which lies in the input.
    Line {
        /// The line without its field name.
        bytes: &'a [u8],
        /// Where it begins in the input.
        start: usize,
    },
    /// Several lines, joined.
    Joined(Vec<u8>),
}

impl Data<'_> {
    /// The data.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Data::Line { bytes, .. } => bytes,
            Data::Joined(bytes) => bytes,
        }
    }

    /// The data as a slice of `input`, the buffer that the decoder was given; joined lines as the
    /// buffer they are in.
    ///
    /// # Panics
    /// If `input` is shorter than what the decoder was given.
    pub fn into_bytes(self, input: &Bytes) -> Bytes {
        match self {
            Data::Line { bytes, start } => input.slice(start..start + bytes.len()),
            Data::Joined(bytes) => Bytes::from(bytes),
        }
    }
}
