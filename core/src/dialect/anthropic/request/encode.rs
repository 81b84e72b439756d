//! What a client of another API asks for, for a Messages upstream.
//!
//! The conversation comes last in the body and depends on nothing behind it: when a conversation
//! grows, the bytes of its earlier turns stay as they were, and so does the provider's cache of
//! them.

use std::collections::BTreeSet;

use super::blocks::Blocks;
use super::ids::characters;
use super::thinking::{self, Plan};
use super::turns;
use crate::base::limits::JsonLimits;
use crate::base::{JsonStr, OutBuf, RawJson};
use crate::dialect::encode::{Dropped, write_cache_control, write_no_properties};
use crate::dialect::{Encoded, Target};
use crate::ir::{
    Effort, Failure, FunctionTool, Loss, Number, Origin, OutputFormat, Request, Tool, ToolChoice,
    ToolKind,
};
use crate::wire::json::{Tape, Writer};

/// The words that stand in for Chat's `json_object`, which Messages has no field for.
const JSON_ONLY: &str =
    "Answer with one JSON object and nothing else: no words around it, no code fence.";
/// Longest `metadata.user_id`.
const USER_BYTES_MAX: usize = 512;

/// Writes the body of a request.
///
/// # Errors
/// What Messages cannot express and the answer depends on, with the field's name.
pub fn encode(request: &Request, target: &Target<'_>) -> Result<Encoded, Box<Failure>> {
    let mut dropped = Dropped::default();
    refuse(request, &mut dropped)?;
    let plan = thinking::plan(request, target.traits);
    if plan == Plan::Dropped {
        dropped.add("reasoning");
    }
    let mut body = OutBuf::new();
    let mut fields = Fields {
        json: Writer::new(&mut body),
        target,
        dropped: &mut dropped,
    };
    fields.json.begin_object();
    fields.head(request, plan)?;
    fields.sampling(request, plan)?;
    fields.tail(request)?;
    let mut json = fields.json;
    target.write_extra(&mut json);
    if !target.sets("messages") {
        let mut blocks = Blocks::new(&mut json, request, &mut dropped);
        let more = (request.format == OutputFormat::JsonObject).then_some(JSON_ONLY);
        turns::write(request, &mut blocks, more, target.sets("system"))?;
    }
    json.end_object();
    Ok(Encoded {
        body,
        dropped: dropped.into_paths(),
    })
}

/// Refuses what changes the answer and has no place in Messages; lists what does not change it.
fn refuse(request: &Request, dropped: &mut Dropped) -> Result<(), Box<Failure>> {
    let refused = |path: &str, reason: &str| Err(Box::new(Failure::invalid(path, reason)));
    if request.choices.is_some_and(|choices| choices > 1) {
        return refused("n", "a Messages model gives one answer");
    }
    if request.logprobs.is_some() {
        return refused("logprobs", "a Messages model reports no probabilities");
    }
    if let Some(bias) = &request.sampling.logit_bias
        && bias.text().iter().any(|byte| byte.is_ascii_digit())
    {
        return refused("logit_bias", "a Messages model takes no token biases");
    }
    for extension in &request.extensions {
        match extension.loss {
            _ if extension.is_own(Origin::Anthropic) => {}
            Loss::Harmless => dropped.add(&extension.path),
            Loss::Meaningful(reason) => return refused(&extension.path, reason),
        }
    }
    let sampling = &request.sampling;
    for (name, there) in [
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("seed", sampling.seed.is_some()),
        ("verbosity", request.verbosity.is_some()),
        ("prompt_cache_key", request.cache_key.is_some()),
    ] {
        if there {
            dropped.add(name);
        }
    }
    Ok(())
}

struct Fields<'a, 'o> {
    json: Writer<'o>,
    target: &'a Target<'a>,
    dropped: &'a mut Dropped,
}

impl Fields<'_, '_> {
    /// Writes the key, unless the config's extra parameters set this field.
    fn key(&mut self, name: &'static str) -> bool {
        let free = !self.target.sets(name);
        if free {
            self.json.key(name);
        }
        free
    }

    fn head(&mut self, request: &Request, plan: Plan) -> Result<(), Box<Failure>> {
        if self.key("model") {
            self.json.str(self.target.model);
        }
        if self.key("max_tokens") {
            match &request.output_tokens_max {
                None => self
                    .json
                    .u64(thinking::default_limit(plan, self.target.traits)),
                Some(limit) if limit.as_u64().is_some() => self.json.raw(&limit.0),
                Some(_) => {
                    let message = "must be an integer that is not negative";
                    return Err(Box::new(Failure::invalid("max_tokens", message)));
                }
            }
        }
        if request.stream && self.key("stream") {
            self.json.bool(true);
        }
        if matches!(plan, Plan::Adaptive { .. } | Plan::Budget(_) | Plan::Off)
            && self.key("thinking")
        {
            self.thinking(request, plan);
        }
        let effort = match plan {
            Plan::Adaptive { effort } => effort,
            _ => None,
        };
        self.output_config(effort, &request.format);
        Ok(())
    }

