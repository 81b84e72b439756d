//! Writes a request for an upstream. `messages` comes last, and nothing before it depends on them:
//! a conversation that grows only appends (wire case 10).

use super::encode_messages::Turns;
use super::pairing;
use crate::base::JsonStr;
use crate::base::buf::SLICE_BYTES_MIN;
use crate::dialect::encode::{Dropped, write_cache_control, write_no_properties};
use crate::dialect::{Encoded, Target, ThinkingStyle, TokenLimitField};
use crate::ir::{
    Effort, Failure, FunctionTool, Loss, Number, Origin, OutputFormat, Part, PartKind,
    ReasoningMode, Request, Role, Tool, ToolChoice, ToolKind,
};
use crate::wire::json::Writer;

/// OpenAI's limit on stop sequences.
const STOP_MAX: usize = 4;

/// Writes the request for the target.
///
/// # Errors
/// What the API cannot say and the answer would suffer from: a provider's own tools of another API,
/// more than four stop sequences, calls without results, files by another vendor's id, documents by
/// address or with citations.
pub fn encode(request: &Request, target: &Target<'_>) -> Result<Encoded, Box<Failure>> {
    pairing::check(&request.messages)?;
    check_blocks(request)?;
    let mut encoded = Encoded::default();
    encoded.body.reserve(copied_bytes(request));
    let mut dropped = Dropped::default();
    let mut body = Body {
        json: Writer::new(&mut encoded.body),
        target,
        dropped: &mut dropped,
    };
    body.json.begin_object();
    body.member("model", |json| json.str(target.model));
    body.answer(request)?;
    body.sampling(request);
    body.reasoning(request);
    body.identity(request);
    body.tools(request)?;
    body.extensions(request)?;
    target.write_extra(&mut body.json);
    if body.begin("messages") {
        let Body { json, dropped, .. } = &mut body;
        Turns::new(json, target.traits, dropped).write(request)?;
    }
    body.json.end_object();
    encoded.dropped = dropped.into_paths();
    Ok(encoded)
}

/// What the user said in a form that only another API knows cannot be left out without changing
/// what was said.
fn check_blocks(request: &Request) -> Result<(), Box<Failure>> {
    for (turn, message) in request.messages.iter().enumerate() {
        if message.role != Role::User {
            continue;
        }
        for (at, part) in message.parts.iter().enumerate() {
            if let PartKind::Opaque { origin, name, .. } = &part.kind
                && *origin != Origin::OpenAiChat
            {
                let reason = format!("a Chat endpoint has no place for a block of the type {name}");
                return Err(refused(&format!("messages[{turn}].content[{at}]"), &reason));
            }
        }
    }
    Ok(())
}

/// About how many bytes will be copied into the body: all that is not large.
fn copied_bytes(request: &Request) -> usize {
    let small = |len: usize| if len < SLICE_BYTES_MIN { len } else { 0 };
    let of_part = |part: &Part| match &part.kind {
        PartKind::Text { text, .. } => small(text.len()),
        PartKind::ToolResult(result) => result
            .parts
            .iter()
            .map(|part| match &part.kind {
                PartKind::Text { text, .. } => small(text.len()),
                _ => 64,
            })
            .sum(),
        _ => 128,
    };
    let messages = request.messages.iter();
    let parts: usize = messages
        .map(|message| {
            64 + message
                .parts
                .iter()
                .map(|part| 64 + of_part(part))
                .sum::<usize>()
        })
        .sum();
    1024 + parts + request.tools.len() * 512
}

/// What the target cannot be asked for.
pub(super) fn refused(path: &str, reason: &str) -> Box<Failure> {
    Box::new(Failure::invalid(path, reason))
}

struct Body<'o, 'a> {
    json: Writer<'o>,
    target: &'a Target<'a>,
    dropped: &'o mut Dropped,
}

impl Body<'_, '_> {
    /// Begins a member, unless the config sets it.
    fn begin(&mut self, name: &'static str) -> bool {
        let free = !self.target.sets(name);
        if free {
            self.json.key(name);
        }
        free
    }

