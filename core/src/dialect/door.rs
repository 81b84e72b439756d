//! The door to the dialects: one function or enum per question, and a `match` behind it. An enum,
//! not trait objects: the dialects are few and known, and the compiler then finds what is missing.

use bytes::Bytes;

use super::watched::Watched;
use super::{
    BrokenEvent, Dialect, Encoded, ModelEntry, ReplyMeta, Seen, Target, anthropic, openai_chat,
};
use crate::base::{JsonStr, Limits, OutBuf};
use crate::ir::{Delta, Failure, Request, Response, Usage};
use crate::wire::json::Value;

impl Dialect {
    /// Reads a client's request.
    ///
    /// # Errors
    /// What is wrong with it, with the JSON path of the fault.
    pub fn decode_request(self, body: Value<'_>) -> Result<Request, Box<Failure>> {
        match self {
            Dialect::Anthropic => anthropic::request::decode(body),
            Dialect::OpenAiChat => openai_chat::request::decode(body),
        }
    }

    /// Writes a request for an upstream.
    ///
    /// # Errors
    /// What the target cannot express, and why.
    pub fn encode_request(
        self,
        request: &Request,
        target: &Target<'_>,
    ) -> Result<Encoded, Box<Failure>> {
        match self {
            Dialect::Anthropic => anthropic::request::encode(request, target),
            Dialect::OpenAiChat => openai_chat::request::encode(request, target),
        }
    }

    /// Edits a request in place for an upstream that speaks the same API; `body` is the parsed
    /// `text`.
    pub fn edit_request(self, text: &Bytes, body: Value<'_>, target: &Target<'_>) -> OutBuf {
        match self {
            Dialect::Anthropic => anthropic::request::edit(text, body, target),
            Dialect::OpenAiChat => openai_chat::request::edit(text, body, target),
        }
    }

    /// Reads an upstream's whole answer.
    ///
    /// # Errors
    /// The failure that it tells of, or that it is no answer.
    pub fn decode_response(self, body: Value<'_>) -> Result<Response, Box<Failure>> {
        match self {
            Dialect::Anthropic => anthropic::response::decode(body),
            Dialect::OpenAiChat => openai_chat::response::decode(body),
        }
    }

    /// Writes a whole answer for a client.
    pub fn encode_response(self, response: &Response, meta: &ReplyMeta, out: &mut OutBuf) {
        match self {
            Dialect::Anthropic => anthropic::response::encode(response, meta, out),
            Dialect::OpenAiChat => openai_chat::response::encode(response, meta, out),
        }
    }

    /// Looks at a whole answer that goes to the client as it is.
    ///
    /// # Errors
    /// The failure that it tells of, or that it is no answer.
    pub fn watch_response(self, body: Value<'_>) -> Result<Watched, Box<Failure>> {
        let content = match self {
            Dialect::Anthropic => "content",
            Dialect::OpenAiChat => "choices",
        };
        let is_error = body.get("error").is_some_and(|error| !error.is_null());
        if is_error || body.get(content).is_none() {
            self.decode_response(body)?;
        }
        Ok(match self {
            Dialect::Anthropic => anthropic::watch::watch_response(body),
            Dialect::OpenAiChat => openai_chat::watch::watch_response(body),
        })
    }

    /// Reads an upstream's error answer, whatever it holds.
    pub fn decode_failure(self, status: u16, body: &Bytes, limits: &Limits) -> Failure {
        match self {
            Dialect::Anthropic => anthropic::failure::decode(status, body, limits),
            Dialect::OpenAiChat => openai_chat::failure::decode(status, body, limits),
        }
    }

    /// Whether an upstream refused a request for the signatures of earlier reasoning in it, which
    /// it would answer without that reasoning.
    pub fn is_signature_refusal(self, failure: &Failure) -> bool {
        match self {
            Dialect::Anthropic => anthropic::failure::is_signature_refusal(failure),
            Dialect::OpenAiChat => false,
        }
    }

    /// Writes an error answer for a client, and gives its status.
    pub fn encode_failure(self, failure: &Failure, request_id: &str, out: &mut OutBuf) -> u16 {
        match self {
            Dialect::Anthropic => anthropic::failure::encode(failure, request_id, out),
            Dialect::OpenAiChat => openai_chat::failure::encode(failure, request_id, out),
        }
    }

    /// Writes a list of models for a client.
    pub fn encode_models(self, models: &[ModelEntry], out: &mut OutBuf) {
        match self {
            Dialect::Anthropic => anthropic::models::list(models, out),
            Dialect::OpenAiChat => openai_chat::models::list(models, out),
        }
    }

    /// Writes one model for a client.
    pub fn encode_model(self, model: &ModelEntry, out: &mut OutBuf) {
        match self {
            Dialect::Anthropic => anthropic::models::one(model, out),
            Dialect::OpenAiChat => openai_chat::models::one(model, out),
        }
    }
}

/// Reads an upstream's stream.
#[derive(Debug)]
pub enum StreamDecoder {
    /// Anthropic Messages.
    Anthropic(anthropic::stream::Decoder),
    /// OpenAI Chat Completions.
    OpenAiChat(openai_chat::stream::Decoder),
}

impl StreamDecoder {
    /// At the start of a stream of `dialect`.
    pub fn new(dialect: Dialect, limits: &Limits) -> StreamDecoder {
        match dialect {
            Dialect::Anthropic => StreamDecoder::Anthropic(anthropic::stream::Decoder::new(limits)),
            Dialect::OpenAiChat => {
                StreamDecoder::OpenAiChat(openai_chat::stream::Decoder::new(limits))
            }
        }
    }

