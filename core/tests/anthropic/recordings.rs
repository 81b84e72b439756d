//! All recorded exchanges with this API: what is read, written and read again is the same. Prints a
//! table; each refusal has its reason there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::Value as Json;
use tollgate_core::base::Limits;
use tollgate_core::dialect::anthropic::{failure, watch};
use tollgate_core::ir::{
    Arguments, Class, Collector, Delta, FinishReason, Part, PartKind, Response, ToolKind, replay,
};
use tollgate_core::wire::json::Tape;

use super::grammar;
use super::shared;
use super::support::{
    collect, decode, decode_response, deltas, encode, encode_response, encode_stream, events,
};

#[derive(Default)]
struct Table {
    checks: BTreeMap<&'static str, usize>,
    refused: String,
}

impl Table {
    fn pass(&mut self, check: &'static str) {
        *self.checks.entry(check).or_default() += 1;
    }

    fn refuse(&mut self, id: &str, check: &str, reason: &str) {
        writeln!(self.refused, "{id} | {check} | {reason}").unwrap();
    }
}

#[test]
fn every_recording_is_understood() {
    let Some(files) = shared::recordings("anthropic.messages") else {
        return;
    };
    let mut table = Table::default();
    for (_, text) in &files {
        let recording: Json = serde_json::from_str(text).unwrap();
        let id = recording["id"].as_str().unwrap();
        println!("{id}");
        request(id, &recording, &mut table);
        let status = recording["response"]["status"].as_u64().unwrap() as u16;
        match &recording["response"]["body"] {
            Json::String(stream) => streamed(id, stream, &mut table),
            Json::Null => table.refuse(id, "response", "not recorded"),
            body if status >= 400 => failed(status, body, &mut table),
            body => whole(id, body, &mut table),
        }
    }
    println!("{} recordings", files.len());
    for (check, count) in &table.checks {
        println!("{check} | {count} passed");
    }
    println!("refused:\n{}", table.refused);
    assert!(files.len() > 300);
}

fn request(id: &str, recording: &Json, table: &mut Table) {
    let body = &recording["request"]["body"];
    if body.is_null() {
        table.refuse(id, "request decode", "the request is not recorded");
        return;
    }
    let request = match decode(&body.to_string()) {
        Ok(request) => request,
        Err(failure) => {
            // Vertex names the model in the path.
            assert_eq!(failure.message.unescape(), "model: field required", "{id}");
            assert!(body["anthropic_version"].is_string(), "{id}");
            table.refuse(id, "request decode", &failure.to_string());
            return;
        }
    };
    table.pass("request decode");
    let (again, dropped) = match encode(&request) {
        Ok(encoded) => encoded,
        Err(failure) => {
            let message = failure.message.unescape().into_owned();
            // The upstream itself answered this one with a 400.
            assert!(message.contains("content is required"), "{id}: {message}");
            table.refuse(id, "request encode", &failure.to_string());
            return;
        }
    };
    table.pass("request encode");
    if !dropped.is_empty() {
        table.refuse(id, "dropped", &dropped.join(", "));
    }
    let mut second = decode(&again.to_string()).unwrap();
    let mut first = request;
    // Merged turns, dropped fields and numbers are compared below and in the tests of each rule.
    for tool in &mut first.tools {
        if let ToolKind::Function(function) = &mut tool.kind {
            // What is not said means no.
            function.strict = function.strict.filter(|strict| *strict);
        }
    }
    assert_eq!(first.tools, second.tools, "{id}");
    assert_eq!(first.tool_choice, second.tool_choice, "{id}");
    assert_eq!(first.format, second.format, "{id}");
    for request in [&mut first, &mut second] {
        for message in &mut request.messages {
            message.parts.retain(|part| {
                !matches!(&part.kind,
                PartKind::Text { text, .. } if text.unescape().trim().is_empty())
            });
        }
    }
    let count = |request: &tollgate_core::ir::Request| -> usize {
        request
            .messages
            .iter()
            .map(|message| message.parts.len())
            .sum()
    };
    assert_eq!(count(&first), count(&second), "{id}");
    table.pass("request decode, encode, decode");
}

fn failed(status: u16, body: &Json, table: &mut Table) {
    let text = Bytes::from(body.to_string());
    let failure = failure::decode(status, &text, &Limits::default());
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!(failure.message.unescape(), message);
    let expected = match body["error"]["type"].as_str().unwrap() {
        _ if message.contains("prompt is too long") => Class::ContextLength,
        "invalid_request_error" => Class::InvalidRequest,
        "authentication_error" => Class::Authentication,
        "not_found_error" => Class::NotFound,
        "rate_limit_error" => Class::RateLimit,
        "overloaded_error" => Class::Overloaded,
        other => panic!("{other}"),
    };
    assert_eq!(failure.class, expected);
    let mut out = tollgate_core::base::OutBuf::new();
    assert_eq!(failure::encode(&failure, "req_1", &mut out), status);
    let again: Json = serde_json::from_slice(&out.take_all()).unwrap();
    assert_eq!(again["error"]["type"], body["error"]["type"]);
    assert_eq!(again["error"]["message"], body["error"]["message"]);
    table.pass("failure decode, encode");
}

