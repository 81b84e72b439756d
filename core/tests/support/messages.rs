//! Answers in the Messages API: [`check`] holds what the gateway writes to the grammar of a stream;
//! [`told`] puts together what a recorded stream says, in the plainest way.

#[path = "../anthropic/grammar.rs"]
mod grammar;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::events;
use super::said::{Answer, Call, Fault, Finish, Said, Usage, list, text};

/// Reads a stream, and panics where it breaks the grammar, or tells what no client of these tests
/// asks for.
pub(crate) fn check(stream: &str) -> Answer {
    let (answer, is_ended) = follow(stream);
    assert!(is_ended, "the stream does not end: {stream}");
    answer
}

/// The same for a stream that goes on: what has come so far.
pub(crate) fn check_begun(stream: &str) -> Answer {
    follow(stream).0
}

fn follow(stream: &str) -> (Answer, bool) {
    let mut answer = Answer::default();
    let (_, is_ended) = grammar::follow(stream, |event, outcome| {
        let blocks = outcome.blocks.as_slice();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                let output = &event["message"]["usage"]["output_tokens"];
                assert!(output.is_u64(), "{event}");
            }
            "content_block_start" => check_begin(blocks),
            "content_block_stop" => check_end(blocks),
            "message_delta" => finish_answer(event, blocks, &mut answer),
            "message_stop" => answer.is_complete = true,
            "error" => {
                answer.error = Some(fault(event));
                // What was begun when it failed is for the client to see, but no whole answer.
                *answer.choice(0) = put_together(blocks);
            }
            _ => {}
        }
    });
    (answer, is_ended)
}

/// The block that begins is the last.
fn check_begin(blocks: &[(Json, String)]) {
    let ((block, _), earlier) = blocks.split_last().expect("an open block");
    match block["type"].as_str().expect("a type") {
        "text" => assert_eq!(block["text"], "", "text at the beginning"),
        "thinking" => assert_eq!(block["thinking"], "", "thinking at the beginning"),
        "redacted_thinking" => assert!(block["data"].is_string()),
        "tool_use" => {
            assert_ne!(text(&block["id"]), "", "{block}");
            let is_new = earlier.iter().all(|(own, _)| own["id"] != block["id"]);
            assert!(is_new, "two calls of one id: {block}");
            assert_ne!(text(&block["name"]), "", "{block}");
        }
        other => panic!("a block {other}"),
    }
}

/// The block that ends is the last.
fn check_end(blocks: &[(Json, String)]) {
    let (block, said) = blocks.last().expect("an open block");
    match block["type"].as_str().unwrap_or_default() {
        "text" => assert!(!said.is_empty() || blocks.len() == 1, "an empty text"),
        // Arguments that are no JSON are the model's own fault, and go on as they are.
        "tool_use" => assert_eq!(said.trim(), said.as_str(), "{block}"),
        _ => {}
    }
}

fn finish_answer(event: &Json, blocks: &[(Json, String)], answer: &mut Answer) {
    let delta = &event["delta"];
    assert!(delta.get("stop_sequence").is_some(), "{event}");
    let mut said = put_together(blocks);
    let reason = text(&delta["stop_reason"]);
    let is_odd = !said.calls.is_empty() && reason == "stop_sequence";
    assert!(!is_odd, "{reason} with a call");
    said.finish = Some(finish(&reason).unwrap_or_else(|| panic!("stop_reason {reason}")));
    *answer.choice(0) = said;
    answer.usage = usage(&event["usage"]);
}

fn put_together(blocks: &[(Json, String)]) -> Said {
    let mut said = Said::default();
    for (block, words) in blocks {
        let mut block = block.clone();
        match block["type"].as_str().unwrap_or_default() {
            "text" => block["text"] = words.as_str().into(),
            "thinking" => block["thinking"] = words.as_str().into(),
            _ => {}
        }
        add_block(&mut said, &block, Some(words));
    }
    said
}

/// Whether the API takes this as the id of a call: `^[a-zA-Z0-9_-]+$`.
pub(crate) fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    !id.is_empty() && id.bytes().all(is_plain)
}

fn finish(reason: &str) -> Option<Finish> {
    Some(match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        // A paused turn is not over either: Chat has no other word for that.
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" | "compaction" => {
            Finish::Length
        }
        "tool_use" => Finish::Calls,
        "refusal" => Finish::Filter,
        _ => return None,
    })
}

