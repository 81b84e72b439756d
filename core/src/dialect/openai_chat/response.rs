//! Whole answers.

use super::answer::{self, finish_name};
use super::request::{write_call, write_details, write_joined, write_url};
use super::{failure, usage};
use crate::base::{JsonStr, OutBuf};
use crate::dialect::ReplyMeta;
use crate::dialect::encode::write_id;
use crate::dialect::failure::calls_nothing;
use crate::dialect::fields::{given, object};
use crate::ir::{
    CHOICES_MAX, Choice, Class, Failure, FinishReason, Media, Origin, Part, PartKind, Response,
    Thinking, ToolCall,
};
use crate::wire::json::{Kind, Value, Writer};

/// Reads the body of an answer with status 200.
///
/// # Errors
/// The failure it tells of, or [`Class::BadGateway`] where it is no completion at all.
pub fn decode(body: Value<'_>) -> Result<Response, Box<Failure>> {
    let error = given(body, "error").filter(|error| !is_blank(*error));
    let choices = given(body, "choices").filter(|choices| choices.kind() == Kind::Array);
    let Some(choices) = choices.filter(|_| error.is_none()) else {
        return Err(Box::new(no_completion(body, error.is_some())));
    };
    let text = |key| {
        given(body, key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let mut response = Response {
        id: text("id"),
        model: text("model"),
        created: body
            .get("created")
            .and_then(Value::as_u64)
            .filter(|it| *it > 0),
        choices: Vec::new(),
        usage: body.get("usage").and_then(usage::decode),
        service_tier: text("service_tier"),
        fingerprint: text("system_fingerprint"),
    };
    if response.usage.is_none() {
        let groq = body.get("x_groq").and_then(|groq| groq.get("usage"));
        response.usage = groq.and_then(usage::decode);
    }
    for choice in choices.elements().take(CHOICES_MAX as usize) {
        let choice = decode_choice(choice, response.id.as_ref()).map_err(broken)?;
        response.choices.push(choice);
    }
    if response.choices.is_empty() {
        return Err(bad_gateway("the upstream's completion has no choices"));
    }
    Ok(response)
}

/// Writes the answer.
pub fn encode(response: &Response, meta: &ReplyMeta, out: &mut OutBuf) {
    let mut json = Writer::new(out);
    json.begin_object();
    write_head(
        &Head {
            id: response.id.as_ref(),
            model: response.model.as_ref(),
            created: response.created,
            service_tier: response.service_tier.as_ref(),
            fingerprint: response.fingerprint.as_ref(),
            object: "chat.completion",
        },
        meta,
        &mut json,
    );
    json.key("choices");
    json.begin_array();
    for (index, choice) in (0u64..).zip(&response.choices) {
        json.begin_object();
        json.key("index");
        json.u64(index);
        json.key("message");
        write_message(&choice.parts, &mut json);
        json.key("logprobs");
        match &choice.logprobs {
            Some(logprobs) => json.raw(logprobs),
            None => json.null(),
        }
        json.key("finish_reason");
        json.text(reason_of(choice));
        json.end_object();
    }
    json.end_array();
    json.key("usage");
    usage::encode(&response.usage.unwrap_or_default(), &mut json);
    json.end_object();
}

/// What stands before `choices` in answers and in chunks.
pub(super) struct Head<'a> {
    pub(super) id: Option<&'a JsonStr>,
    pub(super) model: Option<&'a JsonStr>,
    pub(super) created: Option<u64>,
    pub(super) service_tier: Option<&'a JsonStr>,
    pub(super) fingerprint: Option<&'a JsonStr>,
    pub(super) object: &'static str,
}

/// Writes the members before `choices`.
pub(super) fn write_head(head: &Head<'_>, meta: &ReplyMeta, json: &mut Writer<'_>) {
    json.key("id");
    write_id(head.id, "chatcmpl-", &meta.id, json);
    json.key("object");
    json.text(head.object);
    json.key("created");
    json.u64(head.created.unwrap_or(meta.created.as_secs()));
    json.key("model");
    json.str(head.model.unwrap_or(&meta.model));
    // `standard` is Messages' word for what OpenAI calls `default`; `batch` has no counterpart.
    match head.service_tier {
        Some(tier) if tier.is("standard") => {
            json.key("service_tier");
            json.text("default");
        }
        Some(tier) if !tier.is("batch") => {
            json.key("service_tier");
            json.str(tier);
        }
        _ => {}
    }
    if let Some(fingerprint) = head.fingerprint {
        json.key("system_fingerprint");
        json.str(fingerprint);
    }
}

/// The failure that is told in the place of a completion.
fn no_completion(body: Value<'_>, has_error: bool) -> Failure {
    let told = ["message", "detail", "msg"];
    if has_error || told.iter().any(|key| given(body, key).is_some()) {
        return failure::from_value(None, body);
    }
    Failure::new(Class::BadGateway, "the upstream's answer is no completion")
}

/// `{}` and `""` beside an answer are no errors.
pub(super) fn is_blank(error: Value<'_>) -> bool {
    match error.kind() {
        Kind::String => error.is(""),
        Kind::Object => error.is_empty(),
        Kind::Bool => error.as_bool() == Some(false),
        _ => false,
    }
}

fn bad_gateway(message: &str) -> Box<Failure> {
    Box::new(Failure::new(Class::BadGateway, message))
}

/// The upstream's fault, where a reader shared with requests found one.
fn broken(fault: Box<Failure>) -> Box<Failure> {
    if fault.class != Class::InvalidRequest || fault.upstream_status.is_some() {
        return fault;
    }
    let message = fault.message.unescape();
    bad_gateway(&format!("the upstream's answer is broken: {message}"))
}

fn decode_choice(choice: Value<'_>, id: Option<&JsonStr>) -> Result<Choice, Box<Failure>> {
    if given(object(choice)?, "error").is_some_and(|error| !is_blank(error)) {
        return Err(Box::new(failure::from_value(None, choice)));
    }
    let told = choice.get("finish_reason");
    let reason = told.and_then(answer::finish_reason);
    let mut parts = Vec::new();
    match given(choice, "message") {
        Some(message) => decode_message(object(message)?, id, &mut parts)?,
        // Azure, when its filter struck.
        None if reason == Some(FinishReason::ContentFilter) => {}
        None => return Err(bad_gateway("the upstream's completion has no message")),
    }
    if told.is_some_and(|told| told.is("error")) {
        return Err(bad_gateway("the upstream says that the answer failed"));
    }
    let is_call = |part: &Part| matches!(part.kind, PartKind::ToolCall(_));
    let has_calls = parts.iter().any(is_call);
    let mut finish = answer::finish(reason, has_calls);
    if finish.reason == FinishReason::ToolCalls && !has_calls {
        if parts.is_empty() {
            return Err(Box::new(calls_nothing()));
        }
        finish.reason = FinishReason::Stop;
    }
    let logprobs = given(choice, "logprobs").filter(|it| has_logprobs(*it));
    Ok(Choice {
        parts,
        finish,
        logprobs: logprobs.map(Value::raw),
    })
}

/// Whether a `logprobs` object holds anything: some vendors send it with nulls.
pub(super) fn has_logprobs(value: Value<'_>) -> bool {
    value.members().any(|(_, list)| !list.is_null())
}

fn decode_message(
    message: Value<'_>,
    id: Option<&JsonStr>,
    parts: &mut Vec<Part>,
) -> Result<(), Box<Failure>> {
    let words = ["reasoning_content", "reasoning"]
        .iter()
        .filter_map(|key| message.get(key)?.as_str())
        .find(|words| !words.is_empty());
    answer::reasoning(words, given(message, "reasoning_details"), parts);
    if let Some(content) = message.get("content") {
        answer::content(content, parts)?;
    }
    if let Some(annotations) = given(message, "annotations") {
        cite(annotations, parts);
    }
    let refusal = given(message, "refusal").and_then(Value::as_str);
    if let Some(text) = refusal.filter(|text| !text.is_empty()) {
        parts.push(Part::new(PartKind::Refusal { text }));
    }
    if let Some(images) = given(message, "images") {
        parts.extend(images.elements().filter_map(answer::picture));
    }
    let has_id = |audio: &Value<'_>| audio.get("id").is_some_and(|id| !id.is(""));
    if let Some(audio) = given(message, "audio").filter(has_id) {
        parts.push(Part::new(PartKind::Opaque {
            origin: Origin::OpenAiChat,
            name: JsonStr::from_static("audio"),
            json: audio.raw(),
        }));
    }
    let begin = parts.len();
    if let Some(calls) = given(message, "tool_calls") {
        answer::tool_calls(calls, &mut |nth| answer::call_id(id, nth), parts)?;
    }
    if let Some(call) = given(message, "function_call").and_then(answer::filled) {
        let (name, arguments) = answer::call_body(object(call)?, false)?;
        parts.push(Part::new(PartKind::ToolCall(ToolCall {
            id: answer::call_id(id, parts.len() - begin),
            name,
            arguments,
            signature: None,
        })));
    }
    let signed = given(message, "extra_content").and_then(answer::google_signature);
    answer::sign_first_call(signed, parts.get_mut(begin..).unwrap_or_default());
    Ok(())
}

/// Hangs `annotations` on the last text.
fn cite(annotations: Value<'_>, parts: &mut [Part]) {
    let last = parts
        .iter_mut()
        .rev()
        .find_map(|part| match &mut part.kind {
            PartKind::Text { citations, .. } => Some(citations),
            _ => None,
        });
    if let Some(citations) = last {
        let objects = annotations
            .elements()
            .filter(|it| it.kind() == Kind::Object);
        citations.extend(objects.map(|it| (Origin::OpenAiChat, it.raw())));
    }
}

fn reason_of(choice: &Choice) -> &'static str {
    let is_call = |part: &Part| matches!(part.kind, PartKind::ToolCall(_));
    let is_refusal = |part: &Part| matches!(part.kind, PartKind::Refusal { .. });
    let has_calls = choice.parts.iter().any(is_call);
    let refused = choice.parts.iter().any(is_refusal);
    match &choice.finish.reason {
        FinishReason::ToolCalls if !has_calls => "stop",
        FinishReason::Stop | FinishReason::StopSequence if has_calls => "tool_calls",
        reason => finish_name(reason, refused),
    }
}

