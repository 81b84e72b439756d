//! Who calls: keys of clients against the hashes of the config.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::Caller;
use crate::wire::http1::Fields;

/// The name of the caller; `None` where nobody needs a key.
///
/// # Errors
/// What to tell a caller without a key, or with a wrong one.
pub(super) fn caller(
    callers: &[Caller],
    fields: &Fields,
) -> Result<Option<Arc<str>>, &'static str> {
    if callers.is_empty() {
        return Ok(None);
    }
    let Some(key) = key(fields) else {
        return Err("no API key: send `authorization: Bearer KEY` or `x-api-key: KEY`");
    };
    let hash: [u8; 32] = Sha256::digest(key).into();
    // Hashes are compared, not keys: how long it takes tells nothing about the key.
    let caller = callers.iter().find(|caller| caller.key_sha256 == hash);
    caller
        .map(|caller| Some(Arc::clone(&caller.name)))
        .ok_or("the API key is not known here")
}

/// The key that the client sent: every API's own field is understood (`api-key` is Azure's,
/// `x-goog-api-key` Gemini's).
fn key(fields: &Fields) -> Option<&[u8]> {
    if let Some(value) = fields.first("authorization") {
        let is_bearer = value
            .get(..7)
            .is_some_and(|it| it.eq_ignore_ascii_case(b"bearer "));
        if is_bearer {
            return value.get(7..).map(<[u8]>::trim_ascii);
        }
    }
    fields
        .first("x-api-key")
        .or_else(|| fields.first("api-key"))
        .or_else(|| fields.first("x-goog-api-key"))
}
