//! Round trips, splits, bombs and broken bodies.

use std::io::Write;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

const LINE: &[u8] =
    b"{\"role\":\"user\",\"content\":\"hello hello hello, zstd of the reference encoder\"}\n";
/// [`LINE`] by the reference encoder, with a checksum: block, literals and sequences compressed.
const LINE_ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x68\xe5\x01\x00\x22\x04\x0d\x11\xb0\xb9\x01\x70\
    \x42\x89\x53\xd8\x00\x13\x4a\xcc\x46\xcf\x08\x76\x62\x60\x59\x3f\xf2\xf0\xf6\xc3\xeb\xc9\xd5\
    \x5e\xd6\x48\xda\xd8\x93\x2c\x58\x1a\xf3\x62\xe1\xc5\x2f\xe6\x39\x58\x7f\x90\x85\x6f\x52\xad\
    \x02\x01\x00\x88\x51\x9e\x78\x6f\xcf\x47";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn bare(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    compress_to_vec(data, CompressionLevel::Fastest)
}

/// Half text, half noise, so that all kinds of blocks occur.
fn sample(length: usize) -> Vec<u8> {
    let mut data = Vec::new();
    let mut noise = 1_u32;
    while data.len() < length {
        data.extend_from_slice(LINE);
        for _ in 0..40 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            data.push((noise >> 24) as u8);
        }
    }
    data.truncate(length);
    data
}

fn decode(codings: &str, input: &[u8], bytes_max: usize) -> Result<Bytes, CodingError> {
    let codings = Codings::parse([codings.as_bytes()])?;
    decode_whole(&codings, &Bytes::copy_from_slice(input), bytes_max)
}

/// Decodes in pieces of `step` bytes, taking at most `output_max` at once.
fn decode_in_steps(
    codings: &str,
    input: &[u8],
    step: usize,
    output_max: usize,
) -> Result<BytesMut, CodingError> {
    let mut decoder = Decoder::new(&Codings::parse([codings.as_bytes()])?, usize::MAX);
    let mut whole = BytesMut::new();
    for mut piece in input.chunks(step) {
        loop {
            let mut output = BytesMut::new();
            let taken = decoder.push(piece, &mut output, output_max)?;
            assert!(output.len() <= output_max);
            piece = &piece[taken..];
            whole.extend_from_slice(&output);
            if output.len() < output_max {
                break;
            }
        }
        assert!(piece.is_empty());
    }
    decoder.finish()?;
    Ok(whole)
}

/// Every coding with the same content in it.
fn all(data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("gzip", gzip(data)),
        ("deflate", zlib(data)),
        ("deflate", bare(data)),
        ("zstd", zstd(data)),
        ("identity", data.to_vec()),
        ("gzip, zstd", zstd(&gzip(data))),
        ("zstd, deflate, x-gzip", gzip(&zlib(&zstd(data)))),
    ]
}

#[test]
fn all_codings_round_trip() {
    for length in [0, 1, 2, 100, 70_000, 700_000] {
        let data = sample(length);
        for (codings, coded) in all(&data) {
            assert!(
                decode(codings, &coded, length).unwrap() == data,
                "{codings} {length}"
            );
        }
    }
    assert_eq!(decode("zstd", LINE_ZSTD, 4096).unwrap(), LINE);
}

#[test]
fn any_split_gives_the_same() {
    let data = sample(5000);
    for (codings, coded) in all(&data) {
        for step in [1, 2, 3, 10, 1000, usize::MAX] {
            for output_max in [1, 100, 1_000_000] {
                let decoded = decode_in_steps(codings, &coded, step, output_max).unwrap();
                assert!(decoded == data, "{codings} {step} {output_max}");
            }
        }
    }
    for step in 1..LINE_ZSTD.len() {
        let decoded = decode_in_steps("zstd", LINE_ZSTD, step, 7).unwrap();
        assert_eq!(&decoded[..], LINE);
    }
}

