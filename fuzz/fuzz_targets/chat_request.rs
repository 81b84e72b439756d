//! Any bytes as a request of OpenAI Chat Completions: see [`dialects::request`].
//!
//! [`dialects::request`]: tollgate_fuzz::dialects::request
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::dialect::Dialect;
use tollgate_fuzz::dialects::request;

fuzz_target!(|data: &[u8]| request(Dialect::OpenAiChat, data));
