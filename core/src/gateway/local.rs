//! The built-in model `demo`: answers inside the gateway, so that a bare machine without keys has
//! something to talk to. Its answers are made by rule: the same request gets the same answer. And
//! the message that a route may have for the case that none of its targets can answer.

use std::collections::VecDeque;

use super::Shard;
use super::exchange::Answer;
use super::exchange::deadlines::Phase;
use super::exchange::state::Step;
use crate::base::{ExchangeId, JsonStr, OutBuf};
use crate::dialect::{Dialect, ReplyMeta, StreamEncoder};
use crate::ir::{
    Arguments, Choice, Delta, Failure, Finish, FinishReason, FunctionTool, OutputFormat, Part,
    PartKind, Piece, Request, Response, Role, ToolCall, ToolChoice, ToolKind, Usage, replay,
};
use crate::record::Outcome;

mod sample;

/// Between two tokens: fast enough not to bore, slow enough to be seen streaming.
const TOKEN_TIME: core::time::Duration = core::time::Duration::from_millis(10);
/// How much of the user's words is quoted.
const QUOTE_CHARS_MAX: usize = 200;

/// An answer of the built-in model on its way to the client.
#[derive(Debug)]
pub(super) struct Local {
    response: Response,
    encoder: Option<Box<StreamEncoder>>,
    deltas: VecDeque<Delta>,
    is_begun: bool,
    /// What the record is to say, once the client has it all.
    outcome: Outcome,
}

impl Local {
    /// Answers `request`.
    pub(super) fn new(
        request: &Request,
        input_tokens: u64,
        dialect: Dialect,
        meta: ReplyMeta,
    ) -> Local {
        let response = answer(request, input_tokens);
        Local::of(response, request.stream, dialect, meta, Outcome::Complete)
    }

    /// What is told ends early: what can tell why, where it streams.
    pub(super) fn broken_off(self) -> Option<Box<StreamEncoder>> {
        self.encoder
    }

    fn of(
        response: Response,
        is_stream: bool,
        dialect: Dialect,
        meta: ReplyMeta,
        outcome: Outcome,
    ) -> Local {
        let mut deltas = Vec::new();
        let mut encoder = None;
        if is_stream {
            encoder = Some(Box::new(StreamEncoder::new(dialect, meta)));
            replay(response.clone(), &mut deltas);
        }
        let deltas = deltas.into_iter().flat_map(tokens).collect();
        Local {
            response,
            encoder,
            deltas,
            is_begun: false,
            outcome,
        }
    }
}

impl Shard {
    /// No target can answer, because of `failure`: the client is told the route's message. The
    /// record tells the failure.
    pub(super) fn tell_message(&mut self, id: ExchangeId, text: &str, failure: &Failure) {
        // Telling it takes a while, and nothing else is to come of the request.
        self.call_off_rival(id);
        self.stop_waiting(id, &[]);
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let meta = exchange.meta(&self.ctx);
        let finish = Finish {
            reason: FinishReason::Stop,
            ..Finish::default()
        };
        let parts = vec![Part::text(JsonStr::escape(text))];
        let output_tokens = words(text).count() as u64;
        let response = response(
            None,
            parts,
            finish,
            meta.input_tokens_estimate,
            output_tokens,
        );
        let (is_stream, dialect) = (exchange.access.stream, exchange.request.dialect);
        let outcome = Outcome::Failed {
            class: failure.class,
            blame: failure.blame,
            message: failure.message.detach(),
        };
        let local = Local::of(response, is_stream, dialect, meta, outcome);
        exchange.access.provider = Some("tollgate".into());
        exchange.plan.is_message = true;
        exchange.answer = Answer::Local(Box::new(local));
        exchange.step(Step::Local);
        self.begin_local(id);
    }

    /// The built-in model begins to answer.
    pub(super) fn begin_local(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let meta = exchange.meta(&self.ctx);
        let dialect = exchange.request.dialect;
        let Answer::Local(local) = &mut exchange.answer else {
            return;
        };
        exchange.access.first_content = Some(self.ctx.now.mono - exchange.started);
        exchange.access.usage = local.response.usage.unwrap_or_default();
        exchange
            .access
            .answered_by
            .clone_from(&local.response.model);
        let choice = local.response.choices.first();
        exchange.access.finish = choice.map(|choice| choice.finish.reason.clone());
        if local.encoder.is_some() {
            self.commit(id);
            self.local_token(id);
            return;
        }
        exchange.access.outcome = local.outcome.clone();
        let mut body = OutBuf::new();
        dialect.encode_response(&local.response, &meta, &mut body);
        self.answer_whole(id, 200, body, None);
    }