#[test]
fn codings_are_read_from_their_fields() {
    let parse = |values: &[&str]| Codings::parse(values.iter().map(|value| value.as_bytes()));
    let codings = parse(&["GZip,, identity", "", " zstd\t"]).unwrap();
    assert_eq!(codings.as_slice(), [Coding::Gzip, Coding::Zstd]);
    assert!(parse(&["identity", ","]).unwrap().is_identity());
    assert!(parse(&[]).unwrap().is_identity());
    assert_eq!(
        parse(&["br"]).unwrap_err().to_string(),
        "content coding \"br\" is not known"
    );
    assert_eq!(
        parse(&["gzip;q=1"]),
        Err(CodingError::Unknown("gzip;q=1".into()))
    );
    assert_eq!(
        parse(&["gzip,gzip", "gzip,gzip"]),
        Err(CodingError::TooMany(3))
    );
    let long = "x".repeat(1000);
    assert!(parse(&[&long]).unwrap_err().to_string().len() < 100);
    for name in REQUEST_CODINGS.split(", ").chain([ACCEPT_ENCODING]) {
        assert_eq!(parse(&[name]).unwrap().as_slice()[0].name(), name);
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = vec![0; 4_000_000];
    for (codings, coded) in all(&zeros) {
        assert_eq!(
            decode(codings, &coded, zeros.len()).unwrap().len(),
            zeros.len()
        );
        assert_eq!(
            decode(codings, &coded, zeros.len() - 1),
            Err(CodingError::TooLong(zeros.len() - 1)),
            "{codings}"
        );
        let mut decoder = Decoder::new(&Codings::parse([codings.as_bytes()]).unwrap(), 1000);
        let mut output = BytesMut::new();
        assert_eq!(
            decoder.push(&coded, &mut output, usize::MAX),
            Err(CodingError::TooLong(1000))
        );
        assert!(output.len() <= 1000 && output.capacity() < 100_000);
        assert_eq!(decoder.finish(), Err(CodingError::TooLong(1000)));
    }
    // A layer within is bounded too, whatever it ends as.
    let nested = gzip(&gzip(&zeros));
    assert!(nested.len() < 1000);
    assert_eq!(
        decode("gzip, gzip", &nested, 10_000),
        Err(CodingError::TooLong(10_000))
    );
    // Four bytes of zstd for each 128 KiB.
    let mut bomb = b"\x28\xb5\x2f\xfd\x00\x58".to_vec();
    for _ in 0..10_000 {
        bomb.extend_from_slice(b"\x02\x00\x10\x00");
    }
    assert_eq!(
        decode("zstd", &bomb, 1 << 22),
        Err(CodingError::TooLong(1 << 22))
    );
}

#[test]
fn a_window_over_eight_mebibytes_is_refused() {
    for (descriptor, fits) in [(0x68, true), (0x69, false), (0xff, false)] {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, descriptor, 1, 0, 0];
        assert_eq!(decode("zstd", &frame, 10).is_ok(), fits, "{descriptor:x}");
    }
}

#[test]
fn truncated_bodies_are_told_at_every_length() {
    let data = sample(300);
    for (codings, coded) in all(&data) {
        if codings == "identity" {
            continue;
        }
        for length in 0..coded.len() {
            let result = decode(codings, &coded[..length], 4096);
            assert!(
                matches!(result, Err(CodingError::Truncated(_))),
                "{codings} {length}: {result:?}"
            );
        }
    }
}

#[test]
fn changed_bodies_are_never_taken_for_whole() {
    let data = sample(300);
    for (codings, coded) in all(&data) {
        // The bare stream has no checksum, and the zstd of this encoder is here without one.
        if matches!(codings, "identity" | "deflate" | "zstd") {
            continue;
        }
        for at in 0..coded.len() {
            for bit in 0..8 {
                let mut changed = coded.clone();
                changed[at] ^= 1 << bit;
                if let Ok(decoded) = decode(codings, &changed, 4096) {
                    // Some bytes of headers mean nothing: the time, the system.
                    assert!(decoded == data, "{codings} {at} {bit}");
                }
            }
        }
    }
    let mut changed = LINE_ZSTD.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(
        decode("zstd", &changed, 4096),
        Err(CodingError::Malformed(
            Coding::Zstd,
            "its checksum does not match"
        ))
    );
}

