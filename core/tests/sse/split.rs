//! Random streams, cut in random places.

use tollgate_core::base::limits::SseLimits;
use tollgate_core::base::{OutBuf, Rng, Seed};
use tollgate_core::wire::sse;

use crate::{Event, Feed, Outcome, decode, plain};

const STRICT: Feed = Feed {
    strict: true,
    rebase: false,
};
const LAX: Feed = Feed {
    strict: false,
    rebase: false,
};
const LAX_REBASED: Feed = Feed {
    strict: false,
    rebase: true,
};

#[test]
fn the_decoder_reads_as_the_standard_does() {
    for seed in 0..20_000 {
        let stream = stream(&mut Rng::new(Seed(seed)));
        let (mut events, last, retry_ms) = plain::events(&stream);
        let strict = whole(&stream, STRICT);
        assert_eq!(
            without_raw(&strict),
            events,
            "seed {seed}: {}",
            stream.escape_ascii()
        );
        events.extend(last);
        let lax = whole(&stream, LAX);
        assert_eq!(
            without_raw(&lax),
            events,
            "seed {seed}: {}",
            stream.escape_ascii()
        );
        assert_eq!(lax.retry_ms, retry_ms);
    }
}

#[test]
fn any_cut_gives_the_same_frames() {
    for seed in 0..3000 {
        let mut rng = Rng::new(Seed(seed));
        let stream = stream(&mut rng);
        let max = [8, 30, 1 << 20][rng.below(3) as usize];
        let limits = SseLimits {
            event_bytes_max: max,
        };
        let expected = decode([&stream[..]].into_iter(), LAX, &limits);
        let bytes = || stream.chunks(1);
        assert_eq!(decode(bytes(), LAX, &limits), expected, "seed {seed}");
        let mut rebased = decode(bytes(), LAX_REBASED, &limits);
        keep_consumed_out(&mut rebased, &expected);
        assert_eq!(rebased, expected, "seed {seed}: {}", stream.escape_ascii());
        for _ in 0..4 {
            let mut cuts: Vec<usize> = (0..rng.below(6))
                .map(|_| rng.below(stream.len() as u64 + 1) as usize)
                .collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks = || cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
            assert_eq!(
                decode(chunks(), LAX, &limits),
                expected,
                "seed {seed} cut at {cuts:?}"
            );
            let mut rebased = decode(chunks(), LAX_REBASED, &limits);
            keep_consumed_out(&mut rebased, &expected);
            assert_eq!(rebased, expected, "seed {seed} cut at {cuts:?}");
        }
    }
}

#[test]
fn all_bytes_are_in_some_frame_or_left_over() {
    for seed in 0..2000 {
        let mut stream = stream(&mut Rng::new(Seed(seed)));
        stream.extend_from_slice(b"\n\ndata: last\n\n");
        let outcome = whole(&stream, STRICT);
        let raw: Vec<u8> = outcome
            .events
            .iter()
            .flat_map(|event| event.raw.clone())
            .collect();
        assert_eq!(raw, stream);
    }
}

#[test]
fn a_limit_is_an_error_and_stays_one() {
    let limits = SseLimits {
        event_bytes_max: 12,
    };
    let fits = decode(
        [&b"data: 1234\n\ndata: 1234\n\n"[..]].into_iter(),
        LAX,
        &limits,
    );
    assert_eq!((fits.events.len(), fits.error), (2, None));
    for stream in [
        "data: 1\n\ndata: 12345\n\n",
        "data: 1\n\ndata: 1234567",
        "data: 1\n\n:345678901234",
    ] {
        let outcome = decode(stream.as_bytes().chunks(5), LAX_REBASED, &limits);
        assert_eq!(outcome.events.len(), 1);
        assert_eq!(outcome.error, Some(sse::SseError::EventTooLong(12)));
    }
    let mut decoder = sse::Decoder::new(&limits);
    assert!(decoder.next(b"data: 1234567").is_err());
    assert!(decoder.next(b"data: 1\n\n").is_err());
}

