//! The config: from text to typed tables to a checked [`Snapshot`].
//!
//! [`load`] reads a file's text, [`builtin`] makes do without one. Neither does I/O: variables,
//! files and certificates come through [`Surroundings`]. Everything wrong in a file is found at
//! once and told with line, column and a suggestion ([`Diagnostics`]); a file with any fault yields
//! nothing.
//!
//! # The format
//!
//! TOML. All keys are optional unless said otherwise, unknown ones are faults. [`STARTER`] is a
//! commented example. Times are texts with units (`"500ms"`, `"10s"`, `"1m30s"`), sizes are texts
//! with units (`"64KiB"`, `"32MiB"`) or numbers of bytes.
//!
//! At the top, above all tables:
//! - `runtime`: `"auto"`, `"monoio"` or `"smol"`. By default the command line's.
//! - `workers`: number of threads. By default one per processor.
//! - `access_log`: `"text"` (the default), `"json"` or `"off"`.
//! - `target_headers`: whether answers tell where they come from: `x-tollgate-target`
//!   (`provider/model`) and `x-tollgate-attempts`. By default they do.
//! - `providers_from_environment`: whether known providers whose key is in the environment are
//!   added behind the configured ones. By default only if there is no `[providers.…]`.
//!
//! ## `[[listeners]]`
//!
//! `address`: `"127.0.0.1:4180"` (the default listener), `"[::1]:4180"` or `"unix:/path"`. One that
//! other machines reach is a fault where there are no callers.
//!
//! ## `[[callers]]`
//!
//! Who may call; without any, everybody. `name` (required, for logs), and one of `key_env` (a
//! variable that holds the key), `key_file` (a file that does), `key_sha256` (its hash in
//! hexadecimal) and `key`. Only hashes are kept. How its requests are served beside others: the
//! fields of [`Terms`], by name (`priority`: `"high"`, `"normal"`, `"low"`).
//!
//! ## `[providers.NAME]`
//!
//! Where requests can go; without any, the providers of the environment. The name of a
//! [known provider](PROVIDERS) brings everything along but a key that is not in its usual variable;
//! what is said here replaces what is known.
//! - `preset`: the known provider that this one resembles. By default the one with its name.
//! - `dialect`: `"anthropic"` or `"openai-chat"`. Required where the provider is not known.
//! - `base_url`: what stands before `/v1/messages` or `/chat/completions`. Required likewise. With
//!   the dialect `anthropic` a `/v1` at its end may be there or not.
//! - `key_env`, `key_file` or `key`: the key, or an array of keys: a conversation keeps to one of
//!   them while that can be used. By default the known provider's variable, which counts only for
//!   its name or its host.
//! - `key_limits`: a table with what the provider allows each key: the fields of
//!   [`KeyLimits`](crate::policy::keys::KeyLimits), by name. By default what is known of it. They
//!   hold over all workers together.
//! - `concurrent`: requests to it at the same time, whatever the key and the model. By default any
//!   number.
//! - `credentials`, instead of a key: `"client"` passes on the clients' own, `"none"` sends none.
//!   Servers on this machine need none.
//! - `authorization`: `"bearer"`, or the header that carries the key. By default `"x-api-key"` for
//!   `anthropic`, else `"bearer"`.
//! - `headers`: a table of headers for every request. An empty text removes one that is known.
//! - `client_headers`: headers of clients that are passed on; a trailing `*` stands for any ending.
//! - `ca_file`: a PEM file with authorities to trust besides the system's.
//! - `proxy`: `"http://user:password@host:port"`, or `"none"`. By default what `HTTPS_PROXY`,
//!   `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say; this machine is reached directly.
//! - `models`: patterns of the names that lead here.
//! - `listed`: names that `GET /v1/models` shows.
//! - `timers`: a table with `connect`, `tls`, `first_content`, `first_content_min`, `idle`, `total`
//!   and `total_stream`. By default those of `[timers]`.
//! - `traits`: a table, see below.
//! - `retry` and `breaker`: tables like those below, over what they say, but for `attempts_max`.
//!
//! ## `[models]`
//!
//! A name or pattern (`*` stands for any characters, also none) and its target: `"provider/model"`,
//! `"provider"` to keep the name that was asked for, or `"demo"`. An array of targets is a chain:
//! what the first cannot answer, the next is asked. An array within it is a step of several targets
//! that share its conversations by `weight`; a target may be a table with `target`, `weight` (1 to
//! 100), `concurrent`, `max_tokens`, `traits`, `timers`, `parameters` and `headers`. A step may be
//! a table with `targets` and `balance`: the strategy by which new sessions are placed, one of
//! [`Strategy::NAMES`](crate::policy::balance::Strategy::NAMES). In place of it all a table:
//! - `target`: required; a target or a chain.
//! - `max_tokens`: short for the trait of this name.
//! - `traits`: a table, see below.
//! - `parameters`: members to set in the body of every request.
//! - `headers`: headers to send with it.
//! - `concurrent`: requests to each of its targets at the same time. By default any number.
//! - `listed`: whether `GET /v1/models` shows the name. By default if it is no pattern.
//! - `balance`: the strategy of all steps that name none.
//! - `timers`: as those of a provider.
//! - `hold_events`, `hedge_percent`, `resume`: as in `[retry]`, for this name.
//! - `message`: what the client is told, as a model's answer, when no target can answer. By default
//!   the first error.
//!
//! A name is looked up in this order, the first match wins: `[models]` from top to bottom;
//! `provider/model`; `demo`; the providers' `models`, provider by provider.
//!
//! ## `traits`
//!
//! Of a provider or a model: `max_tokens` (for requests to a Messages API whose client set none),
//! `thinking` (`"adaptive"`, `"budget"`, `"none"`), `token_limit_field` (`"max_tokens"`,
//! `"max_completion_tokens"`), `cache_control`, `reasoning_field` (`"none"`, `"reasoning"`,
//! `"reasoning_content"`, `"reasoning_details"`), `stream_options`, `developer_role`, `sampling`;
//! and what a request is passed on for if it needs more: `context_window` (tokens of a prompt),
//! `images`, `tools`; `prefill`, without which it continues no answer. They are the fields of
//! [`Traits`](crate::dialect::Traits). What neither model nor provider sets is told by the model's
//! name ([`traits_for`]), else by what is known of the provider.
//!
//! ## `[retry]`, `[breaker]` and `[queue]`
//!
//! The fields of [`RetryLimits`](crate::policy::retry::RetryLimits) and of [`Manner`] (but for
//! `message`, which is a name's),
//! [`BreakerLimits`](crate::policy::breaker::BreakerLimits) and
//! [`QueueLimits`](crate::policy::queue::QueueLimits), by name. A breaker holds for a target that
//! is alone, too: what it refuses is answered at once, with the time until the next probe. Limits
//! of requests at the same time hold over all workers together.
//!
//! ## `[limits]` and `[timers]`
//!
//! The fields of [`Http1Limits`](crate::base::limits::Http1Limits),
//! [`SseLimits`](crate::base::limits::SseLimits), [`JsonLimits`](crate::base::limits::JsonLimits)
//! and [`ShardLimits`](crate::base::limits::ShardLimits), and those of
//! [`TimerLimits`](crate::base::limits::TimerLimits) and
//! [`UpstreamTimers`](crate::base::limits::UpstreamTimers), by name. `total_stream` may be `"off"`.

