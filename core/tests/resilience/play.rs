//! A gateway with several upstreams, played by hand.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tollgate_core::dialect::Dialect;
use tollgate_core::record::Access;

use super::fixtures::{frame, piece, request, stream, whole};
use super::support::config::loaded;
use super::support::http::{self, Message};
use super::support::said::Answer;
use super::support::talk::{self, Reply};
use super::support::world::{Conn, End, World};

/// Two providers of one API each, and the model `asked` that is asked of both in turn.
pub(crate) const CHAIN: &str = r#"
    [models]
    asked = ["first/one", "second/two"]

    [providers.first]
    dialect = "anthropic"
    base_url = "http://127.0.0.1:9001"
    key = "key-1"

    [providers.second]
    dialect = "openai-chat"
    base_url = "http://127.0.0.1:9002/v1"
    key = "key-2"
"#;

/// The ports of [`CHAIN`]'s providers.
pub(crate) const FIRST: u16 = 9001;
pub(crate) const SECOND: u16 = 9002;

/// One provider with the keys `key-1` and `key-2`, at [`SECOND`].
pub(crate) const TWO_KEYS: &str = r#"
    [models]
    asked = "first/one"

    [providers.first]
    dialect = "openai-chat"
    base_url = "http://127.0.0.1:9002/v1"
    key = ["key-1", "key-2"]
"#;

/// The head of a stream that ends with its connection.
pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

/// As late is a second request at least, after the first target was seen to
/// [take a second](Play::hedging).
pub(crate) const LATE: Duration = Duration::from_millis(1_200);

/// [`CHAIN`] with other targets for `asked`.
pub(crate) fn chain_of(targets: &str) -> String {
    CHAIN.replace("[\"first/one\", \"second/two\"]", targets)
}

/// The chain's first target alone.
pub(crate) fn alone() -> String {
    chain_of("[\"first/one\"]")
}

/// [`CHAIN`], of which the second target can go on with what another one began, and the first if
/// told.
pub(crate) fn prefilling(first: bool) -> String {
    chain_of(&format!(
        "[{{ target = \"first/one\", traits = {{ prefill = {first} }} }}, \
         {{ target = \"second/two\", traits = {{ prefill = true }} }}]"
    ))
}

/// `config` with these settings for the first provider.
pub(crate) fn with_first(config: &str, settings: &str) -> String {
    let table = "[providers.first]\n";
    config.replace(table, &format!("{table}{settings}\n"))
}

/// The API that the upstream at `port` speaks.
pub(crate) const fn dialect_at(port: u16) -> Dialect {
    match port {
        FIRST => Dialect::Anthropic,
        _ => Dialect::OpenAiChat,
    }
}

/// A run.
pub(crate) struct Play {
    pub(crate) world: World,
    /// Of each upstream connection, how many requests were answered.
    answered: Vec<(Conn, usize)>,
}

impl Play {
    pub(crate) fn new(config: &str) -> Play {
        Play::nth_of(0, 1, config)
    }

    /// At one of several shards, the others of which are not there.
    pub(crate) fn nth_of(own: u16, shards: u16, config: &str) -> Play {
        Play {
            world: World::nth_of(own, shards, loaded(config)),
            answered: Vec::new(),
        }
    }

    /// A chain that hedges so many of a hundred requests, with more settings; its first target is
    /// known to answer in a second.
    pub(crate) fn hedging(percent: u32, settings: &str) -> Play {
        let hedge = format!("retry.hedge_percent = {percent}");
        let mut play = Play::new(&format!("{hedge}\n{settings}\n{CHAIN}"));
        play.teach(true);
        play
    }

    /// The first target answers many requests in a second each.
    pub(crate) fn teach(&mut self, is_stream: bool) {
        for _ in 0..40 {
            let client = self.ask(Dialect::Anthropic, is_stream);
            self.world.pass(Duration::from_secs(1));
            assert_eq!(self.reply_well(is_stream), FIRST);
            self.answer(client);
        }
    }

    /// A client asks, the first target is late, and both are asked: the three connections.
    pub(crate) fn race(&mut self, dialect: Dialect) -> (Conn, Conn, Conn) {
        let client = self.ask(dialect, true);
        let first = self.asked_at(FIRST);
        self.world.pass(LATE);
        (client, first, self.asked_at(SECOND))
    }

