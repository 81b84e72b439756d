//! What clients ask: well-formed requests of both APIs, and wrong ones.

use core::time::Duration;

use serde_json::json;
use tollgate_core::base::Rng;
use tollgate_core::dialect::Dialect;

use super::journal::{Kind, Shared};
use crate::faults::{Fault, Faults};
use crate::setup::CALLERS;

/// A request before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) marker: String,
    /// How it is known to upstreams.
    pub(crate) topic: String,
    /// Who asks, as a number in [`CALLERS`].
    pub(crate) caller: Option<usize>,
    /// How long it waits, if it says so.
    pub(crate) patience: Option<Duration>,
    pub(crate) bytes: Vec<u8>,
    /// What its user says.
    pub(crate) content: String,
    /// The name of the model.
    pub(crate) model: &'static str,
    /// The session that it belongs to.
    pub(crate) session: Option<String>,
    pub(crate) head_len: usize,
    /// Of its body, the framing left out.
    pub(crate) body_len: usize,
    pub(crate) dialect: Dialect,
    pub(crate) is_stream: bool,
    pub(crate) is_head: bool,
    pub(crate) kind: Kind,
}

/// Names of models and where they lead: see `scenario`.
const MODELS: [(&str, Kind); 5] = [
    ("a-literal", Kind::Generate(Dialect::Anthropic)),
    ("a-named", Kind::Generate(Dialect::Anthropic)),
    ("o-literal", Kind::Generate(Dialect::OpenAiChat)),
    ("o-named", Kind::Generate(Dialect::OpenAiChat)),
    ("demo", Kind::Demo),
];

/// One who asks.
pub(crate) struct Asker<'s> {
    session: Option<&'s str>,
    caller: Option<usize>,
    /// Whether it may say how long it waits.
    is_hurried: bool,
    /// Whether it asks what others ask too.
    is_sharing: bool,
    rng: Rng,
}

/// In what time clients may want their answers. No other time of the gateway's is the same.
const PATIENCE_MILLIS: [u64; 6] = [13, 210, 1070, 3300, 9700, 41_000];

impl<'s> Asker<'s> {
    /// The client of this number.
    pub(crate) fn draw(shared: &Shared, session: Option<&'s str>, number: usize) -> Asker<'s> {
        let setup = shared.setup;
        let mut rng = setup.rng_of_client(number);
        let caller = rng.below(CALLERS.len() as u64) as usize;
        Asker {
            session,
            caller: setup.has_callers().then_some(caller),
            is_hurried: setup.has(Fault::Deadlines),
            is_sharing: setup.has(Fault::Coalesce),
            rng,
        }
    }

    /// Its next request.
    pub(crate) fn ask(&mut self, marker: String, faults: &mut Faults, rng: &mut Rng) -> Ask {
        let mut ask = Ask::draw(marker, self.session, faults, rng);
        let topic = self.rng.below(TOPICS.len() as u64) as usize;
        let asks_alike = self.rng.chance(1, 2) && self.is_sharing;
        if asks_alike && matches!(ask.kind, Kind::Generate(_) | Kind::Demo) {
            ask = Ask::alike(ask.marker, topic);
        }
        let patience = PATIENCE_MILLIS[self.rng.below(6) as usize];
        let says_so = self.rng.chance(1, 3) && self.is_hurried;
        if says_so && matches!(ask.kind, Kind::Generate(_) | Kind::Demo) {
            ask.patience = Some(Duration::from_millis(patience));
            let seconds = patience as f64 / 1000.0;
            ask.put_field(&format!("x-tollgate-timeout: {seconds}"));
        }
        if let Some(caller) = self.caller {
            let (_, key) = CALLERS[caller];
            ask.caller = Some(caller);
            ask.put_field(&match self.rng.chance(1, 2) {
                true => format!("x-api-key: {key}"),
                false => format!("authorization: Bearer {key}"),
            });
        }
        ask
    }
}

/// What several may ask: of which API, of which model.
const TOPICS: [(Dialect, usize); 4] = [
    (Dialect::Anthropic, 0),
    (Dialect::Anthropic, 3),
    (Dialect::OpenAiChat, 1),
    (Dialect::OpenAiChat, 2),
];

impl Ask {
    /// What others ask too, to the byte.
    fn alike(marker: String, topic: usize) -> Ask {
        let (dialect, model) = TOPICS[topic];
        let (model, kind) = MODELS[model];
        let topic = format!("s{topic}");
        let content = format!("{topic} what others ask");
        let mut body = json!({
            "model": model,
            "messages": [{ "role": "user", "content": content }],
        });
        if dialect == Dialect::Anthropic {
            body["max_tokens"] = json!(100);
        }
        let body = body.to_string().into_bytes();
        let mut bytes = head(&marker, dialect, &body, false).into_bytes();
        let head_len = bytes.len();
        bytes.extend_from_slice(&body);
        Ask {
            topic,
            marker,
            caller: None,
            patience: None,
            bytes,
            content,
            model,
            session: None,
            head_len,
            body_len: body.len(),
            dialect,
            is_stream: false,
            is_head: false,
            kind,
        }
    }

