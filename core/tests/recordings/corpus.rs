//! The recordings, as they lie in the folder shared beside the workspace.

use serde_json::Value as Json;
use serde_json::value::RawValue;
use tollgate_core::dialect::Dialect;

use super::support::http::Framing;
use super::support::said::Answer;
use super::support::talk::Reply;
use super::support::{chat, messages, shared};

/// The recordings of one API.
pub(crate) struct Corpus {
    pub(crate) all: Vec<Recording>,
}

/// One recording.
pub(crate) struct Recording {
    pub(crate) id: String,
    pub(crate) dialect: Dialect,
    /// Whether a stream was asked for.
    pub(crate) stream: bool,
    /// The request's body, byte for byte as it lies in the file.
    pub(crate) request: String,
    /// The recording has no request, or one without a model: it was made, or amended, by rule.
    pub(crate) is_made: bool,
    pub(crate) reply: Reply,
    /// The answer's body is a stream.
    pub(crate) is_streamed: bool,
}

/// All recordings of `api`, in the order of their names; `None`, said aloud, where they are absent.
pub(crate) fn read(api: &str) -> Option<Corpus> {
    let files = shared::recordings(api)?;
    let dialect = match api {
        "anthropic.messages" => Dialect::Anthropic,
        _ => Dialect::OpenAiChat,
    };
    let all = files.iter().map(|(_, text)| Recording::new(dialect, text));
    Some(Corpus { all: all.collect() })
}

/// The parts of a file whose text is kept as it is.
#[derive(serde::Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    request: Half<'a>,
    #[serde(borrow)]
    response: Half<'a>,
}

#[derive(serde::Deserialize)]
struct Half<'a> {
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl Recording {
    fn new(dialect: Dialect, text: &str) -> Recording {
        let file: File<'_> = serde_json::from_str(text).unwrap();
        let json: Json = serde_json::from_str(text).unwrap();
        let id = json["id"].as_str().unwrap().to_owned();
        let stream = json["stream"] == true;
        let told = file.request.body.map(RawValue::get);
        let (request, is_made) = request(dialect, stream, told, &json["request"]["body"]);
        let body = &json["response"]["body"];
        let is_streamed = body.is_string();
        let body = match body {
            Json::String(text) => text.clone(),
            _ => file.response.body.unwrap().get().to_owned(),
        };
        let content_type = match is_streamed {
            true => "text/event-stream",
            false => "application/json",
        };
        let framing = match is_streamed {
            true => Framing::Chunked,
            false => Framing::Length,
        };
        let status = json["response"]["status"].as_u64().unwrap() as u16;
        let mut reply = Reply::new(status, content_type, body, framing);
        for (name, value) in json["response"]["headers"]
            .as_object()
            .into_iter()
            .flatten()
        {
            match (name.as_str(), value.as_str()) {
                ("transfer-encoding" | "content-length" | "connection", _) | (_, None) => {}
                ("content-type", Some(value)) => reply.fields[0].1 = value.to_owned(),
                (name, Some(value)) => reply.fields.push((name.to_owned(), value.to_owned())),
            }
        }
        Recording {
            id,
            dialect,
            stream,
            request,
            is_made,
            reply,
            is_streamed,
        }
    }

    /// What the recorded answer says, read without the code under test.
    pub(crate) fn told(&self) -> Answer {
        let text = core::str::from_utf8(&self.reply.body).unwrap();
        let json = || serde_json::from_str::<Json>(text).unwrap();
        let mut answer = match (self.dialect, self.is_streamed) {
            (Dialect::Anthropic, true) => messages::told(text),
            (Dialect::Anthropic, false) => messages::whole(&json()),
            (Dialect::OpenAiChat, true) => chat::told(text),
            (Dialect::OpenAiChat, false) if self.reply.status >= 400 => Answer {
                error: Some(chat::fault_of(&json())),
                ..Answer::default()
            },
            (Dialect::OpenAiChat, false) => chat::whole(&json()),
        };
        answer.choices.iter_mut().for_each(|said| said.settle());
        answer
    }
}

/// The request's text, and whether it was made or amended by rule: where there is none, the least
/// that the API takes; where the model stood in the path (Vertex), it is put first.
fn request(dialect: Dialect, stream: bool, told: Option<&str>, json: &Json) -> (String, bool) {
    match told {
        Some(told) if json["model"].is_string() => (told.to_owned(), false),
        Some(told) if json.is_object() => {
            let rest = told.trim_start().strip_prefix('{').unwrap();
            (format!("{{\"model\": \"of-the-path\",{rest}"), true)
        }
        _ => (minimal(dialect, stream), true),
    }
}

/// The least that the API takes.
pub(crate) fn minimal(dialect: Dialect, stream: bool) -> String {
    let limit = match dialect {
        Dialect::Anthropic => "\"max_tokens\": 4096, ",
        Dialect::OpenAiChat => "",
    };
    let messages = r#"[{"role": "user", "content": "Hello"}]"#;
    format!(r#"{{"model": "made", {limit}"messages": {messages}, "stream": {stream}}}"#)
}