    /// A new client asks.
    pub(crate) fn ask(&mut self, dialect: Dialect, is_stream: bool) -> Conn {
        self.ask_with(dialect, is_stream, &[])
    }

    /// The same, with fields of its own.
    pub(crate) fn ask_with(
        &mut self,
        dialect: Dialect,
        is_stream: bool,
        fields: &[(&str, &str)],
    ) -> Conn {
        self.ask_body(dialect, &request(dialect, is_stream), fields)
    }

    /// The same, with a body of its own too.
    pub(crate) fn ask_body(
        &mut self,
        dialect: Dialect,
        body: &Json,
        fields: &[(&str, &str)],
    ) -> Conn {
        let client = self.world.client();
        self.world
            .send(client, talk::request(dialect, fields, body));
        client
    }

    /// A new client asks with the key of the configured `caller`, and more fields.
    pub(crate) fn ask_as(
        &mut self,
        caller: &str,
        dialect: Dialect,
        body: &Json,
        fields: &[(&str, &str)],
    ) -> Conn {
        let key = format!("Bearer {caller}-0123456789abcdef");
        let fields = [&[("authorization", key.as_str())], fields].concat();
        self.ask_body(dialect, body, &fields)
    }

    /// A new client asks for one of the gateway's own pages.
    pub(crate) fn page(&mut self, method: &str, path: &str) -> Message {
        let client = self.world.client();
        let request = String::from_utf8(http::request(path, &[], b"")).expect("ASCII");
        self.world.send(client, request.replacen("POST", method, 1));
        self.answer(client)
    }

    /// The connections on which an upstream has something to answer, with its port and the request.
    pub(crate) fn pending(&self) -> Vec<(Conn, u16, Message)> {
        let open = self.world.upstreams().into_iter();
        let open = open.filter(|&conn| !self.world.is_closed(conn));
        let pending = open.filter_map(|conn| {
            let before = self.answered.iter().find(|(it, _)| *it == conn);
            let before = before.map_or(0, |(_, count)| *count);
            let request = http::read(self.world.written(conn))
                .into_iter()
                .nth(before)?;
            let port = self.world.address(conn).expect("an address").port();
            request.is_complete.then_some((conn, port, request))
        });
        pending.collect()
    }

    /// The only connection on which an upstream has something to answer.
    pub(crate) fn asked(&mut self) -> (Conn, u16, Message) {
        let mut pending = self.pending();
        assert_eq!(pending.len(), 1, "requests to upstreams");
        let (conn, port, request) = pending.remove(0);
        self.count(conn);
        (conn, port, request)
    }

    /// The connection on which the upstream at `port` has something to answer, among others.
    pub(crate) fn asked_at(&mut self, port: u16) -> Conn {
        let pending = self.pending();
        let found = pending.iter().find(|(_, at, _)| *at == port);
        let (conn, ..) = *found.expect("asked");
        self.count(conn);
        conn
    }

    /// A request on `conn` is being answered.
    fn count(&mut self, conn: Conn) {
        match self.answered.iter_mut().find(|(it, _)| *it == conn) {
            Some((_, count)) => *count += 1,
            None => self.answered.push((conn, 1)),
        }
    }

    /// The upstream that was asked answers; says which it was.
    pub(crate) fn reply(&mut self, reply: &Reply) -> u16 {
        let (conn, port, _) = self.asked();
        self.send(conn, reply);
        port
    }

    /// The same, well.
    pub(crate) fn reply_well(&mut self, is_stream: bool) -> u16 {
        self.serve(is_stream).0
    }

    /// The same; says too what was asked.
    pub(crate) fn serve(&mut self, is_stream: bool) -> (u16, Message) {
        let (conn, port, request) = self.asked();
        self.send(conn, &well(dialect_at(port), is_stream));
        (port, request)
    }

    /// The upstream that was asked, which is one for Chat, answers; says with which key it was.
    pub(crate) fn reply_to_key(&mut self, reply: &Reply) -> String {
        let (conn, _, request) = self.asked();
        self.send(conn, reply);
        let key = request.field("authorization").expect("a key");
        key.strip_prefix("Bearer ").expect("a key").to_owned()
    }

    /// An upstream that [was asked](Self::asked) on `conn` answers.
    pub(crate) fn send(&mut self, conn: Conn, reply: &Reply) {
        self.world.send(conn, reply.bytes(1 << 20));
    }

