//! From a client's body to an upstream's: [`Prepare`] is a pure function, run in the turn for
//! ordinary requests and on a host thread for those that take longer than a turn may.

use core::cmp::Reverse;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::body::Body;
use super::needs::{Needs, traits_at};
use crate::base::{JsonStr, OutBuf};
use crate::config::{Chain, Member, Resolved, Snapshot, Step, Upstream};
use crate::dialect::{Dialect, Target};
use crate::ir::{Blame, Class, Failure, Message, Part, PartKind, Request, Role};
use crate::policy::balance::{self, Session};
use crate::wire::coding::{self, CodingError, Codings};
use crate::wire::json::{Tape, Value};

/// A received request, before anything is known of it but its head.
#[derive(Debug)]
pub struct Prepare {
    snapshot: Arc<Snapshot>,
    dialect: Dialect,
    codings: Codings,
    body: Bytes,
    session: Option<Session>,
    /// Whether the answer may be shared with requests that ask the same.
    pub(super) may_share: bool,
}

/// A request that was read.
#[derive(Debug)]
pub struct Prepared {
    /// The model's name as the client wrote it.
    pub(super) model: JsonStr,
    pub(super) stream: bool,
    /// Whether a streaming Chat client asked for the usage chunk.
    pub(super) stream_usage: bool,
    pub(super) input_tokens_estimate: u64,
    pub(super) needs: Needs,
    /// Whether the model is told to think before it answers.
    pub(super) asks_reasoning: bool,
    /// What this request has in common with the others of its conversation.
    pub(super) session: Session,
    /// The body's hash, where the answer may be shared.
    pub(super) body_sha256: Option<[u8; 32]>,
    pub(super) destination: Destination,
}

/// Where a prepared request goes.
#[derive(Debug)]
pub(super) enum Destination {
    /// To the built-in model.
    Demo(Box<Request>),
    /// To providers.
    Chain(Routed),
}

/// A request for the targets of a chain.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) chain: Arc<Chain>,
    /// The client's body, decoded, kept until the answer is committed: another target may need it.
    pub(super) source: Bytes,
    /// As the target gets it that is asked, or the one that will be asked first.
    pub(super) prompt: Option<Prompt>,
}

/// A request as its upstream gets it.
#[derive(Debug)]
pub struct Prompt {
    pub(super) upstream: Arc<Upstream>,
    /// What the model is called there.
    pub(super) model: JsonStr,
    /// The body, kept until the answer is committed: it may have to be sent again.
    pub(super) body: Vec<Bytes>,
    pub(super) body_len: u64,
    /// Whether both sides speak the same API, so that bytes pass untouched.
    pub(super) is_same_dialect: bool,
    /// With how much of an answer it ends that the model is to continue.
    pub(super) prefill_bytes: usize,
    /// JSON paths of what the target has no place for.
    pub(super) dropped: Vec<String>,
}

impl Prepared {
    /// The same request, to be written for another target; `None` where it has none.
    pub(super) fn again(&self) -> Option<Prepared> {
        let Destination::Chain(routed) = &self.destination else {
            return None;
        };
        Some(Prepared {
            model: self.model.clone(),
            destination: Destination::Chain(Routed {
                chain: Arc::clone(&routed.chain),
                source: routed.source.clone(),
                prompt: None,
            }),
            ..*self
        })
    }

    /// Frees the body: it will not be sent again.
    pub(super) fn forget_body(&mut self) {
        match &mut self.destination {
            Destination::Demo(request) => **request = Request::default(),
            Destination::Chain(routed) => {
                routed.source = Bytes::new();
                if let Some(prompt) = &mut routed.prompt {
                    prompt.body = Vec::new();
                }
            }
        }
    }
}

