//! Any bytes as an event stream of Anthropic Messages: see [`dialects::stream`].
//!
//! [`dialects::stream`]: tollgate_fuzz::dialects::stream
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::dialect::Dialect;
use tollgate_fuzz::dialects::stream;

fuzz_target!(|data: &[u8]| stream(Dialect::Anthropic, data));
