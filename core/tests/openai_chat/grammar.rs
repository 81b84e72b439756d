//! The grammar of a Chat stream, as an automaton over its events.

use bytes::Bytes;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// How a stream that obeys the grammar ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Done,
    Failed,
}

/// Checks the events of one stream, from its first to its end.
pub(crate) fn check(events: &[Bytes], usage_wanted: bool) -> Result<End, String> {
    let mut machine = Machine::default();
    for event in events {
        machine.step(event)?;
    }
    match machine.end {
        None => Err("no end".into()),
        Some(End::Done) if machine.usage_seen != usage_wanted => {
            let seen = machine.usage_seen;
            Err(format!("usage seen: {seen}, wanted: {usage_wanted}"))
        }
        Some(end) => Ok(end),
    }
}

/// A stream as far as it has come.
///
/// Each event is one line of JSON with the head constant. A choice's first chunk tells the role,
/// and no other does; its tool calls are numbered from 0 by ones, with id, type and name in the
/// first piece alone; after its `finish_reason` nothing comes for it. Then the usage chunk (if
/// asked for), `[DONE]`, nothing. Or an `error` event, and nothing.
#[derive(Default)]
pub(crate) struct Machine {
    head: Option<[Json; 3]>,
    /// Of each choice: how many calls it has begun, and whether it has told its reason.
    choices: BTreeMap<u64, (usize, bool)>,
    pub(crate) usage_seen: bool,
    pub(crate) end: Option<End>,
}

impl Machine {
    /// Takes the next event, and gives its JSON: null for `[DONE]`.
    pub(crate) fn step(&mut self, event: &[u8]) -> Result<Json, String> {
        if self.end.is_some() {
            let event = String::from_utf8_lossy(event);
            return Err(format!("{event} after the end"));
        }
        if event == b"[DONE]" {
            let is_whole = self.choices.values().all(|(_, is_finished)| *is_finished);
            if self.choices.is_empty() || !is_whole {
                return Err("[DONE] before the end".into());
            }
            self.end = Some(End::Done);
            return Ok(Json::Null);
        }
        let chunk: Json = serde_json::from_slice(event).map_err(|error| error.to_string())?;
        if let Some(error) = chunk.get("error") {
            if !error["message"].is_string() || !error["type"].is_string() {
                return Err(format!("bad error: {chunk}"));
            }
            self.end = Some(End::Failed);
        } else {
            self.chunk(&chunk)?;
        }
        Ok(chunk)
    }

    fn chunk(&mut self, chunk: &Json) -> Result<(), String> {
        if self.usage_seen {
            return Err("a chunk after the usage".into());
        }
        if chunk["object"] != "chat.completion.chunk" {
            return Err(format!("object {}", chunk["object"]));
        }
        let own = ["id", "model", "created"].map(|name| chunk[name].clone());
        if !own[0].is_string() || !own[1].is_string() || !own[2].is_u64() {
            return Err(format!("head {own:?}"));
        }
        if *self.head.get_or_insert_with(|| own.clone()) != own {
            return Err("the head changes".into());
        }
        let list = chunk["choices"].as_array().ok_or("no choices")?;
        if list.is_empty() {
            self.usage_seen = chunk["usage"]["prompt_tokens"].is_u64()
                && chunk["usage"]["completion_tokens"].is_u64();
            let is_late = self.choices.values().all(|(_, is_finished)| *is_finished);
            if !self.usage_seen || !is_late {
                return Err("an empty chunk that is no last usage".into());
            }
        }
        for choice in list {
            check_choice(choice, &mut self.choices)?;
        }
        Ok(())
    }
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
