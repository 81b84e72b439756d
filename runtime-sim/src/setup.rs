//! What the config of a run says: providers, their keys, where the names of models lead.

use std::sync::Arc;

use tollgate_core::base::{Limits, Rng, Seed};
use tollgate_core::config::{
    Authorization, BaseUrl, Caller, Chain, Credentials, Key, ListedModel, Manner, Member, Pattern,
    Provider, Route, RouteTarget, Snapshot, Step, Terms, Upstream,
};
use tollgate_core::dialect::{Dialect, Traits};
use tollgate_core::policy::balance::Strategy;
use tollgate_core::policy::breaker::BreakerLimits;
use tollgate_core::policy::keys::KeyLimits;
use tollgate_core::policy::queue::Priority;
use tollgate_core::policy::retry::RetryLimits;

use crate::faults::{Fault, FaultSet, Faults};
use crate::scenario::Options;

/// Name, dialect, host, and the path before the API's own.
pub(crate) const PROVIDERS: [(&str, Dialect, &str, &str); 4] = [
    ("a-literal", Dialect::Anthropic, "192.0.2.1", ""),
    ("a-named", Dialect::Anthropic, "messages.test", "/v1"),
    ("o-literal", Dialect::OpenAiChat, "192.0.2.3", "/v1"),
    ("o-named", Dialect::OpenAiChat, "chat.test", "/v1"),
];

/// Name and key of those who may call, where that is not everybody.
pub(crate) const CALLERS: [(&str, &str); 3] = [
    ("caller-0", "key-of-caller-0"),
    ("caller-1", "key-of-caller-1"),
    ("caller-2", "key-of-caller-2"),
];

/// What clients are told when no target can answer, where a route says so.
pub(crate) const MESSAGE: &str = "No model can answer now.\n “Later”, they said: \u{1F6A7}";

/// Tells the draws of a setup apart from all others of its seed.
const SALT: u64 = 0x7265_7369_6C69_656E;
/// The same for the settings that a seed switches on.
const SETTINGS_SALT: u64 = 0x7365_7474_696E_6773;
/// Whether a limit of requests at once is at least one for each shard. Limits are divided among
/// the shards, each of which takes at least one.
const LIMITS_REACH_ALL_SHARDS: bool = false;

/// What kind of config a run has. It is drawn apart from all else, so that a seed is otherwise the
/// same with either kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Whether there are chains, keys, breakers and retries; else each request has one target and
    /// one attempt.
    pub(crate) is_resilient: bool,
    /// Whether keys bear little.
    is_limited: bool,
    /// What is switched on.
    settings: FaultSet,
    shards: u16,
    seed: u64,
}

impl Setup {
    pub(crate) fn draw(options: &Options, shards: u16, faults: &mut Faults) -> Setup {
        let mut rng = Rng::new(Seed(options.seed ^ SALT));
        let drawn = rng.chance(3, 4);
        for &setting in Fault::ALL.iter().filter(|it| it.is_setting()) {
            if faults.enabled().contains(setting) {
                faults.count(setting);
            }
        }
        let is_limited = faults.enabled().contains(Fault::KeyLimits);
        if is_limited {
            faults.count(Fault::KeyLimits);
        }
        Setup {
            is_resilient: options.resilience.unwrap_or(drawn),
            is_limited,
            settings: faults.enabled(),
            shards,
            seed: rng.next_u64(),
        }
    }

    /// Whether this setting is switched on.
    pub(crate) const fn has(self, setting: Fault) -> bool {
        self.settings.contains(setting)
    }

    /// Whether clients are known by keys.
    pub(crate) const fn has_callers(self) -> bool {
        self.has(Fault::Callers) || self.has(Fault::Coalesce)
    }

    /// What a client does where settings are concerned.
    pub(crate) fn rng_of_client(self, number: usize) -> Rng {
        Rng::new(Seed(
            self.seed ^ SETTINGS_SALT ^ ((number as u64 + 1) << 32),
        ))
    }

    /// How many requests something may have at once, if that is limited.
    fn concurrent(self, rng: &mut Rng) -> Option<u32> {
        let least = match LIMITS_REACH_ALL_SHARDS {
            true => u32::from(self.shards),
            false => 1,
        };
        let limit = least + rng.below(4) as u32;
        let is_limited = rng.chance(1, 2);
        (is_limited && self.has(Fault::Concurrent)).then_some(limit)
    }

