//! The grammar of a Messages stream, as an automaton: one `message_start`, blocks one after the
//! other and numbered from 0, deltas of their block's type and never empty, one `message_delta`
//! with a reason that fits and final usage, `message_stop`; or `error`, and nothing. `ping` may
//! stand anywhere between. Every stream that is written must pass.

use serde_json::Value as Json;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Before,
    Between,
    Inside { signed: bool },
    Finished,
    Stopped,
    Failed,
}

/// What a stream came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) stop_reason: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) usage: Json,
    /// Each block as it began, with the text of its deltas put together.
    pub(crate) blocks: Vec<(Json, String)>,
    pub(crate) input_tokens_at_start: u64,
}

/// Reads a stream and panics where it breaks the grammar.
pub(crate) fn check(text: &str) -> Outcome {
    let (outcome, is_ended) = follow(text, |_, _| {});
    assert!(is_ended, "the stream does not end: {text}");
    outcome
}

/// Reads a stream that may go on, and panics where it breaks the grammar; `each` sees every event
/// and what the stream has come to with it. Also tells whether the stream has ended.
pub(crate) fn follow(text: &str, mut each: impl FnMut(&Json, &Outcome)) -> (Outcome, bool) {
    assert!(!text.contains('\r'), "a carriage return in {text:?}");
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text:?}");
    let mut state = State::Before;
    let mut outcome = Outcome::default();
    for event in text.split_terminator("\n\n") {
        let lines: Vec<&str> = event.split('\n').collect();
        let [name, data] = lines.as_slice() else {
            panic!("an event of {} lines: {event:?}", lines.len());
        };
        let name = name.strip_prefix("event: ").expect("a name");
        let data = data.strip_prefix("data: ").expect("data");
        let data: Json = serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}"));
        assert_eq!(data["type"], name, "{event}");
        state = step(state, name, &data, &mut outcome);
        each(&data, &outcome);
    }
    let is_ended = matches!(state, State::Stopped | State::Failed);
    (outcome, is_ended)
}

fn step(state: State, name: &str, data: &Json, outcome: &mut Outcome) -> State {
    match (state, name) {
        (State::Stopped | State::Failed, _) => panic!("{name} after the end"),
        (state, "ping") => state,
        (_, "error") => {
            let kind = data["error"]["type"].as_str().expect("a type");
            assert!(!data["error"]["message"].as_str().unwrap().is_empty());
            outcome.error = Some(kind.to_owned());
            State::Failed
        }
        (State::Before, "message_start") => {
            let message = &data["message"];
            assert_eq!(message["role"], "assistant");
            assert_eq!(message["type"], "message");
            assert!(message["stop_reason"].is_null());
            assert_eq!(message["content"], serde_json::json!([]));
            assert!(!message["id"].as_str().unwrap().is_empty());
            assert!(!message["model"].as_str().unwrap().is_empty());
            let usage = &message["usage"];
            outcome.input_tokens_at_start = usage["input_tokens"].as_u64().unwrap();
            let cached = usage["cache_read_input_tokens"].as_u64().unwrap()
                + usage["cache_creation_input_tokens"].as_u64().unwrap();
            assert!(
                outcome.input_tokens_at_start + cached > 0,
                "no input tokens"
            );
            State::Between
        }
        (State::Between, "content_block_start") => {
            assert_eq!(data["index"], outcome.blocks.len());
            outcome
                .blocks
                .push((data["content_block"].clone(), String::new()));
            State::Inside { signed: false }
        }
        (State::Inside { signed }, "content_block_delta") => {
            assert!(!signed, "a delta after the signature");
            assert_eq!(data["index"], outcome.blocks.len() - 1);
            delta(&data["delta"], outcome)
        }
        (State::Inside { .. }, "content_block_stop") => {
            assert_eq!(data["index"], outcome.blocks.len() - 1);
            check_whole(outcome.blocks.last().unwrap());
            State::Between
        }
        (State::Between, "message_delta") => {
            let reason = data["delta"]["stop_reason"].as_str().expect("a reason");
            let calls = outcome
                .blocks
                .iter()
                .any(|(it, _)| it["type"] == "tool_use");
            assert!(calls || reason != "tool_use", "tool_use without a call");
            assert!(!calls || reason != "end_turn", "end_turn with a call");
            outcome.stop_reason = Some(reason.to_owned());
            for count in [
                "input_tokens",
                "output_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
            ] {
                assert!(data["usage"][count].is_u64(), "{count} in {data}");
            }
            outcome.usage = data["usage"].clone();
            State::Finished
        }
        (State::Finished, "message_stop") => State::Stopped,
        (state, name) => panic!("{name} in {state:?}"),
    }
}

fn delta(delta: &Json, outcome: &mut Outcome) -> State {
    let (block, text) = outcome.blocks.last_mut().unwrap();
    let kind = delta["type"].as_str().unwrap();
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
        return State::Inside { signed: false };
    }
    let piece = delta[member].as_str().unwrap();
    assert!(!piece.is_empty(), "an empty {kind}");
    if kind == "signature_delta" {
        block["signature"] = piece.into();
        return State::Inside { signed: true };
    }
    text.push_str(piece);
    State::Inside { signed: false }
}

fn check_whole((block, text): &(Json, String)) {
    match block["type"].as_str().unwrap() {
        "thinking" => assert!(!text.is_empty() || !block["signature"].as_str().unwrap().is_empty()),
        "tool_use" => {
            assert!(block["input"].as_object().unwrap().is_empty());
            assert!(!block["id"].is_null() && !block["name"].is_null());
        }
        _ => {}
    }
}
