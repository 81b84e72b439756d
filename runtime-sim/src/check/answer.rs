//! What a client is told, held against what upstreams said: no answer is made up, mixed, cut and
//! shown as whole.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;
use tollgate_core::dialect::Dialect;

use super::http::Head;
use super::resume;
use super::stream::{State, Stream, ends_in_call};
use crate::script::journal::{Kind, Sent, Shared, Told, is_delivered};
use crate::setup::chain_of;

/// A response as it comes, and what is known of its request.
#[derive(Debug)]
pub(crate) struct Response {
    marker: String,
    dialect: Dialect,
    is_stream: bool,
    is_head: bool,
    kind: Kind,
    head: Head,
    body: Vec<u8>,
    body_bytes: u64,
    stream: Option<Stream>,
    /// How much of what was told has been held against what was sent.
    compared: usize,
    /// What its route tells when no target can answer.
    message: Option<Arc<str>>,
    is_message: bool,
    /// Which attempt's answer it is, once it is complete.
    answer: Option<usize>,
}

type Checked = Result<(), String>;

impl Response {
    pub(crate) fn new(
        shared: &Shared,
        marker: &str,
        is_head: bool,
        head: Head,
    ) -> Result<Response, String> {
        let journal = shared.journal.borrow();
        let asked = journal.asked.get(marker).ok_or("an answer to nothing")?;
        let (dialect, is_stream, kind) = (asked.dialect, asked.is_stream, asked.kind);
        let is_events = head.field("content-type") == Some("text/event-stream");
        let status = head.status;
        let is_fit = match kind {
            Kind::Generate(_) | Kind::Demo | Kind::Admin => status == 200 || status >= 300,
            Kind::Bad | Kind::Malformed => status >= 400,
        };
        if !is_fit {
            return Err(format!("status {status} for a request of kind {kind:?}"));
        }
        let content_type = head.field("content-type");
        let is_json = content_type == Some("application/json");
        let is_known = is_events || is_json || is_head || is_metrics(kind, &head);
        if is_events != (is_stream && status == 200) || !is_known {
            return Err(format!("content-type {content_type:?}"));
        }
        if kind != Kind::Malformed && head.field("x-request-id") != Some(marker) {
            // Of a head that did not come whole in time nothing is known, its id neither.
            let has_any = head.field("x-request-id").is_some_and(|id| !id.is_empty());
            let is_unread = status == 408 && head.closes() && has_any;
            if !is_unread {
                return Err(format!("x-request-id {:?}", head.field("x-request-id")));
            }
        }
        let message = chain_of(&shared.snapshot, asked.model);
        let message = message.and_then(|chain| chain.manner.message.clone());
        let stream = is_events.then(|| Stream::new(dialect));
        let marker = marker.to_owned();
        Ok(Response {
            marker,
            dialect,
            is_stream,
            is_head,
            kind,
            head,
            body: Vec::new(),
            body_bytes: 0,
            stream,
            compared: 0,
            message,
            is_message: false,
            answer: None,
        })
    }

    pub(crate) fn closes(&self) -> bool {
        self.head.closes()
    }

    pub(crate) const fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether some of what the model says has come, in a stream.
    pub(crate) fn has_content(&self) -> bool {
        let told = self.stream.as_ref().map(|stream| &stream.told);
        told.is_some_and(|told| !told.text.is_empty() || !told.arguments.is_empty())
    }

    /// Whether it is the route's message.
    pub(crate) const fn is_message(&self) -> bool {
        self.is_message
    }

    /// Which attempt's answer it is, once it is complete.
    pub(crate) const fn answer(&self) -> Option<usize> {
        self.answer
    }

    /// Whether nobody can go on from where it is.
    pub(crate) fn is_beyond(&self) -> bool {
        self.stream.as_ref().is_none_or(Stream::is_beyond)
    }