    fn member(&mut self, name: &'static str, write: impl FnOnce(&mut Writer<'_>)) {
        if self.begin(name) {
            write(&mut self.json);
        }
    }

    fn number(&mut self, name: &'static str, number: Option<&Number>) {
        if let Some(number) = number {
            self.member(name, |json| json.raw(&number.0));
        }
    }

    fn string(&mut self, name: &'static str, text: Option<&JsonStr>) {
        if let Some(text) = text {
            self.member(name, |json| json.str(text));
        }
    }

    fn answer(&mut self, request: &Request) -> Result<(), Box<Failure>> {
        if request.stream {
            self.member("stream", |json| json.bool(true));
            if self.target.traits.stream_options {
                self.member("stream_options", |json| {
                    json.begin_object();
                    json.key("include_usage");
                    json.bool(true);
                    json.end_object();
                });
            }
        }
        let limit = match self.target.traits.token_limit_field {
            TokenLimitField::MaxCompletionTokens => "max_completion_tokens",
            TokenLimitField::MaxTokens => "max_tokens",
        };
        self.number(limit, request.output_tokens_max.as_ref());
        if request.stop.len() > STOP_MAX {
            let reason = format!("the target takes at most {STOP_MAX} stop sequences");
            return Err(refused("stop", &reason));
        }
        if !request.stop.is_empty() {
            self.member("stop", |json| {
                json.begin_array();
                request.stop.iter().for_each(|stop| json.str(stop));
                json.end_array();
            });
        }
        if request.format != OutputFormat::Text {
            self.member("response_format", |json| {
                write_format(&request.format, json);
            });
        }
        self.string("verbosity", request.verbosity.as_ref());
        if let Some(n) = request.choices {
            self.member("n", |json| json.u64(n.into()));
        }
        if let Some(top) = request.logprobs {
            self.member("logprobs", |json| json.bool(true));
            if top > 0 {
                self.member("top_logprobs", |json| json.u64(top.into()));
            }
        }
        Ok(())
    }

    fn sampling(&mut self, request: &Request) {
        let sampling = &request.sampling;
        self.number("temperature", sampling.temperature.as_ref());
        self.number("top_p", sampling.top_p.as_ref());
        self.number("frequency_penalty", sampling.frequency_penalty.as_ref());
        self.number("presence_penalty", sampling.presence_penalty.as_ref());
        self.number("seed", sampling.seed.as_ref());
        if let Some(bias) = &sampling.logit_bias {
            self.member("logit_bias", |json| json.raw(bias));
        }
        if sampling.top_k.is_some() {
            self.dropped.add("top_k");
        }
    }

    fn reasoning(&mut self, request: &Request) {
        let Some(reasoning) = &request.reasoning else {
            return;
        };
        let budget = reasoning.budget_tokens.as_ref().and_then(Number::as_u64);
        let by_budget = budget.map(Effort::of_budget);
        let effort = match reasoning.mode {
            ReasoningMode::Off => reasoning.effort.filter(|it| *it == Effort::None),
            _ => reasoning.effort.or(by_budget),
        };
        match effort {
            Some(effort) if self.target.traits.thinking != ThinkingStyle::None => {
                self.member("reasoning_effort", |json| json.text(effort.name()));
            }
            _ => self.dropped.add("thinking"),
        }
    }

    fn identity(&mut self, request: &Request) {
        self.string("user", request.user.as_ref());
        self.string("prompt_cache_key", request.cache_key.as_ref());
        if let Some(tier) = &request.service_tier {
            match tier.escaped().as_ref() {
                // Messages' way to say: no priority.
                b"standard_only" => self.member("service_tier", |json| json.text("default")),
                _ => self.member("service_tier", |json| json.str(tier)),
            }
        }
        if let Some(hint) = &request.cache {
            if self.target.traits.cache_control && self.begin("cache_control") {
                write_cache_control(hint, &mut self.json);
            } else {
                self.dropped.add("cache_control");
            }
        }
    }

    fn tools(&mut self, request: &Request) -> Result<(), Box<Failure>> {
        if request.tools.is_empty() {
            return Ok(());
        }
        if self.begin("tools") {
            self.json.begin_array();
            for (index, tool) in request.tools.iter().enumerate() {
                self.tool(index, tool)?;
            }
            self.json.end_array();
        }
        if let Some(choice) = &request.tool_choice {
            self.member("tool_choice", |json| {
                write_choice(choice, &request.tools, json);
            });
        }
        if let Some(parallel) = request.parallel_tool_calls {
            self.member("parallel_tool_calls", |json| json.bool(parallel));
        }
        Ok(())
    }

    fn tool(&mut self, index: usize, tool: &Tool) -> Result<(), Box<Failure>> {
        let json = &mut self.json;
        match &tool.kind {
            ToolKind::Function(function) => {
                json.begin_object();
                json.key("type");
                json.text("function");
                json.key("function");
                write_function(function, json);
            }
            ToolKind::Custom {
                name,
                description,
                format,
            } => {
                json.begin_object();
                json.key("type");
                json.text("custom");
                json.key("custom");
                json.begin_object();
                json.key("name");
                json.str(name);
                if let Some(description) = description {
                    json.key("description");
                    json.str(description);
                }
                if let Some(format) = format {
                    json.key("format");
                    json.raw(format);
                }
                json.end_object();
            }
            ToolKind::Provider {
                origin: Origin::OpenAiChat,
                json: entry,
                ..
            } => {
                json.raw(entry);
                return Ok(());
            }
            ToolKind::Provider { name, .. } => {
                let name = name.unescape();
                let reason = format!("the tool `{name}` is one that the target does not have");
                return Err(refused(&format!("tools[{index}]"), &reason));
            }
        }
        match &tool.cache {
            Some(hint) if self.target.traits.cache_control => {
                json.key("cache_control");
                write_cache_control(hint, json);
            }
            Some(_) => self.dropped.add("tools[].cache_control"),
            None => {}
        }
        self.json.end_object();
        Ok(())
    }

    fn extensions(&mut self, request: &Request) -> Result<(), Box<Failure>> {
        for extension in &request.extensions {
            if self.target.sets(&extension.path) {
                continue;
            }
            match &extension.loss {
                _ if extension.is_own(Origin::OpenAiChat) => {
                    self.json.key_str(&JsonStr::escape(&extension.path));
                    self.json.raw(&extension.value);
                }
                Loss::Harmless => self.dropped.add(&extension.path),
                Loss::Meaningful(reason) => return Err(refused(&extension.path, reason)),
            }
        }
        Ok(())
    }
}