mod abilities;
mod bounds;
mod chain;
mod diagnose;
mod json;
mod keys;
mod known;
mod listen;
mod manner;
mod models;
mod pem;
mod provider;
mod section;
mod snapshot;
#[cfg(test)]
mod tests;
mod timers;
mod traits;
mod url;
mod value;

use core::fmt;

use toml::de::DeTable;

use diagnose::Findings;
use provider::{Configured, Shared};
use section::Section;

use crate::base::Limits;

pub use diagnose::{Diagnostics, Problem};
pub use known::{Known, PROVIDERS};
pub use listen::{ListenAddress, ListenerConfig};
pub use manner::Manner;
pub use models::DEMO;
pub use snapshot::{
    Authorization, BaseUrl, Caller, Chain, Credentials, Key, ListedModel, Member, Named, Pattern,
    Provider, Proxy, Resolved, Route, RouteTarget, Secret, Snapshot, Step, Terms, Upstream,
    WEIGHT_MAX,
};
pub use traits::{NameTraits, hides_reasoning, traits_for};

/// A commented config to start from; `tollgate init` writes it. It loads as it is.
pub const STARTER: &str = include_str!("starter.toml");

/// Longer texts are refused.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a config refers to outside of itself.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The environment variable of a name.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The bytes of a file, or why it cannot be read. Relative paths are meant from the config's
    /// folder.
    pub read_file: &'a dyn Fn(&str) -> Result<Vec<u8>, String>,
    /// Certificates (DER) that the system trusts.
    pub roots: &'a [Vec<u8>],
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// A config that was read and checked.
#[derive(Debug)]
pub struct Loaded {
    /// What the shards work with.
    pub snapshot: Snapshot,
    /// Where clients connect; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// How requests are logged.
    pub access_log: AccessLog,
    /// Which runtime serves, if the config says so.
    pub runtime: Option<RuntimeChoice>,
    /// Number of threads, if the config says so.
    pub workers: Option<usize>,
    /// What was found in the environment, for the start.
    pub notes: Vec<String>,
    /// What is no fault but probably not meant.
    pub warnings: Vec<String>,
}

