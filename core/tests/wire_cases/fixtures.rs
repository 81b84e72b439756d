//! Requests, answers and events of both APIs, and a conversation that goes on step by step.

#![allow(
    clippy::needless_pass_by_value,
    reason = "fixtures are written in place"
)]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};
use tollgate_core::config::Snapshot;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Access;

use super::support::events::Cuts;
use super::support::http::{self, Message};
use super::support::said::{Answer, Fault};
use super::support::talk::{Reply, Talk};
use super::support::world::{Conn, End, World};
use super::support::{chat, config, messages, talk};

/// A small request.
pub(crate) fn request(client: Dialect, stream: bool) -> Json {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    match client {
        Dialect::Anthropic => json!({
            "model": "asked", "max_tokens": 100, "stream": stream, "messages": messages,
        }),
        Dialect::OpenAiChat => json!({
            "model": "asked", "stream": stream, "messages": messages,
        }),
    }
}

/// The same, in bytes.
pub(crate) fn request_bytes(client: Dialect, stream: bool) -> Vec<u8> {
    talk::request(client, &[], &request(client, stream))
}

/// The same, with members beside the usual ones.
pub(crate) fn request_with(client: Dialect, stream: bool, members: &Json) -> Json {
    with_members(request(client, stream), members)
}

fn with_members(mut body: Json, members: &Json) -> Json {
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// A chunk of a Chat stream.
pub(crate) fn chunk(delta: Json, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    chunk_of(json!({"choices": [choice]}))
}

/// A chunk with these members.
pub(crate) fn chunk_of(members: Json) -> String {
    let chunk = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
    });
    format!("data: {}\n\n", with_members(chunk, &members))
}

/// The chunk that tells usage.
pub(crate) fn usage_chunk() -> String {
    let usage = json!({"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17});
    chunk_of(json!({"choices": [], "usage": usage}))
}

/// An event of a Messages stream.
pub(crate) fn event(data: Json) -> String {
    format!(
        "event: {}\ndata: {data}\n\n",
        data["type"].as_str().unwrap()
    )
}

/// The first event of a Messages stream.
pub(crate) fn start() -> String {
    event(json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 12, "output_tokens": 1,
            "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
    }}))
}

/// The events of a block: its beginning, each delta, its end.
pub(crate) fn block(index: usize, begin: Json, deltas: &[Json]) -> Vec<String> {
    let mut events = vec![event(json!({
        "type": "content_block_start", "index": index, "content_block": begin,
    }))];
    events.extend(deltas.iter().map(|delta| {
        event(json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }));
    events.push(event(json!({"type": "content_block_stop", "index": index})));
    events
}

/// The last two events of a Messages stream.
pub(crate) fn stop(reason: &str) -> Vec<String> {
    vec![
        event(json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": null},
            "usage": {"input_tokens": 12, "output_tokens": 5,
                "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
        })),
        event(json!({"type": "message_stop"})),
    ]
}

/// `events`, and the end that fits.
pub(crate) fn stream_of(upstream: Dialect, events: &[String], finish: &str) -> String {
    let mut all = String::new();
    if upstream == Dialect::Anthropic {
        all += &start();
    }
    all += &events.concat();
    all += &match upstream {
        Dialect::Anthropic => stop(finish).concat(),
        Dialect::OpenAiChat => chunk(json!({}), Some(finish)) + &usage_chunk() + "data: [DONE]\n\n",
    };
    all
}

/// What begins an answer and is no content: the frame, an empty block, a role.
pub(crate) fn frame(upstream: Dialect) -> String {
    match upstream {
        Dialect::Anthropic => {
            let mut open = block(0, json!({"type": "text", "text": ""}), &[]);
            open.truncate(1);
            start() + &open.concat()
        }
        Dialect::OpenAiChat => chunk(json!({"role": "assistant", "content": ""}), None),
    }
}

/// A piece of text behind [`frame`].
pub(crate) fn piece(upstream: Dialect, text: &str) -> String {
    match upstream {
        Dialect::Anthropic => event(json!({
            "type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": text},
        })),
        Dialect::OpenAiChat => chunk(json!({"content": text}), None),
    }
}

/// The end of an answer of [`frame`] and pieces.
pub(crate) fn ending(upstream: Dialect) -> String {
    match upstream {
        Dialect::Anthropic => {
            let stopped = event(json!({"type": "content_block_stop", "index": 0}));
            stopped + &stop("end_turn").concat()
        }
        Dialect::OpenAiChat => chunk(json!({}), Some("stop")) + &usage_chunk() + "data: [DONE]\n\n",
    }
}

/// An answer that says `text`, streamed in two pieces.
pub(crate) fn stream(upstream: Dialect, text: &str) -> String {
    let half = text
        .char_indices()
        .nth(text.chars().count() / 2)
        .map_or(0, |it| it.0);
    let (one, two) = text.split_at(half);
    let pieces = [one, two].into_iter().filter(|it| !it.is_empty());
    let pieces: String = pieces.map(|it| piece(upstream, it)).collect();
    frame(upstream) + &pieces + &ending(upstream)
}

/// An answer that says `text`, whole.
pub(crate) fn whole(upstream: Dialect, text: &str) -> Json {
    match upstream {
        Dialect::Anthropic => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 12, "output_tokens": 5},
        }),
        Dialect::OpenAiChat => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
        }),
    }
}

