//! Reads `messages`: roles, history, tool results.

use std::collections::VecDeque;

use super::notes::Notes;
use super::parts;
use crate::base::JsonStr;
use crate::dialect::fields::{Checked, fault, given, object, required, string, word, wrong};
use crate::dialect::openai_chat::answer;
use crate::ir::{Message, Origin, Part, PartKind, Role, ToolCall, ToolResult};
use crate::wire::json::{Kind, Value};

/// Puts the conversation together, message by message.
pub(super) struct Conversation<'n> {
    notes: &'n mut Notes,
    system: Vec<Part>,
    messages: Vec<Message>,
    /// Whether the last message holds tool results alone, and the next one joins it.
    results_open: bool,
    /// Ids made for calls that came without one, in order, for results that come without one.
    nameless: VecDeque<JsonStr>,
}

/// The members of one message.
#[derive(Default)]
struct Fields<'t> {
    content: Option<Value<'t>>,
    name: Option<JsonStr>,
    tool_calls: Option<Value<'t>>,
    tool_call_id: Option<JsonStr>,
    function_call: Option<Value<'t>>,
    refusal: Option<JsonStr>,
    audio: Option<Value<'t>>,
    cache_control: Option<Value<'t>>,
    reasoning: Option<Value<'t>>,
    reasoning_content: Option<Value<'t>>,
    reasoning_details: Option<Value<'t>>,
    extra_content: Option<Value<'t>>,
}