    fn callers(self, rng: &mut Rng) -> Vec<Caller> {
        let callers = CALLERS.iter().map(|(name, key)| {
            let (_, priority) = Priority::NAMES[rng.below(3) as usize];
            let weight = 1 + rng.below(3) as u32;
            let is_sharing = rng.chance(2, 3);
            let terms = Terms {
                weight: if self.has(Fault::Callers) { weight } else { 1 },
                priority: if self.has(Fault::Callers) {
                    priority
                } else {
                    Priority::default()
                },
                concurrent: self.concurrent(rng),
                coalesce: is_sharing && self.has(Fault::Coalesce),
            };
            Caller {
                terms,
                ..Caller::new(name, key)
            }
        });
        callers.collect()
    }

    /// Sets what is switched on, over a config without it.
    fn set(self, snapshot: &mut Snapshot) {
        let mut rng = Rng::new(Seed(self.seed ^ SETTINGS_SALT));
        let mut callers = rng.fork();
        if self.has_callers() {
            snapshot.callers = self.callers(&mut callers);
        }
        let mut limits = rng.fork();
        for (index, provider) in snapshot.providers.iter_mut().enumerate() {
            let concurrent = self.concurrent(&mut limits);
            // One that is always well is never full.
            if self.healthy() != Some(index) {
                provider.concurrent = concurrent;
            }
        }
        let mut tokens = rng.fork();
        for (index, provider) in snapshot.providers.iter_mut().enumerate() {
            // Most requests fit into the share of one shard.
            let limit = u64::from(self.shards) * (150 + tokens.below(1500));
            if self.is_resilient && self.has(Fault::TokenLimits) && self.healthy() != Some(index) {
                provider.key_limits.tokens_per_minute = Some(limit);
            }
        }
        let mut manners = rng.fork();
        for route in &mut snapshot.routes {
            if let RouteTarget::Chain(chain) = &mut route.target {
                let mut own = Chain::clone(chain);
                self.set_targets(&mut own, &mut limits);
                if self.is_resilient {
                    self.set_manner(&mut own, &mut manners);
                }
                *chain = Arc::new(own);
            }
        }
    }

    fn set_manner(self, chain: &mut Chain, rng: &mut Rng) {
        let resumes = rng.chance(3, 4);
        chain.manner.resume = resumes && self.has(Fault::Resume);
        let has_message = rng.chance(3, 4) && self.has(Fault::Message);
        chain.manner.message = has_message.then(|| MESSAGE.into());
        for member in chain.steps.iter_mut().flat_map(|step| &mut step.members) {
            let mut upstream = Upstream::clone(&member.upstream);
            let can = rng.chance(3, 4);
            upstream.traits.prefill = can && self.has(Fault::Resume);
            member.upstream = Arc::new(upstream);
        }
    }

    fn set_targets(self, chain: &mut Chain, limits: &mut Rng) {
        for member in chain.steps.iter_mut().flat_map(|step| &mut step.members) {
            let mut upstream = Upstream::clone(&member.upstream);
            let concurrent = self.concurrent(limits);
            if self.healthy() != Some(upstream.provider) {
                upstream.concurrent = concurrent;
            }
            member.upstream = Arc::new(upstream);
        }
    }

    /// A provider that is always well, in some runs.
    pub(crate) fn healthy(self) -> Option<usize> {
        let drawn = (self.seed >> 32) as usize % (2 * PROVIDERS.len());
        (self.is_resilient && drawn < PROVIDERS.len()).then_some(drawn)
    }

    /// How steps spread their requests; by sessions in every other run.
    pub(crate) fn strategy(self) -> Strategy {
        let drawn = (self.seed >> 40) as usize % 4;
        Strategy::NAMES
            .get(drawn)
            .map(|&(_, it)| it)
            .unwrap_or_default()
    }

    fn key_limits(self, rng: &mut Rng) -> KeyLimits {
        let requests = 1 + rng.below(20) as u32;
        let concurrent = 1 + rng.below(3) as u32;
        let (has_requests, has_concurrent) = (rng.chance(1, 2), rng.chance(1, 2));
        KeyLimits {
            requests_per_minute: (self.is_limited && has_requests).then_some(requests),
            tokens_per_minute: None,
            concurrent: (self.is_limited && has_concurrent).then_some(concurrent),
        }
    }

