//! Whole answers.

use super::finish::{self, Made};
use super::read::Notes;
use super::usage::{self, Counts};
use super::{failure, parts, request, text};
use crate::base::{JsonStr, OutBuf};
use crate::dialect::ReplyMeta;
use crate::dialect::encode::write_id;
use crate::dialect::failure::calls_nothing;
use crate::ir::{
    Choice, Class, Failure, Finish, FinishReason, Origin, Part, PartKind, Response, ToolCall,
};
use crate::wire::json::{Kind, Tape, Value, Writer};

/// Reads an upstream's answer.
///
/// # Errors
/// The error it tells of, or that it is no answer.
pub fn decode(body: Value<'_>) -> Result<Response, Box<Failure>> {
    if body.get("error").is_some_and(|error| !error.is_null()) {
        return Err(Box::new(failure::from_json(None, body)));
    }
    let nonsense = |what: &str| Box::new(Failure::new(Class::BadGateway, what));
    let Some(content) = body.get("content").filter(|it| it.kind() == Kind::Array) else {
        return Err(nonsense("the upstream's answer is no message"));
    };
    let mut notes = Notes::default();
    let parts = parts::blocks(content, &mut notes).map_err(|fault| {
        let message = format!("the upstream's answer is malformed: {}", fault.message);
        nonsense(&message)
    })?;
    let calls = parts.iter().any(is_call);
    let finish = finish::read(body).unwrap_or_else(|| Finish {
        reason: if calls {
            FinishReason::ToolCalls
        } else {
            FinishReason::Stop
        },
        ..Finish::default()
    });
    if finish.reason == FinishReason::ToolCalls && !calls {
        return Err(Box::new(calls_nothing()));
    }
    let mut counts = Counts::default();
    let told = body.get("usage").filter(|told| told.kind() == Kind::Object);
    if let Some(told) = told {
        counts.update(told);
    }
    Ok(Response {
        id: body.get("id").and_then(Value::as_str),
        model: body.get("model").and_then(Value::as_str),
        created: None,
        choices: vec![Choice {
            parts,
            finish,
            logprobs: None,
        }],
        usage: told.map(|_| counts.usage()),
        service_tier: told.and_then(service_tier),
        fingerprint: None,
    })
}

/// The price class that a `usage` object names.
pub(super) fn service_tier(usage: Value<'_>) -> Option<JsonStr> {
    usage.get("service_tier").and_then(Value::as_str)
}

fn is_call(part: &Part) -> bool {
    matches!(part.kind, PartKind::ToolCall(_))
}

/// Writes an answer for a Messages client: the first choice, for Messages has but one. What it has
/// no block for (media, opaque parts of other vendors, hidden reasoning of theirs) is left out;
/// signatures of other vendors too, and none is made up. Arguments that are no JSON object, which
/// Messages demands, are given as `{"_raw": "…"}`. An answer that is said to end for tools but
/// calls none ends its turn: an upstream's decoder is the place to refuse it.
pub fn encode(response: &Response, meta: &ReplyMeta, out: &mut OutBuf) {
    let none = Choice::default();
    let choice = response.choices.first().unwrap_or(&none);
    let mut json = Writer::new(out);
    json.begin_object();
    let (id, model) = (response.id.as_ref(), response.model.as_ref());
    write_head(id, model, meta, &mut json);
    json.key("content");
    json.begin_array();
    let mut tape = Tape::new();
    for part in &choice.parts {
        write_part(part, &mut tape, &mut json);
    }
    json.end_array();
    let made = Made {
        calls: choice.parts.iter().any(is_call),
        refuses: choice
            .parts
            .iter()
            .any(|part| matches!(part.kind, PartKind::Refusal { .. })),
    };
    finish::write(&choice.finish, made, &mut json);
    json.key("usage");
    let usage = response.usage.unwrap_or_default();
    usage::write(&usage, meta.input_tokens_estimate, &mut json);
    json.end_object();
}

/// Writes the members before `content`.
pub(super) fn write_head(
    id: Option<&JsonStr>,
    model: Option<&JsonStr>,
    meta: &ReplyMeta,
    json: &mut Writer<'_>,
) {
    json.key("id");
    write_id(id, "msg_", &meta.id, json);
    json.key("type");
    json.text("message");
    json.key("role");
    json.text("assistant");
    json.key("model");
    let told = model.filter(|model| !model.is_empty());
    json.str(told.unwrap_or(&meta.model));
}

fn write_part(part: &Part, tape: &mut Tape, json: &mut Writer<'_>) {
    match &part.kind {
        PartKind::Text { text, citations } => {
            if text.is_empty() && citations.is_empty() {
                return;
            }
            begin("text", json);
            json.key("text");
            json.str(text);
            let ours = citations.iter().filter(|it| it.0 == Origin::Anthropic);
            let mut ours = ours.peekable();
            if ours.peek().is_some() {
                json.key("citations");
                json.begin_array();
                ours.for_each(|(_, citation)| json.raw(citation));
                json.end_array();
            }
            json.end_object();
        }
        PartKind::Refusal { text } if !text::is_blank(text) => {
            begin("text", json);
            json.key("text");
            json.str(text);
            json.end_object();
        }
        PartKind::Thinking(thinking) => {
            let signature = thinking.signature.as_ref();
            let signature = signature.filter(|it| it.origin == Origin::Anthropic);
            if thinking.text.is_empty() && signature.is_none() {
                return;
            }
            begin("thinking", json);
            json.key("thinking");
            json.str(&thinking.text);
            json.key("signature");
            match signature {
                Some(signature) => json.str(&signature.value),
                None => json.text(""),
            }
            json.end_object();
        }
        PartKind::RedactedThinking { data, origin } if *origin == Origin::Anthropic => {
            begin("redacted_thinking", json);
            json.key("data");
            json.str(data);
            json.end_object();
        }
        PartKind::ToolCall(call) => write_call(call, tape, json),
        PartKind::Opaque {
            origin: Origin::Anthropic,
            json: block,
            ..
        } => json.raw(block),
        _ => {}
    }
}

fn write_call(call: &ToolCall, tape: &mut Tape, json: &mut Writer<'_>) {
    begin("tool_use", json);
    json.key("id");
    json.str(&call.id);
    json.key("name");
    json.str(&call.name);
    json.key("input");
    request::write_input(&call.arguments, tape, json);
    json.end_object();
}

fn begin(kind: &'static str, json: &mut Writer<'_>) {
    json.begin_object();
    json.key("type");
    json.text(kind);
}
