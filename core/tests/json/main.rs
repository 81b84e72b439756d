//! The JSON scanner, writer and edits against the parser test suite, `serde_json` and models.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod edit;
mod random;
mod scan;
mod suite;

use bytes::Bytes;
use tollgate_core::base::limits::JsonLimits;
use tollgate_core::wire::json::{JsonError, Tape};

/// Whether `text` is a JSON document, or why not.
fn check(text: &[u8]) -> Result<(), JsonError> {
    let text = Bytes::copy_from_slice(text);
    Tape::new().parse(&text, &JsonLimits::default()).map(|_| ())
}
