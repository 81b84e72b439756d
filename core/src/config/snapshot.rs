//! [`Snapshot`]: the checked config as the gateway uses it. Immutable and shared; a reload replaces
//! it.

use core::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::manner::Manner;
use super::traits::traits_for;
use super::value;
use crate::base::limits::UpstreamTimers;
use crate::base::{JsonStr, Limits, RawJson};
use crate::dialect::{Dialect, Traits};
use crate::policy::balance::Strategy;
use crate::policy::breaker::BreakerLimits;
use crate::policy::keys::KeyLimits;
use crate::policy::queue::{Priority, QueueLimits};
use crate::policy::retry::RetryLimits;
use crate::wire::tls;

/// A checked config, shared by all shards and never changed.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The providers, in the order of the config.
    pub providers: Vec<Provider>,
    /// What model names lead to; the first match wins.
    pub routes: Vec<Route>,
    /// Models to show in lists: names without wildcards, in the order of the config.
    pub listed: Vec<ListedModel>,
    /// Who may call; empty lets everyone in, which only loopback listeners allow.
    pub callers: Vec<Caller>,
    /// Every bound.
    pub limits: Limits,
    /// How often a request that failed is tried again.
    pub retry: RetryLimits,
    /// How requests are answered where a route does not say.
    pub manner: Manner,
    /// When a target that fails is left alone.
    pub breaker: BreakerLimits,
    /// How many requests may wait, and how many of one client go on at once.
    pub queue: QueueLimits,
    /// Whether answers tell the target that they come from, and how many were asked
    /// (`x-tollgate-target`, `x-tollgate-attempts`).
    pub target_headers: bool,
}

/// Where requests can go.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the config, and in `provider/model`.
    pub name: Arc<str>,
    /// The API it speaks.
    pub dialect: Dialect,
    /// Where it is.
    pub base: BaseUrl,
    /// With whose credentials it is asked.
    pub credentials: Credentials,
    /// What it allows each key.
    pub key_limits: KeyLimits,
    /// Requests to it at the same time, whatever the key and the model; further ones wait.
    pub concurrent: Option<u32>,
    /// How often a request to it is repeated, where that is not as [`Snapshot::retry`] says; its
    /// `attempts_max` is that one's.
    pub retry: Option<RetryLimits>,
    /// When its targets are left alone, where that is not as [`Snapshot::breaker`] says.
    pub breaker: Option<BreakerLimits>,
    /// How credentials are sent.
    pub authorization: Authorization,
    /// Fields to send with every request, whatever the client sent.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// Lower-case names of client fields that are passed on; a trailing `*` stands for any ending.
    pub client_headers: Vec<Arc<str>>,
    /// The TLS settings, where the base is `https`.
    pub tls: Option<tls::ClientConfig>,
    /// The HTTP proxy on the way, asked with CONNECT for `https` (RFC 9110 §9.3.6) and with the
    /// absolute form for `http`.
    pub proxy: Option<Proxy>,
}

/// Scheme, host, port and path prefix of a provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BaseUrl {
    /// Whether TLS is spoken.
    pub https: bool,
    /// Name or address; IPv6 without brackets.
    pub host: Arc<str>,
    /// Port, the scheme's default filled in.
    pub port: u16,
    /// The value of the `Host` field: with the port where it is not the default, IPv6 in brackets.
    pub authority: Arc<str>,
    /// What goes before the API's own path: `""` or `/v1`, without a trailing slash.
    pub prefix: Arc<str>,
}

/// An HTTP proxy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proxy {
    /// Name or address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// Value of `Proxy-Authorization`, if the proxy asks for one.
    pub authorization: Option<Secret>,
}

/// With whose credentials a provider is asked.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The client's own, as it sent them (`authorization`, `x-api-key`).
    Client,
    /// One of these keys; at least one.
    Keys(Vec<Key>),
    /// None: a local server.
    None,
}

/// A key of a provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// The key itself.
    pub secret: Secret,
    /// What it is called in logs: the beginning of its hash.
    pub fingerprint: Arc<str>,
}

