//! Anthropic Messages (`POST /v1/messages`): what its clients speak, and its upstreams (Anthropic,
//! and those who imitate it). After the vendor's OpenAPI description, with the fields of its betas,
//! and after recorded traffic.
//!
//! Where both sides speak Messages nothing is translated: [`request::edit`] sets the model's name
//! and [`watch`] looks on. All below is about the other side being another API.
//!
//! # A Messages client's request ([`request::decode`])
//!
//! - `model`, `max_tokens`, `messages` → themselves; missing ones are refused, as the API does
//! - `system` → [`Request::system`](crate::ir::Request::system), block by block, cache marks kept
//! - a message of the role `system` → a [`Role::System`](crate::ir::Role::System) turn in its place
//! - blocks `text`, `image`, `document`, `tool_use`, `tool_result`, `thinking`, `redacted_thinking`
//!   → parts
//! - any other block → [`PartKind::Opaque`](crate::ir::PartKind::Opaque), whole
//! - `cache_control` on blocks, in tool results, on tools, on top →
//!   [`CacheHint`](crate::ir::CacheHint)s
//! - a tool of no type or `custom` → a function; any other is the provider's
//! - `tool_choice`, `disable_parallel_tool_use` → themselves
//! - `thinking`, `output_config.effort` → [`Reasoning`](crate::ir::Reasoning)
//! - `output_config.format`, `output_format` → a JSON schema
//! - `metadata.user_id`, `service_tier`, `stop_sequences`, `temperature`, `top_p`, `top_k`,
//!   `stream` → themselves
//! - `container`, `mcp_servers` → extensions whose loss changes the answer: other APIs refuse them
//! - `context_management`, `inference_geo`, `speed`, `output_config.task_budget`, all that is
//!   unknown → harmless extensions: dropped and listed (the first 32)
//! - `caller` of a `tool_use` → dropped
//!
//! # Another client's request for a Messages upstream ([`request::encode`])
//!
//! - no token limit → [`output_tokens_default`](crate::dialect::Traits::output_tokens_default),
//!   raised where a thinking budget needs it
//! - several messages of a role in a row → one turn
//! - tool results → first in the user's turn that follows the calls, each call answered once; else
//!   refused with the call's id
//! - ids of calls outside `[a-zA-Z0-9_-]`, or used twice → a name that depends on the id and on
//!   those before it
//! - arguments `""` or `null` → `{}`
//! - arguments that are no JSON object → `{"_raw": "…"}`; free text of a custom tool `{"input":
//!   "…"}`
//! - a tool without a schema → an object without properties
//! - blank text → left out (the API refuses it)
//! - white space at the end of a begun answer → left out (the API refuses it)
//! - instructions in mid-conversation → a text block in `<system>` tags in the user's turn, in its
//!   place
//! - instructions and no turn → the user's turn
//! - thoughts with a signature of Anthropic → `thinking`; any others are dropped and listed
//! - images and files as data URLs → `base64`; files must be PDF or text
//! - a JSON schema → `output_config.format`
//! - any JSON object (`json_object`) → a sentence at the end of the instructions, since Messages
//!   has no such mode
//! - reasoning effort → `adaptive` with `effort`, or a budget: 1024, 2048, 8192, 16384, 24576,
//!   31999 tokens from `minimal` to `max`, at most three quarters of the client's own limit
//! - reasoning beside a forced tool, a begun answer, a round of tool calls without signed thoughts
//!   (budget style), or a limit below 1368 → dropped and listed: the API refuses them together
//! - `temperature` below 1, `top_p` below 0.95, `top_k` beside reasoning or for a model without
//!   them → dropped and listed
//! - `top_p` beside `temperature` → dropped and listed: newer models refuse the two together
//! - `temperature` above 1 → refused
//! - seed, penalties, verbosity, cache key, image detail, participants' names, foreign citations
//!   and opaque parts, a long user id, an unknown service tier → dropped and listed
//! - more than four cache marks → the last four (three beside a mark for the whole prompt)
//! - `n` above 1, logprobs, a logit bias, custom or foreign provider tools, sound, video, foreign
//!   file ids, stop sequences of white space → refused
//! - allowed tools → those tools alone are offered
//!
//! # Answers
//!
//! - blocks of the provider's own tools, compaction, anything unknown → one opaque part each, put
//!   together when streamed; never a call
//! - a call without input → the arguments `{}`
//! - `input_tokens` and the two cache counts → one sum, with its parts
//! - a stop reason that is unknown → the end of the turn
//! - `stop_reason: tool_use` without a call; a stream cut off or spliced → a failure
//!
//! - a call in the answer → `stop_reason: tool_use`, unless it was cut off (`max_tokens`,
//!   `refusal`, `pause_turn`)
//! - a refusal → text and `stop_reason: refusal`; so is a content filter
//! - thoughts without a signature of Anthropic → `thinking` with the signature `""`, which the
//!   client's next request brings back and no upstream gets
//! - media, opaque parts and citations of other vendors, further choices, logprobs → left out
//! - a failure in a stream → `event: error`, and nothing after it
//! - a prompt that is too long → the words from which Claude Code takes the numbers

pub mod failure;
mod finish;
pub mod models;
mod overflow;
mod parts;
mod read;
pub mod request;
pub mod response;
pub mod stream;
mod text;
mod usage;
pub mod watch;

/// The path of the endpoint.
pub const PATH: &str = "/v1/messages";
