//! The protocol engine of tollgate, an LLM gateway. It decides everything and does nothing: bytes,
//! time and randomness come in, operations to perform go out. It opens no socket, reads no clock,
//! starts no thread, and runs on any runtime; `tollgate-smol`, `tollgate-monoio` and the simulator
//! `tollgate-sim` are three that drive it.
//!
//! ```text
//!                    ┌─────────────── core (decides, never acts) ──────────────┐
//! bytes of clients   │ wire     http1 · sse · json · coding · tls             │
//! bytes of upstreams │ ir       the one conversation model                    │  operations:
//! time, seeds  ────▶ │ dialect  anthropic · openai_chat          wire ⇄ ir    │ ─▶ accept connect
//! completions        │ config   text → checked Snapshot                       │  read write close
//!                    │ gateway  Shard: clients, upstreams, exchanges          │  resolve host
//!                    └────────────────────────────────────────────────────────┘
//! ```
//!
//! # The nouns
//!
//! | | |
//! |---|---|
//! | [`Shard`] | the whole gateway for one core: all tables, timers and decisions |
//! | [`Input`], [`Output`] | all that enters a shard, all that leaves it |
//! | [`Op`], [`Completion`] | an operation that a shard asks for, and how it ended |
//! | [`Machine`] | what a runtime drives: the `Shard`, or a toy in the runtimes' tests |
//! | [`Host`] | the program's threads: names to resolve, long work, records to write |
//! | [`Snapshot`] | a checked config: providers, models, callers, limits; replaced, never changed |
//! | exchange | one request of a client and all that is done to answer it |
//! | attempt | one try to have it answered by an upstream |
//! | [`Record`] | what is told of an exchange when it has ended |
//! | [`Dialect`] | a vendor's API: what clients speak, and what upstreams speak |
//! | [`ir::Request`], [`ir::Response`], [`ir::Delta`] | a conversation, in no vendor's words |
//! | [`ir::Failure`] | the one model of what can go wrong, written in each API's own form |
//! | [`Limits`] | every bound, with its unit in its name |
//!
//! # The run loop
//!
//! A runtime has one thread for each shard, and there:
//!
//! 1. gives the shard what has happened ([`Shard::handle`]: completions, messages of other shards,
//!    or [`Input::Tick`] when the time of [`Shard::poll_timeout`] has come), as often as it likes;
//! 2. takes outputs ([`Shard::poll_output`]) until there is none, and begins each operation;
//! 3. waits, no longer than until [`Shard::poll_timeout`].
//!
//! What of this is not I/O is there to be used: [`gateway::pump`].
//!
//! The whole loop in memory, with a client that asks `GET /health` and a runtime that is six lines:
//!
//! ```
//! use std::sync::Arc;
//! use tollgate_core::base::{Instant, Now, Peer, Seed, ShardId, UnixMillis};
//! use tollgate_core::{Completion, Input, Op, Output, Shard, ShardOptions, Snapshot};
//!
//! let options = ShardOptions { id: ShardId(0), shards: 1, listeners: 1, seed: Seed(1) };
//! let mut shard = Shard::new(&options, Arc::new(Snapshot::default()));
//! let now = Now { mono: Instant::from_nanos(1), wall: UnixMillis(1_790_000_000_000) };
//!
//! let mut request = Some("GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
//! let (mut answer, mut is_closed, mut is_accepted) = (Vec::new(), false, false);
//! while let Some(output) = shard.poll_output() {
//!     let completion = match output {
//!         // One client comes; the next `Accept` stays in flight, as nobody else does.
//!         Output::Op(Op::Accept { listener, conn }) => {
//!             if std::mem::replace(&mut is_accepted, true) {
//!                 continue;
//!             }
//!             Completion::Accept { listener, conn, result: Ok(Peer::Unix) }
//!         }
//!         Output::Op(Op::Read { conn, mut buf, .. }) => {
//!             let bytes = request.take().unwrap_or_default();
//!             buf.extend_from_slice(bytes.as_bytes());
//!             Completion::Read { conn, buf, result: Ok(bytes.len()) }
//!         }
//!         Output::Op(Op::Write { conn, mut batch }) => {
//!             batch.slices().iter().for_each(|slice| answer.extend_from_slice(slice));
//!             batch.advance(batch.len());
//!             Completion::Write { conn, batch, result: Ok(()) }
//!         }
//!         Output::Op(Op::Shutdown { conn }) => Completion::Shutdown { conn, result: Ok(()) },
//!         Output::Op(Op::Close { conn, .. }) => {
//!             is_closed = true;
//!             Completion::Close { conn }
//!         }
//!         _ => continue, // Records, and nothing else in this run.
//!     };
//!     shard.handle(now, Input::Complete(completion));
//! }
//! let answer = String::from_utf8(answer)?;
//! println!("{answer}");
//! assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
//! assert!(is_closed);
//! # Ok::<(), std::string::FromUtf8Error>(())
//! ```
//!
//! # The contract
//!
//! What a shard and its runtime owe each other. What can be checked is asserted in release builds
//! too, because a confusion of buffers would show one person's bytes to another; the simulator
//! checks all of it.
//!
//! 1. *One at a time.* A connection has at most one `Read` and one `Write` in flight, a listener at
//!    most one `Accept`. `Close` is a connection's last operation, its completion the last one.
//!    Nothing in flight is dropped: to cancel is an operation, and its completion is awaited.
//! 2. *Back-pressure is silence.* Who must wait is simply not read: no `Read`, no `Accept` is
//!    issued. A connection that only waits holds no large buffer: its reads are
//!    [`ReadClass::Quiet`], and memory is made for them when there is something to read. Bodies of
//!    requests are charged to one budget, before they are read where their length is declared.
//! 3. *Time is given.* [`Now`](base::Now) enters with each input; it never goes back, and a `Tick`
//!    that comes early does no harm.
//! 4. *Same in, same out.* Same snapshot, seed and inputs give the same outputs, to the byte. (With
//!    TLS above the session only: its keys are random.)
//! 5. *Cuts do not matter.* However the bytes of a stream are split, the body of the answer is the
//!    same.
//! 6. *One end.* Each accepted request ends in exactly one [`Record`], whatever happens, and every
//!    phase has a deadline ([`TimerLimits`](base::limits::TimerLimits)).
//! 7. *One answer.* No byte that reached a client is followed by bytes of another attempt. Before
//!    that there are two second tries, each once: a dead connection that was kept from an earlier
//!    request is replaced, and a request that is refused for the signatures of earlier reasoning
//!    is sent without it.
//! 8. *Short turns.* Bodies over `turn_bytes_max` are read and written as [`Op::Host`]: a pure
//!    function ([`Work::run`](gateway::io::Work::run)) on another thread. At most `handshakes_max`
//!    TLS handshakes advance at once.
//! 9. *Bounded queues.* `Resolve` and `Host` together are at most `host_jobs_max` in flight.
//!    Messages between two shards keep their order and are not lost; records may be, and the host
//!    counts those. A completion for an exchange that has ended is ignored.
//! 10. *Polite ends.* A write carries at most 64 KiB in 64 slices. A refused body is ended by
//!     `Shutdown`, some reading, `Close`: a reset could destroy the error that was sent. When a
//!     client is gone its upstream is closed at once, in every phase.
//! 11. *An attempt is its own.* An exchange has one attempt at a time; it may end before the close
//!     of its connection completes.
//!
//! # What translates to what
//!
//! | client speaks ↓, upstream speaks → | Anthropic Messages | OpenAI Chat Completions |
//! |---|---|---|
//! | Anthropic Messages | as it is | [translated](dialect::openai_chat) |
//! | OpenAI Chat Completions | [translated](dialect::anthropic) | as it is |
//!
//! *As it is*: the request is edited in place (the model's name, the config's parameters,
//! `stream_options`), answers and events pass byte by byte while usage and errors are read on the
//! way. *Translated*: read into [`ir`], written from there, each event when it comes. What a target
//! has no place for and does not need is dropped and listed in the header `x-tollgate-dropped`;
//! what it cannot express and the request needs is refused with 400, the field and the reason. The
//! rules, field by field, are in the docs of [`dialect::anthropic`] and [`dialect::openai_chat`],
//! each with three lists: what becomes of its clients' requests, what is made of others' requests
//! for its upstreams, and what becomes of answers.
//!
//! # What is left out
//!
//! What the header `x-tollgate-dropped` may list, by the path of the field. A test holds this table
//! against the code.
//!
//! | path | upstream | left out |
//! |---|---|---|
//! | `frequency_penalty`, `presence_penalty`, `seed` | Messages | always |
//! | `verbosity`, `prompt_cache_key` | Messages | always |
//! | `temperature`, `top_k` | Messages | beside reasoning, or where the model takes none |
//! | `top_p` | Messages | the same, and beside a temperature |
//! | `reasoning` | Messages | where the API forbids it, or the model cannot |
//! | `user` | Messages | when it is longer than the API takes |
//! | `service_tier` | Messages | when the API has no such tier |
//! | `cache_control` | Messages | all marks but the last four |
//! | `messages[].reasoning` | Messages | thoughts without a signature of Anthropic |
//! | `messages[].annotations` | Messages | citations in another vendor's form |
//! | `messages[].image_url.detail`, `messages[].name` | Messages | always |
//! | `messages[].{name}` | Messages | parts that only another vendor knows, by their type |
//! | `top_k` | Chat | always |
//! | `thinking` | Chat | switched off, or the model cannot |
//! | `cache_control`, `tools[].cache_control` | Chat | where the endpoint takes no marks |
//! | `messages[].cache_control` | Chat | the same |
//! | `messages[].content[].thinking` | Chat | where the endpoint takes no reasoning back |
//! | `messages[].content[].redacted_thinking` | Chat | where it takes words alone |
//! | `messages[].tool_calls[].signature` | Chat | always |
//! | `messages[].content[].image` | Chat | in answers of the model |
//! | `messages[].content[].document` | Chat | the same |
//! | `messages[].content[].{name}` | Chat | parts that only another vendor knows, by their type |
//!
//! Besides, either way: a field of the client's API that is unknown, or known and of no weight for
//! the answer, by its own path.
//!
//! # Parts that are useful alone
//!
//! [`wire::http1`] (both roles, strict), [`wire::sse`], [`wire::json`] (a scanner and in-place
//! edits), [`wire::coding`] and [`wire::tls`] are machines of bytes without I/O; [`dialect`] with
//! [`ir`] translates without a gateway; [`config`](mod@config) reads and checks a config file.

#![forbid(unsafe_code)]

pub mod base;
pub mod config;
pub mod dialect;
pub mod gateway;
pub mod ir;
pub mod policy;
pub mod record;
pub mod wire;

pub use base::Limits;
pub use config::Snapshot;
pub use dialect::Dialect;
pub use gateway::io::{Completion, Host, Input, IoFailure, Machine, Op, Output, ReadClass};
pub use gateway::{Shard, ShardOptions};
pub use record::Record;