impl Key {
    /// The key `text`.
    pub fn new(text: &str) -> Key {
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(text.as_bytes()));
        Key {
            secret: Secret::new(text),
            fingerprint: format!("{a:02x}{b:02x}{c:02x}{d:02x}").into(),
        }
    }
}

/// How a key is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authorization {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// The key alone, in this field (`x-api-key`, `api-key`).
    Field(Arc<str>),
}

/// Something that must not be shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Keeps `value` from being printed.
    pub fn new(value: &str) -> Secret {
        Secret(value.into())
    }

    /// The value, for the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a model name leads to.
#[derive(Clone, Debug)]
pub struct Route {
    /// The names it is for.
    pub pattern: Pattern,
    /// Where they lead.
    pub target: RouteTarget,
}

/// A model name, or many: `*` stands for any characters, also none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern(pub Arc<str>);

/// Where a model name leads.
#[derive(Clone, Debug)]
pub enum RouteTarget {
    /// The built-in model, answered inside the gateway.
    Demo,
    /// Models of providers.
    Chain(Arc<Chain>),
}

/// The targets of a route in the order in which they are asked: the next one gets a request that
/// the ones before could not answer.
#[derive(Clone, Debug)]
pub struct Chain {
    /// At least one step.
    pub steps: Vec<Step>,
    /// How its requests are answered.
    pub manner: Manner,
}

/// Targets of equal rank: requests are spread over them, those of one session to the same.
#[derive(Clone, Debug)]
pub struct Step {
    /// At least one.
    pub members: Vec<Member>,
    /// How requests are spread.
    pub strategy: Strategy,
}

/// A target with its share.
#[derive(Clone, Debug)]
pub struct Member {
    /// The target.
    pub upstream: Arc<Upstream>,
    /// How many sessions it gets, in relation to the other members of its step; 1 to
    /// [`WEIGHT_MAX`].
    pub weight: u32,
}

/// The greatest weight.
pub const WEIGHT_MAX: u32 = 100;

/// A model of a provider, with all that is set for it.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its number among all targets of the snapshot, from zero: what is learnt of a target (whether
    /// it fails, how fast it is) is kept under it.
    pub target: usize,
    /// Index into [`Snapshot::providers`].
    pub provider: usize,
    /// The model's name there; `None` for the name that the client asked for (less `provider/`).
    pub model: Option<JsonStr>,
    /// What it can do. For a route of many names, what holds for a name that tells nothing;
    /// [`Snapshot::resolve`] fills in what the name tells.
    pub traits: Traits,
    /// Which of `traits` the config leaves to the model's name.
    pub named: Named,
    /// Whether a name `provider/rest` is the model's own and keeps its `provider/`: vendors that
    /// call their models so (`nvidia/nemotron-…`, `groq/compound`).
    pub whole_name: bool,
    /// Members to set in the body.
    pub extra: Vec<(JsonStr, RawJson)>,
    /// Fields to send.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// Requests to it at the same time; further ones wait.
    pub concurrent: Option<u32>,
    /// How long each phase may take.
    pub timers: UpstreamTimers,
}

/// Which traits of a model follow from its name, see [`traits_for`]: those that no config sets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Named {
    /// `output_tokens_default` does.
    pub output_tokens: bool,
    /// `thinking` does.
    pub thinking: bool,
    /// `sampling` does.
    pub sampling: bool,
    /// `prefill` does.
    pub prefill: bool,
    /// `context_window` does.
    pub context_window: bool,
    /// `images` does.
    pub images: bool,
    /// `tools` does.
    pub tools: bool,
}

/// A model that `GET /v1/models` shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedModel {
    /// The name to ask for.
    pub id: Arc<str>,
    /// The provider's name.
    pub owner: Arc<str>,
}

/// Someone who may call, known by a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Name for logs.
    pub name: Arc<str>,
    /// SHA-256 of the key; the key itself is not kept.
    pub key_sha256: [u8; 32],
    /// How it is served beside others.
    pub terms: Terms,
}