fn write_format(format: &OutputFormat, json: &mut Writer<'_>) {
    json.begin_object();
    json.key("type");
    match format {
        OutputFormat::Text => json.text("text"),
        OutputFormat::JsonObject => json.text("json_object"),
        OutputFormat::JsonSchema {
            name,
            description,
            schema,
            strict,
        } => {
            json.text("json_schema");
            json.key("json_schema");
            json.begin_object();
            json.key("name");
            match name {
                Some(name) => json.str(name),
                None => json.text("response"),
            }
            if let Some(description) = description {
                json.key("description");
                json.str(description);
            }
            json.key("schema");
            json.raw(schema);
            if let Some(strict) = strict {
                json.key("strict");
                json.bool(*strict);
            }
            json.end_object();
        }
    }
    json.end_object();
}

fn write_function(function: &FunctionTool, json: &mut Writer<'_>) {
    json.begin_object();
    json.key("name");
    json.str(&function.name);
    if let Some(description) = &function.description {
        json.key("description");
        json.str(description);
    }
    json.key("parameters");
    match &function.parameters {
        Some(schema) => json.raw(schema),
        None => {
            json.begin_object();
            write_no_properties(json);
            json.end_object();
        }
    }
    if let Some(strict) = function.strict {
        json.key("strict");
        json.bool(strict);
    }
    json.end_object();
}

fn write_choice(choice: &ToolChoice, tools: &[Tool], json: &mut Writer<'_>) {
    match choice {
        ToolChoice::Auto => json.text("auto"),
        ToolChoice::None => json.text("none"),
        ToolChoice::Required => json.text("required"),
        ToolChoice::Named(name) => write_named(name, tools, json),
        ToolChoice::Allowed { required, names } => {
            json.begin_object();
            json.key("type");
            json.text("allowed_tools");
            json.key("allowed_tools");
            json.begin_object();
            json.key("mode");
            json.text(if *required { "required" } else { "auto" });
            json.key("tools");
            json.begin_array();
            for name in names {
                write_named(name, tools, json);
            }
            json.end_array();
            json.end_object();
            json.end_object();
        }
    }
}

/// `{"type":"function","function":{"name":…}}`, or the same with `custom`.
fn write_named(name: &JsonStr, tools: &[Tool], json: &mut Writer<'_>) {
    let custom = tools
        .iter()
        .any(|tool| matches!(&tool.kind, ToolKind::Custom { name: own, .. } if own == name));
    let kind = if custom { "custom" } else { "function" };
    json.begin_object();
    json.key("type");
    json.text(kind);
    json.key(kind);
    json.begin_object();
    json.key("name");
    json.str(name);
    json.end_object();
    json.end_object();
}
