//! What a Messages client asks for, into the model.

use crate::dialect::anthropic::parts;
use crate::dialect::anthropic::read::{
    Notes, members, missing, optional_bool, optional_string, required, required_string,
};
use crate::dialect::fields::{
    Checked, array, boolean, fault, number, object, string, whole_number, word,
};
use crate::ir::{
    Effort, Failure, FunctionTool, Loss, Message, Origin, OutputFormat, Reasoning, ReasoningMode,
    Request, Role, Tool, ToolChoice, ToolKind,
};
use crate::wire::json::{Kind, Value};

/// Reads the body of a request.
///
/// # Errors
/// What is missing or of a wrong type, with its JSON path.
pub fn decode(body: Value<'_>) -> Result<Request, Box<Failure>> {
    if body.kind() != Kind::Object {
        let message = format!("the body must be a JSON object, not {}", body.kind());
        return Err(Box::new(Failure::invalid("", message)));
    }
    let mut reader = Reader {
        request: Request {
            stream_usage: true,
            ..Request::default()
        },
        reasoning: None,
        notes: Notes::default(),
        seen: Seen::default(),
    };
    for (key, value) in body.members() {
        reader.member(key.escaped(), value)?;
    }
    for (name, seen) in [
        ("model", reader.seen.model),
        ("max_tokens", reader.seen.max_tokens),
        ("messages", reader.seen.messages),
    ] {
        if !seen {
            return Err(missing(body, name));
        }
    }
    let mut request = reader.request;
    request.reasoning = reader.reasoning;
    request.extensions = reader.notes.extensions;
    Ok(request)
}

#[derive(Default)]
struct Seen {
    model: bool,
    max_tokens: bool,
    messages: bool,
}

struct Reader {
    request: Request,
    reasoning: Option<Reasoning>,
    notes: Notes,
    seen: Seen,
}

impl Reader {
    fn member(&mut self, key: &[u8], value: Value<'_>) -> Checked<()> {
        match key {
            b"model" => {
                self.request.model = string(value)?;
                self.seen.model = true;
            }
            b"max_tokens" => {
                self.request.output_tokens_max = Some(whole_number(value)?);
                self.seen.max_tokens = true;
            }
            b"messages" => {
                self.request.messages = messages(value, &mut self.notes)?;
                self.seen.messages = true;
            }
            // Optional ones may be null.
            _ if value.is_null() => {}
            b"system" => self.request.system = parts::content(value, &mut self.notes)?,
            b"tools" => self.request.tools = tools(value, &mut self.notes)?,
            b"stream" => self.request.stream = boolean(value)?,
            b"tool_choice" => self.tool_choice(value)?,
            b"thinking" => self.thinking(value)?,
            b"output_config" => self.output_config(value)?,
            b"output_format" => self.output_format(value)?,
            b"metadata" => self.metadata(value)?,
            b"service_tier" => self.request.service_tier = Some(string(value)?),
            b"stop_sequences" => {
                let all = array(value)?.elements().map(string);
                self.request.stop = all.collect::<Checked<_>>()?;
            }
            b"temperature" => self.request.sampling.temperature = Some(number(value)?),
            b"top_p" => self.request.sampling.top_p = Some(number(value)?),
            b"top_k" => self.request.sampling.top_k = Some(whole_number(value)?),
            b"cache_control" => {
                self.request.cache = parts::cache_hint(Some(value), &mut self.notes)?;
            }
            _ => self.foreign(key, value),
        }
        Ok(())
    }

    /// Fields that no other API has. Claude Code sends several; none of those may fail a request.
    fn foreign(&mut self, key: &[u8], value: Value<'_>) {
        let meaningless = value.is_empty() && value.kind() != Kind::String;
        let loss = match key {
            b"container" => {
                Loss::Meaningful("the container with its files and skills exists at Anthropic only")
            }
            b"mcp_servers" if !meaningless => {
                Loss::Meaningful("only Anthropic calls the tools of MCP servers by itself")
            }
            _ => Loss::Harmless,
        };
        match loss {
            Loss::Harmless => self.notes.unknown(value),
            Loss::Meaningful(_) => {
                let path = String::from_utf8_lossy(key).into_owned();
                self.notes.add(path, value, loss);
            }
        }
    }

    fn tool_choice(&mut self, value: Value<'_>) -> Checked<()> {
        let names = ["type", "name", "disable_parallel_tool_use"];
        let [kind, name, single] = members(object(value)?, names, &mut self.notes);
        let kind = required(value, "type", kind)?;
        let choice = match word(kind)? {
            b"auto" => ToolChoice::Auto,
            b"any" => ToolChoice::Required,
            b"none" => ToolChoice::None,
            b"tool" => ToolChoice::Named(required_string(value, "name", name)?),
            _ => return Err(fault(kind, "must be one of any, auto, none, tool")),
        };
        self.request.tool_choice = Some(choice);
        self.request.parallel_tool_calls = optional_bool(single)?.map(|single| !single);
        Ok(())
    }

