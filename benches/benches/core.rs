//! The parts of core that each request or event passes through, beside the least that the same
//! bytes could cost: one search over them, `serde_json` checking them, httparse alone.

#![allow(missing_docs, reason = "macros of criterion make public items")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a bench may panic: its input is its own"
)]

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use serde::de::IgnoredAny;
use tollgate_benches::requests::{self, Api, Size};
use tollgate_core::base::limits::{Http1Limits, JsonLimits};
use tollgate_core::base::{JsonStr, Limits, OutBuf, UnixMillis};
use tollgate_core::dialect::{
    Dialect, ReplyMeta, StreamDecoder, StreamEncoder, Target, Traits, Watch,
};
use tollgate_core::wire::http1::{BodyLength, ClientConn, Event, ServerConn};
use tollgate_core::wire::json::Tape;
use tollgate_core::wire::sse;

/// Events in the text that the decoder of event streams reads.
const EVENTS: usize = 100;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// An event in the middle of a stream: its name and its data.
fn event(api: Api) -> (&'static str, &'static str) {
    match api {
        Api::Messages => (
            "content_block_delta",
            concat!(
                r#"{"type":"content_block_delta","index":0,"#,
                r#""delta":{"type":"text_delta","text":" gateway"}}"#
            ),
        ),
        Api::Chat => (
            "",
            concat!(
                r#"{"id":"chatcmpl-DuLdwG9dovOoGcPewSoHPH2zgGXdJ","#,
                r#""object":"chat.completion.chunk","created":1782321945,"model":"gpt-mock","#,
                r#""service_tier":"default","system_fingerprint":"fp_0123456789","#,
                r#""choices":[{"index":0,"delta":{"content":" gateway"},"logprobs":null,"#,
                r#""finish_reason":null}],"usage":null,"obfuscation":"Hv7qlnu"}"#
            ),
        ),
    }
}

/// The same event as it is sent.
fn framed(api: Api) -> Bytes {
    let (name, data) = event(api);
    let mut out = OutBuf::new();
    let name = Some(name).filter(|name| !name.is_empty());
    sse::event(name, data.as_bytes(), &mut out);
    out.take_all()
}

const fn dialect(api: Api) -> Dialect {
    match api {
        Api::Messages => Dialect::Anthropic,
        Api::Chat => Dialect::OpenAiChat,
    }
}

fn meta() -> ReplyMeta {
    ReplyMeta {
        id: JsonStr::from_static("0123456789"),
        model: JsonStr::from_static("some-model"),
        created: UnixMillis(1_795_348_800_000),
        stream_usage: false,
        input_tokens_estimate: 1,
        held_bytes_max: 1 << 20,
    }
}

/// One search over the bytes, and `serde_json` over them where they are JSON.
fn floors(group: &mut Group<'_>, bytes: &Bytes, is_json: bool) {
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("floor: memchr2", |bencher| {
        bencher.iter(|| memchr::memchr2_iter(0, 1, black_box(bytes)).count());
    });
    if is_json {
        group.bench_function("floor: serde_json, ignored", |bencher| {
            bencher.iter(|| serde_json::from_slice::<IgnoredAny>(black_box(bytes)).unwrap());
        });
    }
}

fn sse_decode(criterion: &mut Criterion) {
    for api in Api::ALL {
        let text = Bytes::from(framed(api).repeat(EVENTS));
        let limits = Limits::default().sse;
        let name = format!("decode {EVENTS} events, {}", api.name());
        let mut group = criterion.benchmark_group(name);
        floors(&mut group, &text, false);
        group.bench_function("tollgate", |bencher| {
            bencher.iter(|| {
                let mut decoder = sse::Decoder::new(&limits);
                while let Some(frame) = decoder.next(&text).unwrap() {
                    black_box(frame.data.into_bytes(&text));
                }
            });
        });
        group.finish();
    }
}

fn translate_event(criterion: &mut Criterion) {
    for (from, to) in [(Api::Messages, Api::Chat), (Api::Chat, Api::Messages)] {
        let (name, data) = event(from);
        let data = Bytes::from_static(data.as_bytes());
        let title = format!("translate one event, {} to {}", from.name(), to.name());
        let mut group = criterion.benchmark_group(title);
        floors(&mut group, &data, true);
        let mut decoder = StreamDecoder::new(dialect(from), &Limits::default());
        let mut encoder = StreamEncoder::new(dialect(to), meta());
        let mut deltas = Vec::new();
        let mut out = OutBuf::new();
        group.bench_function("tollgate", |bencher| {
            bencher.iter(|| {
                decoder
                    .event(name.as_bytes(), black_box(&data), &mut deltas)
                    .unwrap();
                for delta in deltas.drain(..) {
                    encoder.delta(delta, &mut out);
                }
                black_box(out.len());
                out.clear();
            });
        });
        group.finish();
    }
}

fn pass_event(criterion: &mut Criterion) {
    for api in Api::ALL {
        let text = framed(api);
        let mut group = criterion.benchmark_group(format!("pass one event, {}", api.name()));
        floors(&mut group, &text, false);
        let limits = JsonLimits::default();
        let mut frames = sse::Decoder::new(&Limits::default().sse);
        let mut tape = Tape::new();
        let mut watch = Watch::new(dialect(api), false);
        let mut out = OutBuf::new();
        group.bench_function("tollgate", |bencher| {
            bencher.iter(|| {
                let frame = frames.next(&text).unwrap().unwrap();
                let (name, raw) = (frame.name, frame.raw);
                let data = frame.data.into_bytes(&text);
                let root = tape.parse(&data, &limits).unwrap();
                black_box(watch.look(name, &data, Some(root)));
                out.put(raw);
                out.clear();
                frames.rebase()
            });
        });
        group.finish();
    }
}

