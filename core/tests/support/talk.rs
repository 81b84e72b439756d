//! One request and its answer, from end to end.

use serde_json::Value as Json;
use tollgate_core::config::Snapshot;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Access;

use super::events::Cuts;
use super::http::{self, Framing, Message};
use super::said::{Answer, Fault};
use super::world::{End, World};
use super::{chat, messages};

/// What an upstream answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) framing: Framing,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Talk {
    /// What the upstream was asked; `None` if it was not.
    pub(crate) asked: Option<Message>,
    /// What the client was answered.
    pub(crate) answer: Message,
    pub(crate) record: Access,
}

impl Reply {
    pub(crate) fn json(status: u16, body: impl Into<String>) -> Reply {
        Reply::new(status, "application/json", body, Framing::Length)
    }

    pub(crate) fn stream(body: impl Into<String>) -> Reply {
        Reply::new(200, "text/event-stream", body, Framing::Chunked)
    }

    pub(crate) fn new(
        status: u16,
        content_type: &str,
        body: impl Into<String>,
        framing: Framing,
    ) -> Reply {
        Reply {
            status,
            fields: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into().into_bytes(),
            framing,
        }
    }

    /// With one more field.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Reply {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bytes(&self, chunk_len: usize) -> Vec<u8> {
        http::response(
            self.status,
            &self.fields,
            &self.body,
            self.framing,
            chunk_len,
        )
    }
}

/// The path of a request.
pub(crate) const fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "/v1/messages",
        Dialect::OpenAiChat => "/v1/chat/completions",
    }
}

/// A request with this body, in bytes.
pub(crate) fn request(dialect: Dialect, fields: &[(&str, &str)], body: &Json) -> Vec<u8> {
    http::request(path(dialect), fields, body.to_string().as_bytes())
}

/// A client that speaks `client` asks once, and the upstream answers, cut as told.
pub(crate) fn once(
    snapshot: Snapshot,
    client: Dialect,
    body: &[u8],
    reply: &Reply,
    cuts: Cuts,
) -> Talk {
    let request = http::request(path(client), &[], body);
    send(snapshot, request, reply, cuts)
}

/// The same with a request in bytes.
pub(crate) fn send(snapshot: Snapshot, request: Vec<u8>, reply: &Reply, cuts: Cuts) -> Talk {
    let mut world = World::new(snapshot);
    let conn = world.client();
    world.send(conn, request);
    let mut asked = None;
    if let [upstream] = world.upstreams()[..] {
        asked = Some(http::only(world.written(upstream)));
        for piece in cuts.apply(&reply.bytes(cuts.chunk_len())) {
            world.send(upstream, piece);
        }
        if reply.framing == Framing::Close {
            world.hang_up(upstream, End::Fin);
        }
    }
    let answer = http::only(world.written(conn));
    assert!(answer.is_complete, "the answer does not end: {answer:?}");
    let mut records = world.finish();
    assert_eq!(records.len(), 1, "records of one request");
    Talk {
        asked,
        answer,
        record: records.remove(0),
    }
}

/// Reads a client's answer in its API: a stream by its grammar, else a body.
pub(crate) fn read(dialect: Dialect, answer: &Message, usage_wanted: bool) -> Answer {
    let is_stream = answer.field("content-type") == Some("text/event-stream");
    match (dialect, is_stream) {
        _ if answer.status() >= 400 => Answer {
            error: Some(fault(dialect, answer)),
            ..Answer::default()
        },
        (Dialect::Anthropic, true) => messages::check(answer.text()),
        (Dialect::OpenAiChat, true) => chat::check(answer.text(), usage_wanted),
        (Dialect::Anthropic, false) => {
            let body = answer.json();
            assert!(
                body["type"] == "message" && body["role"] == "assistant",
                "{body}"
            );
            messages::whole(&body)
        }
        (Dialect::OpenAiChat, false) => {
            let body = answer.json();
            assert_eq!(body["object"], "chat.completion", "{body}");
            chat::whole(&body)
        }
    }
}

/// The error in an answer with an error status.
pub(crate) fn fault(dialect: Dialect, answer: &Message) -> Fault {
    assert_eq!(answer.field("content-type"), Some("application/json"));
    match dialect {
        Dialect::Anthropic => messages::fault(&answer.json()),
        Dialect::OpenAiChat => chat::fault(&answer.json()),
    }
}