    /// The config; the same each time.
    pub(crate) fn snapshot(self, limits: &Limits) -> Snapshot {
        let mut rng = Rng::new(Seed(self.seed));
        let mut snapshot = Snapshot {
            limits: limits.clone(),
            ..Snapshot::default()
        };
        if self.is_resilient {
            snapshot.retry.attempts_max = 1 + rng.below(6) as u32;
            snapshot.retry.repeats_max = rng.below(3) as u32;
            snapshot.breaker.failures_in_row = 1 + rng.below(4) as u32;
        } else {
            snapshot.retry = RetryLimits {
                attempts_max: 1,
                ..RetryLimits::default()
            };
            snapshot.breaker = BreakerLimits {
                failures_in_row: u32::MAX,
                calls_min: u32::MAX,
                ..BreakerLimits::default()
            };
        }
        let mut targets = 0;
        for index in 0..PROVIDERS.len() {
            let mut provider = provider(index);
            let chain = if self.is_resilient {
                provider.credentials = Credentials::Keys(keys(index, &mut rng));
                let key_limits = self.key_limits(&mut rng);
                if self.healthy() != Some(index) {
                    provider.key_limits = key_limits;
                }
                chain(index, self.strategy(), &mut targets, limits, &mut rng)
            } else {
                Chain::of(upstream(index, index, limits), Manner::default())
            };
            snapshot.routes.push(Route {
                pattern: Pattern(Arc::clone(&provider.name)),
                target: RouteTarget::Chain(Arc::new(chain)),
            });
            snapshot.providers.push(provider);
        }
        snapshot.routes.push(Route {
            pattern: Pattern("demo".into()),
            target: RouteTarget::Demo,
        });
        snapshot.listed.push(ListedModel {
            id: "demo".into(),
            owner: "tollgate".into(),
        });
        self.set(&mut snapshot);
        snapshot
    }
}

fn provider(index: usize) -> Provider {
    let (name, dialect, host, prefix) = PROVIDERS[index];
    Provider {
        name: name.into(),
        dialect,
        base: BaseUrl {
            https: false,
            host: host.into(),
            port: 80,
            authority: host.into(),
            prefix: prefix.into(),
        },
        credentials: Credentials::None,
        key_limits: KeyLimits::default(),
        concurrent: None,
        retry: None,
        breaker: None,
        authorization: match dialect {
            Dialect::Anthropic => Authorization::Field("x-api-key".into()),
            Dialect::OpenAiChat => Authorization::Bearer,
        },
        headers: Vec::new(),
        client_headers: vec!["anthropic-*".into()],
        tls: None,
        proxy: None,
    }
}

/// How the requests for a model are answered, unless the gateway does it itself.
pub(crate) fn chain_of<'s>(snapshot: &'s Snapshot, model: &str) -> Option<&'s Chain> {
    let route = snapshot.routes.iter().find(|it| &*it.pattern.0 == model)?;
    match &route.target {
        RouteTarget::Chain(chain) => Some(chain),
        RouteTarget::Demo => None,
    }
}

/// One key or two.
fn keys(provider: usize, rng: &mut Rng) -> Vec<Key> {
    let count = 1 + rng.below(2);
    (0..count)
        .map(|number| Key::new(&format!("key-{provider}-{number}")))
        .collect()
}

/// First the model's own provider, then some of the others, once in a while two side by side.
fn chain(
    first: usize,
    strategy: Strategy,
    targets: &mut usize,
    limits: &Limits,
    rng: &mut Rng,
) -> Chain {
    let mut others: Vec<usize> = (0..PROVIDERS.len()).filter(|&it| it != first).collect();
    let mut order = vec![first];
    for _ in 0..rng.below(4) {
        let at = rng.below(others.len() as u64) as usize;
        order.push(others.swap_remove(at));
    }
    let paired = rng.below(4) as usize;
    let mut steps: Vec<Vec<Member>> = Vec::new();
    for (place, provider) in order.into_iter().enumerate() {
        let member = Member {
            upstream: Arc::new(upstream(provider, *targets, limits)),
            weight: 1 + rng.below(3) as u32,
        };
        *targets += 1;
        match steps.last_mut() {
            Some(step) if place == paired => step.push(member),
            _ => steps.push(vec![member]),
        }
    }
    let manner = Manner {
        hold_events: [1, 1, 3, 64][rng.below(4) as usize],
        hedge_percent: [0, 0, 20, 100][rng.below(4) as usize],
        ..Manner::default()
    };
    let step = |members| Step { members, strategy };
    let steps = steps.into_iter().map(step).collect();
    Chain { steps, manner }
}

fn upstream(provider: usize, target: usize, limits: &Limits) -> Upstream {
    Upstream {
        target,
        provider,
        model: None,
        traits: Traits::default(),
        named: Default::default(),
        whole_name: false,
        extra: Vec::new(),
        headers: Vec::new(),
        concurrent: None,
        timers: limits.timers.upstream.clone(),
    }
}
