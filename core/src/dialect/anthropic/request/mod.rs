//! Requests: [`decode`] what a Messages client asks, [`encode`] what another API's client asks for
//! a Messages upstream, [`edit`] what passes from one to the other.

mod blocks;
mod decode;
mod encode;
mod ids;
mod thinking;
mod turns;

use bytes::Bytes;

use crate::base::OutBuf;
use crate::dialect::Target;
use crate::wire::json::{Edit, Value, embed};

pub(super) use blocks::write_input;
pub use decode::decode;
pub use encode::encode;

/// The request of a Messages client for a Messages upstream: the model's name and the config's
/// extra parameters are set, and every other byte of `text`, of which `body` is the root, stays.
pub fn edit(text: &Bytes, body: Value<'_>, target: &Target<'_>) -> OutBuf {
    debug_assert!(body.span().end <= text.len());
    let mut edit = Edit::new(body);
    let model = body.get("model").and_then(Value::as_str);
    if model.as_ref() != Some(target.model) {
        edit.set(body, "model", embed::string(target.model));
    }
    for (name, value) in target.extra {
        edit.set(body, &name.unescape(), value.clone());
    }
    let mut out = OutBuf::new();
    if edit.is_empty() {
        out.push(text.clone());
    } else {
        edit.apply(&mut out);
    }
    out
}
