//! Writes `messages`.
//!
//! Tool results are messages of their own and hold text only. What else a result holds (pictures,
//! files) follows in a user's message, behind the last result of the turn, with a line that names
//! the call.

use super::encode::{Dropped, refused};
use crate::base::JsonStr;
use crate::dialect::openai_chat::answer::{arguments_text, format_of};
use crate::dialect::{ReasoningField, Traits};
use crate::ir::{
    Arguments, CacheHint, Document, Failure, Media, Message, Origin, Part, PartKind, Request, Role,
    Source, Thinking, ToolCall, ToolResult,
};
use crate::wire::json::Writer;

/// How far into a result the word "error" is looked for.
const ERROR_WORD_WITHIN_BYTES: usize = 256;

/// Writes the turns.
pub(super) struct Turns<'w, 'o, 'a> {
    json: &'w mut Writer<'o>,
    traits: &'a Traits,
    dropped: &'w mut Dropped,
    /// Parts of tool results that wait for a user's message.
    attached: Vec<(&'a JsonStr, &'a Part)>,
    /// Number of the message in the IR.
    at: usize,
}

impl<'w, 'o, 'a> Turns<'w, 'o, 'a> {
    /// Nothing written yet.
    pub(super) const fn new(
        json: &'w mut Writer<'o>,
        traits: &'a Traits,
        dropped: &'w mut Dropped,
    ) -> Turns<'w, 'o, 'a> {
        Turns {
            json,
            traits,
            dropped,
            attached: Vec::new(),
            at: 0,
        }
    }

    /// Writes the array.
    pub(super) fn write(mut self, request: &'a Request) -> Result<(), Box<Failure>> {
        self.json.begin_array();
        if !request.system.is_empty() {
            self.system(&request.system, None)?;
        }
        for (at, message) in request.messages.iter().enumerate() {
            self.at = at;
            match message.role {
                Role::System => {
                    self.attachments(&[])?;
                    self.system(&message.parts, message.name.as_ref())?;
                }
                Role::User => self.user(message)?,
                Role::Assistant => {
                    self.attachments(&[])?;
                    self.assistant(message)?;
                }
            }
        }
        self.attachments(&[])?;
        self.json.end_array();
        Ok(())
    }

    fn begin(&mut self, role: &'static str, name: Option<&JsonStr>) {
        self.json.begin_object();
        self.json.key("role");
        self.json.text(role);
        if let Some(name) = name {
            self.json.key("name");
            self.json.str(name);
        }
    }

    /// One string, the parts parted by empty lines, which every vendor takes; parts only where
    /// cache hints hang on them and the target knows these.
    fn system(&mut self, parts: &[Part], name: Option<&JsonStr>) -> Result<(), Box<Failure>> {
        let role = if self.traits.developer_role {
            "developer"
        } else {
            "system"
        };
        self.begin(role, name);
        self.json.key("content");
        if self.hinted(parts) {
            self.parts(&parts.iter().collect::<Vec<_>>())?;
        } else {
            let texts = parts.iter().filter_map(text_of);
            write_joined(texts, "\n\n", self.json);
        }
        self.json.end_object();
        Ok(())
    }

    fn user(&mut self, message: &'a Message) -> Result<(), Box<Failure>> {
        let mut rest = Vec::new();
        for part in &message.parts {
            match &part.kind {
                PartKind::ToolResult(result) => self.result(result, part.cache.as_ref())?,
                _ => rest.push(part),
            }
        }
        if rest.is_empty() && !message.parts.is_empty() {
            return Ok(());
        }
        if !self.attached.is_empty() {
            return self.attachments(&rest);
        }
        self.begin("user", message.name.as_ref());
        self.json.key("content");
        self.content(&rest)?;
        self.json.end_object();
        Ok(())
    }

    /// The user's message that holds what tool results could not, and then what the user says.
    fn attachments(&mut self, rest: &[&'a Part]) -> Result<(), Box<Failure>> {
        let attached = core::mem::take(&mut self.attached);
        if attached.is_empty() {
            return Ok(());
        }
        self.begin("user", None);
        self.json.key("content");
        self.json.begin_array();
        let mut of = None;
        for (call_id, part) in attached {
            if of != Some(call_id) {
                of = Some(call_id);
                self.json.begin_object();
                self.json.key("type");
                self.json.text("text");
                self.json.key("text");
                self.json.begin_string();
                self.json.append_text("From the result of tool call ");
                self.json.append(call_id);
                self.json.append_text(":");
                self.json.end_string();
                self.json.end_object();
            }
            self.part(part)?;
        }
        for part in rest {
            self.part(part)?;
        }
        self.json.end_array();
        self.json.end_object();
        Ok(())
    }

    fn result(
        &mut self,
        result: &'a ToolResult,
        hint: Option<&CacheHint>,
    ) -> Result<(), Box<Failure>> {
        let mut texts = Vec::new();
        let before = self.attached.len();
        self.sort_result(&result.call_id, &result.parts, &mut texts)?;
        let attached = self.attached.len() > before;
        self.begin("tool", None);
        self.json.key("tool_call_id");
        self.json.str(&result.call_id);
        self.json.key("content");
        let hint = hint.or_else(|| result.parts.iter().rev().find_map(|it| it.cache.as_ref()));
        let hint = self.taken(hint);
        if hint.is_some() {
            self.json.begin_array();
            self.json.begin_object();
            self.json.key("type");
            self.json.text("text");
            self.json.key("text");
        }
        self.json.begin_string();
        if result.is_error && !says_error(&texts) {
            self.json.append_text("Error: ");
        }
        for (nth, text) in texts.iter().enumerate() {
            if nth > 0 {
                self.json.append_text("\n");
            }
            self.json.append(text);
        }
        if texts.is_empty() && attached {
            self.json.append_text("(see the next user message)");
        }
        self.json.end_string();
        if let Some(hint) = hint {
            self.json.key("cache_control");
            write_cache_hint(hint, self.json);
            self.json.end_object();
            self.json.end_array();
        }
        self.json.end_object();
        Ok(())
    }

    /// Parts text from what must follow.
    fn sort_result(
        &mut self,
        call_id: &'a JsonStr,
        parts: &'a [Part],
        texts: &mut Vec<&'a JsonStr>,
    ) -> Result<(), Box<Failure>> {
        for part in parts {
            match &part.kind {
                PartKind::Text { text, .. } | PartKind::Refusal { text } => texts.push(text),
                PartKind::Document(Document {
                    source: Source::Text { text },
                    title: None,
                    context: None,
                    citations: false,
                }) => texts.push(text),
                PartKind::Document(Document {
                    source: Source::Parts(parts),
                    citations: false,
                    ..
                }) => self.sort_result(call_id, parts, texts)?,
                PartKind::Opaque { name, .. } => self.drop_part(name),
                _ => self.attached.push((call_id, part)),
            }
        }
        Ok(())
    }

    fn assistant(&mut self, message: &'a Message) -> Result<(), Box<Failure>> {
        self.begin("assistant", message.name.as_ref());
        let calls = message.parts.iter().filter_map(|part| match &part.kind {
            PartKind::ToolCall(call) => Some((call, part.cache.as_ref())),
            _ => None,
        });
        self.json.key("content");
        let texts = |part: &&Part| matches!(part.kind, PartKind::Text { .. });
        let text_parts: Vec<&Part> = message.parts.iter().filter(texts).collect();
        let refusals = message.parts.iter().filter_map(|part| match &part.kind {
            PartKind::Refusal { text } => Some(text),
            _ => None,
        });
        if text_parts.is_empty()
            && (calls.clone().next().is_some() || refusals.clone().next().is_some())
        {
            self.json.null();
        } else if text_parts
            .iter()
            .any(|part| self.taken(part.cache.as_ref()).is_some())
        {
            self.parts(&text_parts)?;
        } else {
            write_joined(
                text_parts.iter().filter_map(|part| text_of(part)),
                "",
                self.json,
            );
        }
        if refusals.clone().next().is_some() {
            self.json.key("refusal");
            write_joined(refusals, "", self.json);
        }
        self.other_parts(message);
        self.reasoning(message);
        if calls.clone().next().is_some() {
            self.json.key("tool_calls");
            self.json.begin_array();
            for (call, _) in calls {
                self.call(call);
            }
            self.json.end_array();
        }
        self.json.end_object();
        Ok(())
    }

    /// What an assistant's message cannot hold, but for its own vendor's audio.
    fn other_parts(&mut self, message: &'a Message) {
        for part in &message.parts {
            match &part.kind {
                PartKind::Opaque {
                    origin: Origin::OpenAiChat,
                    name,
                    json,
                } if name.is("audio") => {
                    self.json.key("audio");
                    self.json.raw(json);
                }
                PartKind::Opaque { name, .. } => self.drop_part(name),
                PartKind::Image(_) | PartKind::Audio(_) | PartKind::Video(_) => {
                    self.dropped.add("messages[].content[].image");
                }
                PartKind::Document(_) => self.dropped.add("messages[].content[].document"),
                _ => {}
            }
        }
    }

    fn reasoning(&mut self, message: &'a Message) {
        let is_reasoning = |part: &&Part| {
            matches!(
                part.kind,
                PartKind::Thinking(_) | PartKind::RedactedThinking { .. }
            )
        };
        let parts: Vec<&Part> = message.parts.iter().filter(is_reasoning).collect();
        if parts.is_empty() {
            return;
        }
        let field = match self.traits.reasoning_field {
            ReasoningField::None => return self.dropped.add("messages[].content[].thinking"),
            ReasoningField::Reasoning => "reasoning",
            ReasoningField::ReasoningContent => "reasoning_content",
            ReasoningField::ReasoningDetails => {
                self.json.key("reasoning_details");
                return write_details(parts.iter().copied(), self.json);
            }
        };
        let texts = parts.iter().filter_map(|part| match &part.kind {
            PartKind::Thinking(thinking) if !thinking.text.is_empty() => Some(&thinking.text),
            _ => None,
        });
        if texts.clone().count() < parts.len() {
            self.dropped.add("messages[].content[].redacted_thinking");
        }
        if texts.clone().next().is_some() {
            self.json.key(field);
            write_joined(texts, "", self.json);
        }
    }

    fn call(&mut self, call: &ToolCall) {
        if call.signature.is_some() {
            self.dropped.add("messages[].tool_calls[].signature");
        }
        write_call(call, None, self.json);
    }

    /// A user's content: a string where it is one text.
    fn content(&mut self, parts: &[&'a Part]) -> Result<(), Box<Failure>> {
        match parts {
            [] => self.json.text(""),
            [part] if self.taken(part.cache.as_ref()).is_none() && text_of(part).is_some() => {
                write_joined(text_of(part).into_iter(), "", self.json);
            }
            _ => return self.parts(parts),
        }
        Ok(())
    }

    fn parts(&mut self, parts: &[&Part]) -> Result<(), Box<Failure>> {
        self.json.begin_array();
        for part in parts {
            self.part(part)?;
        }
        self.json.end_array();
        Ok(())
    }

    fn part(&mut self, part: &Part) -> Result<(), Box<Failure>> {
        match &part.kind {
            PartKind::Text { text, .. } | PartKind::Refusal { text } => {
                self.begin_part("text");
                self.json.key("text");
                self.json.str(text);
            }
            PartKind::Image(media) => self.media("image_url", media)?,
            PartKind::Video(media) => self.media("video_url", media)?,
            PartKind::Audio(media) => self.audio(media)?,
            PartKind::Document(document) => return self.document(document, part),
            PartKind::Opaque {
                origin: Origin::OpenAiChat,
                json,
                ..
            } => {
                self.json.raw(json);
                return Ok(());
            }
            PartKind::Opaque { name, .. } => {
                self.drop_part(name);
                return Ok(());
            }
            PartKind::RedactedThinking { .. }
            | PartKind::Thinking(_)
            | PartKind::ToolCall(_)
            | PartKind::ToolResult(_) => {
                self.dropped.add("messages[].content[].thinking");
                return Ok(());
            }
        }
        self.end_part(part.cache.as_ref());
        Ok(())
    }

    fn begin_part(&mut self, kind: &'static str) {
        self.json.begin_object();
        self.json.key("type");
        self.json.text(kind);
    }

    fn end_part(&mut self, hint: Option<&CacheHint>) {
        if let Some(hint) = self.taken(hint) {
            self.json.key("cache_control");
            write_cache_hint(hint, self.json);
        }
        self.json.end_object();
    }

    fn media(&mut self, kind: &'static str, media: &Media) -> Result<(), Box<Failure>> {
        if matches!(
            media.source,
            Source::File { .. } | Source::Parts(_) | Source::Text { .. }
        ) {
            return Err(
                self.cannot("the target takes pictures and video by address or as data only")
            );
        }
        self.begin_part(kind);
        self.json.key(kind);
        self.json.begin_object();
        self.json.key("url");
        self.url(&media.source);
        if let Some(detail) = &media.detail {
            self.json.key("detail");
            self.json.str(detail);
        }
        self.json.end_object();
        Ok(())
    }

    fn url(&mut self, source: &Source) {
        match source {
            Source::Base64 { media_type, data } => {
                self.json.begin_string();
                self.json.append_text("data:");
                self.json.append(media_type);
                self.json.append_text(";base64,");
                self.json.append(data);
                self.json.end_string();
            }
            Source::Url { url, .. } => self.json.str(url),
            _ => self.json.text(""),
        }
    }

    fn audio(&mut self, media: &Media) -> Result<(), Box<Failure>> {
        let Source::Base64 { media_type, data } = &media.source else {
            return Err(self.cannot("the target takes sound as data only"));
        };
        let media_type = media_type.unescape();
        let format = match media_type.strip_prefix("audio/").unwrap_or(&media_type) {
            "mpeg" => "mp3",
            "x-wav" | "wave" => "wav",
            other => other,
        };
        self.begin_part("input_audio");
        self.json.key("input_audio");
        self.json.begin_object();
        self.json.key("data");
        self.json.str(data);
        self.json.key("format");
        self.json.text(format);
        self.json.end_object();
        Ok(())
    }

    fn document(&mut self, document: &Document, part: &Part) -> Result<(), Box<Failure>> {
        if document.citations {
            return Err(self.cannot("the target cannot cite documents"));
        }
        match &document.source {
            Source::Text { text } => {
                self.begin_part("text");
                self.json.key("text");
                let about = [document.title.as_ref(), document.context.as_ref()];
                let texts = about.into_iter().flatten().chain([text]);
                write_joined(texts, "\n", self.json);
            }
            Source::Parts(parts) => {
                for part in parts {
                    self.part(part)?;
                }
                return Ok(());
            }
            Source::Base64 { media_type, .. } => {
                self.begin_part("file");
                self.json.key("file");
                self.json.begin_object();
                self.json.key("filename");
                match &document.title {
                    Some(title) => self.json.str(title),
                    None if media_type.is("application/pdf") => self.json.text("document.pdf"),
                    None => self.json.text("document"),
                }
                self.json.key("file_data");
                self.url(&document.source);
                self.json.end_object();
            }
            Source::File {
                id,
                origin: Origin::OpenAiChat | Origin::OpenAiResponses,
            } => {
                self.begin_part("file");
                self.json.key("file");
                self.json.begin_object();
                self.json.key("file_id");
                self.json.str(id);
                self.json.end_object();
            }
            Source::File { .. } => {
                return Err(self.cannot("the file was uploaded to another provider"));
            }
            Source::Url { .. } => {
                return Err(self.cannot("the target takes no documents by address"));
            }
        }
        self.end_part(part.cache.as_ref());
        Ok(())
    }

    /// The cache hint, if the target takes it.
    fn taken<'h>(&mut self, hint: Option<&'h CacheHint>) -> Option<&'h CacheHint> {
        if hint.is_some() && !self.traits.cache_control {
            self.dropped.add("messages[].cache_control");
            return None;
        }
        hint
    }

    fn hinted(&mut self, parts: &[Part]) -> bool {
        let hint = parts.iter().find_map(|part| part.cache.as_ref());
        self.taken(hint).is_some()
    }

    fn drop_part(&mut self, name: &JsonStr) {
        let path = format!("messages[].content[].{}", name.unescape());
        self.dropped.add(&path);
    }

    fn cannot(&self, reason: &str) -> Box<Failure> {
        refused(&format!("messages[{}].content", self.at), reason)
    }
}