    /// Sends the next token, unless the client still has the last ones to take.
    pub(super) fn local_token(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Answer::Local(local) = &mut exchange.answer else {
            return;
        };
        if exchange.deadlines.is_set(Phase::Token) {
            return;
        }
        let Some(client) = self.clients.get_mut(exchange.client) else {
            return;
        };
        if client.socket.output.len() >= self.ctx.limits.shard.client_queue_bytes_max {
            // `client_took` comes back here.
            client.flush(&mut self.ctx);
            return;
        }
        let Some(encoder) = &mut local.encoder else {
            return;
        };
        let mut events = OutBuf::new();
        while let Some(delta) = local.deltas.pop_front() {
            let is_token = matches!(delta, Delta::Append { .. });
            encoder.delta(delta, &mut events);
            if is_token && local.is_begun {
                break;
            }
            local.is_begun |= is_token;
        }
        let is_over = local.deltas.is_empty();
        exchange.access.response_bytes += events.len() as u64;
        let out = &mut client.socket.output;
        let mut sent = client.http.send_body_pieces(&mut events, out);
        if sent.is_ok() && is_over {
            sent = client.http.send_end(out);
        }
        if is_over || sent.is_err() {
            exchange.access.outcome = local.outcome.clone();
            self.answered(id, sent);
            return;
        }
        exchange
            .deadlines
            .set(Phase::Token, self.ctx.now.mono + TOKEN_TIME);
        exchange.rearm(&mut self.ctx);
        client.flush(&mut self.ctx);
    }
}

/// Splits a delta of text into its words.
fn tokens(delta: Delta) -> Vec<Delta> {
    match delta {
        Delta::Append {
            block,
            piece: Piece::Text(text),
        } => words(&text.unescape())
            .map(|word| Delta::Append {
                block,
                piece: Piece::Text(JsonStr::escape(word)),
            })
            .collect(),
        delta => vec![delta],
    }
}

/// The words of a text, each with the blank before it: what this model calls tokens.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let body = rest
            .find(|c: char| !c.is_whitespace())
            .unwrap_or(rest.len());
        let tail = rest.get(body..).unwrap_or_default();
        let length = tail.find(char::is_whitespace).unwrap_or(tail.len());
        let (word, after) = rest.split_at(body + length);
        rest = after;
        Some(word)
    })
}

fn answer(request: &Request, input_tokens: u64) -> Response {
    let mut finish = Finish {
        reason: FinishReason::Stop,
        ..Finish::default()
    };
    let mut parts = Vec::new();
    let mut output_tokens = 0u64;
    if let Some(tool) = tool_to_call(request) {
        let arguments = sample::of_schema(tool.parameters.as_ref());
        output_tokens += words(&arguments).count().max(1) as u64;
        parts.push(Part::new(PartKind::ToolCall(ToolCall {
            id: JsonStr::from_static("call_demo_1"),
            name: tool.name.clone(),
            arguments: Arguments::Text(JsonStr::escape(&arguments)),
            signature: None,
        })));
        finish.reason = FinishReason::ToolCalls;
    } else {
        let text = text_of(request);
        let text = until_stop(&text, &request.stop, &mut finish);
        let text = until_limit(text, request, &mut finish, &mut output_tokens);
        parts.push(Part::text(JsonStr::escape(text)));
    }
    let model = Some(JsonStr::from_static("demo"));
    response(model, parts, finish, input_tokens, output_tokens)
}

fn response(
    model: Option<JsonStr>,
    parts: Vec<Part>,
    finish: Finish,
    input_tokens: u64,
    output_tokens: u64,
) -> Response {
    Response {
        id: None,
        model,
        created: None,
        choices: vec![Choice {
            parts,
            finish,
            logprobs: None,
        }],
        usage: Some(Usage {
            input: Some(input_tokens),
            output: Some(output_tokens),
            ..Usage::default()
        }),
        service_tier: None,
        fingerprint: None,
    }
}

fn text_of(request: &Request) -> String {
    match &request.format {
        OutputFormat::JsonObject => return "{\"answer\": \"demo\"}".to_owned(),
        OutputFormat::JsonSchema { schema, .. } => return sample::of_schema(Some(schema)),
        OutputFormat::Text => {}
    }
    let last = request
        .messages
        .iter()
        .rev()
        .find(|message| message.role == Role::User);
    let parts = last
        .map(|message| message.parts.as_slice())
        .unwrap_or_default();
    let result = parts.iter().find_map(|part| match &part.kind {
        PartKind::ToolResult(result) => Some(plain_text(&result.parts)),
        _ => None,
    });
    match result {
        Some(result) => format!("The tool answered: {}", quote(&result)),
        None => format!(
            "Hello from tollgate's built-in demo model. You wrote: {} Set a provider's key, such \
             as ANTHROPIC_API_KEY or OPENAI_API_KEY, and ask for one of its models to talk to a \
             real one.",
            quote(&plain_text(parts))
        ),
    }
}