fn write_message(parts: &[Part], json: &mut Writer<'_>) {
    let texts = parts.iter().filter_map(|part| match &part.kind {
        PartKind::Text { text, .. } => Some(text),
        _ => None,
    });
    let refusals = parts.iter().filter_map(|part| match &part.kind {
        PartKind::Refusal { text } => Some(text),
        _ => None,
    });
    let calls = parts.iter().filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) => Some(call),
        _ => None,
    });
    let has_calls = calls.clone().next().is_some();
    let refused = refusals.clone().next().is_some();
    json.begin_object();
    json.key("role");
    json.text("assistant");
    json.key("content");
    if texts.clone().next().is_none() && (has_calls || refused) {
        json.null();
    } else {
        write_joined(texts, "", json);
    }
    json.key("refusal");
    if refused {
        write_joined(refusals, "", json);
    } else {
        json.null();
    }
    write_reasoning(parts, json);
    write_annotations(parts, json);
    write_media(parts, json);
    if has_calls {
        json.key("tool_calls");
        json.begin_array();
        for call in calls {
            write_call(call, json);
        }
        json.end_array();
    }
    json.end_object();
}

/// `reasoning_content`, and `reasoning_details` where there is what words alone do not say.
fn write_reasoning(parts: &[Part], json: &mut Writer<'_>) {
    let reasoning = parts.iter().filter(|part| {
        matches!(
            part.kind,
            PartKind::Thinking(_) | PartKind::RedactedThinking { .. }
        )
    });
    let words = reasoning.clone().filter_map(|part| match &part.kind {
        PartKind::Thinking(thinking) if !thinking.text.is_empty() => Some(&thinking.text),
        _ => None,
    });
    let plain = |part: &Part| {
        let PartKind::Thinking(Thinking { signature, .. }) = &part.kind else {
            return false;
        };
        signature.is_none()
    };
    if words.clone().next().is_some() {
        json.key("reasoning_content");
        write_joined(words, "", json);
    }
    if !reasoning.clone().all(plain) {
        json.key("reasoning_details");
        write_details(reasoning, json);
    }
}