    pub(crate) const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Some of the body came.
    pub(crate) fn push(&mut self, shared: &Shared, bytes: &[u8]) -> Checked {
        self.body_bytes += bytes.len() as u64;
        let Some(stream) = &mut self.stream else {
            self.body.extend_from_slice(bytes);
            return Ok(());
        };
        stream.allow_broken(has_broken(shared, &self.marker, self.dialect));
        stream.push(bytes)?;
        let is_over = matches!(stream.state(), State::Complete | State::Failed);
        let told = stream.told.text.len() + stream.told.arguments.len();
        // Of a long text not every piece: that would take the square of its length.
        if !is_over && told <= self.compared + self.compared / 8 {
            return Ok(());
        }
        self.compared = told;
        let is_complete = stream.state() == State::Complete;
        let told = core::mem::take(&mut stream.told);
        let compared = self.compare(shared, &told, is_complete);
        if let Some(stream) = &mut self.stream {
            stream.told = told;
        }
        compared
    }

    /// The response has ended as its framing said. Says whether the client has a complete answer.
    pub(crate) fn end(&mut self, shared: &Shared) -> Result<bool, String> {
        if self.is_head {
            return Ok(self.head.status == 200);
        }
        if let Some(stream) = &mut self.stream {
            stream.end()?;
        }
        if let Some(stream) = &mut self.stream {
            return match stream.state() {
                State::Complete => Ok(true),
                State::Failed => Ok(false),
                // Where bytes pass untouched, a last event that the upstream left out is not there.
                State::Finished if passes(shared, &self.marker, self.dialect) => {
                    let told = core::mem::take(&mut stream.told);
                    self.compare(shared, &told, true).map(|()| true)
                }
                state => Err(format!("the body ended in {state:?}")),
            };
        }
        if is_metrics(self.kind, &self.head) {
            return match self.body.ends_with(b"\n") {
                true => Ok(true),
                false => Err("the metrics break off".to_owned()),
            };
        }
        let value: Value = serde_json::from_slice(&self.body)
            .map_err(|error| format!("the body: {error}: {:?}", self.body_text()))?;
        if self.head.status != 200 {
            return self.error(&value).map(|()| false);
        }
        if matches!(self.kind, Kind::Admin) {
            return Ok(true);
        }
        let told = whole(self.dialect, &value)?;
        self.compare(shared, &told, true).map(|()| true)
    }

    fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn error(&self, value: &Value) -> Checked {
        let is_draining = value["status"] == "draining";
        let is_shaped = match self.dialect {
            Dialect::Anthropic => {
                value["type"] == "error"
                    && value["error"]["type"].is_string()
                    && value["error"]["message"].is_string()
            }
            Dialect::OpenAiChat => value["error"]["message"].is_string(),
        };
        // A client that is not understood is answered in Chat's shape.
        let is_other = self.kind == Kind::Malformed || self.head.closes();
        let is_bare = is_other && value["error"]["message"].is_string();
        if is_shaped || is_draining || is_bare {
            return Ok(());
        }
        Err(format!("an error of another shape: {value}"))
    }

