//! A gateway with several upstreams, played by hand.

use std::time::Duration;

use tollgate_core::config::{Snapshot, Surroundings, load};
use tollgate_core::dialect::Dialect;

use super::fixtures::{request, stream, whole};
use super::support::http::{self, Message};
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

pub(crate) fn snapshot(config: &str) -> Snapshot {
    let surroundings = Surroundings {
        env: &|_| None,
        read_file: &|_| Err("no such file".to_owned()),
        roots: &[],
    };
    let loaded = load("t.toml", config, &surroundings);
    loaded.unwrap_or_else(|faults| panic!("{faults}")).snapshot
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
        Play {
            world: World::new(snapshot(config)),
            answered: Vec::new(),
        }
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
        let client = self.world.client();
        let body = request(dialect, is_stream).to_string();
        let request = http::request(talk::path(dialect), fields, body.as_bytes());
        self.world.send(client, request);
        client
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

    /// A request on `conn` is being answered.
    pub(crate) fn count(&mut self, conn: Conn) {
        match self.answered.iter_mut().find(|(it, _)| *it == conn) {
            Some((_, count)) => *count += 1,
            None => self.answered.push((conn, 1)),
        }
    }

    /// The upstream that was asked answers; says which it was.
    pub(crate) fn reply(&mut self, reply: &Reply) -> u16 {
        let (conn, port, _) = self.asked();
        self.world.send(conn, reply.bytes(1 << 20));
        port
    }

    /// The same, well.
    pub(crate) fn reply_well(&mut self, is_stream: bool) -> u16 {
        let pending = self.pending();
        assert_eq!(pending.len(), 1, "requests to upstreams");
        let dialect = dialect_at(pending[0].1);
        self.reply(&well(dialect, is_stream))
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
