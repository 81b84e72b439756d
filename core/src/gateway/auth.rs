//! Who calls: keys of clients against the hashes of the config.

use sha2::{Digest, Sha256};

use crate::config::Caller;
use crate::wire::http1::Fields;

/// The fields in which clients send keys: every API's own is understood (`api-key` is Azure's,
/// `x-goog-api-key` Gemini's).
pub(super) const KEY_FIELDS: [&str; 4] =
    ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// The caller; `None` where nobody needs a key. Each of the fields may hold it: the
/// others may be meant for the provider (`credentials = "client"`).
///
/// # Errors
/// What to tell a caller without a key, or with a wrong one.
pub(super) fn caller<'a>(
    callers: &'a [Caller],
    fields: &Fields,
) -> Result<Option<&'a Caller>, &'static str> {
    if callers.is_empty() {
        return Ok(None);
    }
    let mut message = "no API key: send `authorization: Bearer KEY` or `x-api-key: KEY`";
    for value in KEY_FIELDS.iter().flat_map(|name| fields.all(name)) {
        if let Some(caller) = caller_of(callers, value) {
            return Ok(Some(caller));
        }
        message = "the API key is not known here";
    }
    Err(message)
}

/// Whether the value of a key field is a key of the gateway's own: it goes no further.
pub(super) fn is_own_key(callers: &[Caller], value: &[u8]) -> bool {
    caller_of(callers, value).is_some()
}

fn caller_of<'a>(callers: &'a [Caller], value: &[u8]) -> Option<&'a Caller> {
    let scheme = value.get(..7);
    let is_bearer = scheme.is_some_and(|it| it.eq_ignore_ascii_case(b"bearer "));
    let key = if is_bearer {
        value.get(7..)?.trim_ascii()
    } else {
        value
    };
    let hash: [u8; 32] = Sha256::digest(key).into();
    // Hashes are compared, not keys: how long it takes tells nothing about the key.
    callers.iter().find(|caller| caller.key_sha256 == hash)
}
