//! What an assistant's message says, however a vendor says it: shared by history in requests and by
//! answers, whole ones and streamed ones.

use bytes::{Bytes, BytesMut};

use crate::base::JsonStr;
use crate::dialect::data_url;
use crate::dialect::fields::{
    Checked, array, fault, given, object, required, string, string_in, word, wrong,
};
use crate::ir::{
    Arguments, Finish, FinishReason, Media, Origin, Part, PartKind, Signature, Source, Thinking,
    ToolCall,
};
use crate::wire::json::{Kind, Value, embed};

/// The empty object as a call's arguments, where a vendor gives none.
pub(super) const NO_ARGUMENTS: JsonStr = JsonStr::from_static("{}");

/// An entry of `reasoning_details` (OpenRouter, Vercel).
pub(super) enum Detail {
    /// Words, and perhaps the signature over all words of the same index.
    Text {
        /// The words; may be empty beside a signature.
        text: JsonStr,
        /// The signature.
        signature: Option<Signature>,
        /// Which block.
        index: Option<u64>,
    },
    /// What only its maker can read.
    Encrypted {
        /// The data.
        data: JsonStr,
        /// Its maker.
        origin: Origin,
    },
}

/// Reads an entry of `reasoning_details`; `None` where it says nothing.
pub(super) fn detail(entry: Value<'_>) -> Option<Detail> {
    let (mut text, mut signature, mut data) = (JsonStr::EMPTY, None, None);
    let (mut index, mut origin) = (None, Origin::OpenAiChat);
    for (key, value) in entry.members() {
        match key.escaped() {
            b"text" | b"summary" => text = value.as_str().unwrap_or(text),
            b"signature" => signature = value.as_str().filter(|it| !it.is_empty()),
            b"data" => data = value.as_str().filter(|it| !it.is_empty()),
            b"index" => index = value.as_u64(),
            b"format" => origin = origin_of(value),
            _ => {}
        }
    }
    if let Some(data) = data {
        return Some(Detail::Encrypted { data, origin });
    }
    if text.is_empty() && signature.is_none() {
        return None;
    }
    Some(Detail::Text {
        text,
        signature: signature.map(|value| Signature { value, origin }),
        index,
    })
}

/// Who can check what is in an entry of this `format`.
fn origin_of(format: Value<'_>) -> Origin {
    let name = format.escaped().unwrap_or_default();
    if name.starts_with(b"anthropic") {
        Origin::Anthropic
    } else if name.starts_with(b"google") {
        Origin::Gemini
    } else if name.starts_with(b"openai-responses") {
        Origin::OpenAiResponses
    } else {
        Origin::OpenAiChat
    }
}

/// The `format` of an entry for what this vendor made.
pub(super) const fn format_of(origin: Origin) -> &'static str {
    match origin {
        Origin::Anthropic | Origin::Bedrock => "anthropic-claude-v1",
        Origin::Gemini => "google-gemini-v1",
        Origin::OpenAiResponses => "openai-responses-v1",
        Origin::OpenAiChat => "unknown",
    }
}

/// Makes parts of a message's reasoning: of the words in `reasoning` or `reasoning_content`, and of
/// `reasoning_details`. Where both have words they are the same ones.
///
/// A signature in an entry without words belongs to the words told apart, if it is the only one; of
/// several it cannot be said which signs what, and a wrong one is worse than none.
pub(super) fn reasoning(words: Option<JsonStr>, details: Option<Value<'_>>, out: &mut Vec<Part>) {
    let begin = out.len();
    let mut open: Option<(Option<u64>, BytesMut, Option<Signature>)> = None;
    let mut bare = Vec::new();
    let mut worded = false;
    let close = |open: &mut Option<(Option<u64>, BytesMut, Option<Signature>)>,
                 out: &mut Vec<Part>| {
        if let Some((_, text, signature)) = open.take() {
            let text = JsonStr::from_checked(text.freeze());
            out.push(Part::new(PartKind::Thinking(Thinking { text, signature })));
        }
    };
    for entry in details.iter().flat_map(|details| details.elements()) {
        match detail(entry) {
            None => {}
            Some(Detail::Encrypted { data, origin }) => {
                close(&mut open, out);
                out.push(Part::new(PartKind::RedactedThinking { data, origin }));
            }
            Some(Detail::Text {
                text,
                signature,
                index,
            }) => {
                let same = matches!(&open, Some((at, _, None)) if *at == index);
                if text.is_empty() && !same {
                    bare.extend(signature);
                    continue;
                }
                worded = true;
                if !same {
                    close(&mut open, out);
                }
                let (_, words, signed) = open.get_or_insert_with(|| (index, BytesMut::new(), None));
                words.extend_from_slice(text.escaped());
                *signed = signature;
            }
        }
    }
    close(&mut open, out);
    if worded {
        return;
    }
    let text = words.unwrap_or_default();
    let signature = if bare.len() == 1 { bare.pop() } else { None };
    if !text.is_empty() || signature.is_some() {
        let thinking = PartKind::Thinking(Thinking { text, signature });
        out.insert(begin, Part::new(thinking));
    }
}