fn requests(criterion: &mut Criterion) {
    for (size, size_name) in [(Size::Small, "1 KB"), (Size::Agent, "200 KB")] {
        for from in Api::ALL {
            let text = Bytes::from(requests::body(from, size, "some-model", true));
            let limits = JsonLimits::default();
            let (model, traits) = (JsonStr::from_static("upstream-model"), Traits::default());
            let target = Target {
                model: &model,
                traits: &traits,
                extra: &[],
            };
            let title = format!("request of {size_name} in {}", from.name());
            let mut group = criterion.benchmark_group(title);
            floors(&mut group, &text, true);
            let mut tape = Tape::new();
            group.bench_function("parse", |bencher| {
                bencher.iter(|| tape.parse(black_box(&text), &limits).unwrap().kind());
            });
            group.bench_function("parse, edit", |bencher| {
                bencher.iter(|| {
                    let root = tape.parse(black_box(&text), &limits).unwrap();
                    dialect(from).edit_request(&text, root, &target)
                });
            });
            for to in Api::ALL.into_iter().filter(|&to| to != from) {
                let step = format!("parse, translate to {}", to.name());
                group.bench_function(step, |bencher| {
                    bencher.iter(|| {
                        let root = tape.parse(black_box(&text), &limits).unwrap();
                        let request = dialect(from).decode_request(root).unwrap();
                        dialect(to).encode_request(&request, &target).unwrap()
                    });
                });
            }
            group.finish();
        }
    }
}

/// What an SDK sends.
const REQUEST_HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\n\
    Host: gateway.example:8080\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Connection: keep-alive\r\n\
    Accept: application/json\r\n\
    Content-Type: application/json\r\n\
    User-Agent: OpenAI/Python 2.8.1\r\n\
    X-Stainless-Lang: python\r\n\
    X-Stainless-Package-Version: 2.8.1\r\n\
    X-Stainless-OS: Linux\r\n\
    X-Stainless-Arch: x64\r\n\
    X-Stainless-Runtime: CPython\r\n\
    X-Stainless-Runtime-Version: 3.13.5\r\n\
    Authorization: Bearer sk-0123456789012345678901234567890123456789\r\n\
    X-Stainless-Async: false\r\n\
    x-stainless-retry-count: 0\r\n\
    x-stainless-read-timeout: 600\r\n\
    Content-Length: 0\r\n\r\n";

const RESPONSE_HEAD: &str = "HTTP/1.1 200 OK\r\n\
    Date: Sun, 22 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 0\r\n\
    Connection: keep-alive\r\n\
    access-control-expose-headers: X-Request-ID\r\n\
    openai-organization: some-organization\r\n\
    openai-processing-ms: 731\r\n\
    openai-version: 2020-10-01\r\n\
    x-ratelimit-limit-requests: 10000\r\n\
    x-ratelimit-limit-tokens: 2000000\r\n\
    x-ratelimit-remaining-requests: 9999\r\n\
    x-ratelimit-remaining-tokens: 1999980\r\n\
    x-ratelimit-reset-requests: 6ms\r\n\
    x-ratelimit-reset-tokens: 0s\r\n\
    x-request-id: req_0123456789abcdef0123456789abcdef\r\n\
    strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n\r\n";

/// The head is copied into the buffer of a connection first, as a read would.
fn heads(criterion: &mut Criterion) {
    let head = Bytes::from_static(REQUEST_HEAD.as_bytes());
    let limits = Http1Limits::default();
    let mut group = criterion.benchmark_group("request head");
    floors(&mut group, &head, false);
    group.bench_function("floor: httparse", |bencher| {
        bencher.iter(|| {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut fields);
            request.parse(black_box(&head)).unwrap()
        });
    });
    group.bench_function("tollgate", |bencher| {
        let mut input = BytesMut::new();
        bencher.iter(|| {
            let mut conn = ServerConn::new(&limits);
            input.extend_from_slice(&head);
            let event = conn.next_event(&mut input).unwrap();
            assert!(matches!(event, Event::Head(_)));
        });
    });
    group.finish();

    let head = Bytes::from_static(RESPONSE_HEAD.as_bytes());
    let mut group = criterion.benchmark_group("response head");
    floors(&mut group, &head, false);
    group.bench_function("floor: httparse", |bencher| {
        bencher.iter(|| {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut fields);
            response.parse(black_box(&head)).unwrap()
        });
    });
    group.bench_function("tollgate, request sent", |bencher| {
        let (mut input, mut out) = (BytesMut::new(), OutBuf::new());
        let fields = [("host", "upstream")];
        bencher.iter(|| {
            let mut conn = ClientConn::new(&limits);
            let method = http::Method::POST;
            conn.send_head(&method, "/", fields, BodyLength::None, &mut out)
                .unwrap();
            conn.send_end(&mut out).unwrap();
            input.extend_from_slice(&head);
            let event = conn.next_event(&mut input).unwrap();
            assert!(matches!(event, Event::Head(_)));
            out.clear();
        });
    });
    group.finish();
}

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .without_plots()
}

criterion_group!(
    name = benches;
    config = config();
    targets = sse_decode, translate_event, pass_event, requests, heads
);
criterion_main!(benches);