/// How requests are logged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AccessLog {
    /// A line of text each.
    #[default]
    Text,
    /// A JSON object each.
    Json,
    /// Not at all.
    Off,
}

/// Which runtime serves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RuntimeChoice {
    /// io_uring where the kernel allows it.
    #[default]
    Auto,
    /// monoio.
    Monoio,
    /// smol.
    Smol,
}

impl AccessLog {
    /// The names in the config and on the command line.
    pub const NAMES: &[(&str, AccessLog)] = &[
        ("text", AccessLog::Text),
        ("json", AccessLog::Json),
        ("off", AccessLog::Off),
    ];
}

impl RuntimeChoice {
    /// The names in the config and on the command line.
    pub const NAMES: &[(&str, RuntimeChoice)] = &[
        ("auto", RuntimeChoice::Auto),
        ("monoio", RuntimeChoice::Monoio),
        ("smol", RuntimeChoice::Smol),
    ];
}

/// Reads the config `text`, which messages call `name`.
///
/// # Errors
/// All faults at once.
pub fn load(
    name: &str,
    text: &str,
    surroundings: &Surroundings<'_>,
) -> Result<Loaded, Diagnostics> {
    // Some editors leave a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut findings = Findings::new(text);
    if text.len() > TEXT_BYTES_MAX {
        findings.problem(0..0, "the config is longer than 4 MiB");
        return Err(findings.into_diagnostics(name));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    findings.hide_secrets(table.get_ref());
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        findings.problem(span, error.message().trim());
    }
    if !findings.is_clean() {
        // What recovery made of the rest would be reported for faults that nobody made.
        return Err(findings.into_diagnostics(name));
    }
    let top = Section::new(String::new(), 0..0, table.get_ref());
    let loaded = read(top, surroundings, &mut findings);
    if findings.is_clean() {
        Ok(Loaded {
            warnings: findings.warnings,
            ..loaded
        })
    } else {
        Err(findings.into_diagnostics(name))
    }
}

/// The config of a gateway without a file: the providers whose keys are in the environment, and the
/// model [`DEMO`].
pub fn builtin(surroundings: &Surroundings<'_>) -> Loaded {
    let mut findings = Findings::new("");
    let table = DeTable::new();
    let top = Section::new(String::new(), 0..0, &table);
    let loaded = read(top, surroundings, &mut findings);
    Loaded {
        warnings: findings.warnings,
        ..loaded
    }
}

