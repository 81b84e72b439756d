//! Messages and their parts: what was said so far.

use super::tool::{ToolCall, ToolResult};
use crate::base::{JsonStr, RawJson};

/// One turn. Tool results are parts of a [`Role::User`] message, as in Messages, Gemini and
/// Converse; APIs with a role of their own for them split them off.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order. May be empty where the API allows it.
    pub parts: Vec<Part>,
    /// Distinguishes participants of the same role (Chat `name`).
    pub name: Option<JsonStr>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The model.
    Assistant,
    /// Instructions in the middle of the conversation. Those before the first turn are in
    /// [`Request::system`](super::Request::system).
    System,
    /// The person or program that uses the model.
    User,
}

/// A part of a message, with what hangs on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// The prompt up to here may be cached (Messages `cache_control`, Converse `cachePoint`).
    pub cache: Option<CacheHint>,
}

impl Part {
    /// A part without a cache hint.
    pub const fn new(kind: PartKind) -> Part {
        Part { kind, cache: None }
    }

    /// A text part.
    pub const fn text(text: JsonStr) -> Part {
        Part::new(PartKind::Text {
            text,
            citations: Vec::new(),
        })
    }
}

/// A place up to which the provider should cache the prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheHint {
    /// How long: `5m` or `1h`; the provider's default if not said.
    pub ttl: Option<JsonStr>,
}

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
pub enum PartKind {
    /// Sound.
    Audio(Media),
    /// A file to be read: PDF, plain text, …
    Document(Document),
    /// A picture.
    Image(Media),
    /// Something that only one vendor's API knows: calls of tools that the provider runs itself and
    /// their results, search results, compaction. Goes back to the same vendor verbatim.
    Opaque {
        /// Whose.
        origin: Origin,
        /// The vendor's name for it (`server_tool_use`, `web_search_call`, …).
        name: JsonStr,
        /// The whole block.
        json: RawJson,
    },
    /// Reasoning that the provider hides, to be given back unchanged (Messages `redacted_thinking`,
    /// Converse `redactedContent`, Responses `encrypted_content`).
    RedactedThinking {
        /// Opaque data.
        data: JsonStr,
        /// Who can read it.
        origin: Origin,
    },
    /// The model declines (Chat and Responses `refusal`).
    Refusal {
        /// Why, in words.
        text: JsonStr,
    },
    /// Text.
    Text {
        /// The text.
        text: JsonStr,
        /// Sources of the text, each in the form of the vendor named.
        citations: Vec<(Origin, RawJson)>,
    },
    /// Reasoning in words.
    Thinking(Thinking),
    /// The model asks for a tool to be run.
    ToolCall(ToolCall),
    /// What a tool gave.
    ToolResult(ToolResult),
    /// Moving pictures.
    Video(Media),
}

impl PartKind {
    /// Bytes of the text and data of a part that a model made.
    pub(super) fn bytes(&self) -> usize {
        match self {
            PartKind::Audio(media) | PartKind::Image(media) | PartKind::Video(media) => {
                media.source.bytes()
            }
            PartKind::Document(document) => document.source.bytes(),
            PartKind::Opaque { json, .. } => json.len(),
            PartKind::RedactedThinking { data, .. } => data.len(),
            PartKind::Refusal { text } | PartKind::Text { text, .. } => text.len(),
            PartKind::Thinking(thinking) => thinking.text.len(),
            PartKind::ToolCall(_) | PartKind::ToolResult(_) => 0,
        }
    }
}

/// Which family of APIs can make sense of something opaque.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Origin {
    /// Anthropic's models behind Messages, Bedrock or Vertex.
    Anthropic,
    /// Bedrock Converse.
    Bedrock,
    /// Gemini.
    Gemini,
    /// OpenAI's Chat Completions and those who imitate it.
    OpenAiChat,
    /// OpenAI Responses.
    OpenAiResponses,
}

/// Reasoning in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Thinking {
    /// The words; may be empty while there is a signature.
    pub text: JsonStr,
    /// Proof of where it came from, without which the provider does not take it back.
    pub signature: Option<Signature>,
}

/// A signature over reasoning or over a tool call (Messages `signature`, Gemini
/// `thoughtSignature`).
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Opaque data, base64 mostly.
    pub value: JsonStr,
    /// Who can check it.
    pub origin: Origin,
}

/// Image, sound or video.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// Where the data is.
    pub source: Source,
    /// How closely to look (Chat `detail`: `auto`, `low`, `high`).
    pub detail: Option<JsonStr>,
}

/// A file to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where the data is.
    pub source: Source,
    /// Its title (Messages) or file name (Chat).
    pub title: Option<JsonStr>,
    /// What the model should know about it (Messages).
    pub context: Option<JsonStr>,
    /// Whether the answer should cite it (Messages `citations.enabled`).
    pub citations: bool,
}

/// Where the data of a media part is.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Here.
    Base64 {
        /// MIME type.
        media_type: JsonStr,
        /// The data.
        data: JsonStr,
    },
    /// Uploaded to the provider before.
    File {
        /// The provider's id for it.
        id: JsonStr,
        /// Whose id.
        origin: Origin,
    },
    /// A document made of parts (Messages `source.type: content`).
    Parts(Vec<Part>),
    /// Plain text, here.
    Text {
        /// The text.
        text: JsonStr,
    },
    /// At an address.
    Url {
        /// The address.
        url: JsonStr,
        /// MIME type, where the API wants it said.
        media_type: Option<JsonStr>,
    },
}

impl Source {
    fn bytes(&self) -> usize {
        match self {
            Source::Base64 { data, .. } => data.len(),
            Source::File { id, .. } => id.len(),
            Source::Parts(parts) => parts.iter().map(|part| part.kind.bytes()).sum(),
            Source::Text { text } => text.len(),
            Source::Url { url, .. } => url.len(),
        }
    }
}
