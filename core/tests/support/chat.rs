//! Answers in the Chat Completions API: [`check`] holds what the gateway writes to the grammar of a
//! stream; [`told`] puts together what a recorded stream says, in the plainest way.

#[path = "../openai_chat/grammar.rs"]
mod grammar;

use serde_json::Value as Json;

use self::grammar::{End, Machine};
use super::events;
use super::said::{Answer, Call, Fault, Finish, Said, Usage, list, text};

/// Reads a stream, and panics where it breaks the grammar, where the usage chunk is there or not
/// against `usage_wanted`, or where it tells what no client of these tests asks for. Comments may
/// stand anywhere between.
pub(crate) fn check(stream: &str, usage_wanted: bool) -> Answer {
    let (answer, machine) = follow(stream);
    let end = machine.end.expect("the stream ends");
    if end == End::Done {
        assert_eq!(
            machine.usage_seen, usage_wanted,
            "the usage chunk: {stream}"
        );
    }
    answer
}

/// The same for a stream that goes on: what has come so far.
pub(crate) fn check_begun(stream: &str) -> Answer {
    follow(stream).0
}

fn follow(stream: &str) -> (Answer, Machine) {
    assert!(!stream.contains('\r'), "a carriage return");
    assert!(stream.is_empty() || stream.ends_with("\n\n"), "{stream:?}");
    let (mut answer, mut machine) = (Answer::default(), Machine::default());
    for event in stream.split_terminator("\n\n") {
        assert!(!event.contains('\n'), "an event of many lines: {event:?}");
        if event.starts_with(": ") {
            assert!(machine.end != Some(End::Done), "a comment after the end");
            continue;
        }
        let data = event.strip_prefix("data: ").expect("data");
        let told = machine.step(data.as_bytes());
        let chunk = told.unwrap_or_else(|fault| panic!("{fault}: {stream}"));
        match machine.end {
            Some(End::Done) => answer.is_complete = true,
            Some(End::Failed) => answer.error = Some(fault(&chunk)),
            None => add_chunk(&chunk, &mut answer),
        }
    }
    (answer, machine)
}

fn add_chunk(chunk: &Json, answer: &mut Answer) {
    assert!(chunk["id"] != "" && chunk["model"] != "", "{chunk}");
    if list(&chunk["choices"]).next().is_none() {
        answer.usage = Some(usage(&chunk["usage"]).expect("usage"));
    }
    for choice in list(&chunk["choices"]) {
        for call in list(&choice["delta"]["tool_calls"]) {
            let is_begin = call["id"].is_string();
            let is_function = call["type"] == "function" && call["id"] != "";
            assert!(is_function || !is_begin, "{call}");
            let is_named = call["function"].get("name").is_some();
            assert_eq!(is_named, is_begin, "{call}");
        }
        let said = answer.choice(choice["index"].as_u64().expect("an index") as usize);
        add(said, &choice["delta"]);
        if let Some(reason) = choice["finish_reason"].as_str() {
            said.finish = finish(reason);
        }
    }
}

/// The error of an event or of a body.
pub(crate) fn fault(body: &Json) -> Fault {
    let error = &body["error"];
    for member in ["param", "code"] {
        assert!(error.get(member).is_some(), "{member} in {body}");
    }
    let (kind, message) = (text(&error["type"]), text(&error["message"]));
    assert!(!kind.is_empty() && !message.is_empty(), "{body}");
    Fault { kind, message }
}

/// Usage, with what is counted outside of prompt and completion added to where it belongs.
pub(crate) fn usage(usage: &Json) -> Option<Usage> {
    let count = |name: &str| usage[name].as_u64();
    let prompt = &usage["prompt_tokens_details"];
    let cached = [
        "prompt_cache_hit_tokens",
        "cached_tokens",
        "num_cached_tokens",
    ];
    let (mut input, mut output) = (
        count("prompt_tokens")?,
        count("completion_tokens").unwrap_or(0),
    );
    let outside = count("total_tokens").map_or(0, |it| it.saturating_sub(input + output));
    let sound = prompt["audio_tokens"].as_u64();
    // Mistral counts sound apart from the prompt; all others who exceed the sum count reasoning so.
    if outside > 0 && sound == Some(outside) && outside > input {
        input += outside;
    } else {
        output += outside;
    }
    let read = prompt["cached_tokens"].as_u64();
    let read = read
        .or_else(|| cached.into_iter().find_map(count))
        .unwrap_or(0);
    let write = prompt["cache_write_tokens"].as_u64();
    let write = write
        .or_else(|| count("cache_creation_input_tokens"))
        .unwrap_or(0);
    Some(Usage {
        // Azure and Gemini tell of more cached tokens than the prompt has.
        input: input.max(read + write),
        output,
        cache_read: read,
        cache_write: write,
        reasoning: usage["completion_tokens_details"]["reasoning_tokens"]
            .as_u64()
            .unwrap_or(0),
    })
}

