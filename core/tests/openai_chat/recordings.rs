//! Every recording of the API: its request, its answer, its stream.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value as Json;
use tollgate_core::base::Limits;
use tollgate_core::dialect::Traits;
use tollgate_core::dialect::openai_chat::failure;
use tollgate_core::ir::{
    Class, Delta, FinishReason, Part, PartKind, Response, Source, ToolKind, Usage,
};

use super::grammar::{self, End};
use super::support::*;

/// What was done with how many recordings, and why some were refused.
#[derive(Default)]
struct Table {
    passed: BTreeMap<&'static str, usize>,
    refused: Vec<String>,
}

impl Table {
    fn pass(&mut self, what: &'static str) {
        *self.passed.entry(what).or_default() += 1;
    }

    fn refuse(&mut self, what: &str, id: &str, why: &str) {
        self.refused.push(format!("{what}: {id}: {why}"));
    }

    fn print(&self) {
        for (what, count) in &self.passed {
            println!("{count:5} {what}");
        }
        for line in &self.refused {
            println!("      {line}");
        }
    }
}

#[test]
fn requests() {
    let Some(all) = recordings() else { return };
    let mut table = Table::default();
    for Recording { id, json } in &all {
        let body = &json["request"]["body"];
        if !body.is_object() {
            table.pass("without a request");
            continue;
        }
        let text = body.to_string();
        let request = match decode_request(&text) {
            Ok(request) => request,
            Err(failure) => {
                table.refuse("request", id, &failure.to_string());
                continue;
            }
        };
        assert_eq!(
            request.model.unescape(),
            body["model"].as_str().unwrap(),
            "{id}"
        );
        assert_eq!(request.stream, body["stream"] == true, "{id}");
        let offered = body["tools"].as_array().map_or(0, Vec::len)
            + body["functions"].as_array().map_or(0, Vec::len);
        assert_eq!(request.tools.len(), offered, "{id}");
        check_words(id, &request.system, &request.messages, &body["messages"]);
        let traits = Traits {
            cache_control: true,
            reasoning_field: tollgate_core::dialect::ReasoningField::ReasoningDetails,
            ..Traits::default()
        };
        match encode_request(&request, &traits) {
            Ok((encoded, _)) => {
                let again = decode_request(&encoded.to_string()).unwrap_or_else(|failure| {
                    panic!("{id}: what was written is not read: {failure}\n{encoded}")
                });
                let extra = encoded
                    .to_string()
                    .matches("From the result of tool call")
                    .count();
                assert_eq!(
                    again.messages.len(),
                    request.messages.len() + extra,
                    "{id}\n{encoded}"
                );
                assert_eq!(again.tools, request.tools_normal(), "{id}");
                assert_eq!(again.tool_choice, request.tool_choice_sent(), "{id}");
                assert_eq!(again.format, request.format_named(), "{id}");
                table.pass("request read, written, read again");
            }
            Err(failure) => table.refuse("encode", id, &failure.to_string()),
        }
    }
    table.print();
    assert!(table.refused.is_empty(), "{:#?}", table.refused);
}

trait Normal {
    fn tools_normal(&self) -> Vec<tollgate_core::ir::Tool>;
    fn tool_choice_sent(&self) -> Option<tollgate_core::ir::ToolChoice>;
    fn format_named(&self) -> tollgate_core::ir::OutputFormat;
}

