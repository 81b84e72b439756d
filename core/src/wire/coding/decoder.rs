//! [`Decoder`]: the layers of a body's codings, one feeding the next.

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

use super::inflate::{Deflate, Gzip};
use super::zstd::Zstd;
use super::{Coding, CodingError, Codings};

/// Bytes that wait between two layers.
const BETWEEN_BYTES_MAX: usize = 16 * 1024;
/// Output of one step of [`decode_whole`].
const STEP_BYTES: usize = 64 * 1024;

/// Undoes the codings of one body, as its bytes come. Without codings it passes them on.
#[derive(Debug)]
pub struct Decoder {
    layers: SmallVec<[Layer; 1]>,
    bytes_max: usize,
    /// Bytes passed on where there are no layers.
    passed: usize,
    failed: Option<CodingError>,
}

impl Decoder {
    /// A decoder for one body, out of which at most `bytes_max` bytes come (and hardly more out of
    /// the layers within); `usize::MAX` for streams, whose length says nothing of the memory they
    /// need.
    pub fn new(codings: &Codings, bytes_max: usize) -> Decoder {
        // The coding applied last is the first to be undone.
        let layers = codings.as_slice().iter().rev();
        Decoder {
            layers: layers.map(|&coding| Layer::new(coding)).collect(),
            bytes_max,
            passed: 0,
            failed: None,
        }
    }

    /// Decodes `input` onto the end of `output`, as far as it can be known by now, and says how
    /// many bytes of `input` are taken: all, unless `output_max` bytes were appended. Then call
    /// again with the rest, even an empty one, until fewer than that are appended.
    ///
    /// # Errors
    /// [`CodingError::Malformed`], [`CodingError::TooLong`]; every later call fails in the same
    /// way.
    pub fn push(
        &mut self,
        input: &[u8],
        output: &mut BytesMut,
        output_max: usize,
    ) -> Result<usize, CodingError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let mut rest = input;
        let result = if self.layers.is_empty() {
            self.pass(&mut rest, output, output_max)
        } else {
            run(
                &mut self.layers,
                &mut rest,
                output,
                output_max,
                self.bytes_max,
            )
        };
        if let Err(error) = result {
            self.failed = Some(error.clone());
            return Err(error);
        }
        Ok(input.len() - rest.len())
    }

    /// Whether the body may end here.
    ///
    /// # Errors
    /// [`CodingError::Truncated`], also where [`push`](Decoder::push) has more to give; or the
    /// failure from before.
    pub fn finish(&self) -> Result<(), CodingError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        for layer in &self.layers {
            if !layer.stage.is_whole() || !layer.between.is_empty() {
                return Err(CodingError::Truncated(layer.stage.coding()));
            }
        }
        Ok(())
    }

    fn pass(
        &mut self,
        input: &mut &[u8],
        output: &mut BytesMut,
        output_max: usize,
    ) -> Result<(), CodingError> {
        let (now, later) = input.split_at(input.len().min(output_max));
        self.passed = self.passed.saturating_add(now.len());
        if self.passed > self.bytes_max {
            return Err(CodingError::TooLong(self.bytes_max));
        }
        output.extend_from_slice(now);
        *input = later;
        Ok(())
    }
}

/// Decodes a body that is all there, to at most `bytes_max` bytes.
///
/// # Errors
/// Those of [`Decoder::push`] and [`Decoder::finish`].
pub fn decode_whole(
    codings: &Codings,
    input: &Bytes,
    bytes_max: usize,
) -> Result<Bytes, CodingError> {
    if codings.is_identity() {
        if input.len() > bytes_max {
            return Err(CodingError::TooLong(bytes_max));
        }
        return Ok(input.clone());
    }
    let mut decoder = Decoder::new(codings, bytes_max);
    let mut output = BytesMut::with_capacity(input.len().saturating_mul(4).min(bytes_max));
    let mut rest = &input[..];
    loop {
        let before = output.len();
        let taken = decoder.push(rest, &mut output, STEP_BYTES)?;
        rest = rest.get(taken..).unwrap_or_default();
        if output.len() - before < STEP_BYTES {
            break;
        }
    }
    decoder.finish()?;
    Ok(output.freeze())
}

