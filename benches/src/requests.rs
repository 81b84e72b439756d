//! The standard requests of all measurements: small ones of 1 KB, and an agent's of 200 KB.
//!
//! Deterministic to the byte. The agent request is what coding agents send late in a session: 24
//! tools with JSON Schemas, a long system text, and a history of tool calls with their results. The
//! same conversation is written in both APIs.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// An API that a request is written in, and that the mock upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Chat Completions.
    Chat,
}

impl Api {
    /// Both, in the order of tables.
    pub const ALL: [Api; 2] = [Api::Messages, Api::Chat];

    /// The path of the endpoint.
    pub fn path(self) -> &'static str {
        match self {
            Api::Messages => "/v1/messages",
            Api::Chat => "/v1/chat/completions",
        }
    }

    /// The API of an endpoint, by its path.
    pub fn of_path(path: &str) -> Option<Api> {
        Api::ALL.into_iter().find(|api| api.path() == path)
    }

    /// The name in tables: `messages` or `chat`.
    pub fn name(self) -> &'static str {
        match self {
            Api::Messages => "messages",
            Api::Chat => "chat",
        }
    }

    /// What the last bytes of a complete stream contain.
    pub fn stream_end(self) -> &'static str {
        match self {
            Api::Messages => "message_stop",
            Api::Chat => "[DONE]",
        }
    }
}

/// How large a standard request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One question, 1 KB.
    Small,
    /// An agent's session, 200 KB.
    Agent,
}

/// The body of a standard request.
pub fn body(api: Api, size: Size, model: &str, stream: bool) -> String {
    let conversation = match size {
        Size::Small => Conversation::small(),
        Size::Agent => Conversation::agent(),
    };
    match api {
        Api::Messages => conversation.messages(model, stream),
        Api::Chat => conversation.chat(model, stream),
    }
}

/// A whole HTTP/1.1 request with `body`, as a client library would send it to `host`.
pub fn http(api: Api, host: SocketAddr, body: &str) -> Vec<u8> {
    let credentials = match api {
        Api::Messages => "x-api-key: sk-client\r\nanthropic-version: 2023-06-01",
        Api::Chat => "authorization: Bearer sk-client",
    };
    let path = api.path();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\n\
         content-type: application/json\r\nuser-agent: tollgate-benches/0.1\r\n{credentials}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Bytes that the agent request has at least.
const AGENT_BYTES: usize = 200_000;
const TOOLS: usize = 24;

const WORDS: [&str; 32] = [
    "the",
    "request",
    "stream",
    "reads",
    "socket",
    "buffer",
    "of",
    "each",
    "connection",
    "and",
    "returns",
    "error",
    "when",
    "limit",
    "is",
    "reached",
    "by",
    "parser",
    "with",
    "state",
    "before",
    "upstream",
    "answers",
    "timeout",
    "naïve",
    "größer",
    "tokens",
    "“quoted”",
    "path/to/file.rs",
    "let",
    "value",
    "→",
];

struct Conversation {
    system: String,
    question: String,
    tools: Vec<Tool>,
    turns: Vec<Turn>,
}

struct Tool {
    name: String,
    description: String,
    schema: String,
}

/// The assistant says something and calls a tool; the user side answers with its result.
struct Turn {
    say: String,
    call_id: String,
    tool: String,
    arguments: String,
    result: String,
}

impl Conversation {
    fn small() -> Conversation {
        let mut words = Words(1);
        Conversation {
            system: words.sentence(40),
            question: words.sentence(70),
            tools: Vec::new(),
            turns: Vec::new(),
        }
    }

    fn agent() -> Conversation {
        let mut words = Words(2);
        let mut conversation = Conversation {
            system: words.sentence(1500),
            question: words.sentence(60),
            tools: (0..TOOLS).map(|index| tool(index, &mut words)).collect(),
            turns: Vec::new(),
        };
        let mut bytes = conversation.messages("m", true).len();
        while bytes < AGENT_BYTES {
            let turn = turn(conversation.turns.len(), &mut words);
            let mut text = String::new();
            turn.messages(&mut text);
            bytes += compact(&text).len();
            conversation.turns.push(turn);
        }
        conversation
    }

    fn messages(&self, model: &str, stream: bool) -> String {
        let mut out = format!(r#"{{"model":{},"max_tokens":4096,"#, quote(model));
        let _ = write!(
            out,
            r#""system":[{{"type":"text","text":{}}}],"#,
            quote(&self.system)
        );
        let question = quote(&self.question);
        let _ = write!(out, r#""messages":[{{"role":"user","content":{question}}}"#);
        for turn in &self.turns {
            turn.messages(&mut out);
        }
        out.push(']');
        for (index, tool) in self.tools.iter().enumerate() {
            out.push_str(if index == 0 { r#","tools":["# } else { "," });
            let _ = write!(
                out,
                r#"{{"name":{},"description":{},"input_schema":{}}}"#,
                quote(&tool.name),
                quote(&tool.description),
                tool.schema
            );
        }
        out.push_str(if self.tools.is_empty() { "" } else { "]" });
        let _ = write!(out, r#","temperature":0.7,"stream":{stream}}}"#);
        compact(&out)
    }

    fn chat(&self, model: &str, stream: bool) -> String {
        let mut out = format!(r#"{{"model":{},"messages":["#, quote(model));
        let _ = write!(
            out,
            r#"{{"role":"system","content":{}}},"#,
            quote(&self.system)
        );
        let _ = write!(
            out,
            r#"{{"role":"user","content":{}}}"#,
            quote(&self.question)
        );
        for turn in &self.turns {
            turn.chat(&mut out);
        }
        out.push(']');
        for (index, tool) in self.tools.iter().enumerate() {
            out.push_str(if index == 0 { r#","tools":["# } else { "," });
            let _ = write!(
                out,
                r#"{{"type":"function","function":{{"name":{},"description":{},
                  "parameters":{}}}}}"#,
                quote(&tool.name),
                quote(&tool.description),
                tool.schema
            );
        }
        out.push_str(if self.tools.is_empty() { "" } else { "]" });
        let _ = write!(
            out,
            r#","max_completion_tokens":4096,"temperature":0.7,"stream":{stream}"#
        );
        out.push_str(if stream {
            r#","stream_options":{"include_usage":true}}"#
        } else {
            "}"
        });
        compact(&out)
    }
}

impl Turn {
    fn messages(&self, out: &mut String) {
        let Turn {
            say,
            call_id,
            tool,
            arguments,
            result,
        } = self;
        let _ = write!(
            out,
            r#",{{"role":"assistant","content":[{{"type":"text","text":{}}},{{"type":"tool_use",
              "id":"toolu_{call_id}","name":{},"input":{arguments}}}]}}"#,
            quote(say),
            quote(tool)
        );
        let _ = write!(
            out,
            r#",{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_{call_id}",
              "content":{}}}]}}"#,
            quote(result)
        );
    }

    fn chat(&self, out: &mut String) {
        let Turn {
            say,
            call_id,
            tool,
            arguments,
            result,
        } = self;
        let _ = write!(
            out,
            r#",{{"role":"assistant","content":{},"tool_calls":[{{"id":"call_{call_id}",
              "type":"function","function":{{"name":{},"arguments":{}}}}}]}}"#,
            quote(say),
            quote(tool),
            quote(arguments)
        );
        let _ = write!(
            out,
            r#",{{"role":"tool","tool_call_id":"call_{call_id}","content":{}}}"#,
            quote(result)
        );
    }
}