#[test]
fn garbage_is_malformed_and_nothing_panics() {
    for garbage in [
        &b"<html><body>busy</body></html>"[..],
        &[0; 40],
        &[0xff; 40],
    ] {
        for coding in ["gzip", "zstd"] {
            assert!(
                matches!(
                    decode(coding, garbage, 4096),
                    Err(CodingError::Malformed(..))
                ),
                "{coding}"
            );
        }
        assert!(decode("deflate", garbage, 4096).is_err());
    }
    let data = sample(2000);
    let mut noise = 7_u32;
    let mut next = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 8) as usize
    };
    let mut bodies = all(&data);
    bodies.push(("zstd", LINE_ZSTD.to_vec()));
    for (codings, coded) in bodies {
        for _ in 0..2000 {
            let mut changed = coded.clone();
            for _ in 0..=next() % 4 {
                let at = next() % changed.len();
                changed[at] = next() as u8;
            }
            let _ = decode(codings, &changed, 100_000);
        }
    }
}

#[test]
fn members_and_frames_join_and_other_bytes_behind_them_do_not() {
    let two = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
    assert_eq!(decode("gzip", &two, 7).unwrap(), "one two");
    assert_eq!(decode("gzip", &two, 6), Err(CodingError::TooLong(6)));
    let skippable = b"\x5f\x2a\x4d\x18\x03\0\0\0abc".to_vec();
    let empty = b"\x28\xb5\x2f\xfd\x20\0\x01\0\0".to_vec();
    let joined = [&skippable, &zstd(b"one "), LINE_ZSTD, &empty, &skippable].concat();
    let expected = [&b"one "[..], LINE].concat();
    assert_eq!(decode("zstd", &joined, 4096).unwrap(), expected);
    for step in 1..20 {
        let decoded = decode_in_steps("zstd", &joined, step, 5).unwrap();
        assert_eq!(&decoded[..], &expected);
    }
    for (codings, coded) in all(b"text") {
        if codings == "identity" {
            continue;
        }
        let trailing = [&coded[..], b"junk-junk-junk"].concat();
        assert!(
            matches!(
                decode(codings, &trailing, 4096),
                Err(CodingError::Malformed(..))
            ),
            "{codings}"
        );
    }
}

#[test]
fn gzip_headers_with_everything_are_read() {
    let plain = gzip(b"text");
    let mut full = plain[..10].to_vec();
    full[3] = 0b1_1110;
    full.extend_from_slice(b"\x04\0extrname\0comment\0cc");
    full[12..16].copy_from_slice(b"extr");
    full.extend_from_slice(&plain[10..]);
    for step in 1..full.len() {
        let decoded = decode_in_steps("gzip", &full, step, 100).unwrap();
        assert_eq!(&decoded[..], b"text");
    }
    full[3] |= 0x80;
    assert!(decode("gzip", &full, 100).is_err());
}

#[test]
fn flushed_events_come_out_as_soon_as_they_arrive() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut decoder = Decoder::new(&Coding::Gzip.into(), usize::MAX);
    for number in 0..100 {
        let event = format!("data: {{\"number\":{number}}}\n\n");
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        let piece = std::mem::take(encoder.get_mut());
        let mut output = BytesMut::new();
        assert_eq!(
            decoder.push(&piece, &mut output, 64 * 1024),
            Ok(piece.len())
        );
        assert_eq!(&output[..], event.as_bytes());
    }
    assert!(decoder.finish().is_err());
    let end = encoder.finish().unwrap();
    decoder.push(&end, &mut BytesMut::new(), 100).unwrap();
    decoder.finish().unwrap();
}
