//! A compressed body, at once and in pieces, with room for much and for little: the same bytes or
//! the same error, and never more than the bound. The first two bytes name the codings and the
//! length of the pieces; the rest is the body.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tollgate_core::wire::coding::{CodingError, Codings, Decoder, decode_whole};

const BYTES_MAX: usize = 1 << 16;
const NAMES: [&str; 8] = [
    "gzip",
    "deflate",
    "zstd",
    "identity",
    "gzip, gzip",
    "deflate, zstd",
    "zstd, gzip",
    "gzip, deflate, zstd",
];

fuzz_target!(|data: &[u8]| {
    let [name, piece_len, body @ ..] = data else {
        return;
    };
    let name = NAMES[usize::from(*name) % NAMES.len()];
    let codings = Codings::parse([name.as_bytes()]).expect("known codings");
    let whole = decode_whole(&codings, &Bytes::copy_from_slice(body), BYTES_MAX);
    if let Ok(plain) = &whole {
        assert!(plain.len() <= BYTES_MAX);
    }
    let pieces = body.chunks(usize::from(*piece_len) + 1);
    let output_max = 1 + usize::from(*piece_len) * 16;
    let (plain, end) = decode(&codings, pieces, output_max);
    match (whole, end) {
        (Ok(whole), Ok(())) => assert_eq!(whole, plain),
        (Err(_), Err(_)) => {}
        (whole, end) => panic!("{whole:?} at once, {end:?} in pieces"),
    }
});

fn decode<'d>(
    codings: &Codings,
    pieces: impl Iterator<Item = &'d [u8]>,
    output_max: usize,
) -> (BytesMut, Result<(), CodingError>) {
    let mut decoder = Decoder::new(codings, BYTES_MAX);
    let mut plain = BytesMut::new();
    for mut piece in pieces {
        loop {
            let before = plain.len();
            match decoder.push(piece, &mut plain, output_max) {
                Err(error) => {
                    assert_eq!(decoder.finish(), Err(error.clone()), "errors latch");
                    return (plain, Err(error));
                }
                Ok(taken) => piece = &piece[taken..],
            }
            let given = plain.len() - before;
            assert!(given <= output_max && plain.len() <= BYTES_MAX);
            if given < output_max {
                assert!(piece.is_empty(), "input is left although there was room");
                break;
            }
        }
    }
    (plain, decoder.finish())
}