/// Writes a call; `index` is its number where it is part of a stream.
pub(in crate::dialect::openai_chat) fn write_call(
    call: &ToolCall,
    index: Option<u64>,
    json: &mut Writer<'_>,
) {
    let (kind, input) = match &call.arguments {
        Arguments::Free(_) => ("custom", "input"),
        _ => ("function", "arguments"),
    };
    json.begin_object();
    if let Some(index) = index {
        json.key("index");
        json.u64(index);
    }
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

/// Writes `cache_control` as Messages has it.
pub(super) fn write_cache_hint(hint: &CacheHint, json: &mut Writer<'_>) {
    json.begin_object();
    json.key("type");
    json.text("ephemeral");
    if let Some(ttl) = &hint.ttl {
        json.key("ttl");
        json.str(ttl);
    }
    json.end_object();
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

fn text_of(part: &Part) -> Option<&JsonStr> {
    match &part.kind {
        PartKind::Text { text, .. } | PartKind::Refusal { text } => Some(text),
        _ => None,
    }
}

/// Whether a failed tool's result says itself that it failed. Chat has no field for it.
fn says_error(texts: &[&JsonStr]) -> bool {
    let Some(first) = texts.first() else {
        return false;
    };
    let escaped = first.escaped();
    let begin = escaped.get(..ERROR_WORD_WITHIN_BYTES).unwrap_or(escaped);
    begin
        .windows(5)
        .any(|word| word.eq_ignore_ascii_case(b"error"))
}