/// The error of an `error` event or of a body.
pub(crate) fn fault(body: &Json) -> Fault {
    assert_eq!(body["type"], "error", "{body}");
    let (kind, message) = (
        text(&body["error"]["type"]),
        text(&body["error"]["message"]),
    );
    assert!(!kind.is_empty() && !message.is_empty(), "{body}");
    Fault { kind, message }
}

/// Usage, with cached tokens added to the input.
pub(crate) fn usage(usage: &Json) -> Option<Usage> {
    let count = |name: &str| usage[name].as_u64();
    let (read, write) = (
        count("cache_read_input_tokens").unwrap_or(0),
        count("cache_creation_input_tokens").unwrap_or(0),
    );
    let details = &usage["output_tokens_details"];
    Some(Usage {
        input: count("input_tokens")? + read + write,
        output: count("output_tokens").unwrap_or(0),
        cache_read: read,
        cache_write: write,
        reasoning: details["thinking_tokens"].as_u64().unwrap_or(0),
    })
}

/// Adds a block; `arguments` are those of a streamed call.
fn add_block(said: &mut Said, block: &Json, arguments: Option<&str>) {
    match block["type"].as_str().unwrap_or_default() {
        "text" => said.text += &text(&block["text"]),
        "thinking" => {
            said.thinking += &text(&block["thinking"]);
            let signature = text(&block["signature"]);
            said.signatures
                .extend(Some(signature).filter(|it| !it.is_empty()));
        }
        "redacted_thinking" => said.redacted.push(text(&block["data"])),
        "tool_use" => {
            let streamed = arguments.filter(|it| !it.trim().is_empty());
            said.calls.push(Call {
                id: text(&block["id"]),
                name: text(&block["name"]),
                arguments: streamed.map_or_else(|| block["input"].to_string(), str::to_owned),
            });
        }
        _ => {}
    }
}

/// What a whole answer says.
pub(crate) fn whole(body: &Json) -> Answer {
    if body["type"] == "error" {
        let error = Some(fault(body));
        return Answer {
            error,
            ..Answer::default()
        };
    }
    let mut said = Said::default();
    for block in list(&body["content"]) {
        add_block(&mut said, block, None);
    }
    said.finish = body["stop_reason"].as_str().and_then(finish);
    Answer::of(said, usage(&body["usage"]))
}

/// What a recorded stream says.
pub(crate) fn told(stream: &str) -> Answer {
    let mut answer = Answer::default();
    let mut blocks: BTreeMap<u64, (Json, String)> = BTreeMap::new();
    let (mut counts, mut id) = (Json::Null, String::new());
    let mut reason = None;
    for event in events::read(stream) {
        let data: Json = serde_json::from_str(&event.data).expect("JSON");
        let index = data["index"].as_u64().unwrap_or(0);
        match data["type"].as_str().unwrap_or_default() {
            // Told twice; a second answer in the middle of the first belongs to no one.
            "message_start" if !counts.is_null() && id != text(&data["message"]["id"]) => {
                answer.error = Some(Fault::default());
                break;
            }
            "message_start" => {
                counts = data["message"]["usage"].clone();
                id = text(&data["message"]["id"]);
            }
            "content_block_start" => {
                blocks.insert(index, (data["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                let (block, arguments) = blocks.get_mut(&index).expect("a block");
                add_delta(block, arguments, &data["delta"]);
            }
            "message_delta" => {
                reason = data["delta"]["stop_reason"].as_str().map(str::to_owned);
                for (name, count) in data["usage"].as_object().into_iter().flatten() {
                    counts[name] = count.clone();
                }
            }
            "message_stop" => {
                answer.is_complete = true;
                break;
            }
            "error" => {
                answer.error = Some(fault(&data));
                break;
            }
            _ => {}
        }
    }
    let mut said = Said {
        finish: reason.as_deref().and_then(finish),
        ..Said::default()
    };
    for (block, arguments) in blocks.values() {
        add_block(&mut said, block, Some(arguments));
    }
    answer.usage = usage(&counts);
    answer.choices = vec![said];
    answer
}

fn add_delta(block: &mut Json, arguments: &mut String, delta: &Json) {
    let member = match delta["type"].as_str().unwrap_or_default() {
        "text_delta" => "text",
        "thinking_delta" => "thinking",
        "signature_delta" => "signature",
        "input_json_delta" => {
            arguments.push_str(delta["partial_json"].as_str().unwrap_or_default());
            return;
        }
        _ => return,
    };
    let joined = text(&block[member]) + delta[member].as_str().unwrap_or_default();
    block[member] = joined.into();
}
