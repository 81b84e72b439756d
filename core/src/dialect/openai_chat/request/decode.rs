//! Reads a request: the fields around the conversation.

use super::messages::Conversation;
use super::notes::Notes;
use super::tools;
use crate::base::JsonStr;
use crate::dialect::fields::{
    Checked, array, boolean, count, fault, given, number, object, required, string, string_in,
    whole_number, word, wrong,
};
use crate::dialect::openai_chat::answer::cache_hint;
use crate::ir::{
    CHOICES_MAX, Effort, Failure, Number, OutputFormat, Reasoning, ReasoningMode, Request,
};
use crate::wire::json::{Kind, Value};

/// OpenAI's limit on `top_logprobs`.
const TOP_LOGPROBS_MAX: u64 = 20;

/// Reads the body of `POST /v1/chat/completions`.
///
/// # Errors
/// Where it is not of the API's form: [`Failure::invalid`] with the JSON path of the fault. Fields
/// that are unknown are none: they become [`extensions`](Request::extensions).
pub fn decode(body: Value<'_>) -> Result<Request, Box<Failure>> {
    if body.kind() != Kind::Object {
        let message = format!("the body must be a JSON object, not {}", body.kind());
        return Err(Box::new(Failure::invalid("", message)));
    }
    let mut reader = Reader::default();
    reader.request.model = string(required(body, "model")?)?;
    for (key, value) in body.members() {
        let name = key.escaped();
        if value.is_null() {
            continue;
        }
        let known = reader.conversation(name, value)
            || reader.answer(name, value)?
            || reader.sampling(name, value)?
            || reader.reasoning(name, value)?
            || reader.identity(name, value)?;
        if !known {
            reader.notes.note("", name, value)?;
        }
    }
    reader.finish(body)
}

#[derive(Default)]
struct Reader<'t> {
    request: Request,
    notes: Notes,
    tools: Option<Value<'t>>,
    functions: Option<Value<'t>>,
    tool_choice: Option<Value<'t>>,
    function_call: Option<Value<'t>>,
    completion_tokens_max: Option<Number>,
    tokens_max: Option<Number>,
    logprobs: bool,
    top_logprobs: Option<u32>,
    thought: Thought,
    safety_identifier: Option<JsonStr>,
}

/// What the many fields about reasoning say together.
#[derive(Default)]
struct Thought {
    mode: Option<ReasoningMode>,
    effort: Option<Effort>,
    budget: Option<Number>,
    visible: Option<bool>,
}

impl<'t> Reader<'t> {
    fn conversation(&mut self, name: &[u8], value: Value<'t>) -> bool {
        match name {
            b"model" | b"messages" => {}
            b"tools" => self.tools = Some(value),
            b"functions" => self.functions = Some(value),
            b"tool_choice" => self.tool_choice = Some(value),
            b"function_call" => self.function_call = Some(value),
            _ => return false,
        }
        true
    }

