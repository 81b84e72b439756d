//! From a client's body to an upstream's: [`Prepare`] is a pure function, run in the turn for
//! ordinary requests and on a host thread for those that take longer than a turn may.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::limits::JsonLimits;
use crate::base::{JsonStr, OutBuf};
use crate::config::{Resolved, Snapshot, Upstream};
use crate::dialect::{Dialect, Target};
use crate::ir::{Class, Failure, PartKind, Request};
use crate::wire::coding::{self, CodingError, Codings};
use crate::wire::json::{Tape, Value};

/// Bytes of a prompt per token, roughly, for the estimate that precedes the provider's own count.
const BYTES_PER_TOKEN: u64 = 4;

/// A received request, before anything is known of it but its head.
#[derive(Debug)]
pub struct Prepare {
    snapshot: Arc<Snapshot>,
    dialect: Dialect,
    codings: Codings,
    body: Bytes,
}

/// A request ready to be sent.
#[derive(Debug)]
pub struct Prepared {
    /// The model's name as the client wrote it.
    pub(super) model: JsonStr,
    pub(super) stream: bool,
    /// Whether a streaming Chat client asked for the usage chunk.
    pub(super) stream_usage: bool,
    pub(super) input_tokens_estimate: u64,
    pub(super) dropped: Vec<String>,
    pub(super) destination: Destination,
}

/// Where a prepared request goes.
#[derive(Debug)]
pub(super) enum Destination {
    /// To the built-in model.
    Demo(Box<Request>),
    /// To a provider.
    Upstream(Prompt),
}

/// A request as its upstream gets it.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) upstream: Arc<Upstream>,
    /// The body, kept until the answer is committed: it may have to be sent again.
    pub(super) body: Vec<Bytes>,
    pub(super) body_len: u64,
    /// Whether both sides speak the same API, so that bytes pass untouched.
    pub(super) is_same_dialect: bool,
}

impl Prepared {
    /// Frees the body: it will not be sent again.
    pub(super) fn forget_body(&mut self) {
        match &mut self.destination {
            Destination::Demo(request) => **request = Request::default(),
            Destination::Upstream(prompt) => prompt.body = Vec::new(),
        }
    }
}

impl Prepared {
    /// Writes the body anew without earlier reasoning. Says whether there was any.
    pub(super) fn strip_reasoning(&mut self, snapshot: &Snapshot, tape: &mut Tape) -> bool {
        let Destination::Upstream(prompt) = &mut self.destination else {
            return false;
        };
        let Some(provider) = snapshot.providers.get(prompt.upstream.provider) else {
            return false;
        };
        let body = Bytes::from(prompt.body.concat());
        let stripped = without_reasoning(provider.dialect, &body, prompt, tape, snapshot);
        let Some(mut stripped) = stripped else {
            return false;
        };
        prompt.body_len = stripped.len() as u64;
        prompt.body = take_parts(&mut stripped);
        true
    }
}

fn without_reasoning(
    dialect: Dialect,
    body: &Bytes,
    prompt: &Prompt,
    tape: &mut Tape,
    snapshot: &Snapshot,
) -> Option<OutBuf> {
    let root = tape.parse(body, &snapshot.limits.json).ok()?;
    let mut request = dialect.decode_request(root).ok()?;
    let is_reasoning = |kind: &PartKind| {
        matches!(
            kind,
            PartKind::Thinking(_) | PartKind::RedactedThinking { .. }
        )
    };
    let mut count = 0;
    for message in &mut request.messages {
        let before = message.parts.len();
        message.parts.retain(|part| !is_reasoning(&part.kind));
        count += before - message.parts.len();
    }
    let model = request.model.clone();
    let target = Target {
        model: &model,
        traits: &prompt.upstream.traits,
        extra: &prompt.upstream.extra,
    };
    let encoded = dialect.encode_request(&request, &target).ok()?;
    (count > 0).then_some(encoded.body)
}

impl Prepare {
    /// The request of a client that speaks `dialect`.
    pub const fn new(
        snapshot: Arc<Snapshot>,
        dialect: Dialect,
        codings: Codings,
        body: Bytes,
    ) -> Prepare {
        Prepare {
            snapshot,
            dialect,
            codings,
            body,
        }
    }

    /// Reads the body, finds the model, and writes the upstream's body.
    pub(super) fn run(self, tape: &mut Tape) -> Result<Box<Prepared>, Box<Failure>> {
        let limits = &self.snapshot.limits;
        let body = self.decompress()?;
        let prepared = prepare(&self.snapshot, self.dialect, &body, tape, &limits.json);
        tape.shrink();
        prepared.map(Box::new)
    }