    fn thinking(&mut self, request: &Request, plan: Plan) {
        self.json.begin_object();
        self.json.key("type");
        match plan {
            Plan::Budget(tokens) => {
                self.json.text("enabled");
                self.json.key("budget_tokens");
                self.json.u64(tokens);
            }
            Plan::Off => self.json.text("disabled"),
            _ => self.json.text("adaptive"),
        }
        let visible = request.reasoning.as_ref().and_then(|it| it.visible);
        if let Some(visible) = visible.filter(|_| plan.thinks()) {
            self.json.key("display");
            self.json
                .text(if visible { "summarized" } else { "omitted" });
        }
        self.json.end_object();
    }

    fn output_config(&mut self, effort: Option<Effort>, format: &OutputFormat) {
        let schema = match format {
            OutputFormat::JsonSchema { schema, .. } => Some(schema),
            OutputFormat::JsonObject | OutputFormat::Text => None,
        };
        if (effort.is_none() && schema.is_none()) || !self.key("output_config") {
            return;
        }
        self.json.begin_object();
        if let Some(effort) = effort {
            self.json.key("effort");
            self.json.text(effort.name());
        }
        if let Some(schema) = schema {
            self.json.key("format");
            self.json.begin_object();
            self.json.key("type");
            self.json.text("json_schema");
            self.json.key("schema");
            self.json.raw(schema);
            self.json.end_object();
        }
        self.json.end_object();
    }

    fn sampling(&mut self, request: &Request, plan: Plan) -> Result<(), Box<Failure>> {
        let sampling = &request.sampling;
        let thinks = plan.thinks();
        let open = self.target.traits.sampling;
        let value = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
        let mut temperature_sent = false;
        if let Some(number) = &sampling.temperature {
            let temperature = value(number);
            if !(0.0..=1.0).contains(&temperature) {
                let reason = "a Messages model takes 0 to 1";
                return Err(Box::new(Failure::invalid("temperature", reason)));
            }
            if (thinks || !open) && temperature < 1.0 {
                self.dropped.add("temperature");
            } else if self.key("temperature") {
                self.json.raw(&number.0);
                temperature_sent = true;
            }
        }
        if let Some(number) = &sampling.top_p {
            let top_p = value(number);
            let taken = match (open, thinks) {
                (false, _) => top_p >= 0.99,
                (true, thinks) => !thinks || top_p >= 0.95,
            };
            // Models since Claude Opus 4.1 refuse the two together.
            if temperature_sent || !taken {
                self.dropped.add("top_p");
            } else if self.key("top_p") {
                self.json.raw(&number.0);
            }
        }
        if let Some(number) = &sampling.top_k {
            if thinks || !open {
                self.dropped.add("top_k");
            } else if self.key("top_k") {
                self.json.raw(&number.0);
            }
        }
        Ok(())
    }

    fn tail(&mut self, request: &Request) -> Result<(), Box<Failure>> {
        self.stop(&request.stop)?;
        if let Some(user) = &request.user {
            if user.unescape().len() > USER_BYTES_MAX {
                self.dropped.add("user");
            } else if self.key("metadata") {
                self.json.begin_object();
                self.json.key("user_id");
                self.json.str(user);
                self.json.end_object();
            }
        }
        if let Some(tier) = &request.service_tier {
            self.service_tier(tier);
        }
        for extension in &request.extensions {
            let name = extension.path.as_str();
            if extension.is_own(Origin::Anthropic) && !self.target.sets(name) {
                self.json.key_str(&JsonStr::escape(name));
                self.json.raw(&extension.value);
            }
        }
        if let Some(hint) = &request.cache
            && self.key("cache_control")
        {
            write_cache_control(hint, &mut self.json);
        }
        self.tools(request)?;
        Ok(())
    }

    fn stop(&mut self, stop: &[JsonStr]) -> Result<(), Box<Failure>> {
        if stop.iter().all(JsonStr::is_empty) || !self.key("stop_sequences") {
            return Ok(());
        }
        self.json.begin_array();
        for sequence in stop.iter().filter(|sequence| !sequence.is_empty()) {
            if sequence.unescape().trim().is_empty() {
                let reason = "a Messages model takes no sequence of white space alone";
                return Err(Box::new(Failure::invalid("stop", reason)));
            }
            self.json.str(sequence);
        }
        self.json.end_array();
        Ok(())
    }

    fn service_tier(&mut self, tier: &JsonStr) {
        let tier = match tier.unescape().as_ref() {
            "auto" | "priority" => "auto",
            "default" | "standard_only" => "standard_only",
            _ => {
                self.dropped.add("service_tier");
                return;
            }
        };
        if self.key("service_tier") {
            self.json.text(tier);
        }
    }

