//! Upstreams have been seen to repeat the key that they refuse. It is ours, not the client's: what
//! tells an error tells it without the key. Answers are not looked through.

use bytes::Bytes;

use crate::base::JsonStr;
use crate::config::Secret;
use crate::ir::Failure;

/// Stands where the key stood.
const MASK: &[u8] = b"[redacted]";
/// What is shorter is no secret, and may be part of a word.
const KEY_BYTES_MIN: usize = 4;

/// The text of an error without the key that the upstream was asked with.
pub(super) fn without_key(text: Bytes, key: Option<&Secret>) -> Bytes {
    let Some(key) = key
        .map(Secret::expose)
        .filter(|it| it.len() >= KEY_BYTES_MIN)
    else {
        return text;
    };
    let finder = memchr::memmem::Finder::new(key);
    if finder.find(&text).is_none() {
        return text;
    }
    let mut masked = Vec::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = finder.find(rest) {
        masked.extend_from_slice(rest.get(..at).unwrap_or_default());
        masked.extend_from_slice(MASK);
        rest = rest.get(at + key.len()..).unwrap_or_default();
    }
    masked.extend_from_slice(rest);
    Bytes::from(masked)
}

/// Takes the key out of what a failure says.
pub(super) fn mask(failure: &mut Failure, key: Option<&Secret>) {
    let message = without_key(failure.message.escaped().clone(), key);
    failure.message = JsonStr::from_checked(message);
}