impl Prompt {
    /// Writes the body anew without earlier reasoning. Says whether there was any.
    pub(super) fn strip_reasoning(&mut self, snapshot: &Snapshot, tape: &mut Tape) -> bool {
        let Some(provider) = snapshot.providers.get(self.upstream.provider) else {
            return false;
        };
        let body = Bytes::from(self.body.concat());
        let stripped = without_reasoning(provider.dialect, &body, self, tape, snapshot);
        let Some(mut stripped) = stripped else {
            return false;
        };
        self.body_len = stripped.len() as u64;
        self.body = take_parts(&mut stripped);
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
    /// The request of a client that speaks `dialect`, and named its `session` in the head.
    pub const fn new(
        snapshot: Arc<Snapshot>,
        dialect: Dialect,
        codings: Codings,
        body: Bytes,
        session: Option<Session>,
    ) -> Prepare {
        Prepare {
            snapshot,
            dialect,
            codings,
            body,
            session,
            may_share: false,
        }
    }

    /// Reads the body, finds the model, and writes the body of the upstream that will be asked
    /// first.
    pub(super) fn run(self, tape: &mut Tape) -> Result<Box<Prepared>, Box<Failure>> {
        let body = self.decompress()?;
        let prepared = self.prepare(&body, tape);
        tape.shrink();
        prepared.map(Box::new)
    }

    fn prepare(&self, body: &Bytes, tape: &mut Tape) -> Result<Prepared, Box<Failure>> {
        let root = parse(body, tape, &self.snapshot)?;
        let asked = Body::of(root);
        let model = asked.model(root)?;
        let name = model.unescape();
        let resolved = resolve(&self.snapshot, &name)?;
        let session = self.session.unwrap_or_else(|| asked.session());
        let needs = Needs::of(root, &asked);
        let destination = match resolved {
            Resolved::Demo => {
                let request = self.dialect.decode_request(root)?;
                Destination::Demo(Box::new(request))
            }
            Resolved::Chain(chain) => {
                let upstream = first_of(chain, session, &needs, &name);
                let upstream = upstream.ok_or_else(|| internal("the route leads nowhere"))?;
                let prompt = encode(
                    &self.snapshot,
                    self.dialect,
                    body,
                    root,
                    upstream,
                    &name,
                    "",
                );
                // What one target cannot be told, another may.
                let is_alone = chain.upstreams().nth(1).is_none();
                let prompt = match prompt {
                    Err(failure) if is_alone => return Err(failure),
                    prompt => prompt.ok(),
                };
                Destination::Chain(Routed {
                    chain: Arc::clone(chain),
                    source: body.clone(),
                    prompt,
                })
            }
        };
        Ok(Prepared {
            stream: asked.is_stream(),
            stream_usage: asked.stream_usage(),
            model,
            input_tokens_estimate: needs.prompt_tokens,
            needs,
            asks_reasoning: asked.asks_reasoning(),
            session,
            body_sha256: self.may_share.then(|| Sha256::digest(body).into()),
            destination,
        })
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

/// The target that will be asked first, as long as nothing is wrong with it.
fn first_of<'c>(
    chain: &'c Chain,
    session: Session,
    needs: &Needs,
    name: &str,
) -> Option<&'c Arc<Upstream>> {
    let all = || {
        chain
            .steps
            .iter()
            .flat_map(|step| ranked(Some(step), session))
    };
    let fits = |it: &&Member| needs.lacking(&traits_at(&it.upstream, name)).is_none();
    let first = all().find(fits).or_else(|| all().next());
    first.map(|member| &member.upstream)
}

/// The members of a step, in the order in which `session` asks them.
pub(super) fn ranked(step: Option<&Step>, session: Session) -> impl Iterator<Item = &Member> {
    let members = step.into_iter().flat_map(|step| &step.members);
    let mut members: Vec<&Member> = members.collect();
    if members.len() > 1 {
        members.sort_by_key(|member| {
            let number = member.upstream.target as u64;
            Reverse(balance::rank(session, number, member.weight))
        });
    }
    members.into_iter()
}

/// A request to be written for another target than the first.
#[derive(Debug)]
pub struct Encode {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) dialect: Dialect,
    pub(super) source: Bytes,
    pub(super) upstream: Arc<Upstream>,
    pub(super) model: JsonStr,
    /// What the model is to continue, if anything.
    pub(super) prefill: String,
}

