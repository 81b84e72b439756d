//! What the tests share.

use bytes::Bytes;
use serde_json::Value as Json;
use tollgate_core::base::{JsonStr, Limits, OutBuf, RawJson, UnixMillis};
use tollgate_core::dialect::anthropic::{request, response, stream};
use tollgate_core::dialect::{Encoded, ReplyMeta, Target, Traits};
use tollgate_core::ir::{Collector, Delta, Failure, Request, Response};
use tollgate_core::wire::json::Tape;
use tollgate_core::wire::sse;

pub(crate) fn js(text: &str) -> JsonStr {
    JsonStr::escape(text)
}

pub(crate) fn raw(text: &str) -> RawJson {
    RawJson::from_checked(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn decode(text: &str) -> Result<Request, Box<Failure>> {
    let text = Bytes::copy_from_slice(text.as_bytes());
    let mut tape = Tape::new();
    request::decode(tape.parse(&text, &Limits::default().json).unwrap())
}

pub(crate) fn encode_with(request: &Request, traits: &Traits) -> Result<Encoded, Box<Failure>> {
    let model = js("claude-x");
    let target = Target {
        model: &model,
        traits,
        extra: &[],
    };
    request::encode(request, &target)
}

pub(crate) fn text_of(out: &mut OutBuf) -> String {
    String::from_utf8(out.take_all().to_vec()).unwrap()
}

/// The body and what was dropped.
pub(crate) fn encode(request: &Request) -> Result<(Json, Vec<String>), Box<Failure>> {
    let mut encoded = encode_with(request, &Traits::default())?;
    let text = text_of(&mut encoded.body);
    Ok((serde_json::from_str(&text).unwrap(), encoded.dropped))
}

pub(crate) fn decode_response(text: &str) -> Result<Response, Box<Failure>> {
    let text = Bytes::copy_from_slice(text.as_bytes());
    let mut tape = Tape::new();
    response::decode(tape.parse(&text, &Limits::default().json).unwrap())
}

pub(crate) fn meta() -> ReplyMeta {
    ReplyMeta {
        id: js("0123"),
        model: js("asked-for"),
        created: UnixMillis(0),
        stream_usage: true,
        input_tokens_estimate: 11,
        held_bytes_max: 1 << 20,
    }
}

pub(crate) fn encode_response(response: &Response) -> String {
    let mut out = OutBuf::new();
    response::encode(response, &meta(), &mut out);
    text_of(&mut out)
}

/// The events of a stream: names and data.
pub(crate) fn events(text: &str) -> Vec<(Vec<u8>, Bytes)> {
    let input = Bytes::copy_from_slice(text.as_bytes());
    let mut decoder = sse::Decoder::new(&Limits::default().sse);
    let mut events = Vec::new();
    while let Some(frame) = decoder.next(&input).unwrap() {
        events.push((frame.name.to_vec(), frame.data.into_bytes(&input)));
    }
    if let Some(frame) = decoder.finish(&input).unwrap() {
        events.push((frame.name.to_vec(), frame.data.into_bytes(&input)));
    }
    events
}

/// Decodes a whole stream; panics on broken events.
pub(crate) fn deltas(text: &str) -> Vec<Delta> {
    let mut decoder = stream::Decoder::new(&Limits::default());
    let mut out = Vec::new();
    for (name, data) in events(text) {
        decoder.event(&name, &data, &mut out).unwrap();
    }
    decoder.end_of_body(&mut out);
    out
}

pub(crate) fn encode_stream(deltas: &[Delta]) -> String {
    let mut encoder = stream::Encoder::new(meta());
    let mut out = OutBuf::new();
    for delta in deltas {
        encoder.delta(delta.clone(), &mut out);
    }
    text_of(&mut out)
}

pub(crate) fn collect(deltas: &[Delta]) -> Result<Response, Box<Failure>> {
    let mut collector = Collector::new(1 << 26);
    for delta in deltas {
        collector.push(delta.clone())?;
    }
    Ok(collector.finish().expect("a stream that ends"))
}

/// A stream of these events, each named by its type.
pub(crate) fn stream_of(events: &[&str]) -> String {
    let mut text = String::new();
    for event in events {
        let json: Json = serde_json::from_str(event).unwrap();
        let name = json["type"].as_str().unwrap();
        text.push_str(&format!("event: {name}\ndata: {event}\n\n"));
    }
    text
}
