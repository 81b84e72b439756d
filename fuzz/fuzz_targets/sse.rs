//! Any bytes as an event stream: frames lie one behind another and hold all bytes up to the last,
//! no frame exceeds the limit, and an event encoded again decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::base::OutBuf;
use tollgate_core::base::limits::SseLimits;
use tollgate_core::wire::sse::{self, Decoder, Frame};

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new(&SseLimits::default());
    let mut at = 0;
    while let Some(frame) = decoder.next(data).expect("far below the limit") {
        assert!(!frame.unterminated);
        at = check(&frame, data, at);
        assert_eq!(at, decoder.consumed());
    }
    assert!(decoder.consumed() >= at);
    while let Some(frame) = decoder.finish(data).expect("far below the limit") {
        at = check(&frame, data, at);
    }
    let limits = SseLimits {
        event_bytes_max: 16,
    };
    let mut decoder = Decoder::new(&limits);
    while let Ok(Some(frame)) = decoder.next(data) {
        assert!(frame.data.as_bytes().len() <= limits.event_bytes_max);
    }
});

/// Where the frame ends.
fn check(frame: &Frame<'_>, data: &[u8], at: usize) -> usize {
    assert_eq!(frame.raw_start, at);
    assert_eq!(&data[frame.raw_range()], frame.raw);
    if let Some(range) = frame.data_range() {
        assert_eq!(&data[range], frame.data.as_bytes());
    }
    let name = core::str::from_utf8(frame.name).unwrap_or("name");
    let mut out = OutBuf::new();
    sse::event(Some(name), frame.data.as_bytes(), &mut out);
    let encoded = out.take_all();
    let mut decoder = Decoder::new(&SseLimits::default());
    let again = decoder
        .next(&encoded)
        .expect("no limit reached")
        .expect("one whole event");
    assert_eq!(again.data.as_bytes(), frame.data.as_bytes());
    assert_eq!(again.name, name.as_bytes());
    assert_eq!(again.raw, &encoded[..]);
    frame.raw_range().end
}
