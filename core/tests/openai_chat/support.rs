//! What the tests share: parsing, streams as lists of events, recordings.

use bytes::Bytes;
use serde_json::Value as Json;
use tollgate_core::base::{JsonStr, Limits, OutBuf, UnixMillis};
use tollgate_core::dialect::openai_chat::stream::{Decoder, Encoder};
use tollgate_core::dialect::openai_chat::{request, response};
use tollgate_core::dialect::{ReplyMeta, Target, Traits};
use tollgate_core::ir::{Collector, Delta, Failure, Request, Response};
use tollgate_core::wire::json::Tape;

pub(crate) fn decode_request(text: &str) -> Result<Request, Box<Failure>> {
    let text = Bytes::copy_from_slice(text.as_bytes());
    let mut tape = Tape::new();
    request::decode(tape.parse(&text, &Limits::default().json).unwrap())
}

pub(crate) fn encode_request(
    request: &Request,
    traits: &Traits,
) -> Result<(Json, Vec<String>), Box<Failure>> {
    let target = Target {
        model: &JsonStr::from_static("target-model"),
        traits,
        extra: &[],
    };
    let mut encoded = request::encode(request, &target)?;
    let body = encoded.body.take_all();
    let json = serde_json::from_slice(&body)
        .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&body)));
    Ok((json, encoded.dropped))
}

pub(crate) fn decode_response(text: &str) -> Result<Response, Box<Failure>> {
    let text = Bytes::copy_from_slice(text.as_bytes());
    let mut tape = Tape::new();
    response::decode(tape.parse(&text, &Limits::default().json).unwrap())
}

pub(crate) fn encode_response(response: &Response) -> Bytes {
    let mut out = OutBuf::new();
    response::encode(response, &meta(true), &mut out);
    out.take_all()
}

pub(crate) fn meta(stream_usage: bool) -> ReplyMeta {
    ReplyMeta {
        id: JsonStr::from_static("r1"),
        model: JsonStr::from_static("asked-model"),
        created: UnixMillis(1_700_000_000_000),
        stream_usage,
        input_tokens_estimate: 7,
        held_bytes_max: 1 << 20,
    }
}

/// The `data` of each event of a stream, read the plain way.
pub(crate) fn events(stream: &str) -> Vec<Bytes> {
    let events = super::events::read(stream).into_iter();
    events.map(|event| Bytes::from(event.data)).collect()
}

/// All deltas of a stream, and the events that could not be read.
pub(crate) fn decode_stream(events: &[Bytes]) -> (Vec<Delta>, usize) {
    let mut decoder = Decoder::new(&Limits::default());
    let (mut out, mut broken) = (Vec::new(), 0);
    for data in events {
        broken += usize::from(decoder.event(b"", data, &mut out).is_err());
    }
    decoder.end_of_body(&mut out);
    (out, broken)
}

pub(crate) fn encode_stream(deltas: &[Delta], stream_usage: bool) -> String {
    let mut encoder = Encoder::new(meta(stream_usage));
    let mut out = OutBuf::new();
    for delta in deltas {
        encoder.delta(delta.clone(), &mut out);
    }
    String::from_utf8(out.take_all().to_vec()).unwrap()
}

pub(crate) fn collect(deltas: &[Delta]) -> Result<Response, Box<Failure>> {
    let mut collector = Collector::new(1 << 26);
    for delta in deltas {
        collector.push(delta.clone())?;
    }
    Ok(collector.finish().expect("the stream has an end"))
}

/// Chunks with these `choices[0].delta`s, a finish and `[DONE]`.
pub(crate) fn chunks(deltas: &[&str], finish: &str) -> Vec<Bytes> {
    let chunk = |delta: &str, finish: &str| {
        let head = r#""id":"c1","object":"chat.completion.chunk","created":1,"model":"m""#;
        let choice = format!(r#"{{"index":0,"delta":{delta},"finish_reason":{finish}}}"#);
        Bytes::from(format!("{{{head},\"choices\":[{choice}]}}"))
    };
    let mut events: Vec<Bytes> = deltas.iter().map(|delta| chunk(delta, "null")).collect();
    events.push(chunk("{}", finish));
    events.push(Bytes::from_static(b"[DONE]"));
    events
}

/// One recording.
pub(crate) struct Recording {
    pub(crate) id: String,
    pub(crate) json: Json,
}

/// All recordings of this API, in the order of their names; `None`, said aloud, where they are
/// absent.
pub(crate) fn recordings() -> Option<Vec<Recording>> {
    recordings_of("openai.chat")
}

/// All recordings of an API.
pub(crate) fn recordings_of(api: &str) -> Option<Vec<Recording>> {
    let all = super::shared::recordings(api)?.into_iter();
    let read = |(id, text): (String, String)| Recording {
        id,
        json: serde_json::from_str(&text).unwrap(),
    };
    Some(all.map(read).collect())
}