    fn tools(&mut self, request: &Request) -> Result<(), Box<Failure>> {
        let allowed = match &request.tool_choice {
            Some(ToolChoice::Allowed { names, .. }) => {
                Some(names.iter().map(characters).collect::<BTreeSet<_>>())
            }
            _ => None,
        };
        let offered = |tool: &&Tool| match (&tool.kind, &allowed) {
            (ToolKind::Function(function), Some(names)) => {
                names.contains(&characters(&function.name))
            }
            (ToolKind::Custom { name, .. }, Some(names)) => names.contains(&characters(name)),
            _ => true,
        };
        let any = request.tools.iter().any(|tool| offered(&tool));
        self.tool_choice(request, any)?;
        if !any || !self.key("tools") {
            return Ok(());
        }
        let mut tape = Tape::new();
        let hints = super::blocks::hints_skipped(request);
        let mut seen = 0;
        self.json.begin_array();
        for (index, tool) in request.tools.iter().enumerate() {
            seen += usize::from(tool.cache.is_some());
            if !offered(&tool) {
                continue;
            }
            let hint = tool.cache.as_ref().filter(|_| seen > hints);
            match &tool.kind {
                ToolKind::Function(function) => {
                    self.function(function, &mut tape);
                    if let Some(hint) = hint {
                        self.json.key("cache_control");
                        write_cache_control(hint, &mut self.json);
                    }
                    self.json.end_object();
                }
                ToolKind::Provider { origin, json, .. } if turns::own(*origin) => {
                    self.json.raw(json);
                }
                ToolKind::Provider { name, .. } => {
                    let reason = format!("a Messages model has no tool of the type {name}");
                    return Err(Box::new(Failure::invalid(
                        format!("tools[{index}]"),
                        reason,
                    )));
                }
                ToolKind::Custom { .. } => {
                    let reason = "a Messages tool takes a JSON object, no free text";
                    return Err(Box::new(Failure::invalid(
                        format!("tools[{index}]"),
                        reason,
                    )));
                }
            }
        }
        self.json.end_array();
        Ok(())
    }

    /// A tool, its object left open.
    fn function(&mut self, function: &FunctionTool, tape: &mut Tape) {
        self.json.begin_object();
        self.json.key("name");
        self.json.str(&function.name);
        if let Some(description) = &function.description {
            self.json.key("description");
            self.json.str(description);
        }
        self.json.key("input_schema");
        write_schema(function.parameters.as_ref(), tape, &mut self.json);
        if function.strict == Some(true) {
            self.json.key("strict");
            self.json.bool(true);
        }
    }

    fn tool_choice(&mut self, request: &Request, tools: bool) -> Result<(), Box<Failure>> {
        let choice = request.tool_choice.as_ref();
        if !tools {
            return match choice {
                Some(
                    ToolChoice::Required
                    | ToolChoice::Named(_)
                    | ToolChoice::Allowed { required: true, .. },
                ) => {
                    let reason = "a tool must be called, but none is offered";
                    Err(Box::new(Failure::invalid("tool_choice", reason)))
                }
                _ => Ok(()),
            };
        }
        let single = request.parallel_tool_calls == Some(false);
        if (choice.is_none() && !single) || !self.key("tool_choice") {
            return Ok(());
        }
        self.json.begin_object();
        self.json.key("type");
        match choice {
            Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => {
                self.json.text("any");
            }
            Some(ToolChoice::Named(name)) => {
                self.json.text("tool");
                self.json.key("name");
                self.json.str(name);
            }
            Some(ToolChoice::None) => self.json.text("none"),
            _ => self.json.text("auto"),
        }
        if single && choice != Some(&ToolChoice::None) {
            self.json.key("disable_parallel_tool_use");
            self.json.bool(true);
        }
        self.json.end_object();
        Ok(())
    }
}

/// The schema of a tool's arguments. Messages wants one, of the type `object`, also for a tool that
/// takes none.
fn write_schema(schema: Option<&RawJson>, tape: &mut Tape, json: &mut Writer<'_>) {
    let parsed = schema.and_then(|schema| tape.parse(schema.text(), &JsonLimits::default()).ok());
    match (schema, parsed) {
        (Some(schema), Some(root)) if root.get("type").is_some() => json.raw(schema),
        (_, Some(root)) => {
            json.begin_object();
            json.key("type");
            json.text("object");
            for (key, value) in root.members() {
                json.key_str(&key.to_json_str());
                json.raw(&value.raw());
            }
            if root.get("properties").is_none() {
                json.key("properties");
                json.raw(&RawJson::EMPTY_OBJECT);
            }
            json.end_object();
        }
        (_, None) => {
            json.begin_object();
            write_no_properties(json);
            json.end_object();
        }
    }
}