/// How the requests of a caller are served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Its share of what others wait for too, in relation to callers of the same priority; 1 to
    /// [`WEIGHT_MAX`].
    pub weight: u32,
    /// Whether its requests wait for those of others, or others for them.
    pub priority: Priority,
    /// Its requests at the same time; further ones wait.
    pub concurrent: Option<u32>,
    /// Whether its requests that do not stream, and that ask the same at the same time, share one
    /// answer.
    pub coalesce: bool,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            weight: 1,
            priority: Priority::Normal,
            concurrent: None,
            coalesce: false,
        }
    }
}

impl Pattern {
    /// Whether `name` is one of the names.
    pub fn matches(&self, name: &str) -> bool {
        let pattern = self.0.as_bytes();
        let name = name.as_bytes();
        // Greedy matching with one place to fall back to: linear in practice, and never
        // exponential.
        let (mut p, mut n) = (0, 0);
        let mut fallback: Option<(usize, usize)> = None;
        while n < name.len() {
            if pattern.get(p) == Some(&b'*') {
                fallback = Some((p, n));
                p += 1;
            } else if pattern.get(p) == name.get(n) {
                p += 1;
                n += 1;
            } else if let Some((star, from)) = fallback {
                fallback = Some((star, from + 1));
                p = star + 1;
                n = from + 1;
            } else {
                return false;
            }
        }
        pattern
            .get(p..)
            .is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
    }

    /// Whether it is one name only.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }
}

/// A resolved model name.
#[derive(Clone, Debug)]
pub enum Resolved<'s> {
    /// The built-in model.
    Demo,
    /// Models of providers.
    Chain(&'s Arc<Chain>),
}

impl Chain {
    /// One target alone.
    pub fn of(upstream: Upstream, manner: Manner) -> Chain {
        let upstream = Arc::new(upstream);
        Chain {
            steps: vec![Step {
                members: vec![Member {
                    upstream,
                    weight: 1,
                }],
                strategy: Strategy::default(),
            }],
            manner,
        }
    }

    /// All its targets, in order.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let members = self.steps.iter().flat_map(|step| &step.members);
        members.map(|member| &member.upstream)
    }
}

impl Caller {
    /// A caller known by `key`, of which only the hash is kept.
    pub fn new(name: &str, key: &str) -> Caller {
        Caller {
            name: name.into(),
            key_sha256: Sha256::digest(key.as_bytes()).into(),
            terms: Terms::default(),
        }
    }
}

impl Provider {
    /// The keys with which it may be asked.
    pub fn keys(&self) -> &[Key] {
        match &self.credentials {
            Credentials::Keys(keys) => keys,
            Credentials::Client | Credentials::None => &[],
        }
    }

    /// Whether the client's field called `name`, in any case, is passed on. Fields that frame a
    /// message or hold credentials never are, whatever the allow-list says; credentials go by
    /// [`Provider::credentials`] alone.
    pub fn passes_client_field(&self, name: &[u8]) -> bool {
        let is_listed = |pattern: &Arc<str>| match pattern.as_bytes() {
            [prefix @ .., b'*'] => {
                let head = name.get(..prefix.len());
                head.is_some_and(|head| head.eq_ignore_ascii_case(prefix))
            }
            whole => name.eq_ignore_ascii_case(whole),
        };
        self.client_headers.iter().any(is_listed)
            && core::str::from_utf8(name).is_ok_and(|name| {
                let name = name.to_ascii_lowercase();
                !value::is_framing_field(&name) && !value::is_credential_field(&name)
            })
    }
}

impl Upstream {
    /// What the model called `model` can do here: the traits set for it, and what its name tells.
    pub fn traits_of(&self, model: &str) -> Traits {
        let mut traits = self.traits.clone();
        let told = traits_for(model);
        if self.named.output_tokens {
            traits.output_tokens_default = told
                .output_tokens_default
                .unwrap_or(traits.output_tokens_default);
        }
        if self.named.thinking {
            traits.thinking = told.thinking.unwrap_or(traits.thinking);
        }
        if self.named.sampling {
            traits.sampling = told.sampling.unwrap_or(traits.sampling);
        }
        if self.named.prefill {
            traits.prefill = told.prefill.unwrap_or(traits.prefill);
        }
        if self.named.context_window {
            traits.context_window = told.context_window.or(traits.context_window);
        }
        if self.named.images {
            traits.images = told.images.unwrap_or(traits.images);
        }
        if self.named.tools {
            traits.tools = told.tools.unwrap_or(traits.tools);
        }
        traits
    }
}