    /// Holds what was told against what was sent.
    fn compare(&mut self, shared: &Shared, told: &Told, is_complete: bool) -> Checked {
        if !matches!(self.kind, Kind::Generate(_)) {
            return Ok(());
        }
        let is_message = self.message.as_deref().is_some_and(|message| {
            let is_text = told.arguments.is_empty() && !told.text.is_empty();
            let is_end = message == told.text && told.ends_in_call == Some(false);
            is_text
                && if is_complete {
                    is_end
                } else {
                    message.starts_with(&told.text)
                }
        });
        if is_message {
            self.is_message = true;
            return Ok(());
        }
        let journal = shared.journal.borrow();
        let delivered = shared.delivered.borrow();
        let attempts = journal.sent_to(&self.marker);
        let is_calm = shared.faults.borrow().is_calm();
        let said = resume::texts(attempts);
        let fits = |(text, number): &(Cow<'_, str>, usize)| {
            let sent = &attempts[*number];
            let all = &sent.told;
            if !is_complete {
                return text.starts_with(&told.text) && all.arguments.starts_with(&told.arguments);
            }
            // Elsewhere the upstream may have ended without them.
            let is_usage = told
                .input_tokens
                .is_none_or(|_| told.input_tokens == all.input_tokens)
                && told
                    .output_tokens
                    .is_none_or(|_| told.output_tokens == all.output_tokens);
            **text == told.text
                && same_json(&all.arguments, &told.arguments)
                && all.ends_in_call == told.ends_in_call
                && (is_usage || !is_calm)
                && is_delivered(sent, &delivered)
        };
        let is_nothing = told.text.is_empty() && told.arguments.is_empty() && !is_complete;
        let fit = said.iter().position(fits);
        if is_nothing || fit.is_some() {
            let number = fit.map(|at| said[at].1);
            self.answer = number.filter(|_| is_complete);
            return Ok(());
        }
        let how = if is_complete { "complete" } else { "part" };
        Err(format!(
            "the client was told {told:?} ({how}, stream {}); upstreams sent \
             {attempts:?}, of which were read {:?}",
            self.is_stream,
            attempts
                .iter()
                .map(|sent| delivered.get(sent.link))
                .collect::<Vec<_>>()
        ))
    }
}

/// Whether an upstream of the client's own API was asked, whose events pass as they are.
fn passes(shared: &Shared, marker: &str, dialect: Dialect) -> bool {
    sent_in(shared, marker, dialect, |_| true)
}

/// Whether such an upstream sent events that cannot be read.
fn has_broken(shared: &Shared, marker: &str, dialect: Dialect) -> bool {
    sent_in(shared, marker, dialect, |sent| sent.is_broken)
}

fn sent_in(shared: &Shared, marker: &str, dialect: Dialect, is: impl Fn(&Sent) -> bool) -> bool {
    let journal = shared.journal.borrow();
    let mut attempts = journal.sent_to(marker).iter();
    attempts.any(|sent| sent.asked.dialect == dialect && is(sent))
}

fn same_json(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    parse(one).is_some() && parse(one) == parse(other)
}

/// What a whole answer says.
fn whole(dialect: Dialect, value: &Value) -> Result<Told, String> {
    let mut told = Told::default();
    let usage = &value["usage"];
    match dialect {
        Dialect::Anthropic => {
            let content = value["content"].as_array().ok_or("no content")?;
            if value["type"] != "message" {
                return Err(format!("not a message: {value}"));
            }
            told.ends_in_call = Some(ends_in_call(&value["stop_reason"])?);
            told.input_tokens = usage["input_tokens"].as_u64();
            told.output_tokens = usage["output_tokens"].as_u64();
            for block in content {
                match block["type"].as_str() {
                    Some("text") => told.text += block["text"].as_str().ok_or("no text")?,
                    Some("tool_use") => told.arguments += &block["input"].to_string(),
                    other => return Err(format!("a block of {other:?}")),
                }
            }
        }
        Dialect::OpenAiChat => {
            let choice = &value["choices"][0];
            if value["object"] != "chat.completion" {
                return Err(format!("not a completion: {value}"));
            }
            told.ends_in_call = Some(ends_in_call(&choice["finish_reason"])?);
            told.input_tokens = usage["prompt_tokens"].as_u64();
            told.output_tokens = usage["completion_tokens"].as_u64();
            let message = &choice["message"];
            told.text += message["content"].as_str().unwrap_or_default();
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                told.arguments += call["function"]["arguments"]
                    .as_str()
                    .ok_or("no arguments")?;
            }
        }
    }
    Ok(told)
}

/// Whether it is the page of metrics, which is no JSON.
fn is_metrics(kind: Kind, head: &Head) -> bool {
    let content_type = head.field("content-type").unwrap_or_default();
    kind == Kind::Admin && head.status == 200 && content_type.starts_with("text/plain; version=")
}
