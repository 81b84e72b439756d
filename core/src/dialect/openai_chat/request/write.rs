//! Pieces of JSON that requests and answers have in common.

use crate::base::JsonStr;
use crate::dialect::openai_chat::answer::{arguments_text, format_of};
use crate::ir::{Arguments, Part, PartKind, Source, Thinking, ToolCall};
use crate::wire::json::Writer;

/// Writes a call.
pub(in crate::dialect::openai_chat) fn write_call(call: &ToolCall, json: &mut Writer<'_>) {
    let (kind, input) = match &call.arguments {
        Arguments::Free(_) => ("custom", "input"),
        _ => ("function", "arguments"),
    };
    json.begin_object();
    json.key("id");
    json.str(&call.id);
    json.key("type");
    json.text(kind);
    json.key(kind);
    json.begin_object();
    json.key("name");
    json.str(&call.name);
    json.key(input);
    match &call.arguments {
        Arguments::Json(value) => {
            json.begin_string();
            json.append_json(value);
            json.end_string();
        }
        other => json.str(&arguments_text(other)),
    }
    json.end_object();
    json.end_object();
}

/// Writes `reasoning_details`.
pub(in crate::dialect::openai_chat) fn write_details<'p>(
    parts: impl Iterator<Item = &'p Part>,
    json: &mut Writer<'_>,
) {
    json.begin_array();
    for (index, part) in (0u64..).zip(parts) {
        json.begin_object();
        json.key("type");
        let origin = match &part.kind {
            PartKind::RedactedThinking { data, origin } => {
                json.text("reasoning.encrypted");
                json.key("data");
                json.str(data);
                Some(*origin)
            }
            PartKind::Thinking(Thinking { text, signature }) => {
                json.text("reasoning.text");
                json.key("text");
                json.str(text);
                if let Some(signature) = signature {
                    json.key("signature");
                    json.str(&signature.value);
                }
                signature.as_ref().map(|it| it.origin)
            }
            _ => None,
        };
        if let Some(origin) = origin {
            json.key("format");
            json.text(format_of(origin));
        }
        json.key("index");
        json.u64(index);
        json.end_object();
    }
    json.end_array();
}

/// Writes an address, or the data in the form of one. A file's id stands for itself.
pub(in crate::dialect::openai_chat) fn write_url(source: &Source, json: &mut Writer<'_>) {
    match source {
        Source::Base64 { media_type, data } => {
            json.begin_string();
            json.append_text("data:");
            json.append(media_type);
            json.append_text(";base64,");
            json.append(data);
            json.end_string();
        }
        Source::Url { url, .. } => json.str(url),
        Source::File { id, .. } => json.str(id),
        Source::Parts(_) | Source::Text { .. } => json.text(""),
    }
}

/// Writes one string of many texts.
pub(in crate::dialect::openai_chat) fn write_joined<'t>(
    texts: impl Iterator<Item = &'t JsonStr>,
    between: &str,
    json: &mut Writer<'_>,
) {
    json.begin_string();
    for (nth, text) in texts.enumerate() {
        if nth > 0 {
            json.append_text(between);
        }
        json.append(text);
    }
    json.end_string();
}