impl Snapshot {
    /// Who presented `key`. All hashes are compared, and what a hash comparison's time tells helps
    /// nobody to find a key.
    pub fn caller(&self, key: &str) -> Option<&Caller> {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        self.callers.iter().find(|caller| caller.key_sha256 == hash)
    }

    /// Finds where the model called `name` is to be had: the first route that matches.
    pub fn resolve(&self, name: &str) -> Option<Resolved<'_>> {
        let route = self
            .routes
            .iter()
            .find(|route| route.pattern.matches(name))?;
        Some(match &route.target {
            RouteTarget::Demo => Resolved::Demo,
            RouteTarget::Chain(chain) => Resolved::Chain(chain),
        })
    }

    /// What the model called `name` by a client is called at `upstream`, whose
    /// [`traits`](Upstream::traits) are then those of this very model. Empty where the name is the
    /// provider's alone.
    pub fn model_at(&self, upstream: &Arc<Upstream>, name: &str) -> (Arc<Upstream>, JsonStr) {
        if let Some(model) = &upstream.model {
            // A route to one model has had its traits since the config was read.
            return (Arc::clone(upstream), model.clone());
        }
        let own = self.name_at(upstream, name);
        let traits = upstream.traits_of(own);
        let upstream = match traits == upstream.traits {
            true => Arc::clone(upstream),
            false => Arc::new(Upstream {
                traits,
                ..Upstream::clone(upstream)
            }),
        };
        (upstream, JsonStr::escape(own))
    }

    /// What a model that a client calls `name` is called at `upstream`, which leaves the name to
    /// the client.
    pub fn name_at<'n>(&self, upstream: &Upstream, name: &'n str) -> &'n str {
        let provider = self.providers.get(upstream.provider);
        provider
            .filter(|_| !upstream.whole_name)
            .and_then(|provider| name.strip_prefix(provider.name.as_ref()))
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(name)
    }

    /// The targets of all routes.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let chains = self.routes.iter().filter_map(|route| match &route.target {
            RouteTarget::Chain(chain) => Some(chain),
            RouteTarget::Demo => None,
        });
        chains.flat_map(|chain| chain.upstreams())
    }

    /// How many targets there are: one more than the greatest [`Upstream::target`].
    pub fn targets(&self) -> usize {
        let numbers = self.upstreams().map(|it| it.target + 1);
        numbers.max().unwrap_or(0)
    }

    /// How often a request to the provider of this index is repeated.
    pub fn retry_at(&self, provider: usize) -> &RetryLimits {
        let provider = self.providers.get(provider);
        let own = provider.and_then(|provider| provider.retry.as_ref());
        own.unwrap_or(&self.retry)
    }

    /// When the targets of the provider of this index are left alone.
    pub fn breaker_at(&self, provider: usize) -> &BreakerLimits {
        let provider = self.providers.get(provider);
        let own = provider.and_then(|provider| provider.breaker.as_ref());
        own.unwrap_or(&self.breaker)
    }

    /// The name of the provider of `upstream`.
    pub fn provider_name(&self, upstream: &Upstream) -> Option<&Arc<str>> {
        let provider = self.providers.get(upstream.provider);
        provider.map(|provider| &provider.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let cases = [
            ("claude-*", "claude-opus-4", true),
            ("claude-*", "xclaude-opus", false),
            ("*", "", true),
            ("*-mini*", "gpt-5-mini", true),
            ("*-mini*", "gpt-5-mini-high", true),
            ("*-mini", "gpt-5-mini-high", false),
            ("gpt-5", "gpt-5", true),
            ("gpt-5", "gpt-5.1", false),
            ("a*b*c", "aXbXbc", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, name, matches) in cases {
            assert_eq!(
                Pattern(pattern.into()).matches(name),
                matches,
                "{pattern} {name}"
            );
        }
    }
}
