//! [`Answer`]: what an upstream's model says, as events of either dialect and as a whole.

use serde_json::json;
use tollgate_core::base::Rng;
use tollgate_core::dialect::Dialect;

use super::journal::Told;

/// What a model says.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pieces: Vec<String>,
    /// The arguments of a tool call, in pieces.
    arguments: Option<Vec<String>>,
    input_tokens: u64,
    output_tokens: u64,
    marker: String,
}

/// One event of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    pub(crate) bytes: Vec<u8>,
    /// With it the answer is complete, if no more comes.
    pub(crate) is_finish: bool,
    /// It cannot be read.
    pub(crate) is_broken: bool,
    /// What it tells of tokens, of the prompt and of the answer.
    pub(crate) tokens: Option<[u64; 2]>,
}

const WORDS: [&str; 12] = [
    "toll",
    " gate",
    "\n",
    "é",
    "“…”",
    "\\",
    "\"",
    "\u{1F6A7}",
    " data: ",
    "\t",
    "</p>",
    "0123456789",
];

impl Answer {
    /// What is said at this attempt; with `is_continued`, behind what was said before.
    pub(crate) fn draw(
        marker: &str,
        attempt: usize,
        (is_long, is_continued): (bool, bool),
        rng: &mut Rng,
    ) -> Answer {
        let count = match rng.below(10) {
            0 => 0,
            1 => 100 + rng.below(100),
            _ => 1 + rng.below(12),
        };
        let white = match is_continued {
            true => ["", " ", "\n", "\t", " \n"][rng.below(5) as usize],
            false => "",
        };
        let mut pieces = vec![format!("{white}{marker}/{attempt}: ")];
        for _ in 0..count {
            let words = 1 + rng.below(4);
            let draw = |_| WORDS[rng.below(WORDS.len() as u64) as usize];
            pieces.push((0..words).map(draw).collect());
        }
        if is_long {
            let pieces_long = 20 + rng.below(160);
            pieces.extend((0..pieces_long).map(|_| "toll ".repeat(1 + rng.below(1000) as usize)));
        }
        let arguments = rng.chance(1, 4).then(|| {
            let text = json!({ "city": marker, "n": rng.below(1 << 40) }).to_string();
            let (start, end) = text.split_at(text.len() / 2);
            vec![start.to_owned(), end.to_owned()]
        });
        Answer {
            pieces,
            arguments,
            input_tokens: 1 + rng.below(1000),
            output_tokens: 1 + rng.below(1000),
            marker: marker.to_owned(),
        }
    }

    /// What it says to whoever gets all of it.
    pub(crate) fn told(&self) -> Told {
        Told {
            text: self.pieces.concat(),
            arguments: self.arguments().unwrap_or_default(),
            ends_in_call: Some(self.arguments.is_some()),
            input_tokens: Some(self.input_tokens),
            output_tokens: Some(self.output_tokens),
        }
    }

    /// Of the prompt, and of what is said.
    pub(crate) const fn tokens(&self) -> [u64; 2] {
        [self.input_tokens, self.output_tokens]
    }

    fn arguments(&self) -> Option<String> {
        self.arguments.as_ref().map(|pieces| pieces.concat())
    }

    fn chat_usage(&self) -> serde_json::Value {
        json!({
            "prompt_tokens": self.input_tokens, "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
        })
    }

    /// As the events of a stream.
    pub(crate) fn events(&self, dialect: Dialect, with_usage: bool) -> Vec<Event> {
        match dialect {
            Dialect::Anthropic => self.messages_events(),
            Dialect::OpenAiChat => self.chat_events(with_usage),
        }
    }

    /// As one body.
    pub(crate) fn whole(&self, dialect: Dialect) -> Vec<u8> {
        let body = match dialect {
            Dialect::Anthropic => {
                let mut content = vec![json!({ "type": "text", "text": self.pieces.concat() })];
                if let Some(arguments) = self.arguments() {
                    let input: serde_json::Value =
                        serde_json::from_str(&arguments).unwrap_or_default();
                    content.push(json!({
                        "type": "tool_use", "id": "toolu_1", "name": "weather", "input": input,
                    }));
                }
                json!({
                    "id": format!("msg_{}", self.marker), "type": "message", "role": "assistant",
                    "model": "a-1", "content": content, "stop_reason": self.stop_reason(),
                    "stop_sequence": null, "usage": {
                        "input_tokens": self.input_tokens, "output_tokens": self.output_tokens,
                    },
                })
            }
            Dialect::OpenAiChat => {
                let mut message = json!({ "role": "assistant", "content": self.pieces.concat() });
                if let Some(arguments) = self.arguments() {
                    message["tool_calls"] = json!([{
                        "id": "call_1", "type": "function",
                        "function": { "name": "weather", "arguments": arguments },
                    }]);
                }
                let choice = json!({
                    "index": 0, "message": message, "logprobs": null,
                    "finish_reason": self.finish_reason(),
                });
                json!({
                    "id": format!("chatcmpl-{}", self.marker), "object": "chat.completion",
                    "created": 1_795_305_600, "model": "o-1", "choices": [choice],
                    "usage": self.chat_usage(),
                })
            }
        };
        body.to_string().into_bytes()
    }

