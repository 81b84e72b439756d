//! One event stream, whole and in pieces: the same frames, identifiers and errors. The first byte
//! is the number of cuts, each of the next the length of one piece; the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::base::limits::SseLimits;
use tollgate_core::wire::sse::{Decoder, SseError};

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Name, data, identifier.
    events: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
    error: Option<SseError>,
    comments: u64,
    retry_ms: Option<u64>,
    /// All bytes that frames and `rebase` gave out.
    relayed: Vec<u8>,
}

fuzz_target!(|data: &[u8]| {
    let Some((&count, rest)) = data.split_first() else {
        return;
    };
    let (cuts, stream) = rest.split_at(rest.len().min(usize::from(count % 16)));
    for event_bytes_max in [1 << 20, 24] {
        let limits = SseLimits { event_bytes_max };
        let whole = decode(core::iter::once(stream), &limits);
        assert_eq!(decode(stream.chunks(1), &limits), whole);
        let mut left = stream;
        let pieces = cuts.iter().map(|&cut| {
            let (piece, rest) = left.split_at(left.len().min(usize::from(cut)));
            left = rest;
            piece
        });
        let pieces: Vec<&[u8]> = pieces.collect();
        let pieces = pieces.into_iter().chain(core::iter::once(left));
        assert_eq!(decode(pieces, &limits), whole);
        if whole.error.is_none() {
            assert_eq!(whole.relayed, stream);
        }
    }
});

fn decode<'d>(pieces: impl Iterator<Item = &'d [u8]>, limits: &SseLimits) -> Outcome {
    let mut decoder = Decoder::new(limits);
    let mut outcome = Outcome::default();
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        drain(&mut decoder, &input, &mut outcome, false);
        let taken = decoder.rebase();
        outcome.relayed.extend(input.drain(..taken));
    }
    drain(&mut decoder, &input, &mut outcome, true);
    if outcome.error.is_none() {
        outcome.relayed.append(&mut input);
    } else {
        // What was relayed before an error depends on the pieces: comments go out as they come.
        outcome.relayed.clear();
    }
    outcome.comments = decoder.comments();
    outcome.retry_ms = decoder.retry_ms();
    outcome
}

fn drain(decoder: &mut Decoder, input: &[u8], outcome: &mut Outcome, end: bool) {
    while outcome.error.is_none() {
        match if end {
            decoder.finish(input)
        } else {
            decoder.next(input)
        } {
            Ok(None) => return,
            Err(error) => outcome.error = Some(error),
            Ok(Some(frame)) => {
                let data = frame.data.as_bytes().to_vec();
                let id = decoder.last_event_id().to_vec();
                outcome.events.push((frame.name.to_vec(), data, id));
            }
        }
    }
}