    /// Reads one event; `name` is its `event:` line, `data` a slice of the read buffer.
    ///
    /// # Errors
    /// It cannot be read. The decoder is as before, and the next event may be tried.
    pub fn event(
        &mut self,
        name: &[u8],
        data: &Bytes,
        out: &mut Vec<Delta>,
    ) -> Result<(), BrokenEvent> {
        match self {
            StreamDecoder::Anthropic(decoder) => decoder.event(name, data, out),
            StreamDecoder::OpenAiChat(decoder) => decoder.event(name, data, out),
        }
    }

    /// Whether the model has finished, and only usage and the end are missing. Some decoders tell
    /// the finish late, since some vendors send more after it.
    pub fn is_whole(&self) -> bool {
        match self {
            StreamDecoder::Anthropic(decoder) => decoder.is_whole(),
            StreamDecoder::OpenAiChat(decoder) => decoder.is_whole(),
        }
    }

    /// The body has ended: completes the answer, or tells that it was cut off.
    pub fn end_of_body(&mut self, out: &mut Vec<Delta>) {
        match self {
            StreamDecoder::Anthropic(decoder) => decoder.end_of_body(out),
            StreamDecoder::OpenAiChat(decoder) => decoder.end_of_body(out),
        }
    }
}

/// Writes a client's stream.
#[derive(Debug)]
pub enum StreamEncoder {
    /// Anthropic Messages.
    Anthropic(anthropic::stream::Encoder),
    /// OpenAI Chat Completions.
    OpenAiChat(openai_chat::stream::Encoder),
}

impl StreamEncoder {
    /// At the start of a stream of `dialect`.
    pub fn new(dialect: Dialect, meta: ReplyMeta) -> StreamEncoder {
        match dialect {
            Dialect::Anthropic => StreamEncoder::Anthropic(anthropic::stream::Encoder::new(meta)),
            Dialect::OpenAiChat => {
                StreamEncoder::OpenAiChat(openai_chat::stream::Encoder::new(meta))
            }
        }
    }

    /// Writes the events that `delta` makes.
    pub fn delta(&mut self, delta: Delta, out: &mut OutBuf) {
        match self {
            StreamEncoder::Anthropic(encoder) => encoder.delta(delta, out),
            StreamEncoder::OpenAiChat(encoder) => encoder.delta(delta, out),
        }
    }

    /// The failure that the answer was ended with: one that was told, or what the client's API has
    /// no way to say.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            StreamEncoder::Anthropic(encoder) => encoder.failure(),
            StreamEncoder::OpenAiChat(encoder) => encoder.failure(),
        }
    }

    /// Writes what ends every stream: for one that is complete but for it.
    pub fn end_mark(&self, out: &mut OutBuf) {
        match self {
            StreamEncoder::Anthropic(encoder) => encoder.end_mark(out),
            StreamEncoder::OpenAiChat(encoder) => encoder.end_mark(out),
        }
    }

    /// Writes a sign of life.
    pub fn keep_alive(&mut self, out: &mut OutBuf) {
        match self {
            StreamEncoder::Anthropic(encoder) => encoder.keep_alive(out),
            StreamEncoder::OpenAiChat(encoder) => encoder.keep_alive(out),
        }
    }
}

/// Looks at the events of a stream that goes to the client as it is.
#[derive(Debug)]
pub enum Watch {
    /// Anthropic Messages.
    Anthropic(anthropic::watch::Watch),
    /// OpenAI Chat Completions.
    OpenAiChat(openai_chat::watch::Watch),
}

impl Watch {
    /// At the start of a stream of `dialect`; `stream_usage` tells whether the client asked for a
    /// usage chunk.
    pub fn new(dialect: Dialect, stream_usage: bool) -> Watch {
        match dialect {
            Dialect::Anthropic => Watch::Anthropic(anthropic::watch::Watch::new(stream_usage)),
            Dialect::OpenAiChat => Watch::OpenAiChat(openai_chat::watch::Watch::new(stream_usage)),
        }
    }

    /// Looks at an event; `root` is its data, where that is JSON.
    pub fn look(&mut self, name: &[u8], data: &[u8], root: Option<Value<'_>>) -> Seen {
        match self {
            Watch::Anthropic(watch) => watch.look(name, data, root),
            Watch::OpenAiChat(watch) => watch.look(name, data, root),
        }
    }

    /// What was seen so far.
    pub fn watched(&self) -> Watched {
        let (model, finish) = match self {
            Watch::Anthropic(watch) => (watch.model(), watch.finish()),
            Watch::OpenAiChat(watch) => (watch.model(), watch.finish()),
        };
        Watched {
            usage: self.usage(),
            model: model.map(JsonStr::detach),
            finish: finish.cloned(),
        }
    }

    /// What the answer took so far.
    pub fn usage(&self) -> Usage {
        match self {
            Watch::Anthropic(watch) => watch.usage(),
            Watch::OpenAiChat(watch) => watch.usage(),
        }
    }

    /// Whether the model has finished.
    pub fn has_finish(&self) -> bool {
        match self {
            Watch::Anthropic(watch) => watch.finish().is_some(),
            Watch::OpenAiChat(watch) => watch.is_whole(),
        }
    }

    /// The body has ended: the failure, if the answer was not complete.
    pub fn end_of_body(&self) -> Option<Failure> {
        match self {
            Watch::Anthropic(watch) => watch.end_of_body(),
            Watch::OpenAiChat(watch) => watch.end_of_body(),
        }
    }
}
