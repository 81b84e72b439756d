//! [`Asked`]: what a request asks, in one form for both APIs, so that two requests can be compared.

use serde_json::{Value as Json, json};

use super::said::{Call, list, text};

/// What a request asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// Texts of the system and of the user, in their order; each API has its own rules about whose
    /// a text in mid-conversation is.
    pub(crate) words: Vec<String>,
    pub(crate) assistant: String,
    pub(crate) tools: Vec<Tool>,
    pub(crate) calls: Vec<Call>,
    /// Results of calls: the call's id and the text.
    pub(crate) results: Vec<(String, String)>,
    /// Images and documents: their data or address.
    pub(crate) media: Vec<String>,
    pub(crate) stream: bool,
    pub(crate) stop: Vec<String>,
    pub(crate) output_tokens_max: Option<u64>,
    pub(crate) choice: Option<String>,
}

/// A tool that is offered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) schema: Json,
}

/// What a Messages request asks.
pub(crate) fn messages(body: &Json) -> Asked {
    let mut asked = Asked {
        words: texts(&body["system"]),
        stream: body["stream"] == true,
        stop: list(&body["stop_sequences"]).map(text).collect(),
        output_tokens_max: body["max_tokens"].as_u64(),
        ..Asked::default()
    };
    for tool in list(&body["tools"]) {
        let is_own = tool["type"].is_null() || tool["type"] == "custom";
        if is_own {
            asked.tools.push(Tool {
                name: text(&tool["name"]),
                description: text(&tool["description"]),
                schema: schema(&tool["input_schema"]),
            });
        }
    }
    asked.choice = match text(&body["tool_choice"]["type"]).as_str() {
        "any" => Some("required".to_owned()),
        "tool" => Some(format!("tool {}", text(&body["tool_choice"]["name"]))),
        "none" => Some("none".to_owned()),
        _ => None,
    };
    for message in list(&body["messages"]) {
        let content = &message["content"];
        let blocks = match content {
            Json::String(_) => vec![json!({"type": "text", "text": content})],
            _ => list(content).cloned().collect(),
        };
        for block in &blocks {
            messages_block(&text(&message["role"]), block, &mut asked);
        }
    }
    asked
}

fn messages_block(role: &str, block: &Json, asked: &mut Asked) {
    match block["type"].as_str().unwrap_or_default() {
        "text" => {
            let said = text(&block["text"]);
            match role {
                "user" | "system" => asked.words.push(said),
                _ => asked.assistant += &said,
            }
        }
        "image" | "document" => asked.media.extend(source(block)),
        "tool_use" => asked.calls.push(Call {
            id: text(&block["id"]),
            name: text(&block["name"]),
            arguments: block["input"].to_string(),
        }),
        "tool_result" => {
            let media = list(&block["content"]).filter_map(source);
            asked.media.extend(media);
            let result = (text(&block["tool_use_id"]), words(&block["content"]));
            asked.results.push(result);
        }
        _ => {}
    }
}

fn source(block: &Json) -> Option<String> {
    let source = &block["source"];
    let of = ["data", "url", "file_id"].into_iter();
    of.map(|name| text(&source[name])).find(|it| !it.is_empty())
}

/// What a Chat request asks.
pub(crate) fn chat(body: &Json) -> Asked {
    let limit = [&body["max_completion_tokens"], &body["max_tokens"]];
    let mut asked = Asked {
        stream: body["stream"] == true,
        output_tokens_max: limit.into_iter().find_map(Json::as_u64),
        stop: match &body["stop"] {
            Json::String(stop) => vec![stop.clone()],
            stop => list(stop).map(text).collect(),
        },
        ..Asked::default()
    };
    let functions = list(&body["functions"]);
    let tools = list(&body["tools"]).filter(|tool| tool["function"].is_object());
    for function in tools.map(|tool| &tool["function"]).chain(functions) {
        asked.tools.push(Tool {
            name: text(&function["name"]),
            description: text(&function["description"]),
            schema: schema(&function["parameters"]),
        });
    }
    let choice = &body["tool_choice"];
    asked.choice = match choice {
        Json::String(word) if word == "auto" => None,
        Json::String(word) if word == "any" => Some("required".to_owned()),
        Json::String(word) => Some(word.clone()),
        Json::Object(_) => Some(format!("tool {}", text(&choice["function"]["name"]))),
        _ => None,
    };
    for message in list(&body["messages"]) {
        chat_message(message, &mut asked);
    }
    asked
}

fn chat_message(message: &Json, asked: &mut Asked) {
    let said = words(&message["content"]);
    let media = list(&message["content"]).filter_map(part);
    asked.media.extend(media);
    match message["role"].as_str().unwrap_or_default() {
        "system" | "developer" | "user" => asked.words.extend(texts(&message["content"])),
        "tool" => asked.results.push((text(&message["tool_call_id"]), said)),
        "function" => asked.results.push((text(&message["name"]), said)),
        _ => asked.assistant += &said,
    }
    let old = Some(&message["function_call"]).filter(|call| call.is_object());
    let calls = list(&message["tool_calls"]).map(|call| (text(&call["id"]), &call["function"]));
    for (id, function) in calls.chain(old.map(|call| (text(&call["name"]), call))) {
        asked.calls.push(Call {
            id,
            name: text(&function["name"]),
            arguments: text(&function["arguments"]),
        });
    }
}

/// The data or the address of an image or a document.
fn part(part: &Json) -> Option<String> {
    let held = [
        &part["image_url"]["url"],
        &part["image_url"],
        &part["file"]["file_data"],
        &part["file"]["file_id"],
    ];
    let held = held.map(text).into_iter().find(|it| !it.is_empty())?;
    let data = held.split_once(";base64,").map(|(_, data)| data.to_owned());
    Some(data.unwrap_or(held))
}

/// A text, or the texts of a list of parts.
fn texts(content: &Json) -> Vec<String> {
    let of = |part: &Json| match part {
        Json::String(text) => text.clone(),
        part => text(&part["text"]) + &text(&part["refusal"]),
    };
    match content {
        Json::String(text) => vec![text.clone()],
        parts => list(parts).map(of).collect(),
    }
}

fn words(content: &Json) -> String {
    texts(content).concat()
}

/// The schema of a tool without parameters is that of an empty object.
fn schema(schema: &Json) -> Json {
    let is_none = schema.is_null() || schema.as_object().is_some_and(|it| it.is_empty());
    let mut schema = schema.clone();
    if is_none {
        schema = json!({"type": "object"});
    }
    if schema["properties"].is_null() || schema["properties"] == json!({}) {
        schema["properties"] = json!({});
    }
    schema
}

/// Text without white space: what joins two parts is not part of either.
pub(crate) fn bare(text: &str) -> String {
    text.chars().filter(|it| !it.is_whitespace()).collect()
}