impl<'n> Conversation<'n> {
    /// A conversation in which nothing was said.
    pub(super) const fn new(notes: &'n mut Notes) -> Conversation<'n> {
        Conversation {
            notes,
            system: Vec::new(),
            messages: Vec::new(),
            results_open: false,
            nameless: VecDeque::new(),
        }
    }

    /// Takes the message at `index`.
    pub(super) fn message(&mut self, index: usize, message: Value<'_>) -> Checked<()> {
        let role_value = required(object(message)?, "role")?;
        let role = word(role_value)?;
        let fields = self.fields(message)?;
        match role {
            b"system" | b"developer" => self.system(message, fields),
            b"user" => {
                let parts = self.content(message, &fields)?;
                self.push(Role::User, parts, fields.name);
                Ok(())
            }
            b"assistant" => self.assistant(index, fields),
            b"tool" | b"function" => self.result(message, fields),
            _ => Err(fault(
                role_value,
                "must be one of `system`, `developer`, `user`, `assistant`, `tool`, `function`",
            )),
        }
    }

    /// Instructions and turns.
    pub(super) fn finish(self) -> (Vec<Part>, Vec<Message>) {
        (self.system, self.messages)
    }

    fn fields<'t>(&mut self, message: Value<'t>) -> Checked<Fields<'t>> {
        let mut fields = Fields::default();
        for (key, value) in message.members() {
            match key.escaped() {
                _ if value.is_null() => {}
                // Mistral's and DeepSeek's mark of an answer to be continued, which a last message
                // of the assistant is anyway.
                b"role" | b"prefix" => {}
                b"content" => fields.content = Some(value),
                b"name" => fields.name = Some(string(value)?),
                b"tool_calls" => fields.tool_calls = Some(value),
                b"tool_call_id" => fields.tool_call_id = Some(string(value)?),
                b"function_call" => fields.function_call = Some(value),
                b"refusal" => fields.refusal = Some(string(value)?),
                b"audio" => fields.audio = Some(value),
                b"cache_control" => fields.cache_control = Some(value),
                b"reasoning" => fields.reasoning = Some(value),
                b"reasoning_content" => fields.reasoning_content = Some(value),
                b"reasoning_details" => fields.reasoning_details = Some(value),
                b"extra_content" => fields.extra_content = Some(value),
                key => self.notes.note("messages[]", key, value)?,
            }
        }
        Ok(fields)
    }

    fn content(&mut self, message: Value<'_>, fields: &Fields<'_>) -> Checked<Vec<Part>> {
        let content = match fields.content {
            Some(content) => content,
            None => required(message, "content")?,
        };
        let mut parts = parts::decode(content, self.notes)?;
        hint(fields.cache_control, &mut parts)?;
        Ok(parts)
    }

    fn system(&mut self, message: Value<'_>, fields: Fields<'_>) -> Checked<()> {
        let parts = self.content(message, &fields)?;
        if self.messages.is_empty() {
            if let Some(name) = given(message, "name") {
                self.notes.note("messages[]", b"name", name)?;
            }
            self.system.extend(parts);
        } else {
            self.push(Role::System, parts, fields.name);
        }
        Ok(())
    }

    fn assistant(&mut self, index: usize, fields: Fields<'_>) -> Checked<()> {
        let mut parts = Vec::new();
        let words = [fields.reasoning_content, fields.reasoning];
        let mut words = words.into_iter().flatten().filter_map(Value::as_str);
        let words = words.find(|words| !words.is_empty());
        answer::reasoning(words, fields.reasoning_details, &mut parts);
        if let Some(content) = fields.content {
            answer::content(content, &mut parts)?;
        }
        if let Some(text) = fields.refusal.clone().filter(|text| !text.is_empty()) {
            parts.push(Part::new(PartKind::Refusal { text }));
        }
        if let Some(audio) = fields.audio {
            parts.push(Part::new(PartKind::Opaque {
                origin: Origin::OpenAiChat,
                name: JsonStr::from_static("audio"),
                json: audio.raw(),
            }));
        }
        self.nameless.clear();
        self.calls(index, &fields, &mut parts)?;
        hint(fields.cache_control, &mut parts)?;
        self.push(Role::Assistant, parts, fields.name);
        Ok(())
    }

    fn calls(&mut self, index: usize, fields: &Fields<'_>, parts: &mut Vec<Part>) -> Checked<()> {
        let begin = parts.len();
        let nameless = &mut self.nameless;
        let mut name_id = |nth: usize| {
            let id = JsonStr::escape(&format!("call_{index}_{nth}"));
            nameless.push_back(id.clone());
            id
        };
        if let Some(calls) = fields.tool_calls {
            answer::tool_calls(calls, &mut name_id, parts)?;
        }
        if let Some(call) = fields.function_call.and_then(answer::filled) {
            let (name, arguments) = answer::call_body(object(call)?, false)?;
            parts.push(Part::new(PartKind::ToolCall(ToolCall {
                id: name_id(begin),
                name,
                arguments,
                signature: None,
            })));
        }
        let signed = fields.extra_content.and_then(answer::google_signature);
        answer::sign_first_call(signed, parts.get_mut(begin..).unwrap_or_default());
        Ok(())
    }

    fn result(&mut self, message: Value<'_>, fields: Fields<'_>) -> Checked<()> {
        let parts = match fields.content {
            None => Vec::new(),
            Some(content) if content.kind() == Kind::String && content.is("") => Vec::new(),
            Some(content) if matches!(content.kind(), Kind::String | Kind::Array) => {
                parts::decode(content, self.notes)?
            }
            Some(content) => return Err(wrong(content, "a string or an array")),
        };
        let told = fields.tool_call_id.filter(|id| !id.is_empty());
        let Some(call_id) = told.or_else(|| self.nameless.pop_front()) else {
            return Err(match given(message, "tool_call_id") {
                Some(id) => fault(id, "is empty, and no call without an id came before"),
                None => match required(message, "tool_call_id") {
                    Err(missing) => missing,
                    Ok(_) => fault(message, "answers no call"),
                },
            });
        };
        let mut part = [Part::new(PartKind::ToolResult(ToolResult {
            call_id,
            name: fields.name.clone(),
            parts,
            is_error: false,
        }))];
        hint(fields.cache_control, &mut part)?;
        match self.messages.last_mut() {
            Some(last) if self.results_open => last.parts.extend(part),
            _ => self.push(Role::User, part.into(), None),
        }
        self.results_open = true;
        Ok(())
    }

    fn push(&mut self, role: Role, parts: Vec<Part>, name: Option<JsonStr>) {
        self.results_open = false;
        self.messages.push(Message { role, parts, name });
    }
}

/// `cache_control` of a whole message is that of its last part.
fn hint(hint: Option<Value<'_>>, parts: &mut [Part]) -> Checked<()> {
    if let (Some(hint), Some(part)) = (hint, parts.last_mut()) {
        part.cache = Some(answer::cache_hint(hint)?);
    }
    Ok(())
}