fn write_annotations(parts: &[Part], json: &mut Writer<'_>) {
    let cited = parts.iter().flat_map(|part| match &part.kind {
        PartKind::Text { citations, .. } => citations.as_slice(),
        _ => &[],
    });
    let mut own = cited
        .filter(|(origin, _)| *origin == Origin::OpenAiChat)
        .peekable();
    if own.peek().is_some() {
        json.key("annotations");
        json.begin_array();
        own.for_each(|(_, annotation)| json.raw(annotation));
        json.end_array();
    }
}

fn write_media(parts: &[Part], json: &mut Writer<'_>) {
    let images = parts.iter().filter_map(|part| match &part.kind {
        PartKind::Image(media) => Some(media),
        _ => None,
    });
    if images.clone().next().is_some() {
        json.key("images");
        json.begin_array();
        for media in images {
            write_picture(media, json);
        }
        json.end_array();
    }
    for part in parts {
        if let PartKind::Opaque {
            origin: Origin::OpenAiChat,
            name,
            json: audio,
        } = &part.kind
            && name.is("audio")
        {
            json.key("audio");
            json.raw(audio);
        }
    }
}

/// Writes a generated picture as OpenRouter does; OpenAI's API has none.
pub(super) fn write_picture(media: &Media, json: &mut Writer<'_>) {
    json.begin_object();
    json.key("type");
    json.text("image_url");
    json.key("image_url");
    json.begin_object();
    json.key("url");
    write_url(&media.source, json);
    json.end_object();
    json.end_object();
}