fn tool(index: usize, words: &mut Words) -> Tool {
    let mut schema = String::from(r#"{"type":"object","properties":{"#);
    for property in 0..5 {
        schema.push_str(if property == 0 { "" } else { "," });
        let kind = ["string", "integer", "boolean"][property % 3];
        let about = quote(&words.sentence(18));
        let _ = write!(
            schema,
            r#""field_{property}":{{"type":"{kind}","description":{about}}}"#
        );
    }
    schema.push_str(
        r#"},"required":["field_0"],"additionalProperties":false,
          "$schema":"http://json-schema.org/draft-07/schema#"}"#,
    );
    Tool {
        name: format!("tool_{index}"),
        description: words.sentence(220),
        schema,
    }
}

fn turn(index: usize, words: &mut Words) -> Turn {
    let mut result = String::new();
    for line in 1..=20 + words.below(60) {
        let _ = writeln!(result, "{line:>6}\t    {}", words.sentence(9));
    }
    let command = quote(&words.sentence(12));
    Turn {
        say: words.sentence(25),
        call_id: format!("{index:024}"),
        tool: format!("tool_{}", index % TOOLS),
        arguments: format!(r#"{{"field_0":{command},"field_1":{index},"field_2":true}}"#),
        result,
    }
}

/// Templates of JSON are broken into lines for the reader of this code, but not on the wire.
pub(crate) fn compact(template: &str) -> String {
    template.lines().map(str::trim).collect()
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Deterministic filler text (the generator is splitmix64).
struct Words(u64);

impl Words {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn sentence(&mut self, words: usize) -> String {
        let mut out = String::new();
        for index in 0..words {
            out.push_str(if index == 0 { "" } else { " " });
            out.push_str(WORDS[self.below(WORDS.len())]);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_named_and_the_json_is_valid() {
        for api in Api::ALL {
            for (size, range) in [(Size::Small, 800..1200), (Size::Agent, 195_000..225_000)] {
                for stream in [false, true] {
                    let text = body(api, size, "some-model", stream);
                    assert!(
                        range.contains(&text.len()),
                        "{api:?} {size:?}: {}",
                        text.len()
                    );
                    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(json["model"], "some-model");
                    assert_eq!(json["stream"], stream);
                    assert_eq!(text, body(api, size, "some-model", stream));
                }
            }
        }
    }

    #[test]
    fn the_agent_request_has_tools_and_matching_results() {
        let text = body(Api::Chat, Size::Agent, "m", true);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["tools"].as_array().unwrap().len(), TOOLS);
        let messages = json["messages"].as_array().unwrap();
        assert!(messages.len() > 60, "{}", messages.len());
        for pair in messages[2..].chunks(2) {
            assert_eq!(pair[0]["tool_calls"][0]["id"], pair[1]["tool_call_id"]);
            let arguments = pair[0]["tool_calls"][0]["function"]["arguments"]
                .as_str()
                .unwrap();
            assert!(serde_json::from_str::<serde_json::Value>(arguments).is_ok());
        }
    }
}
