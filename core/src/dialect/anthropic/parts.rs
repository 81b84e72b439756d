//! Content blocks, as requests and answers hold them, into [`Part`]s.

use super::read::{
    Notes, members, missing, optional_bool, optional_string, required, required_string,
};
use crate::base::JsonStr;
use crate::dialect::data_url;
use crate::dialect::fields::{Checked, array, fault, object, string, word, wrong};
use crate::ir::{
    Arguments, CacheHint, Document, Media, Origin, Part, PartKind, Signature, Source, Thinking,
    ToolCall, ToolResult,
};
use crate::wire::json::{Kind, Value};

/// Text, or an array of blocks.
pub(super) fn content(value: Value<'_>, notes: &mut Notes) -> Checked<Vec<Part>> {
    match value.kind() {
        Kind::String => Ok(vec![Part::text(string(value)?)]),
        Kind::Array => blocks(value, notes),
        _ => Err(wrong(value, "a string or an array of blocks")),
    }
}

/// An array of blocks.
pub(super) fn blocks(value: Value<'_>, notes: &mut Notes) -> Checked<Vec<Part>> {
    let mut parts = Vec::new();
    for element in array(value)?.elements() {
        parts.push(block(element, notes)?);
    }
    Ok(parts)
}

/// One block.
pub(super) fn block(value: Value<'_>, notes: &mut Notes) -> Checked<Part> {
    let kind = object(value)?
        .get("type")
        .ok_or_else(|| missing(value, "type"))?;
    match word(kind)? {
        b"text" => text(value, notes),
        b"image" => image(value, notes),
        b"document" => document(value, notes),
        b"tool_use" => tool_use(value, notes),
        b"tool_result" => tool_result(value, notes),
        b"thinking" => thinking(value, notes),
        b"redacted_thinking" => redacted_thinking(value, notes),
        _ => Ok(Part::new(PartKind::Opaque {
            origin: Origin::Anthropic,
            name: string(kind)?,
            json: value.raw(),
        })),
    }
}

/// `{"type":"ephemeral","ttl":"5m"}`
pub(super) fn cache_hint(
    found: Option<Value<'_>>,
    notes: &mut Notes,
) -> Checked<Option<CacheHint>> {
    let Some(value) = found else {
        return Ok(None);
    };
    let [_, ttl] = members(object(value)?, ["type", "ttl"], notes);
    let ttl = optional_string(ttl)?;
    Ok(Some(CacheHint { ttl }))
}

fn text(value: Value<'_>, notes: &mut Notes) -> Checked<Part> {
    let names = ["type", "text", "cache_control", "citations"];
    let [_, text, cache, citations] = members(value, names, notes);
    let text = required_string(value, "text", text)?;
    let citations = match citations {
        None => Vec::new(),
        Some(all) => array(all)?
            .elements()
            .map(|one| (Origin::Anthropic, one.raw()))
            .collect(),
    };
    Ok(Part {
        kind: PartKind::Text { text, citations },
        cache: cache_hint(cache, notes)?,
    })
}

fn image(value: Value<'_>, notes: &mut Notes) -> Checked<Part> {
    let [_, source, cache] = members(value, ["type", "source", "cache_control"], notes);
    let media = Media {
        source: media_source(required(value, "source", source)?, notes)?,
        detail: None,
    };
    Ok(Part {
        kind: PartKind::Image(media),
        cache: cache_hint(cache, notes)?,
    })
}

fn document(value: Value<'_>, notes: &mut Notes) -> Checked<Part> {
    let names = [
        "type",
        "source",
        "title",
        "context",
        "citations",
        "cache_control",
    ];
    let [_, source, title, context, citations, cache] = members(value, names, notes);
    let citations = match citations {
        None => None,
        Some(config) => optional_bool(object(config)?.get("enabled"))?,
    };
    let document = Document {
        source: media_source(required(value, "source", source)?, notes)?,
        title: optional_string(title)?,
        context: optional_string(context)?,
        citations: citations.unwrap_or(false),
    };
    Ok(Part {
        kind: PartKind::Document(document),
        cache: cache_hint(cache, notes)?,
    })
}

fn media_source(value: Value<'_>, notes: &mut Notes) -> Checked<Source> {
    let names = ["type", "media_type", "data", "url", "file_id", "content"];
    let [kind, media_type, data, url, file, content] = members(object(value)?, names, notes);
    let kind = required(value, "type", kind)?;
    match word(kind)? {
        b"base64" => {
            let named = required(value, "media_type", media_type)?;
            let media_type = string(named)?;
            if !data_url::is_media_type(&media_type.unescape()) {
                return Err(fault(named, "must be a media type, such as image/png"));
            }
            Ok(Source::Base64 {
                media_type,
                data: required_string(value, "data", data)?,
            })
        }
        b"text" => Ok(Source::Text {
            text: required_string(value, "data", data)?,
        }),
        b"url" => Ok(Source::Url {
            url: required_string(value, "url", url)?,
            media_type: optional_string(media_type)?,
        }),
        b"file" => Ok(Source::File {
            id: required_string(value, "file_id", file)?,
            origin: Origin::Anthropic,
        }),
        b"content" => {
            let content = required(value, "content", content)?;
            Ok(Source::Parts(self::content(content, notes)?))
        }
        _ => Err(fault(
            kind,
            "must be one of base64, content, file, text, url",
        )),
    }
}

fn tool_use(value: Value<'_>, notes: &mut Notes) -> Checked<Part> {
    let names = ["type", "id", "name", "input", "cache_control", "caller"];
    let [_, id, name, input, cache, _] = members(value, names, notes);
    let call = ToolCall {
        id: required_string(value, "id", id)?,
        name: required_string(value, "name", name)?,
        arguments: Arguments::Json(required(value, "input", input)?.raw()),
        signature: None,
    };
    Ok(Part {
        kind: PartKind::ToolCall(call),
        cache: cache_hint(cache, notes)?,
    })
}

fn tool_result(value: Value<'_>, notes: &mut Notes) -> Checked<Part> {
    let names = [
        "type",
        "tool_use_id",
        "content",
        "is_error",
        "cache_control",
    ];
    let [_, id, content, is_error, cache] = members(value, names, notes);
    let parts = match content {
        None => Vec::new(),
        Some(content) => self::content(content, notes)?,
    };
    let result = ToolResult {
        call_id: required_string(value, "tool_use_id", id)?,
        name: None,
        parts,
        is_error: optional_bool(is_error)?.unwrap_or(false),
    };
    Ok(Part {
        kind: PartKind::ToolResult(result),
        cache: cache_hint(cache, notes)?,
    })
}

fn thinking(value: Value<'_>, notes: &mut Notes) -> Checked<Part> {
    let [_, text, signature] = members(value, ["type", "thinking", "signature"], notes);
    let signature = optional_string(signature)?.filter(|value| !value.is_empty());
    let thinking = Thinking {
        text: required_string(value, "thinking", text)?,
        signature: signature.map(anthropic_signature),
    };
    Ok(Part::new(PartKind::Thinking(thinking)))
}

fn redacted_thinking(value: Value<'_>, notes: &mut Notes) -> Checked<Part> {
    let [_, data] = members(value, ["type", "data"], notes);
    Ok(Part::new(PartKind::RedactedThinking {
        data: required_string(value, "data", data)?,
        origin: Origin::Anthropic,
    }))
}

fn anthropic_signature(value: JsonStr) -> Signature {
    Signature {
        value,
        origin: Origin::Anthropic,
    }
}