/// An answer that says "Hi", whole.
pub(crate) fn hi(upstream: Dialect) -> Reply {
    Reply::json(200, whole(upstream, "Hi").to_string())
}

/// `text`, compressed.
pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// `stream` without the event that says that nothing follows.
pub(crate) fn without_end(upstream: Dialect, mut stream: String) -> String {
    let last = match upstream {
        Dialect::Anthropic => "event: message_stop",
        Dialect::OpenAiChat => "data: [DONE]",
    };
    stream.truncate(stream.find(last).unwrap());
    stream
}

/// An error within a stream.
pub(crate) fn error_event(upstream: Dialect, kind: &str, message: &str) -> String {
    match upstream {
        Dialect::Anthropic => {
            event(json!({"type": "error", "error": {"type": kind, "message": message}}))
        }
        Dialect::OpenAiChat => {
            let error = json!({"message": message, "type": kind, "param": null, "code": kind});
            format!("data: {}\n\n", json!({"error": error}))
        }
    }
}

/// An error body as the API has it.
pub(crate) fn error_body(upstream: Dialect, kind: &str, message: &str) -> Json {
    match upstream {
        Dialect::Anthropic => json!({
            "type": "error", "request_id": "req_1",
            "error": {"type": kind, "message": message},
        }),
        Dialect::OpenAiChat => json!({
            "error": {"message": message, "type": kind, "param": null, "code": null},
        }),
    }
}

/// A client of one API makes its small [`request`], and the upstream of the other answers.
pub(crate) fn ask_once(
    client: Dialect,
    upstream: Dialect,
    stream: bool,
    reply: &Reply,
    cuts: Cuts,
) -> Talk {
    let body = request(client, stream).to_string();
    let snapshot = config::one(upstream);
    talk::once(snapshot, client, body.as_bytes(), reply, cuts)
}

/// A request that was sent to its upstream, which answers step by step.
pub(crate) struct Live {
    pub(crate) world: World,
    pub(crate) client: Conn,
    pub(crate) upstream: Conn,
    pub(crate) dialect: Dialect,
}

impl Live {
    /// The client has asked for a stream or not, and the upstream was asked.
    pub(crate) fn new(client: Dialect, upstream: Dialect, stream: bool) -> Live {
        Live::with(config::one(upstream), client, &request(client, stream))
    }

    pub(crate) fn with(snapshot: Snapshot, client: Dialect, body: &Json) -> Live {
        let mut world = World::new(snapshot);
        let conn = world.client();
        world.send(conn, talk::request(client, &[], body));
        let upstream = world.upstream();
        Live {
            world,
            client: conn,
            upstream,
            dialect: client,
        }
    }

    /// The head of a streamed answer comes, chunked.
    pub(crate) fn head(&mut self) -> &mut Live {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        self.world.send(self.upstream, head.as_bytes());
        self
    }

    /// The same, and content with this text behind it.
    pub(crate) fn begin(&mut self, upstream: Dialect, text: &str) -> &mut Live {
        self.head()
            .feed(&frame(upstream))
            .feed(&piece(upstream, text))
    }

    /// A piece of the body comes, as one chunk.
    pub(crate) fn feed(&mut self, piece: &str) -> &mut Live {
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        self.world.send(self.upstream, chunk);
        self
    }

    /// The body ends as its framing says.
    pub(crate) fn end(&mut self) -> &mut Live {
        self.world.send(self.upstream, &b"0\r\n\r\n"[..]);
        self
    }

    /// The upstream's connection ends.
    pub(crate) fn cut(&mut self, end: End) -> &mut Live {
        self.world.hang_up(self.upstream, end);
        self
    }

    /// What the client has been answered; `None` while there is nothing.
    pub(crate) fn answer(&self) -> Option<Message> {
        http::read(self.world.written(self.client)).pop()
    }

    /// The client's stream so far.
    pub(crate) fn text(&self) -> String {
        let answer = self.answer();
        answer.map_or_else(String::new, |it| it.text().to_owned())
    }

    /// The client's stream so far, by its grammar.
    pub(crate) fn begun(&self) -> Answer {
        match self.dialect {
            Dialect::Anthropic => messages::check_begun(&self.text()),
            Dialect::OpenAiChat => chat::check_begun(&self.text()),
        }
    }

    /// The whole answer, by the grammar of its API; everything must be let go.
    pub(crate) fn finish(self) -> (Answer, Message, Access) {
        let answer = http::only(self.world.written(self.client));
        assert!(answer.is_complete, "the answer does not end: {answer:?}");
        let said = talk::read(self.dialect, &answer, false);
        let mut records = self.world.finish();
        assert_eq!(records.len(), 1, "records of one request");
        (said, answer, records.remove(0))
    }
}

/// The error of an answer that failed by its status.
pub(crate) fn fault(client: Dialect, answer: &Message) -> Fault {
    assert!(
        answer.status() >= 400,
        "{}: {}",
        answer.start,
        answer.text()
    );
    assert!(
        answer
            .field("x-request-id")
            .is_some_and(|id| !id.is_empty())
    );
    talk::fault(client, answer)
}
