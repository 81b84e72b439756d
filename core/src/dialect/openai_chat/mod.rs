//! OpenAI Chat Completions (`POST /v1/chat/completions`) and the vendors that imitate it: Azure,
//! OpenRouter, Groq, DeepSeek, xAI, Mistral, Z.ai, Alibaba, Ollama, Vercel, Perplexity, Snowflake,
//! llama.cpp, vLLM and more. As what a client speaks and as what an upstream speaks.
//!
//! Readers take every vendor's forms; writers write OpenAI's, and what a vendor needs else as
//! [`Traits`](super::Traits) say. It does no authentication, and knows no models.
//!
//! # From a Chat client to another API
//!
//! - `system`, `developer` messages → before the first turn the system prompt, later ones turns of
//!   that role
//! - `user`: text, `image_url`, `input_audio`, `file`, `video_url`, `document_url` → parts; `data:`
//!   URLs become base64 data, as slices
//! - `assistant`: text or parts, `refusal`, `tool_calls`, `function_call` → parts in the order
//!   reasoning, content, refusal, calls
//! - `reasoning_content`, `reasoning`, `reasoning_details` → thinking with its signature, redacted
//!   thinking
//! - `tool`, `function` messages → tool results; neighbours join into one turn
//! - `cache_control` on messages, parts, tools, at the top → cache hints
//! - `tools` of type `function`, `custom`; `functions` → tools; other types are the vendor's own,
//!   refused elsewhere
//! - `tool_choice`, `function_call`, `parallel_tool_calls` → the same
//! - `max_completion_tokens`, else `max_tokens` → the token limit
//! - `temperature`, `top_p`, `top_k`, penalties, `seed`, `logit_bias`, `stop`, `n`, `logprobs` →
//!   the same
//! - `response_format` → text, JSON object, JSON schema
//! - `reasoning_effort`, `reasoning`, `thinking`, `enable_thinking`, `thinking_budget` → how much
//!   to think
//! - `safety_identifier`, else `user` → the user's id
//! - `prompt_cache_key`, `service_tier`, `verbosity`, `stream_options.include_usage` → the same
//! - `web_search_options`, `search_parameters`, `plugins`, answers of sound, `guided_*`, `grammar`
//!   → extensions that other APIs must refuse: the answer would be another
//! - `store`, `metadata`, `prediction`, `provider`, `transforms`, everything unknown → extensions
//!   that other APIs leave out and list
//!
//! # From another API to a Chat upstream
//!
//! - system prompt → one `system` (or `developer`) message: a string, parts joined by an empty
//!   line; parts only where cache hints are taken
//! - one text of a user → a string; else a list of parts
//! - base64 data → `data:` URLs; PDF and other files `file` with `file_data`
//! - text documents → text, title and context in front
//! - documents by address, with citations, or another vendor's file ids → **refused**
//! - thinking → the field that the traits name (words, or `reasoning_details` with signatures);
//!   else dropped
//! - parts that only another vendor knows → dropped
//! - tool results → `tool` messages of text; pictures and files follow in a user's message that
//!   names the call. Chat has no `is_error`: `Error: ` is put in front unless the text says "error"
//!   itself
//! - calls without results behind them, results without calls → **refused**
//! - tools of another vendor's servers → **refused**
//! - thinking: an effort, or a budget below 4096, below 16384, above → `reasoning_effort`: the
//!   effort, or `low`, `medium`, `high`; thinking switched off without the effort `none` is left
//!   out, for most models refuse the word
//! - more than four stop sequences → **refused**
//! - `top_k` → dropped
//! - a JSON schema without a name → named `response`
//! - a stream → asks for usage always, where the traits allow
//!
//! What is dropped is listed in [`Encoded::dropped`](super::Encoded). `messages` is the body's last
//! member, so that a conversation that grows only appends.
//!
//! # Answers
//!
//! Usage counts as OpenAI's do; where a vendor's total shows that reasoning lies outside the
//! completion (xAI), it is added. Any call makes the reason `tool_calls`, unless the answer was cut
//! off; a stream that ends without `finish_reason` and `[DONE]` was cut off and fails, as does a
//! text behind which `[DONE]` comes in the place of a reason that was announced by `null`.
//! `<think>` tags in content stay what they are: text. Written answers tell thinking in
//! `reasoning_content`, and what must come back with it (signatures, redacted thinking) in
//! `reasoning_details`. Sources in other vendors' forms and what other vendors' servers did are not
//! told. A refusal that was not put in words is `content_filter`; a pause is `length`.

mod answer;
pub mod failure;
pub mod models;
pub mod request;
pub mod response;
pub mod stream;
mod usage;
pub mod watch;

/// Where requests go.
pub const PATH: &str = "/v1/chat/completions";