    fn reasoning(&mut self) -> &mut Reasoning {
        self.reasoning.get_or_insert(Reasoning {
            mode: ReasoningMode::Adaptive,
            effort: None,
            budget_tokens: None,
            visible: None,
        })
    }

    fn thinking(&mut self, value: Value<'_>) -> Checked<()> {
        let names = ["type", "budget_tokens", "display"];
        let [kind, budget, display] = members(object(value)?, names, &mut self.notes);
        let kind = required(value, "type", kind)?;
        let mode = match word(kind)? {
            b"enabled" => ReasoningMode::On,
            b"adaptive" => ReasoningMode::Adaptive,
            b"disabled" => ReasoningMode::Off,
            // What another value would ask for is unknown, and so whether it can be left out.
            _ => return Err(fault(kind, "must be enabled, adaptive or disabled")),
        };
        let budget = budget.map(whole_number).transpose()?;
        let display = optional_string(display)?;
        let reasoning = self.reasoning();
        reasoning.mode = mode;
        reasoning.budget_tokens = budget;
        reasoning.visible = display.map(|display| !display.is("omitted"));
        Ok(())
    }

    fn output_config(&mut self, value: Value<'_>) -> Checked<()> {
        let [effort, format] = members(object(value)?, ["effort", "format"], &mut self.notes);
        if let Some(value) = effort {
            match Effort::from_name(&string(value)?.unescape()) {
                Some(effort) => self.reasoning().effort = Some(effort),
                None => self.notes.unknown(value),
            }
        }
        format.map_or(Ok(()), |format| self.output_format(format))
    }

    fn output_format(&mut self, value: Value<'_>) -> Checked<()> {
        let [kind, schema] = members(object(value)?, ["type", "schema"], &mut self.notes);
        let kind = required(value, "type", kind)?;
        if !kind.is("json_schema") {
            return Err(fault(kind, "must be json_schema"));
        }
        let schema = required(value, "schema", schema)?;
        self.request.format = OutputFormat::JsonSchema {
            name: None,
            description: None,
            schema: object(schema)?.raw(),
            strict: None,
        };
        Ok(())
    }

    fn metadata(&mut self, value: Value<'_>) -> Checked<()> {
        let [user] = members(object(value)?, ["user_id"], &mut self.notes);
        self.request.user = optional_string(user)?;
        Ok(())
    }
}

fn messages(value: Value<'_>, notes: &mut Notes) -> Checked<Vec<Message>> {
    let mut messages = Vec::new();
    for element in array(value)?.elements() {
        let [role, content] = members(object(element)?, ["role", "content"], notes);
        let role = required(element, "role", role)?;
        let role = match word(role)? {
            b"user" => Role::User,
            b"assistant" => Role::Assistant,
            // In mid-conversation; a beta of the API that Claude Code makes use of.
            b"system" => Role::System,
            _ => return Err(fault(role, "must be one of assistant, system, user")),
        };
        let content = required(element, "content", content)?;
        messages.push(Message {
            role,
            parts: parts::content(content, notes)?,
            name: None,
        });
    }
    if messages.is_empty() {
        return Err(fault(value, "at least one message is required"));
    }
    Ok(messages)
}

fn tools(value: Value<'_>, notes: &mut Notes) -> Checked<Vec<Tool>> {
    array(value)?
        .elements()
        .map(|element| tool(element, notes))
        .collect()
}

fn tool(value: Value<'_>, notes: &mut Notes) -> Checked<Tool> {
    if let Some(kind) = object(value)?.get("type").filter(|kind| !kind.is_null())
        && !kind.is("custom")
    {
        let cache = value.get("cache_control").filter(|hint| !hint.is_null());
        return Ok(Tool {
            kind: ToolKind::Provider {
                origin: Origin::Anthropic,
                name: string(kind)?,
                json: value.raw(),
            },
            cache: parts::cache_hint(cache, notes)?,
        });
    }
    let names = [
        "name",
        "description",
        "input_schema",
        "strict",
        "cache_control",
        "type",
    ];
    let [name, description, schema, strict, cache, _] = members(value, names, notes);
    let function = FunctionTool {
        name: required_string(value, "name", name)?,
        description: optional_string(description)?,
        parameters: schema.map(object).transpose()?.map(Value::raw),
        strict: optional_bool(strict)?,
    };
    Ok(Tool {
        kind: ToolKind::Function(function),
        cache: parts::cache_hint(cache, notes)?,
    })
}
