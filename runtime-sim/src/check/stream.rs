//! The grammar of streamed answers: an automaton for each API. It reads events with a parser of its
//! own and gathers what the client is told.

use std::collections::BTreeMap;

use serde_json::Value;
use tollgate_core::dialect::Dialect;

use crate::script::journal::Told;

/// Reads one streamed answer.
#[derive(Debug)]
pub(crate) struct Stream {
    dialect: Dialect,
    /// Events of the upstream pass untouched, so those that cannot be read do too.
    allows_broken: bool,
    input: Vec<u8>,
    /// So far no event ends in it.
    searched: usize,
    state: State,
    blocks: BTreeMap<u64, String>,
    open: Option<u64>,
    /// The speaker was named.
    is_started: bool,
    /// A call has begun.
    has_call: bool,
    pub(crate) told: Told,
}

/// How far the answer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Nothing but signs of life.
    Empty,
    /// It has begun.
    Open,
    /// The model has finished; the last event is still to come.
    Finished,
    /// Complete.
    Complete,
    /// It ended in an error.
    Failed,
}

impl Stream {
    pub(crate) fn new(dialect: Dialect) -> Stream {
        Stream {
            dialect,
            allows_broken: false,
            input: Vec::new(),
            searched: 0,
            state: State::Empty,
            blocks: BTreeMap::new(),
            open: None,
            is_started: false,
            has_call: false,
            told: Told::default(),
        }
    }

    /// Whether more than text has come, or all of it.
    pub(crate) const fn is_beyond(&self) -> bool {
        self.has_call || self.told.ends_in_call.is_some()
    }

    /// Whether events that cannot be read may come from here on.
    pub(crate) const fn allow_broken(&mut self, allows_broken: bool) {
        self.allows_broken = allows_broken;
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.input.extend_from_slice(bytes);
        while let Some(end) = self.event_end() {
            let event: Vec<u8> = self.input.drain(..end + 2).take(end).collect();
            let event = String::from_utf8(event).map_err(|error| error.to_string())?;
            self.event(&event)?;
        }
        Ok(())
    }

    /// Where the first event ends, its blank line left out.
    fn event_end(&mut self) -> Option<usize> {
        let begin = core::mem::take(&mut self.searched);
        let rest = self.input.get(begin..).unwrap_or_default();
        let end = rest.windows(2).position(|at| at == b"\n\n");
        if end.is_none() {
            self.searched = self.input.len().saturating_sub(1);
        }
        end.map(|end| begin + end)
    }

