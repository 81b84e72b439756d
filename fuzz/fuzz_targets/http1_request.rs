//! Any bytes as requests: no panic, and what is accepted has one meaning only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_fuzz::{Seen, serve};

fuzz_target!(|data: &[u8]| {
    let seen = serve([data].into_iter());
    let Some(Seen::Head(start, lines)) = seen.first() else {
        return;
    };
    let mut table = [httparse::EMPTY_HEADER; 16];
    let mut oracle = httparse::Request::new(&mut table);
    assert!(oracle.parse(data).is_ok_and(|status| status.is_complete()));
    assert!(start.starts_with(oracle.method.unwrap_or("?")));
    assert_eq!(oracle.headers.len(), lines.len());
    for (header, (name, value)) in oracle.headers.iter().zip(lines) {
        assert_eq!(
            (header.name.as_bytes(), header.value),
            (&name[..], &value[..])
        );
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
    }
    let count = |wanted: &[u8]| {
        lines
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .count()
    };
    assert!(count(b"content-length") + count(b"transfer-encoding") <= 1);
    assert!(count(b"host") <= 1);
});