#[derive(Debug)]
struct Layer {
    stage: Stage,
    /// What came out and the next layer has not taken yet.
    between: BytesMut,
    /// All that came out.
    produced: usize,
}

impl Layer {
    fn new(coding: Coding) -> Layer {
        Layer {
            stage: match coding {
                Coding::Deflate => Stage::Deflate(Deflate::new()),
                Coding::Gzip => Stage::Gzip(Gzip::new()),
                Coding::Zstd => Stage::Zstd(Box::new(Zstd::new())),
            },
            between: BytesMut::new(),
            produced: 0,
        }
    }
}

#[derive(Debug)]
enum Stage {
    Deflate(Deflate),
    Gzip(Gzip),
    Zstd(Box<Zstd>),
}

impl Stage {
    const fn coding(&self) -> Coding {
        match self {
            Stage::Deflate(_) => Coding::Deflate,
            Stage::Gzip(_) => Coding::Gzip,
            Stage::Zstd(_) => Coding::Zstd,
        }
    }

    /// Decodes from the front of `input` until it is empty or `room` bytes were appended.
    fn step(
        &mut self,
        input: &mut &[u8],
        output: &mut BytesMut,
        room: usize,
    ) -> Result<(), CodingError> {
        match self {
            Stage::Deflate(stage) => stage.step(input, output, room),
            Stage::Gzip(stage) => stage.step(input, output, room),
            Stage::Zstd(stage) => stage.step(input, output, room),
        }
        .map_err(|what| CodingError::Malformed(self.coding(), what))
    }

    fn is_whole(&self) -> bool {
        match self {
            Stage::Deflate(stage) => stage.is_whole(),
            Stage::Gzip(stage) => stage.is_whole(),
            Stage::Zstd(stage) => stage.is_whole(),
        }
    }
}

/// Sends `input` through all layers until it is empty or `room` bytes came out of the last.
fn run(
    layers: &mut [Layer],
    input: &mut &[u8],
    output: &mut BytesMut,
    room: usize,
    bytes_max: usize,
) -> Result<(), CodingError> {
    let Some((first, rest)) = layers.split_first_mut() else {
        return Ok(());
    };
    if rest.is_empty() {
        return run_one(
            &mut first.stage,
            &mut first.produced,
            input,
            output,
            room,
            bytes_max,
        );
    }
    // Coded bytes are at worst a little longer than plain ones.
    let within_max = bytes_max.saturating_add(bytes_max / 8 + 1024);
    let end = output.len().saturating_add(room);
    while output.len() < end {
        let before = (input.len(), first.produced, output.len());
        let space = BETWEEN_BYTES_MAX.saturating_sub(first.between.len());
        let (stage, produced) = (&mut first.stage, &mut first.produced);
        let between = &mut first.between;
        run_one(stage, produced, input, between, space, within_max)
            .map_err(|error| error.with_limit(bytes_max))?;
        let mut between = &first.between[..];
        let room = end - output.len();
        run(rest, &mut between, output, room, bytes_max)?;
        let taken = first.between.len() - between.len();
        first.between.advance(taken);
        if taken == 0 && before == (input.len(), first.produced, output.len()) {
            break;
        }
    }
    Ok(())
}

fn run_one(
    stage: &mut Stage,
    produced: &mut usize,
    input: &mut &[u8],
    output: &mut BytesMut,
    room: usize,
    bytes_max: usize,
) -> Result<(), CodingError> {
    let before = output.len();
    // One byte over the limit is enough to know.
    let allowed = (bytes_max - (*produced).min(bytes_max)).saturating_add(1);
    stage.step(input, output, room.min(allowed))?;
    *produced = produced.saturating_add(output.len() - before);
    if *produced > bytes_max {
        output.truncate(before);
        return Err(CodingError::TooLong(bytes_max));
    }
    Ok(())
}