    /// The body has ended: nothing may be left but a whole event without its blank line, which
    /// passes as the upstream sent it.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        if self.input.iter().all(|&byte| byte == b'\n') || self.allows_broken {
            return Ok(());
        }
        let rest = String::from_utf8_lossy(&self.input).into_owned();
        if rest.ends_with(['\n', '}', ']']) && self.event(rest.trim_end()).is_ok() {
            self.input.clear();
            return Ok(());
        }
        Err(format!(
            "left over: {:?}",
            String::from_utf8_lossy(&self.input)
        ))
    }

    fn event(&mut self, event: &str) -> Result<(), String> {
        let mut name = None;
        let mut data: Option<String> = None;
        for line in event
            .split('\n')
            .filter(|line| !line.is_empty() && !line.starts_with(':'))
        {
            match line.split_once(": ") {
                Some(("event", value)) if name.is_none() => name = Some(value.to_owned()),
                Some(("data", value)) => match &mut data {
                    None => data = Some(value.to_owned()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                },
                _ => return Err(format!("the line {line:?}")),
            }
        }
        let Some(data) = data else {
            return if name.is_some() {
                Err(format!("{event:?}: no data"))
            } else {
                Ok(())
            };
        };
        if matches!(self.state, State::Complete | State::Failed) {
            return Err(format!("{event:?} after the end"));
        }
        match self.dialect {
            Dialect::Anthropic => self.messages(name.as_deref(), &data),
            Dialect::OpenAiChat => self.chat(name.as_deref(), &data),
        }
        .map_err(|why| format!("{why}, in {:?}: {event}", self.state))
    }

    fn json(&self, data: &str) -> Result<Option<Value>, String> {
        match serde_json::from_str(data) {
            Ok(value) => Ok(Some(value)),
            Err(_) if self.allows_broken => Ok(None),
            Err(error) => Err(format!("not JSON: {error}")),
        }
    }

    fn messages(&mut self, name: Option<&str>, data: &str) -> Result<(), String> {
        let Some(value) = self.json(data)? else {
            return Ok(());
        };
        let kind = value["type"].as_str().unwrap_or_default();
        if name != Some(kind) {
            return Err(format!("named {name:?}"));
        }
        match (self.state, kind) {
            (_, "ping") => Ok(()),
            (_, "error") if value["error"]["message"].is_string() => {
                self.state = State::Failed;
                Ok(())
            }
            (State::Empty, "message_start") => {
                self.state = State::Open;
                self.told.input_tokens = value["message"]["usage"]["input_tokens"].as_u64();
                Ok(())
            }
            (State::Open, "content_block_start") => self.block_start(&value),
            (State::Open, "content_block_delta") => self.block_delta(&value),
            (State::Open, "content_block_stop") => {
                let index = value["index"].as_u64();
                if index.is_none() || self.open.take() != index {
                    return Err("another block is open, or none".to_owned());
                }
                Ok(())
            }
            (State::Open, "message_delta") if self.open.is_none() => {
                self.told.ends_in_call = Some(ends_in_call(&value["delta"]["stop_reason"])?);
                let usage = &value["usage"];
                let input = usage["input_tokens"].as_u64();
                self.told.input_tokens = input.or(self.told.input_tokens);
                self.told.output_tokens = usage["output_tokens"].as_u64();
                self.state = State::Finished;
                Ok(())
            }
            (State::Finished, "message_stop") => {
                self.state = State::Complete;
                Ok(())
            }
            _ => Err("out of place".to_owned()),
        }
    }

    fn block_start(&mut self, value: &Value) -> Result<(), String> {
        let Some(index) = value["index"].as_u64() else {
            return Err("no index".to_owned());
        };
        if self.open.is_some() || index != self.blocks.len() as u64 {
            return Err("blocks overlap, or are numbered wrongly".to_owned());
        }
        let kind = value["content_block"]["type"].as_str().unwrap_or_default();
        self.has_call |= kind == "tool_use";
        self.blocks.insert(index, kind.to_owned());
        self.open = Some(index);
        Ok(())
    }

    fn block_delta(&mut self, value: &Value) -> Result<(), String> {
        let index = value["index"].as_u64();
        if index.is_none() || self.open != index {
            return Err("for a block that is not open".to_owned());
        }
        let block = index
            .and_then(|index| self.blocks.get(&index))
            .map_or("", String::as_str);
        let delta = &value["delta"];
        match (delta["type"].as_str().unwrap_or_default(), block) {
            ("text_delta", "text") => self.told.text += delta["text"].as_str().ok_or("no text")?,
            ("input_json_delta", "tool_use") => {
                self.told.arguments += delta["partial_json"].as_str().ok_or("no arguments")?;
            }
            (delta, _) => return Err(format!("{delta} in a block of {block}")),
        }
        Ok(())
    }

    fn chat(&mut self, name: Option<&str>, data: &str) -> Result<(), String> {
        if name.is_some_and(|name| name != "error") {
            return Err(format!("named {name:?}"));
        }
        if data == "[DONE]" {
            if self.state != State::Finished {
                return Err("no choice has finished".to_owned());
            }
            self.state = State::Complete;
            return Ok(());
        }
        let Some(value) = self.json(data)? else {
            return Ok(());
        };
        if value["error"]["message"].is_string() {
            self.state = State::Failed;
            return Ok(());
        }
        let is_chunk = value["object"] == "chat.completion.chunk"
            && value["id"].is_string()
            && value["model"].is_string()
            && value["created"].is_u64();
        let Some(choices) = value["choices"].as_array().filter(|_| is_chunk) else {
            return Err("not a chunk".to_owned());
        };
        let is_keep_alive = choices.is_empty();
        for choice in choices {
            if self.state == State::Finished {
                return Err("a choice after its end".to_owned());
            }
            self.state = State::Open;
            let delta = &choice["delta"];
            if delta["role"].is_string() && core::mem::replace(&mut self.is_started, true) {
                return Err("a second start".to_owned());
            }
            self.has_call |= delta["tool_calls"].is_array();
            self.told.text += delta["content"].as_str().unwrap_or_default();
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let arguments = call["function"]["arguments"].as_str();
                self.told.arguments += arguments.unwrap_or_default();
            }
            if choice["finish_reason"].is_string() {
                self.told.ends_in_call = Some(ends_in_call(&choice["finish_reason"])?);
                self.state = State::Finished;
            }
        }
        if let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) {
            self.told.input_tokens = usage["prompt_tokens"].as_u64();
            self.told.output_tokens = usage["completion_tokens"].as_u64();
        }
        if is_keep_alive && self.state == State::Empty && value.get("usage").is_some() {
            return Err("usage before anything else".to_owned());
        }
        Ok(())
    }
}

