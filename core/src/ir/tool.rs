//! Tools: what the model may call, what it called, and what came back.

use super::message::{CacheHint, Origin, Part, Signature};
use crate::base::{JsonStr, RawJson};

/// A tool on offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What it is.
    pub kind: ToolKind,
    /// The prompt up to here may be cached.
    pub cache: Option<CacheHint>,
}

/// What a tool is.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolKind {
    /// Takes free text instead of JSON (Chat and Responses `custom`).
    Custom {
        /// Name by which it is called.
        name: JsonStr,
        /// What it does.
        description: Option<JsonStr>,
        /// Grammar of its input, in the form of the API.
        format: Option<RawJson>,
    },
    /// Takes a JSON object; the client runs it.
    Function(FunctionTool),
    /// Run by the provider, or known to it by name (web search, code execution, computer use, …).
    Provider {
        /// Whose.
        origin: Origin,
        /// The vendor's type of it (`web_search_20250305`, `code_interpreter`, …).
        name: JsonStr,
        /// The whole entry.
        json: RawJson,
    },
}

/// A function that the client runs.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionTool {
    /// Name by which it is called.
    pub name: JsonStr,
    /// What it does.
    pub description: Option<JsonStr>,
    /// JSON Schema of its arguments; none when it takes none.
    pub parameters: Option<RawJson>,
    /// Whether arguments must obey the schema.
    pub strict: Option<bool>,
}

/// Which tools the model may or must call.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolChoice {
    /// One of these only (Chat and Responses `allowed_tools`, Gemini `allowedFunctionNames`).
    Allowed {
        /// Whether one of them must be called.
        required: bool,
        /// Their names.
        names: Vec<JsonStr>,
    },
    /// As the model sees fit.
    Auto,
    /// This one.
    Named(JsonStr),
    /// None.
    None,
    /// Any, but one at least.
    Required,
}

/// The model asks for a tool to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// By which the result refers to it.
    pub id: JsonStr,
    /// Which tool.
    pub name: JsonStr,
    /// With what.
    pub arguments: Arguments,
    /// Proof of the reasoning that led to it (Gemini `thoughtSignature`).
    pub signature: Option<Signature>,
}

/// What a tool is called with.
#[derive(Clone, Debug, PartialEq)]
pub enum Arguments {
    /// Free text, for a custom tool.
    Free(JsonStr),
    /// A JSON value, as it stands in a document (Messages, Gemini).
    Json(RawJson),
    /// JSON text inside a JSON string (Chat, Responses). Not checked: models do produce broken
    /// JSON.
    Text(JsonStr),
}

/// What a tool gave.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// Of which call.
    pub call_id: JsonStr,
    /// Of which tool, where the API says it (Gemini).
    pub name: Option<JsonStr>,
    /// Text, images, documents; may be empty.
    pub parts: Vec<Part>,
    /// Whether the tool failed.
    pub is_error: bool,
}