/// Reads the `content` of an assistant's message: text, a list of parts, or nothing. Empty text is
/// no part.
///
/// # Errors
/// Where it is of another type.
pub(super) fn content(value: Value<'_>, out: &mut Vec<Part>) -> Checked<()> {
    match value.kind() {
        Kind::Null => {}
        Kind::String => push_text(value.as_str(), out),
        Kind::Array => {
            for entry in value.elements() {
                content_part(entry, out)?;
            }
        }
        _ => return Err(wrong(value, "a string or an array")),
    }
    Ok(())
}

/// Reads one part of a list: text, refusal, Mistral's thinking, pictures; anything else is opaque.
fn content_part(entry: Value<'_>, out: &mut Vec<Part>) -> Checked<()> {
    if entry.kind() == Kind::String {
        push_text(entry.as_str(), out);
        return Ok(());
    }
    let kind = required(object(entry)?, "type")?;
    match word(kind)? {
        b"text" | b"output_text" => push_text(entry.get("text").and_then(Value::as_str), out),
        b"refusal" => {
            if let Some(text) = entry.get("refusal").and_then(Value::as_str) {
                out.push(Part::new(PartKind::Refusal { text }));
            }
        }
        b"thinking" => {
            let text = thinking_text(entry);
            if !text.is_empty() {
                let signature = None;
                out.push(Part::new(PartKind::Thinking(Thinking { text, signature })));
            }
        }
        b"image_url" => out.extend(picture(entry)),
        _ => out.push(Part::new(PartKind::Opaque {
            origin: Origin::OpenAiChat,
            name: string(kind)?,
            json: entry.raw(),
        })),
    }
    if let (Some(hint), Some(part)) = (given(entry, "cache_control"), out.last_mut()) {
        part.cache = Some(cache_hint(hint)?);
    }
    Ok(())
}

/// Reads `cache_control`, which OpenRouter and others take over from Messages.
pub(super) fn cache_hint(value: Value<'_>) -> Checked<crate::ir::CacheHint> {
    Ok(crate::ir::CacheHint {
        ttl: string_in(object(value)?, "ttl")?,
    })
}

/// The words of a Mistral `thinking` part: a string, or a list of text parts.
pub(super) fn thinking_text(entry: Value<'_>) -> JsonStr {
    let Some(words) = entry.get("thinking") else {
        return JsonStr::EMPTY;
    };
    if let Some(text) = words.as_str() {
        return text;
    }
    words
        .elements()
        .filter_map(|part| part.get("text").and_then(Value::as_str))
        .fold(JsonStr::EMPTY, |joined, text| joined.concat(&text))
}

/// A generated or given picture: `{"type":"image_url","image_url":{"url":…}}`.
pub(super) fn picture(entry: Value<'_>) -> Option<Part> {
    let image = entry.get("image_url")?;
    let url = image.get("url").unwrap_or(image).as_str()?;
    let source = source(url).ok()?;
    Some(Part::new(PartKind::Image(Media {
        source,
        detail: image.get("detail").and_then(Value::as_str),
    })))
}

/// The source that an address names: the data itself where it is a `data:` URL, as a slice.
pub(super) fn source(url: JsonStr) -> Result<Source, &'static str> {
    match data_url::read(&url) {
        None => Ok(Source::Url {
            url,
            media_type: None,
        }),
        Some(read) => read.map(|(media_type, data)| Source::Base64 { media_type, data }),
    }
}

/// Reads the `tool_calls` of a message. `name_id` makes the id of the n-th call where it has none.
///
/// # Errors
/// Where a call has no name, or is not of the shape.
pub(super) fn tool_calls(
    calls: Value<'_>,
    name_id: &mut dyn FnMut(usize) -> JsonStr,
    out: &mut Vec<Part>,
) -> Checked<()> {
    for (nth, call) in array(calls)?.elements().enumerate() {
        let (mut id, mut body, mut free) = (None, None, false);
        let (mut cache, mut signature) = (None, None);
        for (key, value) in object(call)?.members() {
            match key.escaped() {
                _ if value.is_null() => {}
                b"id" => id = Some(string(value)?).filter(|id| !id.is_empty()),
                b"function" => body = Some(object(value)?),
                // Snowflake sends an empty one beside each function.
                b"custom" if filled(object(value)?).is_some() => {
                    (body, free) = (Some(value), true);
                }
                b"cache_control" => cache = Some(cache_hint(value)?),
                b"extra_content" => signature = google_signature(value),
                _ => {}
            }
        }
        let Some(body) = body else {
            return Err(fault(call, "has neither `function` nor `custom`"));
        };
        let (name, arguments) = call_body(body, free)?;
        let call = PartKind::ToolCall(ToolCall {
            id: id.unwrap_or_else(|| name_id(nth)),
            name,
            arguments,
            signature,
        });
        out.push(Part { kind: call, cache });
    }
    Ok(())
}