fn read(
    mut top: Section<'_, '_>,
    surroundings: &Surroundings<'_>,
    findings: &mut Findings<'_>,
) -> Loaded {
    let runtime = top.choice("runtime", RuntimeChoice::NAMES, findings);
    let workers = top.count("workers", 1..=1024, findings);
    let access_log = top.choice("access_log", AccessLog::NAMES, findings);
    let target_headers = top.flag("target_headers", findings).unwrap_or(true);
    let from_environment = top.flag("providers_from_environment", findings);
    let callers = keys::callers(&mut top, surroundings, findings);
    // Callers that were reported as faulty count, or their faults would be reported twice.
    let given = top
        .take("callers")
        .and_then(|value| value.get_ref().as_array());
    let has_callers = given.is_some_and(|callers| callers.iter().next().is_some());
    let listeners = listen::listeners(&mut top, has_callers, findings);
    let mut snapshot = Snapshot {
        callers,
        target_headers,
        ..bounded(&mut top, findings)
    };
    let mut shared = Shared::new(surroundings, &snapshot, &mut findings.warnings);
    let mut providers: Vec<Configured> = Vec::new();
    let section = top.table("providers", "[providers]".to_owned(), findings);
    if let Some(section) = &section {
        providers = provider::providers(section, &mut shared, findings);
    }
    let mut notes = Vec::new();
    if from_environment.unwrap_or(section.is_none()) {
        let warnings = &mut findings.warnings;
        let more = provider::from_environment(&mut shared, &providers, &mut notes, warnings);
        providers.extend(more);
    }
    let models = top.table("models", "[models]".to_owned(), findings);
    let known = providers.iter().map(|known| known.provider.clone());
    snapshot.providers = known.collect();
    models::routes(models.as_ref(), &providers, &mut snapshot, findings);
    warn_about_credentials(&snapshot, &mut findings.warnings);
    top.finish(findings);
    Loaded {
        snapshot,
        listeners,
        access_log: access_log.unwrap_or_default(),
        runtime,
        workers: workers.and_then(|workers| usize::try_from(workers).ok()),
        notes,
        warnings: Vec::new(),
    }
}

/// A snapshot that has its bounds, and nothing else.
fn bounded(top: &mut Section<'_, '_>, findings: &mut Findings<'_>) -> Snapshot {
    let mut snapshot = Snapshot {
        limits: limits(top, findings),
        ..Snapshot::default()
    };
    if let Some(section) = top.table("retry", "[retry]".to_owned(), findings) {
        let (retry, manner) = (&mut snapshot.retry, &mut snapshot.manner);
        bounds::retry(section, retry, manner, findings);
    }
    if let Some(section) = top.table("breaker", "[breaker]".to_owned(), findings) {
        bounds::breaker(section, &mut snapshot.breaker, findings);
    }
    if let Some(section) = top.table("queue", "[queue]".to_owned(), findings) {
        bounds::queue(section, &mut snapshot.queue, findings);
    }
    snapshot
}

fn limits(top: &mut Section<'_, '_>, findings: &mut Findings<'_>) -> Limits {
    let mut limits = Limits::default();
    if let Some(section) = top.table("limits", "[limits]".to_owned(), findings) {
        bounds::limits(section, &mut limits, findings);
    }
    if let Some(section) = top.table("timers", "[timers]".to_owned(), findings) {
        bounds::timers(section, &mut limits.timers, findings);
    }
    limits
}

/// A request has one place for credentials: with callers it holds a key of the gateway, which a
/// provider cannot use and should not see.
fn warn_about_credentials(snapshot: &Snapshot, warnings: &mut Vec<String>) {
    for provider in &snapshot.providers {
        if matches!(provider.credentials, Credentials::Client) && !snapshot.callers.is_empty() {
            warnings.push(format!(
                "provider `{}` gets the clients' own credentials, but `[[callers]]` makes them \
                 send a key of this gateway",
                provider.name
            ));
        }
    }
}