/// Were each read to begin anew, this would look at 2^41 bytes.
#[test]
fn a_large_event_in_small_reads_is_looked_at_once() {
    let mut stream = b"data: ".to_vec();
    stream.resize(2 << 20, b'x');
    stream.extend_from_slice(b"\r\n\r\n");
    let outcome = decode(stream.chunks(1), LAX, &SseLimits::default());
    assert_eq!(outcome.events.len(), 1);
    assert_eq!(outcome.events[0].raw, stream);
}

#[test]
fn comments_are_signs_of_life_and_hold_nothing_back() {
    let mut decoder = sse::Decoder::new(&SseLimits::default());
    for count in 1..=1000 {
        let input = [": alive\n\n", ": alive\n", "event: ping\n\n: alive\r\n"][count % 3];
        assert!(decoder.next(input.as_bytes()).unwrap().is_none());
        assert_eq!(decoder.rebase(), input.len());
        assert_eq!(decoder.comments(), count as u64);
    }
}

#[test]
fn bare_carriage_returns_end_an_event_at_once() {
    let mut decoder = sse::Decoder::new(&SseLimits::default());
    let frame = decoder.next(b"data: a\r\r").unwrap().unwrap();
    assert_eq!(frame.data.as_bytes(), b"a");
    let mut decoder = sse::Decoder::new(&SseLimits::default());
    assert!(decoder.next(b"data: a\r\n\r").unwrap().is_none());
    assert_eq!(
        decoder.next(b"data: a\r\n\r\n").unwrap().unwrap().raw,
        b"data: a\r\n\r\n"
    );
}

#[test]
fn what_is_encoded_decodes() {
    for seed in 0..2000 {
        let mut rng = Rng::new(Seed(seed));
        let mut out = OutBuf::new();
        let mut expected = Vec::new();
        for _ in 0..rng.below(5) {
            let data = random_bytes(&mut rng, b"ab \n:\x00\xff");
            let name = (rng.below(2) == 0).then_some("delta");
            sse::event(name, &data, &mut out);
            sse::comment("alive", &mut out);
            expected.push((name.unwrap_or_default().as_bytes().to_vec(), data));
        }
        let outcome = whole(&out.take_all(), STRICT);
        let decoded: Vec<_> = outcome
            .events
            .into_iter()
            .map(|event| (event.name, event.data))
            .collect();
        assert_eq!(decoded, expected);
    }
}

fn whole(stream: &[u8], feed: Feed) -> Outcome {
    decode([stream].into_iter(), feed, &SseLimits::default())
}

fn without_raw(outcome: &Outcome) -> Vec<Event> {
    let strip = |event: &Event| Event {
        raw: Vec::new(),
        ..event.clone()
    };
    outcome.events.iter().map(strip).collect()
}

/// A frame after a rebase lacks the blocks without data that were taken away: it is the end of what
/// it would be.
fn keep_consumed_out(rebased: &mut Outcome, expected: &Outcome) {
    for (event, whole) in rebased.events.iter_mut().zip(&expected.events) {
        assert!(whole.raw.ends_with(&event.raw));
        event.raw = whole.raw.clone();
    }
}

fn stream(rng: &mut Rng) -> Vec<u8> {
    const PARTS: [&[u8]; 24] = [
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"\r\r",
        b"data:",
        b"data: ",
        b"data",
        b"event: x",
        b"event:",
        b"id: 7",
        b"id",
        b"id:\0",
        b"retry: 10",
        b"retry:1x",
        b": c",
        b":",
        b"\xEF\xBB\xBF",
        b" ",
        b"{\"a\":1}",
        b"dat",
        b"\xE2\x82",
        b"unknown: 1",
    ];
    let count = rng.below(30);
    let ends: &[u8] = [&b"\n"[..], b"\r\n", b"\r"][rng.below(3) as usize];
    let mut stream = Vec::new();
    for _ in 0..count {
        stream.extend_from_slice(PARTS[rng.below(PARTS.len() as u64) as usize]);
        if rng.below(2) == 0 {
            stream.extend_from_slice(ends);
        }
    }
    stream
}

fn random_bytes(rng: &mut Rng, alphabet: &[u8]) -> Vec<u8> {
    let count = rng.below(12);
    (0..count)
        .map(|_| alphabet[rng.below(alphabet.len() as u64) as usize])
        .collect()
}