    fn answer(&mut self, name: &[u8], value: Value<'t>) -> Checked<bool> {
        let request = &mut self.request;
        match name {
            b"stream" => request.stream = boolean(value)?,
            b"stream_options" => {
                for (key, option) in object(value)?.members() {
                    match key.escaped() {
                        _ if option.is_null() => {}
                        b"include_usage" => request.stream_usage = boolean(option)?,
                        key => self.notes.note("stream_options", key, option)?,
                    }
                }
            }
            b"max_completion_tokens" => self.completion_tokens_max = Some(whole_number(value)?),
            b"max_tokens" => self.tokens_max = Some(whole_number(value)?),
            b"stop" => request.stop = stop(value)?,
            b"response_format" => request.format = format(value)?,
            b"verbosity" => request.verbosity = Some(string(value)?),
            b"n" => {
                let n = u32::try_from(count(value)?).ok();
                let Some(n) = n.filter(|n| (1..=CHOICES_MAX).contains(n)) else {
                    return Err(fault(value, &format!("must be from 1 to {CHOICES_MAX}")));
                };
                request.choices = Some(n).filter(|n| *n > 1);
            }
            b"logprobs" => self.logprobs = boolean(value)?,
            b"top_logprobs" => {
                let top = count(value)?;
                if top > TOP_LOGPROBS_MAX {
                    return Err(fault(value, &format!("must be at most {TOP_LOGPROBS_MAX}")));
                }
                self.top_logprobs = u32::try_from(top).ok();
            }
            b"parallel_tool_calls" => request.parallel_tool_calls = Some(boolean(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn sampling(&mut self, name: &[u8], value: Value<'t>) -> Checked<bool> {
        let sampling = &mut self.request.sampling;
        let field = match name {
            b"temperature" => &mut sampling.temperature,
            b"top_p" => &mut sampling.top_p,
            b"top_k" => &mut sampling.top_k,
            b"frequency_penalty" => &mut sampling.frequency_penalty,
            b"presence_penalty" => &mut sampling.presence_penalty,
            b"seed" | b"random_seed" => &mut sampling.seed,
            b"logit_bias" => {
                if !object(value)?.is_empty() {
                    sampling.logit_bias = Some(value.raw());
                }
                return Ok(true);
            }
            _ => return Ok(false),
        };
        *field = Some(number(value)?);
        Ok(true)
    }

    fn identity(&mut self, name: &[u8], value: Value<'t>) -> Checked<bool> {
        let request = &mut self.request;
        match name {
            b"user" => request.user = Some(string(value)?),
            b"safety_identifier" => self.safety_identifier = Some(string(value)?),
            b"prompt_cache_key" => request.cache_key = Some(string(value)?),
            b"service_tier" => request.service_tier = Some(string(value)?),
            b"cache_control" => request.cache = Some(cache_hint(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn reasoning(&mut self, name: &[u8], value: Value<'t>) -> Checked<bool> {
        let thought = &mut self.thought;
        match name {
            b"reasoning_effort" => return thought.effort(value),
            b"enable_thinking" => thought.switch(boolean(value)?),
            b"thinking_budget" => thought.budget = Some(number(value)?),
            b"include_reasoning" => thought.visible = Some(boolean(value)?),
            b"reasoning" => {
                for (key, value) in object(value)?.members() {
                    match key.escaped() {
                        _ if value.is_null() => {}
                        b"effort" if thought.effort(value)? => {}
                        b"max_tokens" => thought.budget = Some(whole_number(value)?),
                        b"enabled" => thought.switch(boolean(value)?),
                        b"exclude" => thought.visible = Some(!boolean(value)?),
                        key => self.notes.note("reasoning", key, value)?,
                    }
                }
            }
            b"thinking" => {
                for (key, value) in object(value)?.members() {
                    match key.escaped() {
                        _ if value.is_null() => {}
                        b"type" => thought.mode = thinking_type(value)?,
                        b"budget_tokens" => thought.budget = Some(whole_number(value)?),
                        key => self.notes.note("thinking", key, value)?,
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(mut self, body: Value<'t>) -> Checked<Request> {
        let mut request = self.request;
        request.output_tokens_max = self.completion_tokens_max.or(self.tokens_max);
        request.logprobs = self.logprobs.then(|| self.top_logprobs.unwrap_or(0));
        request.user = self.safety_identifier.or(request.user);
        request.reasoning = self.thought.into_reasoning();
        if let Some(list) = self.tools {
            tools::decode(list, &mut request.tools, &mut self.notes)?;
        }
        if let Some(list) = self.functions {
            tools::decode_functions(list, &mut request.tools)?;
        }
        let choice = self.tool_choice.or(self.function_call);
        request.tool_choice = choice.map(tools::decode_choice).transpose()?;
        let mut conversation = Conversation::new(&mut self.notes);
        let messages = required(body, "messages")?;
        for (index, message) in array(messages)?.elements().enumerate() {
            conversation.message(index, message)?;
        }
        (request.system, request.messages) = conversation.finish();
        if request.system.is_empty() && request.messages.is_empty() {
            return Err(fault(messages, "must not be empty"));
        }
        request.extensions = self.notes.into_extensions();
        Ok(request)
    }
}

impl Thought {
    /// Takes an effort; false where the word is none (Groq's `default`).
    fn effort(&mut self, value: Value<'_>) -> Checked<bool> {
        let name = string(value)?;
        let effort = Effort::from_name(&name.unescape());
        if let Some(effort) = effort {
            self.effort = Some(effort);
            self.switch(effort != Effort::None);
        }
        Ok(effort.is_some())
    }

    fn switch(&mut self, on: bool) {
        // Of two switches the one that says off holds.
        if self.mode != Some(ReasoningMode::Off) {
            self.mode = Some(if on {
                ReasoningMode::On
            } else {
                ReasoningMode::Off
            });
        }
    }

    fn into_reasoning(self) -> Option<Reasoning> {
        let nothing = self.mode.is_none() && self.budget.is_none() && self.visible.is_none();
        if nothing {
            return None;
        }
        let mode = match self.mode {
            Some(mode) => mode,
            None if self.budget.as_ref().and_then(Number::as_u64) == Some(0) => ReasoningMode::Off,
            None if self.budget.is_some() => ReasoningMode::On,
            None => ReasoningMode::Adaptive,
        };
        Some(Reasoning {
            mode,
            effort: self.effort,
            budget_tokens: self.budget,
            visible: self.visible,
        })
    }
}

fn thinking_type(value: Value<'_>) -> Checked<Option<ReasoningMode>> {
    match word(value)? {
        b"enabled" => Ok(Some(ReasoningMode::On)),
        b"disabled" => Ok(Some(ReasoningMode::Off)),
        b"adaptive" | b"auto" => Ok(Some(ReasoningMode::Adaptive)),
        _ => Err(fault(
            value,
            "must be one of `enabled`, `disabled`, `adaptive`",
        )),
    }
}

fn stop(value: Value<'_>) -> Checked<Vec<JsonStr>> {
    match value.kind() {
        Kind::String => Ok(vec![string(value)?]),
        Kind::Array => value.elements().map(string).collect(),
        _ => Err(wrong(value, "a string or an array of strings")),
    }
}

fn format(value: Value<'_>) -> Checked<OutputFormat> {
    let kind = required(object(value)?, "type")?;
    match word(kind)? {
        b"text" => Ok(OutputFormat::Text),
        b"json_object" => Ok(OutputFormat::JsonObject),
        b"json_schema" => {
            let described = object(required(value, "json_schema")?)?;
            let Some(schema) = given(described, "schema") else {
                return Ok(OutputFormat::JsonObject);
            };
            Ok(OutputFormat::JsonSchema {
                name: string_in(described, "name")?,
                description: string_in(described, "description")?,
                schema: object(schema)?.raw(),
                strict: given(described, "strict").map(boolean).transpose()?,
            })
        }
        _ => Err(fault(
            kind,
            "must be one of `text`, `json_object`, `json_schema`",
        )),
    }
}
