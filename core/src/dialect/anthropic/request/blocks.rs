//! Parts of a conversation as content blocks.

use super::ids::CallIds;
use super::turns::{own, signature};
use crate::base::limits::JsonLimits;
use crate::base::{JsonStr, RawJson};
use crate::dialect::anthropic::text;
use crate::dialect::data_url;
use crate::dialect::encode::{Dropped, write_cache_control};
use crate::ir::{
    Arguments, CacheHint, Document, Failure, Media, Origin, Part, PartKind, Request, Source,
    ToolCall, ToolResult,
};
use crate::wire::json::{Tape, Writer, embed};

/// How many `cache_control` marks the API takes in one request.
const HINTS_MAX: usize = 4;

/// Writes blocks, and keeps what one must know of the blocks before.
pub(super) struct Blocks<'a, 'o> {
    pub(super) json: &'a mut Writer<'o>,
    pub(super) dropped: &'a mut Dropped,
    pub(super) ids: CallIds,
    tape: Tape,
    hints_seen: usize,
    hints_skipped: usize,
    /// The role of the message that is being written.
    role: Option<&'static str>,
}

/// How many marks are left out: the first ones, since the last reach furthest.
pub(super) fn hints_skipped(request: &Request) -> usize {
    let places = HINTS_MAX - usize::from(request.cache.is_some());
    let count = |parts: &[Part]| -> usize { parts.iter().map(hints).sum() };
    let tools = request.tools.iter().filter(|tool| tool.cache.is_some());
    let messages = request.messages.iter().map(|it| count(&it.parts));
    let all = tools.count() + count(&request.system) + messages.sum::<usize>();
    all.saturating_sub(places)
}

fn hints(part: &Part) -> usize {
    let inner = match &part.kind {
        PartKind::ToolResult(result) => {
            let marked = result.parts.iter().filter(|part| part.cache.is_some());
            marked.count()
        }
        _ => 0,
    };
    inner + usize::from(part.cache.is_some())
}

impl<'a, 'o> Blocks<'a, 'o> {
    pub(super) fn new(
        json: &'a mut Writer<'o>,
        request: &Request,
        dropped: &'a mut Dropped,
    ) -> Blocks<'a, 'o> {
        let hints_skipped = hints_skipped(request);
        if hints_skipped > 0 {
            dropped.add("cache_control");
        }
        Blocks {
            json,
            dropped,
            ids: CallIds::default(),
            tape: Tape::new(),
            hints_seen: request.tools.iter().filter(|it| it.cache.is_some()).count(),
            hints_skipped,
            role: None,
        }
    }

    /// Goes on with a message of this role, or begins one.
    pub(super) fn turn(&mut self, role: &'static str) {
        if self.role == Some(role) {
            return;
        }
        self.end_turn();
        self.role = Some(role);
        self.json.begin_object();
        self.json.key("role");
        self.json.text(role);
        self.json.key("content");
        self.json.begin_array();
    }

    /// Ends the message that is being written, if any.
    pub(super) fn end_turn(&mut self) {
        if self.role.take().is_some() {
            self.json.end_array();
            self.json.end_object();
        }
    }

    /// Whether a message was begun.
    pub(super) const fn in_turn(&self) -> bool {
        self.role.is_some()
    }

    /// A part of a message, or nothing where it is one that is dropped.
    pub(super) fn part(&mut self, role: &'static str, part: &Part) -> Result<(), Box<Failure>> {
        match &part.kind {
            PartKind::Text { text, citations } => {
                if !text::is_blank(text) {
                    self.turn(role);
                    self.text(text, citations, part.cache.as_ref());
                }
            }
            PartKind::Refusal { text } => {
                if !text::is_blank(text) {
                    self.turn(role);
                    self.text(text, &[], part.cache.as_ref());
                }
            }
            PartKind::Opaque { origin, json, .. } if own(*origin) => {
                self.turn(role);
                self.json.raw(json);
            }
            PartKind::Opaque { name, .. } => self.dropped.add(&format!("messages[].{name}")),
            PartKind::Thinking(thinking) => match signature(thinking) {
                Some(signature) if role == "assistant" => {
                    self.turn(role);
                    self.typed("thinking");
                    self.member("thinking", &thinking.text);
                    self.member("signature", signature);
                    self.json.end_object();
                }
                _ => self.dropped.add("messages[].reasoning"),
            },
            PartKind::RedactedThinking { data, origin } if own(*origin) && role == "assistant" => {
                self.turn(role);
                self.typed("redacted_thinking");
                self.member("data", data);
                self.json.end_object();
            }
            PartKind::RedactedThinking { .. } => self.dropped.add("messages[].reasoning"),
            PartKind::ToolCall(call) if role == "assistant" => {
                self.turn(role);
                self.tool_use(call, part.cache.as_ref());
            }
            PartKind::ToolResult(result) if role == "user" => {
                self.turn(role);
                self.tool_result(result, part.cache.as_ref())?;
            }
            PartKind::Image(_) | PartKind::Document(_) if role == "user" => {
                self.turn(role);
                self.media(part)?;
            }
            other => return Err(refused(role, other)),
        }
        Ok(())
    }

