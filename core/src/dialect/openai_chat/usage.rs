//! Token counts: `usage` of an answer, in the vendors' spellings.

use crate::ir::Usage;
use crate::wire::json::{Kind, Value, Writer};

/// Reads a `usage` object; `None` where it is not one or tells nothing.
///
/// OpenAI counts reasoning within `completion_tokens`. Where the total exceeds prompt and
/// completion (xAI, Google's surface) it is outside, and is added; sound that Mistral counts apart
/// from the prompt likewise.
pub(super) fn decode(value: Value<'_>) -> Option<Usage> {
    if value.kind() != Kind::Object {
        return None;
    }
    let mut usage = Usage::default();
    let mut total = None;
    for (key, value) in value.members() {
        match key.escaped() {
            b"prompt_tokens" => usage.input = value.as_u64(),
            b"completion_tokens" => usage.output = value.as_u64(),
            b"total_tokens" => total = value.as_u64(),
            b"prompt_tokens_details" => prompt_details(value, &mut usage),
            b"completion_tokens_details" => completion_details(value, &mut usage),
            b"prompt_cache_hit_tokens" | b"cached_tokens" | b"num_cached_tokens" => {
                usage.cache_read = usage.cache_read.or(value.as_u64());
            }
            b"cache_creation_input_tokens" => {
                usage.cache_write = usage.cache_write.or(value.as_u64());
            }
            b"server_tool_use_details" | b"server_tool_use" => {
                usage.web_searches = value.get("web_search_requests").and_then(Value::as_u64);
            }
            _ => {}
        }
    }
    add_what_is_outside(total, &mut usage);
    (usage != Usage::default()).then_some(usage)
}

/// Writes a `usage` object.
pub(super) fn encode(usage: &Usage, json: &mut Writer<'_>) {
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    json.begin_object();
    json.key("prompt_tokens");
    json.u64(input);
    json.key("completion_tokens");
    json.u64(output);
    json.key("total_tokens");
    json.u64(input.saturating_add(output));
    json.key("prompt_tokens_details");
    json.begin_object();
    json.key("cached_tokens");
    json.u64(usage.cache_read.unwrap_or(0));
    optional("cache_write_tokens", usage.cache_write, json);
    optional("audio_tokens", usage.audio_input, json);
    json.end_object();
    json.key("completion_tokens_details");
    json.begin_object();
    json.key("reasoning_tokens");
    json.u64(usage.reasoning.unwrap_or(0));
    optional("audio_tokens", usage.audio_output, json);
    json.end_object();
    if let Some(searches) = usage.web_searches {
        json.key("server_tool_use_details");
        json.begin_object();
        json.key("web_search_requests");
        json.u64(searches);
        json.end_object();
    }
    json.end_object();
}

fn optional(key: &'static str, count: Option<u64>, json: &mut Writer<'_>) {
    if let Some(count) = count {
        json.key(key);
        json.u64(count);
    }
}

fn prompt_details(details: Value<'_>, usage: &mut Usage) {
    for (key, value) in details.members() {
        match key.escaped() {
            b"cached_tokens" => usage.cache_read = value.as_u64().or(usage.cache_read),
            b"cache_write_tokens" => usage.cache_write = value.as_u64().or(usage.cache_write),
            b"audio_tokens" => usage.audio_input = value.as_u64(),
            _ => {}
        }
    }
}

fn completion_details(details: Value<'_>, usage: &mut Usage) {
    for (key, value) in details.members() {
        match key.escaped() {
            b"reasoning_tokens" => usage.reasoning = value.as_u64(),
            b"audio_tokens" => usage.audio_output = value.as_u64(),
            _ => {}
        }
    }
}

fn add_what_is_outside(total: Option<u64>, usage: &mut Usage) {
    let (Some(total), Some(input), Some(output)) = (total, usage.input, usage.output) else {
        return;
    };
    let Some(outside) = total.checked_sub(input.saturating_add(output)) else {
        return;
    };
    match usage.audio_input {
        _ if outside == 0 => {}
        Some(audio) if audio > input && audio == outside => usage.input = Some(input + outside),
        _ => usage.output = Some(output + outside),
    }
}