    fn stop_reason(&self) -> &'static str {
        if self.arguments.is_some() {
            "tool_use"
        } else {
            "end_turn"
        }
    }

    fn finish_reason(&self) -> &'static str {
        if self.arguments.is_some() {
            "tool_calls"
        } else {
            "stop"
        }
    }

    fn messages_events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut push = |data: serde_json::Value| {
            let name = data["type"].as_str().unwrap_or_default().to_owned();
            let is_finish = name == "message_delta" || name == "message_stop";
            events.push(Event {
                bytes: format!("event: {name}\ndata: {data}\n\n").into_bytes(),
                is_finish,
                is_broken: false,
                tokens: match name.as_str() {
                    "message_start" => Some([self.input_tokens, 1]),
                    "message_delta" => Some(self.tokens()),
                    _ => None,
                },
            });
        };
        push(json!({ "type": "message_start", "message": {
            "id": format!("msg_{}", self.marker), "type": "message", "role": "assistant",
            "model": "a-1", "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": { "input_tokens": self.input_tokens, "output_tokens": 1 },
        } }));
        push(json!({ "type": "content_block_start", "index": 0,
            "content_block": { "type": "text", "text": "" } }));
        push(json!({ "type": "ping" }));
        for piece in &self.pieces {
            push(json!({ "type": "content_block_delta", "index": 0,
                "delta": { "type": "text_delta", "text": piece } }));
        }
        push(json!({ "type": "content_block_stop", "index": 0 }));
        if let Some(arguments) = &self.arguments {
            push(
                json!({ "type": "content_block_start", "index": 1, "content_block": {
                "type": "tool_use", "id": "toolu_1", "name": "weather", "input": {} } }),
            );
            for piece in arguments {
                push(json!({ "type": "content_block_delta", "index": 1,
                    "delta": { "type": "input_json_delta", "partial_json": piece } }));
            }
            push(json!({ "type": "content_block_stop", "index": 1 }));
        }
        push(json!({ "type": "message_delta",
            "delta": { "stop_reason": self.stop_reason(), "stop_sequence": null },
            "usage": { "output_tokens": self.output_tokens } }));
        push(json!({ "type": "message_stop" }));
        events
    }

    fn chat_events(&self, with_usage: bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut push = |delta: serde_json::Value, finish: Option<&str>| {
            let data = self.chunk(&json!([{
                "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish,
            }]));
            let bytes = format!("data: {data}\n\n").into_bytes();
            events.push(Event {
                bytes,
                is_finish: finish.is_some(),
                ..Event::default()
            });
        };
        push(json!({ "role": "assistant", "content": "" }), None);
        for piece in &self.pieces {
            push(json!({ "content": piece }), None);
        }
        for (number, piece) in self.arguments.iter().flatten().enumerate() {
            let call = if number == 0 {
                json!({ "index": 0, "id": "call_1", "type": "function",
                    "function": { "name": "weather", "arguments": piece } })
            } else {
                json!({ "index": 0, "function": { "arguments": piece } })
            };
            push(json!({ "tool_calls": [call] }), None);
        }
        push(json!({}), Some(self.finish_reason()));
        if with_usage {
            let mut data = self.chunk(&json!([]));
            data["usage"] = self.chat_usage();
            let bytes = format!("data: {data}\n\n").into_bytes();
            events.push(Event {
                bytes,
                is_finish: true,
                is_broken: false,
                tokens: Some(self.tokens()),
            });
        }
        events.push(Event {
            bytes: b"data: [DONE]\n\n".to_vec(),
            is_finish: true,
            ..Event::default()
        });
        events
    }

    fn chunk(&self, choices: &serde_json::Value) -> serde_json::Value {
        json!({
            "id": format!("chatcmpl-{}", self.marker), "object": "chat.completion.chunk",
            "created": 1_795_305_600, "model": "o-1", "choices": choices,
        })
    }
}

/// An error, as a body or as the data of an event.
pub(crate) fn error(dialect: Dialect) -> serde_json::Value {
    match dialect {
        Dialect::Anthropic => json!({ "type": "error", "error": {
            "type": "overloaded_error", "message": "Overloaded" } }),
        Dialect::OpenAiChat => json!({ "error": {
            "message": "The server had an error", "type": "server_error", "param": null,
            "code": null } }),
    }
}

/// An error as an event.
pub(crate) fn error_event(dialect: Dialect) -> Vec<u8> {
    let data = error(dialect);
    match dialect {
        Dialect::Anthropic => format!("event: error\ndata: {data}\n\n").into_bytes(),
        Dialect::OpenAiChat => format!("data: {data}\n\n").into_bytes(),
    }
}

/// A sign of life that says nothing.
pub(crate) fn ping(dialect: Dialect, number: usize) -> Vec<u8> {
    match dialect {
        Dialect::Anthropic if number % 3 != 2 => {
            b"event: ping\ndata: {\"type\":\"ping\"}\n\n".to_vec()
        }
        Dialect::Anthropic | Dialect::OpenAiChat => b": still here\n\n".to_vec(),
    }
}

/// Why a request is refused for what it says: as too long (0), for its contents (1), as wrong.
pub(crate) fn refusal(dialect: Dialect, kind: usize) -> serde_json::Value {
    match dialect {
        Dialect::Anthropic => {
            let message = [
                "prompt is too long: 250000 tokens > 200000 maximum",
                "Output blocked by content filtering policy",
                "messages.0: unexpected role",
            ][kind.min(2)];
            json!({ "type": "error", "error": {
                "type": "invalid_request_error", "message": message } })
        }
        Dialect::OpenAiChat => {
            let (code, message) = [
                (
                    "context_length_exceeded",
                    "This model's maximum context length is 8192 tokens. However, your messages \
                     resulted in 9000 tokens.",
                ),
                (
                    "content_filter",
                    "The response was filtered due to the prompt triggering the content \
                     management policy.",
                ),
                ("invalid_value", "Invalid value: 'x'."),
            ][kind.min(2)];
            json!({ "error": { "message": message, "type": "invalid_request_error",
                "param": "messages", "code": code } })
        }
    }
}
