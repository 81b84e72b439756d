//! Changes a request in place, where both sides speak this API: the model's name, the config's
//! extra parameters, and the wish for usage in a stream. All other bytes stay as the client sent
//! them.

use bytes::Bytes;

use crate::base::{OutBuf, RawJson};
use crate::dialect::Target;
use crate::wire::json::{Edit, Kind, Value, embed};

/// The request for the target: `body` is the parsed `text`.
pub fn edit(text: &Bytes, body: Value<'_>, target: &Target<'_>) -> OutBuf {
    debug_assert_eq!(text.get(body.span()), Some(body.raw_text()));
    let mut edit = Edit::new(body);
    edit.set(body, "model", embed::string(target.model));
    let streams = body.get("stream").and_then(Value::as_bool) == Some(true);
    if streams && target.traits.stream_options {
        let yes = RawJson::from_checked(Bytes::from_static(b"true"));
        match body.get("stream_options") {
            Some(options) if options.kind() == Kind::Object => {
                edit.set(options, "include_usage", yes);
            }
            _ => edit.set(
                body,
                "stream_options",
                RawJson::from_checked(Bytes::from_static(b"{\"include_usage\":true}")),
            ),
        }
    }
    for (name, value) in target.extra {
        edit.set(body, &name.unescape(), value.clone());
    }
    let mut out = OutBuf::new();
    edit.apply(&mut out);
    out
}
