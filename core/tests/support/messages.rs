//! Answers in the Messages API: [`check`] is the grammar of a stream as an automaton, for what the
//! gateway writes; [`told`] puts together what a recorded stream says, in the plainest way.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::events;
use super::said::{Answer, Call, Fault, Finish, Said, Usage, list, text};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Before,
    Between,
    Inside { signed: bool },
    Finished,
    Stopped,
    Failed,
}

/// Reads a stream, and panics where it breaks the grammar: one `message_start`, blocks one after
/// the other and numbered from 0, deltas of their block's type and never empty, one `message_delta`
/// with a reason that fits and final usage, `message_stop`; or `error`, and nothing. `ping` may
/// stand anywhere between.
pub(crate) fn check(stream: &str) -> Answer {
    let mut answer = Answer::default();
    let state = run(stream, &mut answer);
    let is_ended = matches!(state, State::Stopped | State::Failed);
    assert!(is_ended, "the stream ends in {state:?}: {stream}");
    answer
}

/// The same for a stream that goes on: what has come so far.
pub(crate) fn check_begun(stream: &str) -> Answer {
    let mut answer = Answer::default();
    run(stream, &mut answer);
    answer
}

fn run(stream: &str, answer: &mut Answer) -> State {
    assert!(!stream.contains('\r'), "a carriage return");
    assert!(stream.is_empty() || stream.ends_with("\n\n"), "{stream:?}");
    let mut machine = Machine {
        state: State::Before,
        blocks: Vec::new(),
        answer,
    };
    for event in stream.split_terminator("\n\n") {
        let lines: Vec<&str> = event.split('\n').collect();
        let [name, data] = lines.as_slice() else {
            panic!("an event of {} lines: {event:?}", lines.len());
        };
        let name = name.strip_prefix("event: ").expect("a name");
        let data = data.strip_prefix("data: ").expect("data");
        let data: Json = serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}"));
        assert_eq!(data["type"], name, "{event}");
        machine.step(name, &data);
    }
    machine.state
}

struct Machine<'a> {
    state: State,
    /// Each block as it began, with the text of its deltas.
    blocks: Vec<(Json, String)>,
    answer: &'a mut Answer,
}