    /// Adds a field line; not to what is no HTTP.
    fn put_field(&mut self, line: &str) {
        let start = self.bytes.windows(2).position(|at| at == b"\r\n");
        if let (Some(start), true) = (start, self.kind != Kind::Malformed) {
            let line = format!("\r\n{line}");
            self.bytes.splice(start..start, line.bytes());
            self.head_len += line.len();
        }
    }

    fn draw(marker: String, session: Option<&str>, faults: &mut Faults, rng: &mut Rng) -> Ask {
        let is_bad = faults.strikes(Fault::BadRequest, rng);
        let is_large = faults.strikes(Fault::LargeBody, rng);
        let padding = if is_large {
            rng.below(40_000)
        } else {
            rng.below(200)
        };
        if is_bad {
            return bad(marker, rng);
        }
        if rng.chance(1, 12) {
            return admin(marker, rng);
        }
        let anthropic = rng.chance(1, 2);
        let dialect = if anthropic {
            Dialect::Anthropic
        } else {
            Dialect::OpenAiChat
        };
        let (model, kind) = MODELS[rng.below(MODELS.len() as u64) as usize];
        let is_stream = rng.chance(2, 3);
        let content = format!("{marker} {}", "x".repeat(padding as usize));
        let body = body(&content, dialect, model, session, is_stream, rng);
        let is_chunked = rng.chance(1, 6);
        let head = head(&marker, dialect, &body, is_chunked);
        let mut bytes = head.into_bytes();
        let head_len = bytes.len();
        if is_chunked {
            put_chunks(&mut bytes, &body, rng);
        } else {
            bytes.extend_from_slice(&body);
        }
        Ask {
            topic: marker.clone(),
            marker,
            caller: None,
            patience: None,
            bytes,
            content,
            model,
            session: session.map(str::to_owned),
            head_len,
            body_len: body.len(),
            dialect,
            is_stream,
            is_head: false,
            kind,
        }
    }
}

fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "/v1/messages",
        Dialect::OpenAiChat => "/v1/chat/completions",
    }
}

fn body(
    content: &str,
    dialect: Dialect,
    model: &str,
    session: Option<&str>,
    is_stream: bool,
    rng: &mut Rng,
) -> Vec<u8> {
    let mut body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": content }],
    });
    if dialect == Dialect::Anthropic {
        body["max_tokens"] = json!(100);
    }
    if let Some(session) = session {
        match dialect {
            Dialect::Anthropic => body["metadata"] = json!({ "user_id": session }),
            Dialect::OpenAiChat => body["user"] = json!(session),
        }
    }
    if is_stream || rng.chance(1, 3) {
        body["stream"] = json!(is_stream);
    }
    if dialect == Dialect::OpenAiChat && is_stream && rng.chance(1, 2) {
        body["stream_options"] = json!({ "include_usage": rng.chance(1, 2) });
    }
    body.to_string().into_bytes()
}

fn head(marker: &str, dialect: Dialect, body: &[u8], is_chunked: bool) -> String {
    let framing = if is_chunked {
        "transfer-encoding: chunked".to_owned()
    } else {
        format!("content-length: {}", body.len())
    };
    let path = path(dialect);
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n\
         x-request-id: {marker}\r\n{framing}\r\n\r\n"
    )
}

