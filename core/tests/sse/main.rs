//! The event stream decoder against the cases of the standard's test suite, against a plain reading
//! of the standard, and against every way to cut a stream.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod plain;
mod split;
mod suite;

use tollgate_core::base::limits::SseLimits;
use tollgate_core::wire::sse::{Decoder, SseError};

/// An event with all that a reader may see of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Event {
    name: Vec<u8>,
    data: Vec<u8>,
    last_event_id: Vec<u8>,
    unterminated: bool,
    /// Empty in what the plain reading gives.
    raw: Vec<u8>,
}

/// How a stream is handed to the decoder.
#[derive(Clone, Copy, Debug)]
struct Feed {
    strict: bool,
    /// Whether what is consumed is taken away after each chunk, or at the end.
    rebase: bool,
}

/// What came of a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Outcome {
    events: Vec<Event>,
    error: Option<SseError>,
    retry_ms: Option<u64>,
    comments: u64,
}

/// Decodes a stream that comes in `chunks`, and holds what holds for any stream.
fn decode<'c>(chunks: impl Iterator<Item = &'c [u8]>, feed: Feed, limits: &SseLimits) -> Outcome {
    let mut decoder = Decoder::new(limits);
    if feed.strict {
        decoder = decoder.strict();
    }
    let mut outcome = Outcome {
        events: Vec::new(),
        error: None,
        retry_ms: None,
        comments: 0,
    };
    let mut input = Vec::new();
    for chunk in chunks {
        input.extend_from_slice(chunk);
        outcome.error = outcome
            .error
            .or(drain(&mut decoder, &input, &mut outcome.events, false));
        assert!(decoder.consumed() <= input.len());
        if feed.rebase {
            let taken = decoder.consumed();
            assert_eq!(decoder.rebase(), taken);
            input.drain(..taken);
            assert_eq!(decoder.consumed(), 0);
        }
    }
    outcome.error = outcome
        .error
        .or(drain(&mut decoder, &input, &mut outcome.events, true));
    outcome.retry_ms = decoder.retry_ms();
    outcome.comments = decoder.comments();
    outcome
}

fn drain(
    decoder: &mut Decoder,
    input: &[u8],
    events: &mut Vec<Event>,
    end: bool,
) -> Option<SseError> {
    loop {
        let before = decoder.consumed();
        let next = if end {
            decoder.finish(input)
        } else {
            decoder.next(input)
        };
        let frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => return None,
            Err(error) => return Some(error),
        };
        assert_eq!(&input[frame.raw_range()], frame.raw);
        assert!(frame.raw_range().end == decoder.consumed() && frame.raw_start <= before);
        if let Some(range) = frame.data_range() {
            assert_eq!(&input[range], frame.data.as_bytes());
        }
        events.push(Event {
            name: frame.name.to_vec(),
            data: frame.data.as_bytes().to_vec(),
            last_event_id: decoder.last_event_id().to_vec(),
            unterminated: frame.unterminated,
            raw: frame.raw.to_vec(),
        });
    }
}
