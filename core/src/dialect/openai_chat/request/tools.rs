//! Reads `tools`, `tool_choice`, and the older `functions` and `function_call`.

use super::notes::Notes;
use crate::base::JsonStr;
use crate::dialect::fields::{
    Checked, array, boolean, fault, given, object, required, string, string_in, wrong,
};
use crate::dialect::openai_chat::answer::cache_hint;
use crate::ir::{FunctionTool, Origin, Tool, ToolChoice, ToolKind};
use crate::wire::json::{Kind, Value};

/// Reads the list of tools.
pub(super) fn decode(list: Value<'_>, out: &mut Vec<Tool>, notes: &mut Notes) -> Checked<()> {
    for entry in array(list)?.elements() {
        let (mut kind, mut body, mut custom, mut cache) = (None, None, None, None);
        for (key, value) in object(entry)?.members() {
            match key.escaped() {
                _ if value.is_null() => {}
                b"type" => kind = Some(string(value)?),
                b"function" => body = Some(value),
                b"custom" => custom = Some(value),
                b"cache_control" => cache = Some(cache_hint(value)?),
                _ => {}
            }
        }
        let name = match kind {
            Some(name) => name,
            None if body.is_some() => JsonStr::from_static("function"),
            None => string(required(entry, "type")?)?,
        };
        let kind = match name.escaped().as_ref() {
            b"function" => {
                note_rest(entry, notes)?;
                let body = body.map_or_else(|| required(entry, "function"), Ok)?;
                ToolKind::Function(function(body)?)
            }
            b"custom" => {
                let body = custom.map_or_else(|| required(entry, "custom"), Ok)?;
                ToolKind::Custom {
                    name: string(required(object(body)?, "name")?)?,
                    description: string_in(body, "description")?,
                    format: given(body, "format").map(Value::raw),
                }
            }
            _ => ToolKind::Provider {
                origin: Origin::OpenAiChat,
                name,
                json: entry.raw(),
            },
        };
        out.push(Tool { kind, cache });
    }
    Ok(())
}

/// Reads the older list of functions.
pub(super) fn decode_functions(list: Value<'_>, out: &mut Vec<Tool>) -> Checked<()> {
    for entry in array(list)?.elements() {
        let kind = ToolKind::Function(function(entry)?);
        out.push(Tool { kind, cache: None });
    }
    Ok(())
}

/// Reads `tool_choice` or `function_call`, whose forms do not clash.
pub(super) fn decode_choice(value: Value<'_>) -> Checked<ToolChoice> {
    if let Some(word) = value.as_str() {
        return match word.escaped().as_ref() {
            b"auto" => Ok(ToolChoice::Auto),
            b"none" => Ok(ToolChoice::None),
            // `any` is Mistral's word.
            b"required" | b"any" => Ok(ToolChoice::Required),
            _ => Err(fault(value, "must be one of `auto`, `none`, `required`")),
        };
    }
    if value.kind() != Kind::Object {
        return Err(wrong(value, "a string or an object"));
    }
    if let Some(allowed) = given(value, "allowed_tools") {
        return allowed_tools(object(allowed)?);
    }
    let named = given(value, "function").or_else(|| given(value, "custom"));
    match named {
        Some(named) => Ok(ToolChoice::Named(string(required(
            object(named)?,
            "name",
        )?)?)),
        None if given(value, "name").is_some() => {
            Ok(ToolChoice::Named(string(required(value, "name")?)?))
        }
        None => Err(fault(value, "names neither a function nor a custom tool")),
    }
}

fn allowed_tools(allowed: Value<'_>) -> Checked<ToolChoice> {
    let mode = string(required(allowed, "mode")?)?;
    let mut names = Vec::new();
    for tool in array(required(allowed, "tools")?)?.elements() {
        let named = given(tool, "function").or_else(|| given(tool, "custom"));
        names.push(string(required(named.unwrap_or(tool), "name")?)?);
    }
    Ok(ToolChoice::Allowed {
        required: mode.is("required"),
        names,
    })
}

fn function(body: Value<'_>) -> Checked<FunctionTool> {
    let (mut name, mut description, mut parameters, mut strict) = (None, None, None, None);
    for (key, value) in object(body)?.members() {
        match key.escaped() {
            _ if value.is_null() => {}
            b"name" => name = Some(string(value)?),
            b"description" => description = Some(string(value)?),
            b"parameters" => parameters = Some(object(value)?.raw()),
            b"strict" => strict = Some(boolean(value)?),
            _ => {}
        }
    }
    let name = name.map_or_else(|| string(required(body, "name")?), Ok)?;
    Ok(FunctionTool {
        name,
        description,
        parameters,
        strict,
    })
}

fn note_rest(entry: Value<'_>, notes: &mut Notes) -> Checked<()> {
    for (key, value) in entry.members() {
        match key.escaped() {
            b"type" | b"function" | b"cache_control" => {}
            key => notes.note("tools[]", key, value)?,
        }
    }
    Ok(())
}
