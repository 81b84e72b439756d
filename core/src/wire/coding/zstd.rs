//! zstd (RFC 8878) with `ruzstd`'s decoder, which wants whole blocks: the frames are walked here,
//! and each block is held until it is complete, 128 KiB at most.
//!
//! `ruzstd` gives out nothing of the last window before the frame ends.

use core::fmt;
use std::io::Read;

use bytes::BytesMut;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::inflate::Fault;

/// RFC 9659 §3: neither end may use a larger window for a content coding.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// RFC 8878 §3.1.1.2.4.
const BLOCK_BYTES_MAX: usize = 128 * 1024;
/// Output asked for at once.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

const MAGIC: u32 = 0xFD2F_B528;
/// Magic numbers of skippable frames (RFC 8878 §3.1.2): sixteen from here.
const MAGIC_SKIPPABLE: u32 = 0x184D_2A50;

/// One or more frames.
pub(super) struct Zstd {
    decoder: FrameDecoder,
    /// An element of the frame that is not complete yet.
    held: Vec<u8>,
    part: Part,
    frame: Frame,
    whole: bool,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Magic number and the byte after it.
    Start,
    /// The rest of a frame's header, this many bytes from its beginning.
    Header(usize),
    /// Length of a skippable frame.
    SkipLength,
    Skip(u32),
    BlockHeader,
    /// A block and its header, this many bytes together, with the checksum behind the last.
    Block {
        length: usize,
        last: bool,
    },
    /// No input: decoded bytes wait to be taken.
    Output {
        last: bool,
    },
}

/// What a frame's header says of its end.
#[derive(Clone, Copy, Default)]
struct Frame {
    has_checksum: bool,
    has_length: bool,
    given: u64,
}

impl Zstd {
    pub(super) fn new() -> Zstd {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Zstd {
            decoder,
            held: Vec::new(),
            part: Part::Start,
            frame: Frame::default(),
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
            match self.part {
                Part::Output { last } => {
                    if !self.give(output, end)? {
                        return Ok(());
                    }
                    self.part = Part::BlockHeader;
                    if last {
                        self.check_end()?;
                        self.part = Part::Start;
                        self.whole = true;
                    }
                }
                Part::Skip(left) => {
                    let skipped = input.len().min(left as usize);
                    *input = input.get(skipped..).unwrap_or_default();
                    // At most `left`, so it fits.
                    let left = left - skipped as u32;
                    self.part = Part::Skip(left);
                    if left > 0 {
                        return Ok(());
                    }
                    self.part = Part::Start;
                    self.whole = true;
                }
                Part::Start if input.is_empty() => return Ok(()),
                _ => {
                    // Also without input: an empty block is complete with its header.
                    self.whole = false;
                    if !self.element(input)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Completes the element that is due and acts on it; `false` if more input is needed.
    fn element(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        let length = match self.part {
            Part::Start => 5,
            Part::SkipLength => 8,
            Part::Header(length) | Part::Block { length, .. } => length,
            Part::BlockHeader => 3,
            Part::Skip(_) | Part::Output { .. } => 0,
        };
        let missing = length.saturating_sub(self.held.len());
        let (now, later) = input.split_at(missing.min(input.len()));
        self.held.extend_from_slice(now);
        *input = later;
        if self.held.len() < length {
            return Ok(false);
        }
        match self.part {
            Part::Start => self.start()?,
            Part::SkipLength => {
                self.part = Part::Skip(le_u32(&self.held, 4));
                self.held.clear();
            }
            Part::Header(_) => {
                self.decoder
                    .reset(&self.held[..])
                    .map_err(|_| "its header is broken, or asks for over 8 MiB or a dictionary")?;
                self.held.clear();
                self.part = Part::BlockHeader;
            }
            Part::BlockHeader => self.block_header()?,
            Part::Block { last, .. } => {
                self.decoder
                    .decode_blocks(&self.held[..], BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|_| "its compressed data is broken")?;
                self.held.clear();
                self.part = Part::Output { last };
            }
            Part::Skip(_) | Part::Output { .. } => {}
        }
        Ok(true)
    }

    /// RFC 8878 §3.1.1.1: which kind of frame, and how long its header is.
    fn start(&mut self) -> Result<(), Fault> {
        let magic = le_u32(&self.held, 0);
        if magic & !0xf == MAGIC_SKIPPABLE {
            self.part = Part::SkipLength;
            return Ok(());
        }
        if magic != MAGIC {
            return Err("no zstd header");
        }
        let descriptor = self.held.get(4).copied().unwrap_or_default();
        if descriptor & 0b1000 != 0 {
            return Err("a reserved bit is set");
        }
        let single_segment = descriptor & 0b10_0000 != 0;
        let window = usize::from(!single_segment);
        let dictionary = match descriptor & 0b11 {
            3 => 4,
            length => usize::from(length),
        };
        let content_size = match descriptor >> 6 {
            0 => usize::from(single_segment),
            flag => 1 << flag,
        };
        self.frame = Frame {
            has_checksum: descriptor & 0b100 != 0,
            has_length: content_size > 0,
            given: 0,
        };
        self.part = Part::Header(5 + window + dictionary + content_size);
        Ok(())
    }

    /// RFC 8878 §3.1.1.2.
    fn block_header(&mut self) -> Result<(), Fault> {
        let header = le_u32(&self.held, 0);
        let last = header & 1 != 0;
        let size = (header >> 3) as usize;
        let content = match (header >> 1) & 0b11 {
            1 => 1,
            3 => return Err("a block of a reserved kind"),
            _ => size,
        };
        if size > BLOCK_BYTES_MAX {
            return Err("a block is too large");
        }
        let checksum = if last && self.frame.has_checksum {
            4
        } else {
            0
        };
        self.part = Part::Block {
            length: 3 + content + checksum,
            last,
        };
        Ok(())
    }

    /// Appends what is decoded, up to the output's length `end`; `false` if more is there.
    fn give(&mut self, output: &mut BytesMut, end: usize) -> Result<bool, Fault> {
        loop {
            let ready = self.decoder.can_collect();
            if ready == 0 {
                return Ok(true);
            }
            let start = output.len();
            let chunk = ready.min(end.saturating_sub(start)).min(CHUNK_BYTES_MAX);
            if chunk == 0 {
                return Ok(false);
            }
            output.resize(start + chunk, 0);
            let target = output.get_mut(start..).unwrap_or_default();
            let given = self
                .decoder
                .read(target)
                .map_err(|_| "its compressed data is broken")?;
            output.truncate(start + given);
            self.frame.given += given as u64;
            if given == 0 {
                return Ok(true);
            }
        }
    }

    fn check_end(&self) -> Result<(), Fault> {
        if self.frame.has_length && self.frame.given != self.decoder.content_size() {
            return Err("its length does not match");
        }
        let calculated = self.decoder.get_calculated_checksum();
        if self.frame.has_checksum && self.decoder.get_checksum_from_data() != calculated {
            return Err("its checksum does not match");
        }
        Ok(())
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd")
            .field("held", &self.held.len())
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

/// Up to four bytes from `at` on, the lowest first; missing ones count as zero.
fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.iter().skip(at).take(4);
    bytes
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}
