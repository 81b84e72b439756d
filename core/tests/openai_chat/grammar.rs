//! The grammar of a Chat stream, as an automaton over its events.

use bytes::Bytes;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// How a stream that obeys the grammar ended.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum End {
    Done,
    Failed,
}

/// Checks the events of one stream.
///
/// Each event is one line of JSON with the head constant. A choice's first chunk tells the role,
/// and no other does; its tool calls are numbered from 0 by ones, with id, type and name in the
/// first piece alone; after its `finish_reason` nothing comes for it. Then the usage chunk (if
/// asked for), `[DONE]`, nothing. Or an `error` event, and nothing.
pub(crate) fn check(events: &[Bytes], usage_wanted: bool) -> Result<End, String> {
    let mut head: Option<(Json, Json, Json)> = None;
    let mut choices: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
    let mut usage_seen = false;
    for (at, event) in events.iter().enumerate() {
        let last = at + 1 == events.len();
        if event.as_ref() == b"[DONE]" {
            let whole = !choices.is_empty() && choices.values().all(|(_, finished)| *finished);
            return match (last, whole, usage_seen == usage_wanted) {
                (true, true, true) => Ok(End::Done),
                other => Err(format!("bad [DONE]: {other:?}")),
            };
        }
        let chunk: Json = serde_json::from_slice(event).map_err(|error| error.to_string())?;
        if let Some(error) = chunk.get("error") {
            let shaped = error["message"].is_string() && error["type"].is_string();
            return match (last, shaped) {
                (true, true) => Ok(End::Failed),
                other => Err(format!("bad error: {other:?}")),
            };
        }
        if usage_seen {
            return Err("a chunk after the usage".into());
        }
        if chunk["object"] != "chat.completion.chunk" {
            return Err(format!("object {}", chunk["object"]));
        }
        let own = (
            chunk["id"].clone(),
            chunk["model"].clone(),
            chunk["created"].clone(),
        );
        if !own.0.is_string() || !own.1.is_string() || !own.2.is_u64() {
            return Err(format!("head {own:?}"));
        }
        if *head.get_or_insert_with(|| own.clone()) != own {
            return Err("the head changes".into());
        }
        let list = chunk["choices"].as_array().ok_or("no choices")?;
        if list.is_empty() {
            usage_seen = chunk["usage"]["prompt_tokens"].is_u64()
                && chunk["usage"]["completion_tokens"].is_u64();
            if !usage_seen || choices.values().any(|(_, finished)| !finished) {
                return Err("an empty chunk that is no last usage".into());
            }
        }
        for choice in list {
            check_choice(choice, &mut choices)?;
        }
    }
    Err("no end".into())
}

fn check_choice(choice: &Json, choices: &mut BTreeMap<u64, (usize, bool)>) -> Result<(), String> {
    let index = choice["index"].as_u64().ok_or("no index")?;
    let delta = choice["delta"].as_object().ok_or("no delta")?;
    let first = !choices.contains_key(&index);
    if first != (delta.get("role") == Some(&"assistant".into())) {
        return Err(format!("role at the wrong place in choice {index}"));
    }
    let (calls, finished) = choices.entry(index).or_default();
    if *finished {
        return Err(format!("choice {index} goes on after its end"));
    }
    for call in delta
        .get("tool_calls")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
    {
        let number = call["index"].as_u64().ok_or("a call without index")? as usize;
        let body = call.get("function").or_else(|| call.get("custom"));
        let begins = call["id"].is_string();
        if begins {
            let named =
                body.is_some_and(|body| body["name"].as_str().is_some_and(|it| !it.is_empty()));
            if number != *calls || !call["type"].is_string() || !named {
                return Err(format!("a bad call begins: {call}"));
            }
            *calls += 1;
        } else if number >= *calls || call.get("type").is_some() {
            return Err(format!("a bad piece of a call: {call}"));
        }
    }
    for key in ["content", "reasoning_content", "refusal"] {
        let empty = delta.get(key) == Some(&"".into());
        if empty && !first {
            return Err(format!("an empty {key}"));
        }
    }
    match &choice["finish_reason"] {
        Json::Null => {}
        Json::String(reason) => {
            let known = ["stop", "length", "tool_calls", "content_filter"];
            let calls_told = reason == "tool_calls" && *calls == 0;
            if !known.contains(&reason.as_str()) || calls_told {
                return Err(format!("finish_reason {reason}"));
            }
            if reason == "stop" && *calls > 0 {
                return Err("stop with calls".into());
            }
            *finished = true;
        }
        other => return Err(format!("finish_reason {other}")),
    }
    Ok(())
}