    fn decompress(&self) -> Result<Bytes, Box<Failure>> {
        let bytes_max = self.snapshot.limits.shard.request_bytes_max;
        coding::decode_whole(&self.codings, &self.body, bytes_max).map_err(|error| {
            let class = match error {
                CodingError::TooLong(_) => Class::RequestTooLarge,
                _ => Class::InvalidRequest,
            };
            Box::new(Failure::new(class, format!("content-encoding: {error}")))
        })
    }
}

fn prepare(
    snapshot: &Snapshot,
    dialect: Dialect,
    body: &Bytes,
    tape: &mut Tape,
    limits: &JsonLimits,
) -> Result<Prepared, Box<Failure>> {
    let root = tape.parse(body, limits).map_err(|error| {
        let message = format!("the request body is not valid JSON: {error}");
        Box::new(Failure::new(Class::InvalidRequest, message))
    })?;
    let model = model_of(root)?;
    let name = model.unescape();
    let resolved = resolve(snapshot, &name)?;
    let input_tokens_estimate = (body.len() as u64 / BYTES_PER_TOKEN).max(1);
    let mut prepared = Prepared {
        stream: root.get("stream").and_then(Value::as_bool).unwrap_or(false),
        stream_usage: stream_usage(root),
        model,
        input_tokens_estimate,
        dropped: Vec::new(),
        destination: Destination::Demo(Box::default()),
    };
    prepared.destination = match resolved {
        Resolved::Demo => {
            let request = dialect.decode_request(root)?;
            Destination::Demo(Box::new(request))
        }
        Resolved::Upstream(upstream, model) => {
            let provider = snapshot.providers.get(upstream.provider).ok_or_else(|| {
                Box::new(Failure::new(
                    Class::Internal,
                    "the route's provider is gone",
                ))
            })?;
            let target = Target {
                model: &model,
                traits: &upstream.traits,
                extra: &upstream.extra,
            };
            let is_same_dialect = provider.dialect == dialect;
            let mut encoded = if is_same_dialect {
                dialect.edit_request(body, root, &target)
            } else {
                let request = dialect.decode_request(root)?;
                let encoded = provider.dialect.encode_request(&request, &target)?;
                prepared.dropped = encoded.dropped;
                encoded.body
            };
            let body_len = encoded.len() as u64;
            let body = take_parts(&mut encoded);
            Destination::Upstream(Prompt {
                upstream,
                body,
                body_len,
                is_same_dialect,
            })
        }
    };
    Ok(prepared)
}

fn resolve(snapshot: &Snapshot, name: &str) -> Result<Resolved, Box<Failure>> {
    let message = match snapshot.resolve(name) {
        Some(Resolved::Upstream(_, model)) if model.is_empty() => {
            format!("`{name}` names a provider, and no model of it")
        }
        Some(resolved) => return Ok(resolved),
        None => format!(
            "there is no model `{name}` here: no route of the config matches it. \
             `GET /v1/models` lists what there is, and `provider/model` names a provider's own"
        ),
    };
    let mut failure = Failure::new(Class::NotFound, message);
    failure.param = Some(JsonStr::from_static("model"));
    Err(Box::new(failure))
}

fn take_parts(body: &mut OutBuf) -> Vec<Bytes> {
    body.take_parts().collect()
}

fn model_of(root: Value<'_>) -> Result<JsonStr, Box<Failure>> {
    use crate::wire::json::Kind;
    if root.kind() != Kind::Object {
        let message = format!(
            "the request body must be a JSON object, not {}",
            root.kind()
        );
        return Err(Box::new(Failure::new(Class::InvalidRequest, message)));
    }
    let Some(model) = root.get("model") else {
        return Err(Box::new(Failure::invalid(
            "model",
            "this field is required",
        )));
    };
    match model.as_str() {
        Some(name) if !name.is_empty() => Ok(name.detach()),
        Some(_) => Err(Box::new(Failure::invalid("model", "must not be empty"))),
        None => {
            let message = format!("must be a string, not {}", model.kind());
            Err(Box::new(Failure::invalid("model", message)))
        }
    }
}

/// Whether a Chat client asked for the usage chunk.
fn stream_usage(root: Value<'_>) -> bool {
    root.get("stream_options")
        .and_then(|options| options.get("include_usage"))
        .and_then(Value::as_bool)
        .unwrap_or(false)
}