    /// An upstream answers on one of the [`pending`](Self::pending) connections.
    pub(crate) fn reply_on(&mut self, conn: Conn, reply: &Reply) {
        self.count(conn);
        self.send(conn, reply);
    }

    /// All upstreams that have something to answer do so well.
    pub(crate) fn reply_well_to_all(&mut self, is_stream: bool) {
        for (conn, port, _) in self.pending() {
            self.reply_on(conn, &well(dialect_at(port), is_stream));
        }
    }

    /// On `conn` begins a stream of the upstream at `port`, with these pieces of text.
    pub(crate) fn begin(&mut self, conn: Conn, port: u16, texts: &[&str]) {
        let dialect = dialect_at(port);
        let pieces = texts.iter().map(|text| piece(dialect, text));
        let events = frame(dialect) + &pieces.collect::<String>();
        self.world.send(conn, format!("{HEAD}{events}"));
    }

    /// The upstream that was asked, which must be that at `port`, begins a stream with these.
    pub(crate) fn begins(&mut self, port: u16, texts: &[&str]) -> (Conn, Message) {
        let (conn, at, request) = self.asked();
        assert_eq!(at, port);
        self.begin(conn, port, texts);
        (conn, request)
    }

    /// The same, and then the connection breaks.
    pub(crate) fn begins_and_breaks(&mut self, port: u16, texts: &[&str]) -> Message {
        let (conn, request) = self.begins(port, texts);
        self.world.hang_up(conn, End::Reset);
        self.back_off();
        request
    }

    /// So many requests fail at the first target each time that it is asked; the second answers.
    pub(crate) fn first_fails(&mut self, times: usize) {
        for _ in 0..times {
            self.ask(Dialect::Anthropic, false);
            while self.pending().first().is_some_and(|it| it.1 == FIRST) {
                self.reply(&error(500));
                if self.pending().is_empty() {
                    self.back_off();
                }
            }
            assert_eq!(self.reply_well(false), SECOND);
        }
    }

    /// The upstream that was asked breaks the connection.
    pub(crate) fn cut(&mut self, end: End) -> u16 {
        let (conn, port, _) = self.asked();
        self.world.hang_up(conn, end);
        port
    }

    /// Time for a repetition to go out.
    pub(crate) fn back_off(&mut self) {
        self.world.pass(Duration::from_millis(100));
    }

    /// The whole answer to a client, which must be there.
    pub(crate) fn answer(&self, client: Conn) -> Message {
        let answer = http::only(self.world.written(client));
        assert!(answer.is_complete, "the answer does not end: {answer:?}");
        answer
    }

    /// The same, which must be the [good](well) one.
    pub(crate) fn answered_well(&self, dialect: Dialect, client: Conn) -> Message {
        let answer = self.answer(client);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let said = talk::read(dialect, &answer, false);
        assert!(said.is_complete, "{}", answer.text());
        assert_eq!(said.said().text, "well");
        answer
    }

    /// What the answer says, to a client that speaks `dialect`.
    pub(crate) fn said(&self, dialect: Dialect, client: Conn) -> Answer {
        talk::read(dialect, &self.answer(client), false)
    }

    /// Whether a client was told nothing yet.
    pub(crate) fn is_silent(&self, client: Conn) -> bool {
        http::read(self.world.written(client)).is_empty()
    }

    /// What a client has seen so far.
    pub(crate) fn text(&self, client: Conn) -> String {
        String::from_utf8_lossy(self.world.written(client)).into_owned()
    }

    /// The config becomes another.
    pub(crate) fn reload(&mut self, config: &str) {
        self.world.reload(Arc::new(loaded(config)));
    }

    /// All ends; the record of the last request.
    pub(crate) fn record(self) -> Access {
        self.world.finish().pop().expect("a record")
    }
}

/// A good answer.
pub(crate) fn well(dialect: Dialect, is_stream: bool) -> Reply {
    if is_stream {
        Reply::stream(stream(dialect, "well"))
    } else {
        Reply::json(200, whole(dialect, "well").to_string())
    }
}

/// An error of `status`, in the upstream's API.
pub(crate) fn error(status: u16) -> Reply {
    let body = r#"{"type":"error","error":{"type":"some_error","message":"told by the upstream"}}"#;
    Reply::json(status, body)
}