impl Encode {
    /// Reads the client's body again and writes the upstream's.
    pub(super) fn run(self, tape: &mut Tape) -> Result<Box<Prompt>, Box<Failure>> {
        let root = parse(&self.source, tape, &self.snapshot)?;
        let name = self.model.unescape();
        let (snapshot, source) = (&self.snapshot, &self.source);
        let (dialect, prefill) = (self.dialect, &self.prefill);
        let prompt = encode(
            snapshot,
            dialect,
            source,
            root,
            &self.upstream,
            &name,
            prefill,
        );
        tape.shrink();
        prompt.map(Box::new)
    }
}

fn parse<'t>(
    body: &'t Bytes,
    tape: &'t mut Tape,
    snapshot: &Snapshot,
) -> Result<Value<'t>, Box<Failure>> {
    tape.parse(body, &snapshot.limits.json).map_err(|error| {
        let message = format!("the request body is not valid JSON: {error}");
        Box::new(Failure::new(Class::InvalidRequest, message))
    })
}

fn encode(
    snapshot: &Snapshot,
    dialect: Dialect,
    body: &Bytes,
    root: Value<'_>,
    upstream: &Arc<Upstream>,
    name: &str,
    prefill: &str,
) -> Result<Prompt, Box<Failure>> {
    let (upstream, model) = snapshot.model_at(upstream, name);
    if model.is_empty() {
        let message = format!("`{name}` names a provider, and no model of it");
        return Err(no_model(message));
    }
    let provider = snapshot.providers.get(upstream.provider);
    let provider = provider.ok_or_else(|| internal("the route's provider is gone"))?;
    let target = Target {
        model: &model,
        traits: &upstream.traits,
        extra: &upstream.extra,
    };
    let is_same_dialect = provider.dialect == dialect;
    let (mut encoded, dropped) = if is_same_dialect && prefill.is_empty() {
        (dialect.edit_request(body, root, &target), Vec::new())
    } else {
        let mut request = dialect.decode_request(root)?;
        continue_from(&mut request, prefill);
        let encoded = provider.dialect.encode_request(&request, &target)?;
        (encoded.body, encoded.dropped)
    };
    Ok(Prompt {
        upstream,
        model,
        body_len: encoded.len() as u64,
        body: take_parts(&mut encoded),
        is_same_dialect,
        prefill_bytes: prefill.len(),
        dropped,
    })
}

/// Ends the conversation with the beginning of its answer. A model that thinks first cannot go on
/// from there.
fn continue_from(request: &mut Request, prefill: &str) {
    if prefill.is_empty() {
        return;
    }
    request.reasoning = None;
    let text = Part::text(JsonStr::escape(prefill));
    match request.messages.last_mut() {
        Some(last) if last.role == Role::Assistant => last.parts.push(text),
        _ => request.messages.push(Message {
            role: Role::Assistant,
            parts: vec![text],
            name: None,
        }),
    }
}

fn internal(message: &str) -> Box<Failure> {
    Box::new(Failure::new(Class::Internal, message).blame(Blame::Gateway))
}

fn no_model(message: String) -> Box<Failure> {
    let mut failure = Failure::new(Class::NotFound, message);
    failure.param = Some(JsonStr::from_static("model"));
    Box::new(failure)
}

fn resolve<'s>(snapshot: &'s Snapshot, name: &str) -> Result<Resolved<'s>, Box<Failure>> {
    snapshot.resolve(name).ok_or_else(|| {
        no_model(format!(
            "there is no model `{name}` here: no route of the config matches it. \
             `GET /v1/models` lists what there is, and `provider/model` names a provider's own"
        ))
    })
}

fn take_parts(body: &mut OutBuf) -> Vec<Bytes> {
    body.take_parts().collect()
}
