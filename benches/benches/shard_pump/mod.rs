//! A shard without I/O: one client and one upstream connection whose bytes are handed over in
//! memory. What runs is core, and the copies that a kernel would make.
//!
//! It answers operations as they come and checks nothing but that each request is answered.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use memchr::memmem;
use tollgate_benches::answer::Answer;
use tollgate_benches::requests::{self, Api, Size};
use tollgate_core::base::{
    ConnId, Instant, JsonStr, Limits, ListenerId, Now, Peer, Seed, ShardId, UnixMillis,
};
use tollgate_core::config::{
    Authorization, BaseUrl, Chain, Credentials, Key, Manner, Named, Pattern, Provider, Route,
    RouteTarget, Snapshot, Upstream,
};
use tollgate_core::dialect::{Dialect, Traits};
use tollgate_core::gateway::io::{Completion, Input, Op, Output, ReadClass};
use tollgate_core::gateway::{Shard, ShardOptions};
use tollgate_core::policy::keys::KeyLimits;

/// What passes through the shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// What the client speaks.
    pub(crate) client: Api,
    /// What the upstream speaks.
    pub(crate) upstream: Api,
    /// The request.
    pub(crate) size: Size,
    /// Pieces of text in a streamed answer; `None` for a whole one.
    pub(crate) events: Option<usize>,
}

impl Traffic {
    /// Names it in tables.
    pub(crate) fn name(self) -> String {
        let Traffic {
            client, upstream, ..
        } = self;
        let size = match self.size {
            Size::Small => "1 KB",
            Size::Agent => "200 KB",
        };
        let way = format!("{} to {}", client.name(), upstream.name());
        match self.events {
            Some(events) => format!("{way}, {size}, {events} events"),
            None => format!("{way}, {size}"),
        }
    }
}

/// The shard, its client and its upstream.
pub(crate) struct Pump {
    shard: Shard,
    now: u64,
    accept: Option<(ListenerId, ConnId)>,
    client: Far,
    upstream: Far,
    request: Vec<u8>,
    answer: Answer,
    /// Bytes of the request that the upstream waits for yet; `None` before its head.
    awaited: Option<usize>,
    done: VecDeque<Completion>,
    /// Requests answered.
    answered: u64,
}

/// The far end of a connection.
#[derive(Default)]
struct Far {
    conn: Option<ConnId>,
    read: Option<(ReadClass, BytesMut)>,
    /// Where the pieces lie that it sends, one for each read.
    pieces: VecDeque<Range<usize>>,
    /// Bytes written to it.
    taken: u64,
}

impl Pump {
    /// A shard with its client connected.
    pub(crate) fn new(traffic: Traffic) -> Pump {
        let options = ShardOptions {
            id: ShardId(0),
            listeners: 1,
            shards: 1,
            seed: Seed(7),
        };
        let shard = Shard::new(&options, Arc::new(snapshot(traffic.upstream)));
        let is_stream = traffic.events.is_some();
        let body = requests::body(traffic.client, traffic.size, "some-model", is_stream);
        let host = ([127, 0, 0, 1], 8080).into();
        let mut pump = Pump {
            shard,
            now: 1,
            accept: None,
            client: Far::default(),
            upstream: Far::default(),
            request: requests::http(traffic.client, host, &body),
            answer: match traffic.events {
                Some(events) => Answer::stream(traffic.upstream, events, true),
                None => Answer::plain(traffic.upstream),
            },
            awaited: None,
            done: VecDeque::new(),
            answered: 0,
        };
        pump.turn();
        let (listener, conn) = pump.accept.take().expect("the shard accepts");
        pump.client.conn = Some(conn);
        let result = Ok(Peer::Tcp(([127, 0, 0, 1], 40_000).into()));
        pump.done.push_back(Completion::Accept {
            listener,
            conn,
            result,
        });
        pump.turn();
        pump
    }

    /// One request and its answer; the bytes that the client received.
    pub(crate) fn request(&mut self) -> u64 {
        let before = (self.answered, self.client.taken);
        self.client.pieces.push_back(0..self.request.len());
        self.turn();
        assert_eq!(self.answered, before.0 + 1, "the request was not answered");
        self.client.taken - before.1
    }

    /// Bytes of the request and of the upstream's answer.
    pub(crate) fn bytes(&self) -> u64 {
        (self.request.len() + self.answer.bytes().len()) as u64
    }

    /// Does all that can be done.
    fn turn(&mut self) {
        loop {
            while let Some(output) = self.shard.poll_output() {
                match output {
                    Output::Op(op) => self.perform(op),
                    Output::Record(_) => self.answered += 1,
                    Output::Send { .. } | Output::Drained => {}
                }
            }
            let next = self.done.pop_front();
            let next = next.or_else(|| self.upstream.receive(self.answer.bytes()));
            let next = next.or_else(|| self.client.receive(&self.request));
            let Some(completion) = next else { return };
            self.now += 1_000;
            let now = Now {
                mono: Instant::from_nanos(self.now),
                wall: UnixMillis(1_795_348_800_000),
            };
            self.shard.handle(now, Input::Complete(completion));
        }
    }