    /// A text block of these parts; the text of the system in mid-conversation, for which there is
    /// no role in Messages, in tags.
    pub(super) fn system(&mut self, text: &JsonStr, cache: Option<&CacheHint>) {
        self.typed("text");
        self.json.key("text");
        self.json.begin_string();
        self.json.append_text("<system>\n");
        self.json.append(text);
        self.json.append_text("\n</system>");
        self.json.end_string();
        self.end(cache);
    }

    pub(super) fn text(
        &mut self,
        text: &JsonStr,
        citations: &[(Origin, RawJson)],
        cache: Option<&CacheHint>,
    ) {
        self.typed("text");
        self.member("text", text);
        let (ours, foreign): (Vec<_>, Vec<_>) =
            citations.iter().partition(|(origin, _)| own(*origin));
        if !foreign.is_empty() {
            self.dropped.add("messages[].annotations");
        }
        if !ours.is_empty() {
            self.json.key("citations");
            self.json.begin_array();
            for (_, citation) in ours {
                self.json.raw(citation);
            }
            self.json.end_array();
        }
        self.end(cache);
    }

    fn tool_use(&mut self, call: &ToolCall, cache: Option<&CacheHint>) {
        let id = self.ids.call(&call.id);
        self.typed("tool_use");
        self.member("id", &id);
        self.member("name", &call.name);
        self.json.key("input");
        write_input(&call.arguments, &mut self.tape, self.json);
        self.end(cache);
    }

    fn tool_result(
        &mut self,
        result: &ToolResult,
        cache: Option<&CacheHint>,
    ) -> Result<(), Box<Failure>> {
        use super::ids::NoCall;
        let id = self.ids.result(&result.call_id).map_err(|fault| {
            let id = &result.call_id;
            let message = match fault {
                NoCall::Answered => format!("the tool call {id:?} has more than one result"),
                NoCall::Unknown => {
                    format!("a result for {id:?}, but the turn before made no such tool call")
                }
            };
            Box::new(Failure::invalid("messages", message))
        })?;
        self.typed("tool_result");
        self.member("tool_use_id", &id);
        if !result.parts.is_empty() {
            self.json.key("content");
            self.json.begin_array();
            for part in &result.parts {
                self.result_part(part)?;
            }
            self.json.end_array();
        }
        if result.is_error {
            self.json.key("is_error");
            self.json.bool(true);
        }
        self.end(cache);
        Ok(())
    }

    fn result_part(&mut self, part: &Part) -> Result<(), Box<Failure>> {
        match &part.kind {
            PartKind::Text { text, .. } | PartKind::Refusal { text } => {
                if !text::is_blank(text) {
                    self.text(text, &[], part.cache.as_ref());
                }
            }
            PartKind::Image(_) | PartKind::Document(_) => self.media(part)?,
            PartKind::Opaque { origin, json, .. } if own(*origin) => self.json.raw(json),
            other => return Err(refused("tool", other)),
        }
        Ok(())
    }

    fn media(&mut self, part: &Part) -> Result<(), Box<Failure>> {
        match &part.kind {
            PartKind::Image(Media { source, detail }) => {
                if detail.is_some() {
                    self.dropped.add("messages[].image_url.detail");
                }
                self.typed("image");
                self.image_source(source)?;
            }
            PartKind::Document(document) => self.document(document)?,
            other => return Err(refused("user", other)),
        }
        self.end(part.cache.as_ref());
        Ok(())
    }

    fn image_source(&mut self, source: &Source) -> Result<(), Box<Failure>> {
        match source {
            Source::Base64 { media_type, data } => self.picture(media_type, data),
            Source::Url { url, .. } => match data_url::read(url) {
                Some(Ok((media_type, data))) => self.picture(&media_type, &data),
                _ => self.source("url", "url", url),
            },
            Source::File { id, origin } if own(*origin) => self.source("file", "file_id", id),
            Source::File { .. } => return Err(foreign_file()),
            Source::Parts(_) | Source::Text { .. } => {
                let message = "an image must be given as data or as an address";
                return Err(Box::new(Failure::invalid("messages", message)));
            }
        }
        Ok(())
    }