/// Whether an answer ended for a tool to be called, by the reason that either API gives.
pub(crate) fn ends_in_call(reason: &Value) -> Result<bool, String> {
    match reason.as_str() {
        Some("tool_use" | "tool_calls") => Ok(true),
        Some("end_turn" | "stop") => Ok(false),
        _ => Err(format!("the reason to end {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(dialect: Dialect, events: &[&str]) -> Result<State, String> {
        let mut stream = Stream::new(dialect);
        for event in events {
            stream.push(event.as_bytes())?;
        }
        stream.end().map(|()| stream.state())
    }

    const START: &str = "event: message_start\ndata: {\"type\":\"message_start\"}\n\n";
    const FINISH: &str = "event: message_delta\n\
        data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

    #[test]
    fn messages_have_their_order() {
        let anthropic = |events: &[&str]| state(Dialect::Anthropic, events);
        assert_eq!(
            anthropic(&[PING, START, ": x\n\n", FINISH, STOP]),
            Ok(State::Complete)
        );
        assert_eq!(anthropic(&[START, FINISH]), Ok(State::Finished));
        assert!(anthropic(&[START, START]).is_err());
        assert!(anthropic(&[START, STOP]).is_err());
        assert!(anthropic(&[FINISH]).is_err());
        assert!(anthropic(&[START, FINISH, STOP, STOP]).is_err());
        assert!(anthropic(&[START, "event: ping\n"]).is_err());
    }

    #[test]
    fn chunks_have_their_order() {
        let chunk = |choice: &str| {
            format!(
                "data: {{\"object\":\"chat.completion.chunk\",\"id\":\"1\",\"model\":\"m\",\
                 \"created\":1,\"choices\":[{choice}]}}\n\n"
            )
        };
        let text = chunk("{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}");
        let finish = chunk("{\"delta\":{},\"finish_reason\":\"stop\"}");
        let done = "data: [DONE]\n\n";
        let chat = |events: &[&str]| state(Dialect::OpenAiChat, events);
        assert_eq!(
            chat(&[&text, &finish, &chunk(""), done]),
            Ok(State::Complete)
        );
        assert!(chat(&[&text, done]).is_err());
        assert!(chat(&[&text, &finish, &text]).is_err());
        assert!(chat(&[&finish, done, done]).is_err());
        assert_eq!(
            chat(&["data: {\"error\":{\"message\":\"x\"}}\n\n"]),
            Ok(State::Failed)
        );
    }
}