/// The stop reason to be told: an answer that calls tools says so, whatever the upstream said.
fn stop_reason<'a>(id: &str, message: &'a Json, table: &mut Table) -> &'a str {
    let reason = message["stop_reason"].as_str().unwrap();
    let mut blocks = message["content"].as_array().unwrap().iter();
    if reason == "end_turn" && blocks.any(|block| block["type"] == "tool_use") {
        table.refuse(id, "stop reason", "end_turn, though tools are called");
        return "tool_use";
    }
    reason
}

fn whole(id: &str, body: &Json, table: &mut Table) {
    let stop_reason = stop_reason(id, body, table);
    let response = decode_response(&body.to_string()).unwrap();
    let blocks = body["content"].as_array().unwrap();
    assert_eq!(response.choices[0].parts.len(), blocks.len());
    table.pass("response decode");
    let again: Json = serde_json::from_str(&encode_response(&response)).unwrap();
    assert_eq!(again["stop_reason"], stop_reason);
    for name in ["id", "model", "stop_sequence"] {
        assert!(again[name] == body[name] || body[name].is_null(), "{name}");
    }
    for count in ["input_tokens", "output_tokens"] {
        assert_eq!(again["usage"][count], body["usage"][count]);
    }
    compare_blocks(blocks, again["content"].as_array().unwrap());
    table.pass("response encode");
    let mut told = Vec::new();
    replay(response.clone(), &mut told);
    let outcome = grammar::check(&encode_stream(&told));
    assert_eq!(outcome.stop_reason.as_deref(), Some(stop_reason));
    let back = collect(&deltas(&encode_stream(&told))).unwrap();
    assert_same(&plain(&response), &plain(&back));
    table.pass("response as a stream");
}

/// Blocks are the same, but for members that have no place in the model.
fn compare_blocks(before: &[Json], after: &[Json]) {
    let mut after = after.iter();
    for block in before {
        if block["type"] == "text" && block["text"] == "" {
            continue;
        }
        let again = after.next().unwrap();
        for (name, value) in block.as_object().unwrap() {
            let missing = again[name].is_null();
            let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            assert!(
                again[name] == *value || (missing && (empty || name == "caller")),
                "{name} of {block} and {again}"
            );
        }
    }
}

fn streamed(id: &str, stream: &str, table: &mut Table) {
    let told = deltas(stream);
    check_order(&told);
    table.pass("stream decode");
    let encoded = encode_stream(&told);
    let outcome = grammar::check(&encoded);
    table.pass("stream encode obeys the grammar");
    watched(stream, &told);
    table.pass("watch agrees");
    let Ok(response) = collect(&told) else {
        let Some(Delta::Failure(failure)) = told.last() else {
            panic!("{id}: no end");
        };
        assert!(outcome.error.is_some(), "{id}");
        table.refuse(id, "stream collect", &failure.to_string());
        return;
    };
    let by_hand = accumulate(stream);
    let again: Json = serde_json::from_str(&encode_response(&response)).unwrap();
    assert_eq!(
        again["stop_reason"],
        stop_reason(id, &by_hand, table),
        "{id}"
    );
    for name in ["input_tokens", "output_tokens"] {
        assert_eq!(again["usage"][name], by_hand["usage"][name], "{id}");
        assert_eq!(outcome.usage[name], by_hand["usage"][name], "{id}");
    }
    compare_blocks(
        by_hand["content"].as_array().unwrap(),
        again["content"].as_array().unwrap(),
    );
    table.pass("stream collect equals the events");
    let back = collect(&deltas(&encoded)).unwrap();
    assert_same(&plain(&response), &plain(&back));
    table.pass("stream decode, encode, decode");
}

fn watched(stream: &str, told: &[Delta]) {
    let mut watch = watch::Watch::new(false);
    let (mut tape, limits) = (Tape::new(), Limits::default().json);
    let (mut terminal, mut failed) = (false, false);
    for (name, data) in events(stream) {
        if terminal || failed {
            break;
        }
        let root = tape.parse(&data, &limits).ok();
        let seen = watch.look(&name, &data, root);
        terminal = seen.terminal;
        failed = seen.failure.is_some();
    }
    let mut collector = Collector::new(1 << 26);
    let whole = told.iter().try_for_each(|it| collector.push(it.clone()));
    assert_eq!(whole.is_err(), failed || watch.end_of_body().is_some());
    if let (Ok(()), Some(response)) = (whole, collector.finish()) {
        assert_eq!(watch.usage(), response.usage.unwrap());
        assert_eq!(watch.finish(), Some(&response.choices[0].finish.reason));
        assert_eq!(watch.model(), response.model.as_ref());
    }
}