    fn document(&mut self, document: &Document) -> Result<(), Box<Failure>> {
        self.typed("document");
        match &document.source {
            Source::Base64 { media_type, data } => self.file(media_type, data)?,
            Source::Url { url, .. } => match data_url::read(url) {
                Some(Ok((media_type, data))) => self.file(&media_type, &data)?,
                _ => self.source("url", "url", url),
            },
            Source::File { id, origin } if own(*origin) => self.source("file", "file_id", id),
            Source::File { .. } => return Err(foreign_file()),
            Source::Text { text } => self.plain_text(text),
            Source::Parts(parts) => {
                self.json.key("source");
                self.typed("content");
                self.json.key("content");
                self.json.begin_array();
                for part in parts {
                    self.result_part(part)?;
                }
                self.json.end_array();
                self.json.end_object();
            }
        }
        for (name, value) in [("title", &document.title), ("context", &document.context)] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                self.member(name, value);
            }
        }
        if document.citations {
            self.json.key("citations");
            self.json.begin_object();
            self.json.key("enabled");
            self.json.bool(true);
            self.json.end_object();
        }
        Ok(())
    }

    /// A file of which the data is here: PDF as it is, text as text.
    fn file(&mut self, media_type: &JsonStr, data: &JsonStr) -> Result<(), Box<Failure>> {
        let name = media_type.unescape();
        if name == "application/pdf" {
            self.base64(media_type, data);
            return Ok(());
        }
        let is_text = name.starts_with("text/") || name == "application/json";
        let Some(text) = is_text.then(|| text::from_base64(data)).flatten() else {
            let message = format!("a file of the type {name}: a Messages model reads PDF and text");
            return Err(Box::new(Failure::invalid("messages", message)));
        };
        self.plain_text(&text);
        Ok(())
    }

    fn plain_text(&mut self, text: &JsonStr) {
        self.json.key("source");
        self.typed("text");
        self.json.key("media_type");
        self.json.text("text/plain");
        self.member("data", text);
        self.json.end_object();
    }

    fn picture(&mut self, media_type: &JsonStr, data: &JsonStr) {
        if media_type.is("image/jpg") {
            // Common and taken by other vendors, but the API insists on the registered name.
            self.base64(&JsonStr::from_static("image/jpeg"), data);
        } else {
            self.base64(media_type, data);
        }
    }

    fn base64(&mut self, media_type: &JsonStr, data: &JsonStr) {
        self.json.key("source");
        self.typed("base64");
        self.member("media_type", media_type);
        self.member("data", data);
        self.json.end_object();
    }

    fn source(&mut self, kind: &'static str, name: &'static str, value: &JsonStr) {
        self.json.key("source");
        self.typed(kind);
        self.member(name, value);
        self.json.end_object();
    }

    fn typed(&mut self, kind: &'static str) {
        self.json.begin_object();
        self.json.key("type");
        self.json.text(kind);
    }

    fn member(&mut self, name: &'static str, value: &JsonStr) {
        self.json.key(name);
        self.json.str(value);
    }

    fn end(&mut self, cache: Option<&CacheHint>) {
        if let Some(hint) = cache {
            self.hints_seen += 1;
            if self.hints_seen > self.hints_skipped {
                self.json.key("cache_control");
                write_cache_control(hint, self.json);
            }
        }
        self.json.end_object();
    }
}

/// The arguments of a call as the object that Messages wants. Nothing becomes `{}`. What is no JSON
/// object, because the model broke off or erred, becomes `{"_raw": "…"}`: refusing it would end the
/// conversation for good, since it is history and comes again with each turn.
pub(in crate::dialect::anthropic) fn write_input(
    arguments: &Arguments,
    tape: &mut Tape,
    json: &mut Writer<'_>,
) {
    let wrap = |json: &mut Writer<'_>, name: &'static str, text: &JsonStr| {
        json.begin_object();
        json.key(name);
        json.str(text);
        json.end_object();
    };
    match arguments {
        Arguments::Json(value) if value.text().first() == Some(&b'{') => json.raw(value),
        Arguments::Json(value) => wrap(json, "_raw", &embed::embed(value)),
        Arguments::Free(text) => wrap(json, "input", text),
        Arguments::Text(text) => match embed::extract(text, tape, &JsonLimits::default()) {
            Ok(None) => json.raw(&RawJson::EMPTY_OBJECT),
            Ok(Some(value)) if value.text().first() == Some(&b'{') => json.raw(&value),
            Ok(Some(value)) if value.is_null() => json.raw(&RawJson::EMPTY_OBJECT),
            Ok(Some(_)) | Err(_) => wrap(json, "_raw", text),
        },
    }
}

fn foreign_file() -> Box<Failure> {
    let message = "a file that was uploaded to another provider cannot be read by a Messages model";
    Box::new(Failure::invalid("messages", message))
}

fn refused(role: &str, part: &PartKind) -> Box<Failure> {
    let what = match part {
        PartKind::Audio(_) => "sound",
        PartKind::Video(_) => "video",
        PartKind::Image(_) => "an image",
        PartKind::Document(_) => "a document",
        PartKind::ToolCall(_) => "a tool call",
        PartKind::ToolResult(_) => "a tool result",
        _ => "a part of this kind",
    };
    let message = format!("{what} in a turn of the role {role}: Messages has no place for it");
    Box::new(Failure::invalid("messages", message))
}