impl Machine<'_> {
    fn step(&mut self, name: &str, data: &Json) {
        self.state = match (self.state, name) {
            (State::Stopped | State::Failed, _) => panic!("{name} after the end"),
            (state, "ping") => state,
            (_, "error") => {
                self.answer.error = Some(fault(data));
                // What was begun when it failed is for the client to see, but no whole answer.
                self.put_together();
                State::Failed
            }
            (State::Before, "message_start") => {
                start(&data["message"]);
                State::Between
            }
            (State::Between, "content_block_start") => {
                assert_eq!(data["index"], self.blocks.len(), "{data}");
                self.begin(&data["content_block"]);
                State::Inside { signed: false }
            }
            (State::Inside { signed }, "content_block_delta") => {
                assert!(!signed, "a delta after the signature");
                assert_eq!(data["index"], self.blocks.len() - 1, "{data}");
                let signed = self.delta(&data["delta"]);
                State::Inside { signed }
            }
            (State::Inside { .. }, "content_block_stop") => {
                assert_eq!(data["index"], self.blocks.len() - 1, "{data}");
                self.end_block();
                State::Between
            }
            (State::Between, "message_delta") => {
                self.finish(data);
                State::Finished
            }
            (State::Finished, "message_stop") => {
                self.answer.is_complete = true;
                State::Stopped
            }
            (state, name) => panic!("{name} in {state:?}"),
        };
    }

    fn begin(&mut self, block: &Json) {
        match block["type"].as_str().expect("a type") {
            "text" => assert_eq!(block["text"], "", "text at the beginning"),
            "thinking" => assert_eq!(block["thinking"], "", "thinking at the beginning"),
            "redacted_thinking" => assert!(block["data"].is_string()),
            "tool_use" => {
                assert_eq!(block["input"], serde_json::json!({}), "{block}");
                assert_ne!(text(&block["id"]), "", "{block}");
                let is_new = self.blocks.iter().all(|(own, _)| own["id"] != block["id"]);
                assert!(is_new, "two calls of one id: {block}");
                assert_ne!(text(&block["name"]), "", "{block}");
            }
            other => panic!("a block {other}"),
        }
        self.blocks.push((block.clone(), String::new()));
    }

    /// Whether the block is signed by it.
    fn delta(&mut self, delta: &Json) -> bool {
        let (block, said) = self.blocks.last_mut().expect("an open block");
        let kind = delta["type"].as_str().expect("a type");
        let (of, member) = match kind {
            "text_delta" => ("text", "text"),
            "citations_delta" => ("text", "citation"),
            "input_json_delta" => ("tool_use", "partial_json"),
            "thinking_delta" => ("thinking", "thinking"),
            "signature_delta" => ("thinking", "signature"),
            other => panic!("a delta {other}"),
        };
        assert_eq!(block["type"], of, "{kind}");
        if kind == "citations_delta" {
            assert!(delta[member].is_object());
            return false;
        }
        let piece = delta[member].as_str().expect("text");
        assert!(!piece.is_empty(), "an empty {kind}");
        if kind == "signature_delta" {
            block["signature"] = piece.into();
            return true;
        }
        said.push_str(piece);
        false
    }

    fn end_block(&mut self) {
        let (block, said) = self.blocks.last().expect("an open block");
        match block["type"].as_str().unwrap_or_default() {
            "text" => assert!(!said.is_empty() || self.blocks.len() == 1, "an empty text"),
            "thinking" => assert!(!said.is_empty() || block["signature"] != "", "no thinking"),
            "tool_use" if !said.is_empty() => {
                // Arguments that are no JSON are the model's own fault, and go on as they are.
                assert_eq!(said.trim(), said.as_str(), "{block}");
            }
            _ => {}
        }
    }

    fn finish(&mut self, data: &Json) {
        self.put_together();
        let reason = data["delta"]["stop_reason"].as_str().expect("a reason");
        assert!(data["delta"].get("stop_sequence").is_some(), "{data}");
        let said = self.answer.choice(0);
        let calls = !said.calls.is_empty();
        assert!(calls || reason != "tool_use", "tool_use without a call");
        let is_odd = calls && ["end_turn", "stop_sequence"].contains(&reason);
        assert!(!is_odd, "{reason} with a call");
        said.finish = Some(finish(reason).unwrap_or_else(|| panic!("stop_reason {reason}")));
        for count in ["input_tokens", "output_tokens", "cache_read_input_tokens"] {
            assert!(data["usage"][count].is_u64(), "{count} in {data}");
        }
        self.answer.usage = usage(&data["usage"]);
    }

    fn put_together(&mut self) {
        let mut said = Said::default();
        for (block, words) in &self.blocks {
            let mut block = block.clone();
            match block["type"].as_str().unwrap_or_default() {
                "text" => block["text"] = words.as_str().into(),
                "thinking" => block["thinking"] = words.as_str().into(),
                _ => {}
            }
            add_block(&mut said, &block, Some(words));
        }
        *self.answer.choice(0) = said;
    }
}

fn start(message: &Json) {
    assert_eq!(message["role"], "assistant");
    assert_eq!(message["type"], "message");
    assert!(message["stop_reason"].is_null());
    assert_eq!(message["content"], serde_json::json!([]));
    assert_ne!(text(&message["id"]), "");
    assert_ne!(text(&message["model"]), "");
    let usage = usage(&message["usage"]).expect("usage at the start");
    assert!(usage.input > 0, "no input tokens at the start: {message}");
    assert!(message["usage"]["output_tokens"].is_u64(), "{message}");
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
