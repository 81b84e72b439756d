//! Token counts as Messages reports them: cached tokens apart from `input_tokens`.

use crate::ir::Usage;
use crate::wire::json::{Value, Writer};

/// The counts of an answer so far. A stream tells them at its start and, cumulative, at its end;
/// there often without those that did not change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    web_searches: Option<u64>,
}

impl Counts {
    /// Takes over what a `usage` object tells.
    pub(super) fn update(&mut self, usage: Value<'_>) {
        let take = |count: &mut Option<u64>, value: Option<Value<'_>>| {
            if let Some(told) = value.and_then(Value::as_u64) {
                *count = Some(told);
            }
        };
        for (key, value) in usage.members() {
            match key.escaped() {
                b"input_tokens" => take(&mut self.input, Some(value)),
                b"cache_read_input_tokens" => take(&mut self.cache_read, Some(value)),
                b"cache_creation_input_tokens" => take(&mut self.cache_write, Some(value)),
                b"output_tokens" => take(&mut self.output, Some(value)),
                b"cache_creation" => {
                    take(
                        &mut self.cache_write_1h,
                        value.get("ephemeral_1h_input_tokens"),
                    );
                }
                b"output_tokens_details" => {
                    take(&mut self.reasoning, value.get("thinking_tokens"));
                }
                b"server_tool_use" => {
                    take(&mut self.web_searches, value.get("web_search_requests"));
                }
                _ => {}
            }
        }
    }

    /// The counts in the model's terms.
    pub(super) fn usage(&self) -> Usage {
        let cached = self
            .cache_read
            .unwrap_or(0)
            .saturating_add(self.cache_write.unwrap_or(0));
        Usage {
            input: self.input.map(|input| input.saturating_add(cached)),
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            cache_write_1h: self.cache_write_1h,
            output: self.output,
            reasoning: self.reasoning,
            web_searches: self.web_searches,
            ..Usage::default()
        }
    }
}

/// Writes a `usage` object; `input_estimate` stands in for a prompt whose length is not known.
pub(super) fn write(usage: &Usage, input_estimate: u64, json: &mut Writer<'_>) {
    json.begin_object();
    json.key("input_tokens");
    json.u64(usage.uncached_input().unwrap_or(input_estimate.max(1)));
    json.key("cache_creation_input_tokens");
    json.u64(usage.cache_write.unwrap_or(0));
    json.key("cache_read_input_tokens");
    json.u64(usage.cache_read.unwrap_or(0));
    if let Some(hour) = usage.cache_write_1h {
        json.key("cache_creation");
        json.begin_object();
        json.key("ephemeral_5m_input_tokens");
        json.u64(usage.cache_write.unwrap_or(0).saturating_sub(hour));
        json.key("ephemeral_1h_input_tokens");
        json.u64(hour);
        json.end_object();
    }
    json.key("output_tokens");
    json.u64(usage.output.unwrap_or(0));
    if let Some(reasoning) = usage.reasoning {
        json.key("output_tokens_details");
        json.begin_object();
        json.key("thinking_tokens");
        json.u64(reasoning);
        json.end_object();
    }
    if let Some(searches) = usage.web_searches {
        json.key("server_tool_use");
        json.begin_object();
        json.key("web_search_requests");
        json.u64(searches);
        json.end_object();
    }
    json.end_object();
}
