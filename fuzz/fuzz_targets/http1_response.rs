//! Any bytes as responses to a GET: no panic, at most one response, and never an ambiguous one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_fuzz::{Seen, receive};

fuzz_target!(|data: &[u8]| {
    let seen = receive([data].into_iter());
    let heads = seen.iter().filter(|seen| matches!(seen, Seen::Head(..)));
    assert!(heads.count() <= 1);
    let Some(Seen::Head(_, lines)) = seen.first() else {
        return;
    };
    let framing = lines.iter().filter(|(name, _)| {
        name.eq_ignore_ascii_case(b"content-length")
            || name.eq_ignore_ascii_case(b"transfer-encoding")
    });
    assert!(framing.count() <= 1);
});