fn plain_text(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match &part.kind {
        PartKind::Text { text, .. } => Some(text.unescape()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn quote(text: &str) -> String {
    let short: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("“{short}{more}”.")
}

/// The tool to call: the one that must be called, else the first, unless a result has come already.
fn tool_to_call(request: &Request) -> Option<&FunctionTool> {
    let functions = || {
        request.tools.iter().filter_map(|tool| match &tool.kind {
            ToolKind::Function(function) => Some(function),
            ToolKind::Custom { .. } | ToolKind::Provider { .. } => None,
        })
    };
    match &request.tool_choice {
        Some(ToolChoice::None) => return None,
        Some(ToolChoice::Named(name)) => return functions().find(|it| it.name == *name),
        Some(ToolChoice::Allowed { names, .. }) => {
            return functions().find(|it| names.contains(&it.name));
        }
        Some(ToolChoice::Required) => return functions().next(),
        Some(ToolChoice::Auto) | None => {}
    }
    // One call a conversation: an agent that runs each tool it is asked for would never end.
    let has_result = request.messages.iter().any(|message| {
        let mut parts = message.parts.iter();
        parts.any(|part| matches!(part.kind, PartKind::ToolResult(_)))
    });
    if has_result { None } else { functions().next() }
}

/// Cuts the text before the first stop sequence in it.
fn until_stop<'a>(text: &'a str, stop: &[JsonStr], finish: &mut Finish) -> &'a str {
    let found = stop
        .iter()
        .filter(|sequence| !sequence.is_empty())
        .filter_map(|sequence| Some((text.find(sequence.unescape().as_ref())?, sequence)))
        .min_by_key(|(at, _)| *at);
    let Some((at, sequence)) = found else {
        return text;
    };
    finish.reason = FinishReason::StopSequence;
    finish.stop_sequence = Some(sequence.clone());
    text.get(..at).unwrap_or_default()
}

/// Cuts the text after as many tokens as are allowed.
fn until_limit<'a>(
    text: &'a str,
    request: &Request,
    finish: &mut Finish,
    output_tokens: &mut u64,
) -> &'a str {
    let max = request
        .output_tokens_max
        .as_ref()
        .and_then(crate::ir::Number::as_u64);
    let mut len = 0;
    for word in words(text) {
        if max.is_some_and(|max| *output_tokens >= max) {
            *finish = Finish {
                reason: FinishReason::Length,
                ..Finish::default()
            };
            break;
        }
        *output_tokens += 1;
        len += word.len();
    }
    text.get(..len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Message, Number, Tool};

    fn ask(text: &str) -> Request {
        Request {
            messages: vec![Message {
                role: Role::User,
                parts: vec![Part::text(JsonStr::escape(text))],
                name: None,
            }],
            ..Request::default()
        }
    }

    fn text(response: &Response) -> String {
        plain_text(&response.choices[0].parts)
    }

    #[test]
    fn limits_and_stop_sequences_are_honoured() {
        let mut request = ask("good morning");
        let whole = answer(&request, 1);
        assert_eq!(whole.choices[0].finish.reason, FinishReason::Stop);
        assert!(text(&whole).contains("“good morning”"));
        request.output_tokens_max = Some(Number::from(3));
        let cut = answer(&request, 1);
        assert_eq!(cut.choices[0].finish.reason, FinishReason::Length);
        assert_eq!(text(&cut), "Hello from tollgate's");
        assert_eq!(cut.usage.unwrap().output, Some(3));
        request.stop = vec![JsonStr::from("tollgate")];
        let stopped = answer(&request, 1);
        assert_eq!(stopped.choices[0].finish.reason, FinishReason::StopSequence);
        assert_eq!(text(&stopped), "Hello from ");
    }

    #[test]
    fn a_tool_on_offer_is_called_with_arguments_of_its_schema() {
        let mut request = ask("weather?");
        let schema =
            br#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;
        request.tools = vec![Tool {
            kind: ToolKind::Function(FunctionTool {
                name: JsonStr::from("weather"),
                description: None,
                parameters: Some(crate::base::RawJson::from_checked(schema.to_vec().into())),
                strict: None,
            }),
            cache: None,
        }];
        let response = answer(&request, 1);
        let PartKind::ToolCall(call) = &response.choices[0].parts[0].kind else {
            panic!()
        };
        assert_eq!(
            call.arguments,
            Arguments::Text(JsonStr::escape("{\"city\":\"demo\"}"))
        );
        assert_eq!(response.choices[0].finish.reason, FinishReason::ToolCalls);
        request.tool_choice = Some(ToolChoice::None);
        assert!(text(&answer(&request, 1)).contains("weather?"));
    }

    #[test]
    fn words_join_to_the_text() {
        for text in ["", " ", "a", " a  b\n", "…“é” x"] {
            assert_eq!(words(text).collect::<String>(), text);
        }
    }
}