impl Normal for tollgate_core::ir::Request {
    /// A function without parameters is written with an empty schema.
    fn tools_normal(&self) -> Vec<tollgate_core::ir::Tool> {
        let mut tools = self.tools.clone();
        for tool in &mut tools {
            if let ToolKind::Function(function) = &mut tool.kind {
                let text = Bytes::from_static(br#"{"type":"object","properties":{}}"#);
                let empty = tollgate_core::base::RawJson::from_checked(text);
                // serde_json prints the members of an object in the order of their names.
                function.parameters.get_or_insert_with(|| sorted(&empty));
            }
        }
        tools
    }

    fn tool_choice_sent(&self) -> Option<tollgate_core::ir::ToolChoice> {
        self.tool_choice.clone().filter(|_| !self.tools.is_empty())
    }

    fn format_named(&self) -> tollgate_core::ir::OutputFormat {
        let mut format = self.format.clone();
        if let tollgate_core::ir::OutputFormat::JsonSchema { name, .. } = &mut format {
            name.get_or_insert_with(|| "response".into());
        }
        format
    }
}

fn sorted(json: &tollgate_core::base::RawJson) -> tollgate_core::base::RawJson {
    let value: Json = serde_json::from_slice(json.text()).unwrap();
    tollgate_core::base::RawJson::from_checked(Bytes::from(value.to_string()))
}

/// All text and all data of the request arrives in the model, and calls and results with their ids.
fn check_words(id: &str, system: &[Part], messages: &[tollgate_core::ir::Message], told: &Json) {
    let mut own = Vec::new();
    let parts = messages.iter().flat_map(|message| &message.parts);
    for part in system.iter().chain(parts) {
        words_of(part, &mut own);
    }
    let mut expected = Vec::new();
    for message in told.as_array().unwrap() {
        words_told(message, &mut expected);
    }
    own.sort();
    expected.sort();
    assert_eq!(own, expected, "{id}");
}

fn words_of(part: &Part, out: &mut Vec<String>) {
    match &part.kind {
        PartKind::Text { text, .. } => out.push(text.unescape().into_owned()),
        PartKind::ToolCall(call) => {
            out.push(format!("call {} {}", call.id, call.name));
        }
        PartKind::ToolResult(result) => {
            out.push(format!("result {}", result.call_id));
            result.parts.iter().for_each(|part| words_of(part, out));
        }
        PartKind::Image(media) | PartKind::Audio(media) | PartKind::Video(media) => {
            source_words(&media.source, out);
        }
        PartKind::Document(document) => source_words(&document.source, out),
        _ => {}
    }
    out.retain(|text| !text.is_empty());
}

fn source_words(source: &Source, out: &mut Vec<String>) {
    match source {
        Source::Base64 { data, .. } => out.push(data.unescape().into_owned()),
        Source::Url { url, .. } => out.push(url.unescape().into_owned()),
        Source::File { id, .. } => out.push(id.unescape().into_owned()),
        other => panic!("{other:?}"),
    }
}

fn words_told(message: &Json, out: &mut Vec<String>) {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let data = |json: &Json| {
        let url = text(json);
        match url.split_once(";base64,") {
            Some((_, data)) => data.to_owned(),
            None => url,
        }
    };
    match &message["content"] {
        Json::String(content) => out.push(content.clone()),
        Json::Array(parts) => {
            for part in parts {
                match part["type"].as_str().unwrap() {
                    "text" => out.push(text(&part["text"])),
                    "image_url" | "video_url" => {
                        let part = &part[part["type"].as_str().unwrap()];
                        out.push(data(part.get("url").unwrap_or(part)));
                    }
                    "document_url" => out.push(data(&part["document_url"])),
                    "file" => {
                        let file = &part["file"];
                        out.push(data(file.get("file_data").unwrap_or(&file["file_id"])));
                    }
                    "input_audio" => {
                        let audio = &part["input_audio"];
                        out.push(data(audio.get("data").unwrap_or(audio)));
                    }
                    "thinking" => {}
                    other => panic!("{other}"),
                }
            }
        }
        _ => {}
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let body = call.get("function").unwrap_or(&call["custom"]);
        out.push(format!(
            "call {} {}",
            text(&call["id"]),
            text(&body["name"])
        ));
    }
    if message["role"] == "tool" {
        out.push(format!("result {}", text(&message["tool_call_id"])));
    }
    out.retain(|text| !text.is_empty());
}

#[test]
fn answers() {
    let Some(all) = recordings() else { return };
    let mut table = Table::default();
    for Recording { id, json } in &all {
        let status = json["response"]["status"].as_u64();
        let body = &json["response"]["body"];
        if status.is_some_and(|status| status >= 400) {
            let text = match body {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            let status = status.unwrap() as u16;
            check_failure(id, status, &text, &mut table);
            continue;
        }
        if !body.is_object() {
            table.pass(if body.is_null() {
                "without an answer"
            } else {
                "a stream"
            });
            continue;
        }
        match decode_response(&body.to_string()) {
            Ok(response) => {
                check_answer(id, &response, body);
                let text = encode_response(&response);
                let again = decode_response(core::str::from_utf8(&text).unwrap()).unwrap();
                assert_eq!(summary(&again), summary(&response), "{id}");
                table.pass("answer read, written, read again");
            }
            Err(failure) => table.refuse("answer", id, &failure.to_string()),
        }
    }
    table.print();
    // Azure's filter in the place of a completion; an answer that is none.
    assert_eq!(table.refused.len(), 2, "{:#?}", table.refused);
}

fn check_failure(id: &str, status: u16, text: &str, table: &mut Table) {
    let failure = failure::decode(
        status,
        &Bytes::copy_from_slice(text.as_bytes()),
        &Limits::default(),
    );
    let expected = match status {
        _ if text.contains("context length") => Class::ContextLength,
        _ if text.contains("tool_use_failed") => Class::ToolGeneration,
        status => Class::from_status(status),
    };
    assert_eq!(failure.class, expected, "{id}: {text}");
    let json: Json = serde_json::from_str(text).unwrap();
    let told = json["error"]["message"]
        .as_str()
        .or(json["detail"].as_str())
        .unwrap();
    assert!(
        failure.message.unescape().starts_with(told),
        "{id}: {failure}"
    );
    table.pass("error read");
}

/// What an answer says, in one comparable form.
#[derive(Debug, Default, PartialEq)]
struct Summary {
    text: String,
    refusal: String,
    thinking: String,
    signatures: Vec<String>,
    calls: Vec<(String, String, String)>,
    finish: Option<FinishReason>,
    usage: Usage,
}

fn summary(response: &Response) -> Vec<Summary> {
    let mut all = Vec::new();
    for choice in &response.choices {
        let mut one = Summary {
            finish: Some(choice.finish.reason.clone()),
            usage: normal(response.usage.unwrap_or_default()),
            ..Summary::default()
        };
        for part in &choice.parts {
            match &part.kind {
                PartKind::Text { text, .. } => one.text += &text.unescape(),
                PartKind::Refusal { text } => one.refusal += &text.unescape(),
                PartKind::Thinking(thinking) => {
                    one.thinking += &thinking.text.unescape();
                    let signature = thinking.signature.iter();
                    one.signatures
                        .extend(signature.map(|it| it.value.to_string()));
                }
                PartKind::RedactedThinking { data, .. } => one.signatures.push(data.to_string()),
                PartKind::ToolCall(call) => {
                    let arguments = match &call.arguments {
                        tollgate_core::ir::Arguments::Json(json) => {
                            String::from_utf8(json.text().to_vec()).unwrap()
                        }
                        tollgate_core::ir::Arguments::Text(text)
                        | tollgate_core::ir::Arguments::Free(text) => text.to_string(),
                    };
                    let call = (call.id.to_string(), call.name.to_string(), arguments);
                    one.calls.push(call);
                }
                _ => {}
            }
        }
        all.push(one);
    }
    all
}

/// Counts that were not told are written as zeros.
fn normal(usage: Usage) -> Usage {
    let mut zeros = Usage {
        input: Some(0),
        output: Some(0),
        cache_read: Some(0),
        reasoning: Some(0),
        ..Usage::default()
    };
    zeros.update(&usage);
    zeros
}

fn check_answer(id: &str, response: &Response, told: &Json) {
    let all = summary(response);
    let choices = told["choices"].as_array().unwrap();
    assert_eq!(all.len(), choices.len(), "{id}");
    for (own, choice) in all.iter().zip(choices) {
        let message = &choice["message"];
        let mut expected = Said::default();
        expected.message(message);
        assert_eq!(own.text, expected.text, "{id}");
        assert_eq!(own.thinking, expected.thinking(), "{id}");
        assert_eq!(
            own.refusal,
            message["refusal"].as_str().unwrap_or_default(),
            "{id}"
        );
        let calls = expected.calls();
        assert_eq!(own.calls.len(), calls.len(), "{id}");
        for ((_, name, arguments), (other_name, other)) in own.calls.iter().zip(calls) {
            assert_eq!((name, arguments), (&other_name, &other), "{id}");
        }
        let reason = choice["finish_reason"].as_str().unwrap_or_default();
        assert_eq!(own.finish, Some(expected_finish(reason, own)), "{id}");
    }
    check_usage(id, &response.usage.unwrap_or_default(), &told["usage"]);
}

fn expected_finish(reason: &str, own: &Summary) -> FinishReason {
    match reason {
        _ if !own.calls.is_empty() && reason != "length" => FinishReason::ToolCalls,
        "length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

fn check_usage(id: &str, own: &Usage, told: &Json) {
    if !told.is_object() {
        return;
    }
    let count = |key: &str| told[key].as_u64();
    assert!(own.input >= count("prompt_tokens"), "{id}");
    assert!(own.output >= count("completion_tokens"), "{id}");
    if let Some(total) = count("total_tokens") {
        assert_eq!(own.total(), Some(total), "{id}: {told}");
    }
    if let Some(cached) = told["prompt_tokens_details"]["cached_tokens"].as_u64() {
        assert_eq!(own.cache_read, Some(cached), "{id}");
    }
    if let Some(reasoning) = told["completion_tokens_details"]["reasoning_tokens"].as_u64() {
        assert_eq!(own.reasoning, Some(reasoning), "{id}");
    }
}

/// What messages or deltas say, put together in the plainest way.
#[derive(Default)]
struct Said {
    text: String,
    words: String,
    detail_words: String,
    refusal: String,
    calls: Vec<(Option<u64>, String, String, String)>,
}

impl Said {
    fn message(&mut self, message: &Json) {
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        match &message["content"] {
            Json::String(content) => self.text += content,
            Json::Array(parts) => {
                for part in parts {
                    self.text += &text(&part["text"]);
                    for word in part["thinking"].as_array().into_iter().flatten() {
                        self.words += &text(&word["text"]);
                    }
                }
            }
            _ => {}
        }
        let words = text(&message["reasoning_content"]);
        self.words += &if words.is_empty() {
            text(&message["reasoning"])
        } else {
            words
        };
        self.refusal += &text(&message["refusal"]);
        for detail in message["reasoning_details"]
            .as_array()
            .into_iter()
            .flatten()
        {
            self.detail_words += &text(&detail["text"]);
            self.detail_words += &text(&detail["summary"]);
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            self.call(call);
        }
        let old = &message["function_call"];
        if old["name"].as_str().is_some_and(|it| !it.is_empty()) {
            self.call(&serde_json::json!({"index": 0, "function": old}));
        }
    }

    fn call(&mut self, call: &Json) {
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        let (index, id) = (call["index"].as_u64(), text(&call["id"]));
        let body = call.get("function").unwrap_or(&call["custom"]);
        let name = text(&body["name"]);
        let arguments = body.get("arguments").unwrap_or(&body["input"]);
        let new = !name.is_empty()
            && (index.is_none() || !id.is_empty() || self.calls.is_empty())
            && !self
                .calls
                .iter()
                .any(|known| index.is_some() && known.0 == index && known.1 == id);
        if new {
            self.calls.push((index, id, name, text(arguments)));
        } else {
            let of = self.calls.iter_mut().rev().find(|known| known.0 == index);
            of.unwrap().3 += &text(arguments);
        }
    }

    fn thinking(&self) -> String {
        let words = if self.words.is_empty() {
            &self.detail_words
        } else {
            &self.words
        };
        words.clone()
    }

    fn calls(&self) -> Vec<(String, String)> {
        let calls = self.calls.iter().map(|(_, _, name, arguments)| {
            let none = arguments.trim().is_empty();
            let arguments = if none {
                "{}".to_owned()
            } else {
                arguments.clone()
            };
            (name.clone(), arguments)
        });
        calls.collect()
    }
}

#[test]
fn streams() {
    let Some(all) = recordings() else { return };
    let mut table = Table::default();
    for Recording { id, json } in &all {
        let Some(text) = json["response"]["body"].as_str() else {
            continue;
        };
        if json["response"]["status"]
            .as_u64()
            .is_some_and(|status| status >= 400)
        {
            continue;
        }
        let told = events(text);
        let (deltas, broken) = decode_stream(&told);
        assert_eq!(broken, 0, "{id}");
        check_order(id, &deltas);
        let encoded = encode_stream(&deltas, true);
        let written = events(&encoded);
        let end = grammar::check(&written, true).unwrap_or_else(|what| panic!("{id}: {what}"));
        match collect(&deltas) {
            Ok(response) => {
                assert_eq!(end, End::Done, "{id}");
                check_stream(id, &response, &told);
                let (again, broken) = decode_stream(&written);
                assert_eq!(broken, 0, "{id}");
                let again = summary(&collect(&again).unwrap());
                let mut response = response;
                let usage = response.usage.get_or_insert_default();
                // Where nothing was told the estimate is.
                usage.input.get_or_insert(meta(true).input_tokens_estimate);
                assert_eq!(again, summary(&response), "{id}");
                let hidden = events(&encode_stream(&deltas, false));
                assert_eq!(grammar::check(&hidden, false), Ok(End::Done), "{id}");
                table.pass("stream read, written, read again");
            }
            Err(failure) => {
                assert_eq!(end, End::Failed, "{id}");
                table.refuse("stream", id, &failure.to_string());
            }
        }
    }
    table.print();
    // One recording holds an error in mid-stream.
    assert_eq!(table.refused.len(), 1, "{:#?}", table.refused);
}

/// The order that `ir::Delta` promises.
fn check_order(id: &str, deltas: &[Delta]) {
    assert!(matches!(deltas.first(), Some(Delta::Start(_))), "{id}");
    let mut open = Vec::new();
    let mut finished = Vec::new();
    for (at, delta) in deltas.iter().enumerate() {
        let last = at + 1 == deltas.len();
        match delta {
            Delta::Start(_) => assert_eq!(at, 0, "{id}"),
            Delta::BlockStart { block, choice, .. } => {
                assert!(!finished.contains(choice), "{id}");
                open.push((*block, *choice));
            }
            Delta::Append { block, .. } => assert!(open.iter().any(|it| it.0 == *block), "{id}"),
            Delta::BlockStop { block } => {
                assert!(open.iter().any(|it| it.0 == *block), "{id}");
                open.retain(|other| other.0 != *block);
            }
            Delta::Finish { choice, .. } => {
                assert!(
                    open.iter().all(|it| it.1 != *choice) && !finished.contains(choice),
                    "{id}"
                );
                finished.push(*choice);
            }
            Delta::End | Delta::Failure(_) => assert!(last, "{id}"),
            _ => {}
        }
    }
    let ended = matches!(deltas.last(), Some(Delta::End | Delta::Failure(_)));
    assert!(ended, "{id}");
}

fn check_stream(id: &str, response: &Response, events: &[Bytes]) {
    let mut said: BTreeMap<u64, (Said, String)> = BTreeMap::new();
    let (mut usage, mut groq) = (Json::Null, Json::Null);
    for event in events {
        let Ok(chunk) = serde_json::from_slice::<Json>(event) else {
            continue;
        };
        if chunk["usage"].is_object() {
            usage = chunk["usage"].clone();
        } else if chunk["x_groq"]["usage"].is_object() {
            groq = chunk["x_groq"]["usage"].clone();
        }
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let (own, finish) = said
                .entry(choice["index"].as_u64().unwrap_or(0))
                .or_default();
            own.message(&choice["delta"]);
            if let Some(reason) = choice["finish_reason"].as_str() {
                *finish = reason.to_owned();
            }
        }
    }
    let all = summary(response);
    assert_eq!(all.len(), said.len(), "{id}");
    for (own, (expected, finish)) in all.iter().zip(said.values()) {
        assert_eq!(own.text, expected.text, "{id}");
        assert_eq!(own.refusal, expected.refusal, "{id}");
        assert_eq!(own.thinking, expected.thinking(), "{id}");
        let calls: Vec<_> = own
            .calls
            .iter()
            .map(|it| (it.1.clone(), it.2.clone()))
            .collect();
        assert_eq!(calls, expected.calls(), "{id}");
        assert_eq!(own.finish, Some(expected_finish(finish, own)), "{id}");
    }
    let told = if usage.is_null() { groq } else { usage };
    check_usage(id, &response.usage.unwrap_or_default(), &told);
}

/// Streams with bytes and events lost, doubled and changed: never a panic, never an order that is
/// not promised, never bytes that break the grammar.
#[test]
fn mangled_streams() {
    let Some(all) = recordings() else { return };
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for Recording { id, json } in &all {
        let Some(text) = json["response"]["body"].as_str() else {
            continue;
        };
        let whole = events(text);
        for _ in 0..8 {
            let mut mangled = whole.clone();
            for _ in 0..=draw(3) {
                mangle(&mut mangled, &mut draw);
            }
            let (deltas, _) = decode_stream(&mangled);
            if matches!(deltas.as_slice(), [Delta::Failure(_)]) {
                continue;
            }
            check_order(id, &deltas);
            let written = events(&encode_stream(&deltas, true));
            grammar::check(&written, true).unwrap_or_else(|what| panic!("{id}: {what}"));
        }
    }
}

fn mangle(events: &mut Vec<Bytes>, draw: &mut impl FnMut(usize) -> usize) {
    if events.is_empty() {
        return;
    }
    let at = draw(events.len());
    let event = events[at].clone();
    match draw(6) {
        0 => drop(events.remove(at)),
        1 => events.insert(at, event),
        2 => events.truncate(at),
        3 => events[at] = event.slice(..draw(event.len())),
        4 => {
            let mut bytes = event.to_vec();
            let place = draw(bytes.len());
            let with = b"0\"{}[],:xn\\ "[draw(12)];
            if let Some(byte) = bytes.get_mut(place) {
                *byte = with;
            }
            events[at] = Bytes::from(bytes);
        }
        _ => {
            let text = String::from_utf8_lossy(&event).into_owned();
            let swaps = [
                ("\"index\":0", "\"index\":3"),
                ("\"index\"", "\"indox\""),
                ("\"id\"", "\"ix\""),
                ("\"name\"", "\"nome\""),
                ("null", "7"),
                ("\"content\":\"", "\"tool_calls\":\""),
                ("\"delta\"", "\"message\""),
            ];
            let (from, to) = swaps[draw(swaps.len())];
            events[at] = Bytes::from(text.replace(from, to));
        }
    }
}