fn put_chunks(bytes: &mut Vec<u8>, body: &[u8], rng: &mut Rng) {
    let mut rest = body;
    while !rest.is_empty() {
        let count = 1 + rng.below(rest.len() as u64) as usize;
        let (chunk, after) = rest.split_at(count);
        bytes.extend_from_slice(format!("{count:x}\r\n").as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        rest = after;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
}

fn admin(marker: String, rng: &mut Rng) -> Ask {
    let paths = [
        "/health",
        "/metrics",
        "/ready",
        "/v1/models",
        "/v1/models/demo",
        "/",
    ];
    let path = paths[rng.below(paths.len() as u64) as usize];
    let is_head = rng.chance(1, 3);
    let method = if is_head { "HEAD" } else { "GET" };
    let bytes =
        format!("{method} {path} HTTP/1.1\r\nhost: gateway\r\nx-request-id: {marker}\r\n\r\n")
            .into_bytes();
    Ask {
        is_head,
        ..plain(marker, bytes, Dialect::OpenAiChat, Kind::Admin)
    }
}

/// A request that asks no model for anything.
fn plain(marker: String, bytes: Vec<u8>, dialect: Dialect, kind: Kind) -> Ask {
    let end = bytes.windows(4).position(|at| at == b"\r\n\r\n");
    Ask {
        topic: marker.clone(),
        marker,
        caller: None,
        patience: None,
        head_len: end.map_or(bytes.len(), |at| at + 4),
        bytes,
        content: String::new(),
        model: "",
        session: None,
        body_len: 0,
        dialect,
        is_stream: false,
        is_head: false,
        kind,
    }
}

fn bad(marker: String, rng: &mut Rng) -> Ask {
    let good = r#"{"model":"demo","max_tokens":5,"messages":[{"role":"user","content":"x"}]}"#;
    let post = |path: &str, fields: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: gateway\r\nx-request-id: {marker}\r\n\
             content-type: application/json\r\n{fields}\r\n{body}"
        )
    };
    let sized =
        |path: &str, body: &str| post(path, &format!("content-length: {}\r\n", body.len()), body);
    let chat = "/v1/chat/completions";
    let (text, kind) = match rng.below(13) {
        0 => (sized("/v1/messages", "{\"model\": "), Kind::Bad),
        1 => (sized(chat, r#"{"messages":[]}"#), Kind::Bad),
        2 => (
            sized(chat, &good.replace("demo", "nothing-like-it")),
            Kind::Bad,
        ),
        3 => (sized("/v1/nothing", good), Kind::Bad),
        4 => (
            format!("GET {chat} HTTP/1.1\r\nhost: g\r\nx-request-id: {marker}\r\n\r\n"),
            Kind::Bad,
        ),
        5 => (
            sized(chat, good).replace("application/json", "text/plain"),
            Kind::Bad,
        ),
        6 => (sized("/v1/messages", "[1, 2]"), Kind::Bad),
        7 => (post(chat, "content-length: 99999999999\r\n", ""), Kind::Bad),
        8 => (
            post(chat, "content-length: 5\r\ncontent-length: 6\r\n", good),
            Kind::Malformed,
        ),
        9 => (
            sized(chat, good).replace("host: gateway\r\n", ""),
            Kind::Malformed,
        ),
        10 => (sized(chat, good).replace("\r\n", "\n"), Kind::Malformed),
        11 => (
            post(chat, "transfer-encoding: chunked\r\n", "zz\r\n"),
            Kind::Malformed,
        ),
        _ => (
            "\u{16}\u{3}\u{1}not http at all\r\n\r\n".to_owned(),
            Kind::Malformed,
        ),
    };
    let bytes = text.into_bytes();
    let is_messages = bytes.windows(12).any(|at| at == b"/v1/messages");
    let dialect = if is_messages {
        Dialect::Anthropic
    } else {
        Dialect::OpenAiChat
    };
    plain(marker, bytes, dialect, kind)
}
