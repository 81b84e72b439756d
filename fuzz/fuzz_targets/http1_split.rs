//! The same bytes under any splits: the same is seen. The first byte says how many of the following
//! are lengths of pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_fuzz::{cut, receive, serve};

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else {
        return;
    };
    let Some((cuts, data)) = rest.split_at_checked(usize::from(count % 16)) else {
        return;
    };
    assert_eq!(serve([data].into_iter()), serve(cut(data, cuts)));
    assert_eq!(serve([data].into_iter()), serve(data.chunks(1)));
    assert_eq!(receive([data].into_iter()), receive(cut(data, cuts)));
    assert_eq!(receive([data].into_iter()), receive(data.chunks(1)));
});