/// The order that `Delta` demands of decoders.
pub(crate) fn check_order(told: &[Delta]) {
    let mut open = Vec::new();
    let mut finished = false;
    for (at, delta) in told.iter().enumerate() {
        match delta {
            Delta::Start(_) => assert!(told[..at].iter().all(|it| *it == Delta::Ping)),
            Delta::BlockStart { block, .. } => {
                assert!(!finished);
                open.push(*block);
            }
            Delta::Append { block, .. } => assert!(open.contains(block)),
            Delta::BlockStop { block } => {
                let at = open.iter().position(|open| open == block).unwrap();
                open.remove(at);
            }
            Delta::Finish { .. } => {
                assert!(open.is_empty() && !finished);
                finished = true;
            }
            Delta::End => assert!(finished && at + 1 == told.len()),
            Delta::Failure(_) => assert_eq!(at + 1, told.len()),
            Delta::Usage(_) | Delta::Ping | Delta::Logprobs { .. } => {}
        }
    }
    assert!(matches!(told.last(), Some(Delta::End | Delta::Failure(_))));
}

/// The message that the events make up, put together from their JSON without the code under test.
fn accumulate(stream: &str) -> Json {
    let mut message = Json::Null;
    let mut partial: BTreeMap<u64, String> = BTreeMap::new();
    for line in stream.lines() {
        let Some(data) = line.strip_prefix("data:") else {
            continue;
        };
        let event: Json = serde_json::from_str(data).unwrap();
        match event["type"].as_str().unwrap() {
            "message_start" if message.is_null() => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(event["index"], content.len());
                content.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let index = event["index"].as_u64().unwrap();
                let block = &mut message["content"][index as usize];
                accumulate_delta(block, &event["delta"], partial.entry(index).or_default());
            }
            "content_block_stop" => {
                let index = event["index"].as_u64().unwrap();
                let json = partial.remove(&index).unwrap_or_default();
                if !json.is_empty() {
                    message["content"][index as usize]["input"] =
                        serde_json::from_str(&json).unwrap();
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                for (name, count) in event["usage"].as_object().unwrap() {
                    message["usage"][name] = count.clone();
                }
            }
            "message_stop" => break,
            _ => {}
        }
    }
    message
}

fn accumulate_delta(block: &mut Json, delta: &Json, partial: &mut String) {
    let join = |block: &mut Json, name: &str| {
        let text = block[name].as_str().unwrap_or_default().to_owned();
        block[name] = Json::String(text + delta[name].as_str().unwrap());
    };
    match delta["type"].as_str().unwrap() {
        "text_delta" => join(block, "text"),
        "thinking_delta" => join(block, "thinking"),
        "signature_delta" => block["signature"] = delta["signature"].clone(),
        "input_json_delta" => partial.push_str(delta["partial_json"].as_str().unwrap()),
        "citations_delta" => {
            if !block["citations"].is_array() {
                block["citations"] = Json::Array(Vec::new());
            }
            let citations = block["citations"].as_array_mut().unwrap();
            citations.push(delta["citation"].clone());
        }
        "compaction_delta" => block["content"] = delta["content"].clone(),
        other => panic!("{other}"),
    }
}

/// An answer in which text that came in another form is the same.
fn plain(response: &Response) -> Response {
    let mut response = response.clone();
    response.service_tier = None;
    for choice in &mut response.choices {
        choice.finish.message = None;
        choice.parts.retain(|part| match &part.kind {
            PartKind::Text { text, citations } => !text.is_empty() || !citations.is_empty(),
            _ => true,
        });
        let calls = |part: &Part| matches!(part.kind, PartKind::ToolCall(_));
        if choice.parts.iter().any(calls) && choice.finish.reason == FinishReason::Stop {
            choice.finish.reason = FinishReason::ToolCalls;
        }
        for part in &mut choice.parts {
            match &mut part.kind {
                PartKind::ToolCall(call) => {
                    let text = match &call.arguments {
                        Arguments::Json(json) => String::from_utf8_lossy(json.text()).into_owned(),
                        Arguments::Text(text) | Arguments::Free(text) => {
                            text.unescape().into_owned()
                        }
                    };
                    call.arguments = Arguments::Text(text.as_str().into());
                }
                PartKind::Text { citations, .. } => {
                    citations.iter_mut().for_each(|(_, json)| one_line(json));
                }
                PartKind::Opaque { json, .. } => one_line(json),
                _ => {}
            }
        }
    }
    response
}

fn one_line(json: &mut tollgate_core::base::RawJson) {
    let value: Json = serde_json::from_slice(json.text()).unwrap();
    *json = super::support::raw(&value.to_string());
}

fn assert_same(one: &Response, other: &Response) {
    assert_eq!(one.choices, other.choices);
    let (one, other) = (one.usage.unwrap(), other.usage.unwrap());
    assert_eq!(one.input, other.input);
    assert_eq!(one.output, other.output);
    assert_eq!(one.cache_read.unwrap_or(0), other.cache_read.unwrap_or(0));
    assert_eq!(one.cache_write.unwrap_or(0), other.cache_write.unwrap_or(0));
    assert_eq!(one.reasoning, other.reasoning);
}