fn finish(reason: &str) -> Option<Finish> {
    Some(match reason {
        "" => return None,
        "length" => Finish::Length,
        "content_filter" => Finish::Filter,
        "tool_calls" | "function_call" => Finish::Calls,
        _ => Finish::Stop,
    })
}

/// Adds what a message or a delta says.
fn add(said: &mut Said, message: &Json) {
    match &message["content"] {
        Json::String(content) => said.text += content,
        Json::Array(parts) => {
            for part in parts {
                said.text += &text(&part["text"]);
                for word in list(&part["thinking"]) {
                    said.thinking += &text(&word["text"]);
                }
            }
        }
        _ => {}
    }
    said.refusal += &text(&message["refusal"]);
    let words = [&message["reasoning_content"], &message["reasoning"]].map(text);
    let words = words.into_iter().find(|words| !words.is_empty());
    let mut details = String::new();
    for detail in list(&message["reasoning_details"]) {
        details += &text(&detail["text"]);
        details += &text(&detail["summary"]);
        // What another vendor signed or encrypted means nothing to Messages.
        let is_own = text(&detail["format"]).starts_with("anthropic");
        let push = |member: &str, to: &mut Vec<String>| {
            let value = text(&detail[member]);
            to.extend(Some(value).filter(|it| is_own && !it.is_empty()));
        };
        push("signature", &mut said.signatures);
        push("data", &mut said.redacted);
    }
    said.thinking += &words.unwrap_or(details);
    for call in list(&message["tool_calls"]) {
        add_call(said, call);
    }
    let old = &message["function_call"];
    if old.is_object() {
        add_call(said, &serde_json::json!({"index": 0, "function": old}));
    }
}

/// Adds a piece of a call. A call begins with its name, at an index of its own or with an id of its
/// own.
fn add_call(said: &mut Said, call: &Json) {
    let body = call.get("function").unwrap_or(&call["custom"]);
    let (id, name) = (text(&call["id"]), text(&body["name"]));
    let arguments = match body.get("arguments").unwrap_or(&body["input"]) {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    };
    let index = call["index"].as_u64().map(|it| it as usize);
    let known = said.calls.iter().position(|own| match (&*id, index) {
        ("", _) => false,
        (id, _) => own.id == id,
    });
    if !name.is_empty() && known.is_none() {
        said.calls.push(Call {
            id,
            name,
            arguments,
        });
        return;
    }
    // Pieces without an id follow their call: streams number calls in the order in which they
    // begin.
    let of = known.or_else(|| index.filter(|&it| it < said.calls.len()));
    let last = said.calls.len().saturating_sub(1);
    if let Some(own) = said.calls.get_mut(of.unwrap_or(last)) {
        own.arguments += &arguments;
    }
}

/// What a whole answer says.
pub(crate) fn whole(body: &Json) -> Answer {
    if body.get("error").is_some_and(|error| !error.is_null()) {
        return Answer {
            error: Some(fault_of(body)),
            ..Answer::default()
        };
    }
    let mut answer = Answer {
        usage: usage(&body["usage"]),
        is_complete: true,
        ..Answer::default()
    };
    for (at, choice) in list(&body["choices"]).enumerate() {
        let said = answer.choice(at);
        add(said, &choice["message"]);
        said.finish = finish(&text(&choice["finish_reason"]));
    }
    answer
}

/// The error of a recorded body or event, in whatever shape its vendor tells it.
pub(crate) fn fault_of(body: &Json) -> Fault {
    let error = &body["error"];
    let message = [&error["message"], error, &body["detail"], &body["message"]]
        .map(text)
        .into_iter()
        .find(|message| !message.is_empty());
    Fault {
        kind: text(&error["type"]),
        message: message.unwrap_or_default(),
    }
}

/// What a recorded stream says.
pub(crate) fn told(stream: &str) -> Answer {
    let mut answer = Answer::default();
    let (mut counts, mut groq) = (None, None);
    for event in events::read(stream) {
        if event.data.trim() == "[DONE]" {
            answer.is_complete = true;
            break;
        }
        let chunk: Json = serde_json::from_str(&event.data).expect("JSON");
        counts = usage(&chunk["usage"]).or(counts);
        groq = usage(&chunk["x_groq"]["usage"]).or(groq);
        for choice in list(&chunk["choices"]) {
            let index = choice["index"].as_u64().unwrap_or(0) as usize;
            let said = answer.choice(index);
            add(said, &choice["delta"]);
            said.finish = finish(&text(&choice["finish_reason"])).or(said.finish);
        }
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            answer.error = Some(fault_of(&chunk));
            break;
        }
    }
    let is_finished = answer.choices.iter().all(|said| said.finish.is_some());
    answer.is_complete |= is_finished && !answer.choices.is_empty();
    answer.usage = counts.or(groq);
    answer
}
