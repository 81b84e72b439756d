//! What a shard knows of its providers beyond the config: addresses, and connections kept for the
//! next request.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use super::ctx::UpstreamId;
use super::io::Limited;
use crate::base::{ExchangeId, Instant};
use crate::config::{Key, Provider, Snapshot};
use crate::policy::keys::{KeyAsk, KeyRing};
use crate::policy::lease::{self, Among};

/// How long addresses are used before the name is looked up again. Providers move theirs within
/// minutes; a lookup costs a thread's time, not ours.
const ADDRESSES_FRESH: Duration = Duration::from_secs(60);

/// One provider of the current config.
#[derive(Debug, Default)]
pub(super) struct ProviderState {
    /// Connections without a request, the one used last at the end.
    pub(super) idle: Vec<UpstreamId>,
    addresses: Vec<SocketAddr>,
    fresh_until: Instant,
    /// A lookup is on its way.
    pub(super) is_resolving: bool,
    /// Exchanges that wait for it.
    pub(super) waiting: Vec<ExchangeId>,
    pub(super) keys: KeyRing,
    /// What the keys are called among shards.
    pub(super) key_names: Vec<u64>,
}

/// What is known of each provider of `snapshot`: of those that were there under the `old` config,
/// how their keys fare.
pub(super) fn states(
    snapshot: &Snapshot,
    old: (&Snapshot, &[ProviderState]),
    among: Among,
) -> Vec<ProviderState> {
    let state = |provider: &Provider| {
        let mut before = old.0.providers.iter().zip(old.1);
        let before = before.find(|(it, _)| it.name == provider.name);
        let names = provider.keys().iter();
        // What one provider says of a key is nothing to another that has the same.
        let name = |key: &Key| lease::name(&format!("{}/{}", provider.name, key.secret.expose()));
        let names: Vec<u64> = names.map(name).collect();
        let known = provider.keys().iter().map(|key| {
            let (settings, state) = before?;
            let index = settings.keys().iter().position(|it| it == key)?;
            Some((&state.keys, index))
        });
        let keys = names.iter().copied().zip(known);
        ProviderState {
            keys: KeyRing::following(keys, &provider.key_limits, among),
            key_names: names,
            ..ProviderState::default()
        }
    };
    snapshot.providers.iter().map(state).collect()
}

impl ProviderState {
    /// The addresses to try, in order; `None` when the name must be looked up first.
    pub(super) fn addresses(
        &self,
        provider: &Provider,
        now: Instant,
    ) -> Option<VecDeque<SocketAddr>> {
        let (host, port) = endpoint(provider);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(VecDeque::from([SocketAddr::new(address, port)]));
        }
        let is_fresh = !self.addresses.is_empty() && now < self.fresh_until;
        is_fresh.then(|| self.addresses.iter().copied().collect())
    }

    /// Takes what a lookup found.
    pub(super) fn resolved(&mut self, addresses: Vec<SocketAddr>, now: Instant) {
        self.addresses = addresses;
        self.fresh_until = now + ADDRESSES_FRESH;
    }

    /// None of the addresses could be reached: they are looked up anew next time.
    pub(super) fn unreachable(&mut self) {
        self.fresh_until = Instant::ZERO;
    }

    /// Of which of its keys some of a limit is lent.
    pub(super) fn key_ask(&self, of: Limited, amount: u64) -> Option<KeyAsk> {
        let Limited::Key { key, limit, .. } = of else {
            return None;
        };
        let key = self.key_names.iter().position(|&name| name == key)?;
        Some(KeyAsk { key, limit, amount })
    }

    pub(super) fn forget(&mut self, upstream: UpstreamId) {
        self.idle.retain(|&idle| idle != upstream);
    }
}

/// Where connections to a provider go: to it, or to the proxy before it.
pub(super) fn endpoint(provider: &Provider) -> (&str, u16) {
    match &provider.proxy {
        Some(proxy) => (&proxy.host, proxy.port),
        None => (&provider.base.host, provider.base.port),
    }
}
