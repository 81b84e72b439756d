//! Writes `messages`.
//!
//! Tool results are messages of their own and hold text only. What else a result holds (pictures,
//! files) follows in a user's message, behind the last result of the turn, with a line that names
//! the call.

use super::encode::refused;
use super::write::{write_call, write_details, write_joined};
use crate::base::JsonStr;
use crate::dialect::encode::{Dropped, write_cache_control};
use crate::dialect::{ReasoningField, Traits};
use crate::ir::{
    CacheHint, Document, Failure, Message, Origin, Part, PartKind, Request, Role, Source, ToolCall,
    ToolResult,
};
use crate::wire::json::Writer;

/// How far into a result the word "error" is looked for.
const ERROR_WORD_WITHIN_BYTES: usize = 256;

/// Writes the turns.
pub(super) struct Turns<'w, 'o, 'a> {
    pub(super) json: &'w mut Writer<'o>,
    pub(super) traits: &'a Traits,
    pub(super) dropped: &'w mut Dropped,
    /// Parts of tool results that wait for a user's message.
    attached: Vec<(&'a JsonStr, &'a Part)>,
    /// Number of the message in the IR.
    pub(super) at: usize,
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
            write_cache_control(hint, self.json);
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
        write_call(call, self.json);
    }

    /// The cache hint, if the target takes it.
    pub(super) fn taken<'h>(&mut self, hint: Option<&'h CacheHint>) -> Option<&'h CacheHint> {
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

    pub(super) fn drop_part(&mut self, name: &JsonStr) {
        let path = format!("messages[].content[].{}", name.unescape());
        self.dropped.add(&path);
    }

    pub(super) fn cannot(&self, reason: &str) -> Box<Failure> {
        refused(&format!("messages[{}].content", self.at), reason)
    }
}

pub(super) fn text_of(part: &Part) -> Option<&JsonStr> {
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