    fn perform(&mut self, op: Op) {
        let done = match op {
            Op::Accept { listener, conn } => {
                self.accept = Some((listener, conn));
                return;
            }
            Op::Read { conn, class, buf } => {
                self.far(conn).read = Some((class, buf));
                return;
            }
            Op::Connect { conn, .. } => {
                self.upstream.conn = Some(conn);
                let result = Ok(());
                Completion::Connect { conn, result }
            }
            Op::Write { conn, mut batch } => {
                let far = self.far(conn);
                far.taken += batch.len() as u64;
                if self.upstream.conn == Some(conn) {
                    for slice in batch.slices() {
                        self.asked(slice);
                    }
                }
                batch.advance(batch.len());
                let result = Ok(());
                Completion::Write {
                    conn,
                    batch,
                    result,
                }
            }
            Op::Host { ticket, work } => {
                let done = work.run();
                Completion::Host { ticket, done }
            }
            Op::Close { .. } | Op::Shutdown { .. } => panic!("a connection was closed"),
            Op::HandOff { .. } | Op::Resolve { .. } | Op::Unlisten { .. } => {
                panic!("an operation that has no place here")
            }
        };
        self.done.push_back(done);
    }

    /// The upstream gets a part of a request, and answers once it is whole.
    fn asked(&mut self, slice: &[u8]) {
        let left = match self.awaited {
            Some(left) => left,
            None => {
                let end = memmem::find(slice, b"\r\n\r\n").expect("a whole head") + 4;
                let field = memmem::find(&slice[..end], b"content-length: ").expect("a length");
                let digits = slice[field + 16..].iter();
                let digits = digits.take_while(|byte| byte.is_ascii_digit());
                end + digits.fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0'))
            }
        };
        let left = left.checked_sub(slice.len()).expect("one request");
        self.awaited = (left > 0).then_some(left);
        if left == 0 {
            let mut from = 0;
            for &cut in self.answer.cuts() {
                self.upstream.pieces.push_back(from..cut);
                from = cut;
            }
        }
    }

    fn far(&mut self, conn: ConnId) -> &mut Far {
        if self.upstream.conn == Some(conn) {
            return &mut self.upstream;
        }
        &mut self.client
    }
}

impl Far {
    /// The next read that can be done.
    fn receive(&mut self, bytes: &[u8]) -> Option<Completion> {
        let piece = self.pieces.front_mut()?;
        let (class, mut buf) = self.read.take()?;
        class.make_room(&mut buf);
        let count = piece.len().min(buf.capacity() - buf.len());
        buf.extend_from_slice(&bytes[piece.start..piece.start + count]);
        piece.start += count;
        if piece.start == piece.end {
            self.pieces.pop_front();
        }
        Some(Completion::Read {
            conn: self.conn?,
            buf,
            result: Ok(count),
        })
    }
}

/// The dialect of that API.
const fn dialect(api: Api) -> Dialect {
    match api {
        Api::Messages => Dialect::Anthropic,
        Api::Chat => Dialect::OpenAiChat,
    }
}

/// One provider that speaks `api`, at an address that needs no lookup; every model leads to it.
fn snapshot(api: Api) -> Snapshot {
    let limits = Limits::default();
    let timers = limits.timers.upstream.clone();
    let (authorization, prefix) = match api {
        Api::Messages => (Authorization::Field("x-api-key".into()), ""),
        Api::Chat => (Authorization::Bearer, "/v1"),
    };
    let provider = Provider {
        name: "provider".into(),
        dialect: dialect(api),
        base: BaseUrl {
            https: false,
            host: "127.0.0.1".into(),
            port: 9000,
            authority: "127.0.0.1:9000".into(),
            prefix: prefix.into(),
        },
        credentials: Credentials::Keys(vec![Key::new("sk-of-the-provider")]),
        key_limits: KeyLimits::default(),
        concurrent: None,
        retry: None,
        breaker: None,
        authorization,
        headers: vec![("anthropic-version".into(), "2023-06-01".into())],
        client_headers: vec!["anthropic-*".into()],
        tls: None,
        proxy: None,
    };
    let upstream = Upstream {
        target: 0,
        provider: 0,
        model: Some(JsonStr::from_static("upstream-model")),
        traits: Traits::default(),
        named: Named::default(),
        whole_name: false,
        extra: Vec::new(),
        headers: Vec::new(),
        concurrent: None,
        timers,
    };
    Snapshot {
        providers: vec![provider],
        routes: vec![Route {
            pattern: Pattern("*".into()),
            target: RouteTarget::Chain(Arc::new(Chain::of(upstream, Manner::default()))),
        }],
        limits,
        ..Snapshot::default()
    }
}