/// Reads a call's `function` or `custom`, or the older `function_call`.
pub(super) fn call_body(body: Value<'_>, free: bool) -> Checked<(JsonStr, Arguments)> {
    let name = string(required(body, "name")?)?;
    if name.is_empty() {
        return Err(fault(body, "has an empty `name`"));
    }
    let input = given(body, if free { "input" } else { "arguments" });
    let arguments = match input {
        Some(value) if free => Arguments::Free(string(value)?),
        None if free => Arguments::Free(JsonStr::EMPTY),
        Some(value) if value.kind() == Kind::String => {
            let text = string(value)?;
            let empty = text.escaped().iter().all(u8::is_ascii_whitespace);
            Arguments::Text(if empty { NO_ARGUMENTS } else { text })
        }
        Some(value) => Arguments::Json(object(value)?.raw()),
        None => Arguments::Text(NO_ARGUMENTS),
    };
    Ok((name, arguments))
}

/// An object, unless all its members are empty: a call that some vendors send for none.
pub(super) fn filled(value: Value<'_>) -> Option<Value<'_>> {
    let says = |(_, member): (_, Value<'_>)| !member.is_null() && !member.is("");
    value.members().any(says).then_some(value)
}

/// Reads `extra_content.google.thought_signature` of Google's Chat surface.
pub(super) fn google_signature(extra: Value<'_>) -> Option<Signature> {
    let value = extra.get("google")?.get("thought_signature")?.as_str()?;
    (!value.is_empty()).then_some(Signature {
        value,
        origin: Origin::Gemini,
    })
}

/// A signature told for the message as a whole (Google's surface) goes with its first call.
pub(super) fn sign_first_call(signed: Option<Signature>, parts: &mut [Part]) {
    let first = parts.iter_mut().find_map(|part| match &mut part.kind {
        PartKind::ToolCall(call) => Some(call),
        _ => None,
    });
    if let (Some(call), Some(signed)) = (first, signed) {
        call.signature.get_or_insert(signed);
    }
}

/// A call's arguments as the text they are given in.
pub(super) fn arguments_text(arguments: &Arguments) -> JsonStr {
    match arguments {
        Arguments::Free(text) => text.clone(),
        Arguments::Json(json) => embed::embed(json),
        Arguments::Text(text) if text.is_empty() => NO_ARGUMENTS,
        Arguments::Text(text) => text.clone(),
    }
}

/// Reads a `finish_reason`, in the vendors' spellings. `None` where it says nothing.
pub(super) fn finish_reason(value: Value<'_>) -> Option<FinishReason> {
    let name = value.as_text()?;
    Some(match name.to_ascii_lowercase().as_str() {
        "" => return None,
        "length" | "max_tokens" | "max_output_tokens" | "model_length" => FinishReason::Length,
        "context_window" | "context_length" | "model_context_window_exceeded" => {
            FinishReason::ContextWindow
        }
        "tool_calls" | "tool_call" | "tool_use" | "function_call" | "tool-calls" => {
            FinishReason::ToolCalls
        }
        "content_filter"
        | "content-filter"
        | "safety"
        | "recitation"
        | "sensitive"
        | "guardrail_intervened"
        | "blocklist"
        | "prohibited_content" => FinishReason::ContentFilter,
        "refusal" => FinishReason::Refusal,
        "pause_turn" => FinishReason::Pause,
        "stop_sequence" => FinishReason::StopSequence,
        _ => FinishReason::Stop,
    })
}

/// How an answer with or without calls and refusals ends: a call makes it end with calls, whatever
/// the vendor said (OpenAI says `stop` for a forced tool), unless it was cut off.
pub(super) fn finish(told: Option<FinishReason>, has_calls: bool) -> Finish {
    let reason = match told.unwrap_or_default() {
        FinishReason::Stop | FinishReason::StopSequence if has_calls => FinishReason::ToolCalls,
        reason => reason,
    };
    Finish {
        reason,
        ..Finish::default()
    }
}

/// The `finish_reason` that says this. A pause is no end of the turn and Chat has no word for it:
/// `length`, so that nobody takes the answer for whole.
pub(super) const fn finish_name(reason: &FinishReason, refused: bool) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::StopSequence => "stop",
        FinishReason::Refusal if refused => "stop",
        FinishReason::ContentFilter | FinishReason::Refusal => "content_filter",
        FinishReason::ContextWindow | FinishReason::Length | FinishReason::Pause => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

/// An id for the n-th call of an answer, where the vendor gave none: made of the answer's own id,
/// so that it does not come twice in a conversation.
pub(super) fn call_id(answer: Option<&JsonStr>, nth: usize) -> JsonStr {
    let mut id = b"call_".to_vec();
    if let Some(answer) = answer {
        let letters = answer.escaped().iter().copied();
        id.extend(letters.filter(u8::is_ascii_alphanumeric).take(48));
        id.push(b'_');
    }
    id.extend_from_slice(nth.to_string().as_bytes());
    JsonStr::from_checked(Bytes::from(id))
}

fn push_text(text: Option<JsonStr>, out: &mut Vec<Part>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(Part::text(text));
    }
}
