//! What `GET /ready` tells of providers: the keys and targets that are left alone for now, why, and
//! for how long. As this shard knows it; what others learn they tell each other.

use super::Shard;
use super::provider::ProviderState;
use crate::base::{Instant, OutBuf};
use crate::config::{Provider, RouteTarget, Upstream};
use crate::policy::keys::KeyHealth;
use crate::wire::json::Writer;

/// Of more keys, or targets, of one provider only the number is told.
const LISTED_MAX: usize = 100;

/// A provider that is not all well.
struct Trouble<'s> {
    provider: &'s Provider,
    /// Keys left alone, by what they are called in logs.
    keys: Vec<(&'s str, KeyHealth)>,
    /// Targets whose breaker is open.
    targets: Vec<OpenTarget<'s>>,
}

/// A target that is left alone.
struct OpenTarget<'s> {
    /// The name in `[models]`, or the pattern, that leads to it.
    route: &'s str,
    /// Which model it is; `None` for those of a pattern that are kept together.
    model: Option<&'s str>,
    /// Until one request may find out how it is; `None` while one does.
    until: Option<Instant>,
    in_flight: u32,
}

impl Shard {
    /// Writes the answer of a gateway that is ready.
    pub(super) fn tell_health(&self, out: &mut OutBuf) {
        let troubles = self.troubles();
        let mut json = Writer::new(out);
        json.begin_object();
        json.key("status");
        json.text("ready");
        if !troubles.is_empty() {
            json.key("providers");
            json.begin_array();
            for trouble in &troubles {
                trouble.write(self.ctx.now.mono, &mut json);
            }
            json.end_array();
        }
        json.end_object();
        out.put(b"\n");
    }

    /// The providers of which keys or targets are left alone for now.
    fn troubles(&self) -> Vec<Trouble<'_>> {
        let snapshot = &self.ctx.snapshot;
        let all = snapshot.providers.iter().zip(&self.providers).enumerate();
        let troubles = all.map(|(index, (provider, state))| Trouble {
            provider,
            keys: self.keys_out(provider, state),
            targets: self.targets_out(index),
        });
        troubles
            .filter(|it| !it.keys.is_empty() || !it.targets.is_empty())
            .collect()
    }

    fn keys_out<'s>(
        &self,
        provider: &'s Provider,
        state: &ProviderState,
    ) -> Vec<(&'s str, KeyHealth)> {
        let names = provider.keys().iter().map(|key| &*key.fingerprint);
        let keys = names.zip(state.keys.health());
        keys.filter(|(_, key)| key.cooling_until > self.ctx.now.mono)
            .collect()
    }

    fn targets_out(&self, provider: usize) -> Vec<OpenTarget<'_>> {
        let now = self.ctx.now.mono;
        let states = self.routed_targets().filter_map(|(route, upstream)| {
            let state = self.targets.at(upstream.target)?;
            Some((route, state))
        });
        let by_clients = self.targets.by_clients().filter_map(|state| {
            let mut routed = self.routed_targets();
            let (route, _) = routed.find(|(_, upstream)| upstream.target == state.target)?;
            Some((route, state))
        });
        let open = states.chain(by_clients).filter_map(|(route, state)| {
            let is_out = state.provider == provider && state.breaker.is_open();
            (is_out && state.is_told(now)).then(|| OpenTarget {
                route,
                model: state.model.as_deref(),
                until: state.breaker.open().map(|(until, _)| until),
                in_flight: state.in_flight,
            })
        });
        open.collect()
    }

    /// The targets of the config, each with the name, or the pattern, that leads to it.
    pub(super) fn routed_targets(&self) -> impl Iterator<Item = (&str, &Upstream)> {
        let routes = self.ctx.snapshot.routes.iter();
        routes.flat_map(|route| {
            let chain = match &route.target {
                RouteTarget::Chain(chain) => Some(chain),
                RouteTarget::Demo => None,
            };
            let upstreams = chain.into_iter().flat_map(|chain| chain.upstreams());
            upstreams.map(|upstream| (&*route.pattern.0, &**upstream))
        })
    }
}

impl Trouble<'_> {
    fn write(&self, now: Instant, json: &mut Writer<'_>) {
        let is_refused = |(_, key): &&(&str, KeyHealth)| key.refused.is_some();
        let refused = self.keys.iter().filter(is_refused).count();
        json.begin_object();
        json.key("name");
        json.text(&self.provider.name);
        for (key, count) in [
            ("keys", self.provider.keys().len()),
            ("keys_refused", refused),
            ("keys_cooling", self.keys.len() - refused),
            ("targets_open", self.targets.len()),
        ] {
            json.key(key);
            json.u64(count as u64);
        }
        json.key("keys_out");
        json.begin_array();
        for (name, key) in self.keys.iter().take(LISTED_MAX) {
            json.begin_object();
            json.key("key");
            json.text(name);
            json.key("why");
            json.text(key.why());
            times(key.cooling_until.since(now).as_secs(), key.in_flight, json);
            json.end_object();
        }
        json.end_array();
        json.key("targets_out");
        json.begin_array();
        for target in self.targets.iter().take(LISTED_MAX) {
            json.begin_object();
            json.key("route");
            json.text(target.route);
            if let Some(model) = target.model {
                json.key("model");
                json.text(model);
            }
            json.key("is_probed");
            json.bool(target.until.is_none());
            let until = target.until.unwrap_or(now);
            times(until.since(now).as_secs(), target.in_flight, json);
            json.end_object();
        }
        json.end_array();
        json.end_object();
    }
}

/// Whole seconds until it may be asked again, and requests that go on with it.
fn times(seconds: u64, in_flight: u32, json: &mut Writer<'_>) {
    json.key("seconds_left");
    json.u64(seconds);
    json.key("in_flight");
    json.u64(u64::from(in_flight));
}
