//! Every limit and every timer does what its name says, set by its key in a config: what happens
//! under the defaults no longer does under the limit. That each field is here is held by
//! `tests/tidy.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "fixtures are written in place"
)]

#[allow(dead_code, reason = "another test uses the rest")]
#[path = "../wire_cases/fixtures.rs"]
mod fixtures;
mod sizes;
#[path = "../support/mod.rs"]
mod support;
mod timers;

use core::fmt::Debug;

use serde_json::Value as Json;
use tollgate_core::config::Snapshot;
use tollgate_core::dialect::Dialect;

use fixtures::{Live, request, whole};
use support::config::loaded;
use support::talk;
use support::world::{Conn, World};

/// Where all requests go.
const PROVIDER: &str = r#"
    [providers.p]
    dialect = "openai-chat"
    base_url = "http://127.0.0.1:9000/v1"
    key = "k"
    models = ["*"]
"#;

/// What `probe` sees under the defaults, and with `line` in the config.
fn notices<T: Debug + PartialEq>(line: &str, expected: [T; 2], probe: impl Fn(Snapshot) -> T) {
    let seen = [PROVIDER.to_owned(), format!("{line}\n{PROVIDER}")].map(|it| probe(snapshot(&it)));
    assert_eq!(seen, expected, "without and with {line}");
}

fn snapshot(config: &str) -> Snapshot {
    // What is seen of a failure is what the client gets at once.
    loaded(&format!("retry.attempts_max = 1\n{config}"))
}

/// A client that has sent `bytes`.
fn sent(snapshot: Snapshot, bytes: impl Into<Vec<u8>>) -> (World, Conn) {
    let mut world = World::new(snapshot);
    let client = more(&mut world, bytes);
    (world, client)
}

/// One more client that has sent `bytes`.
fn more(world: &mut World, bytes: impl Into<Vec<u8>>) -> Conn {
    let client = world.client();
    world.send(client, bytes.into());
    client
}

/// A Chat request, as bytes.
fn asking(stream: bool) -> Vec<u8> {
    fixtures::request_bytes(Dialect::OpenAiChat, stream)
}

fn posting(body: &Json) -> Vec<u8> {
    talk::request(Dialect::OpenAiChat, &[], body)
}

/// A streamed request in the API of the upstream, which was asked.
fn live(snapshot: Snapshot) -> Live {
    let asked = request(Dialect::OpenAiChat, true);
    Live::with(snapshot, Dialect::OpenAiChat, &asked)
}

/// The upstream that was asked last answers with a whole body.
fn answer(world: &mut World) -> Conn {
    let upstream = *world.upstreams().last().expect("was asked");
    let body = whole(Dialect::OpenAiChat, "Hello").to_string();
    world.send(upstream, talk::Reply::json(200, body).bytes(0));
    upstream
}

/// The status that the client was answered, and all must be let go.
fn status(world: World, client: Conn) -> Option<u16> {
    let answers = support::http::read(world.written(client));
    let status = answers.last().map(support::http::Message::status);
    world.finish();
    status
}
