//! What `GET /metrics` tells, in the text format of Prometheus (0.0.4): how keys and targets are,
//! what is under way and held, and what was counted. All of it is this shard's alone, and says so
//! by the label `shard`: who wants the whole asks until every shard has answered.
//!
//! Labels are names of the config, and keys are the beginnings of their hashes. Of what clients and
//! upstreams say there are only the names of models behind patterns: no more of them than
//! `models_max`, none that is long, and none for long that never answered well.

use core::fmt::{Display, Write as _};

use super::Shard;
use super::target::TargetState;
use crate::base::OutBuf;
use crate::policy::keys::KeyHealth;
use crate::record::Ending;

/// The type of the answer.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// More keys of one provider are not told one by one.
const LISTED_MAX: usize = 100;
/// Of the times to first content, so many percent are not longer.
const QUANTILES: [(u32, &str); 2] = [(50, "0.5"), (95, "0.95")];

/// The page, while it is written.
struct Page {
    text: String,
    shard: String,
    /// What the samples that follow are called.
    name: &'static str,
}

/// A name and its value.
type Label<'l> = (&'static str, &'l str);

/// A target, as the config and the shard know it.
struct Target<'s> {
    target: String,
    /// Route, provider and model.
    labels: [&'s str; 3],
    state: &'s TargetState,
}

/// A key, as the config and the shard know it.
struct Key<'s> {
    labels: [Label<'s>; 2],
    health: KeyHealth,
}

impl Shard {
    /// Writes the page.
    pub(super) fn tell_metrics(&self, out: &mut OutBuf) {
        let mut page = Page {
            text: String::with_capacity(4096),
            shard: self.balance.own().0.to_string(),
            name: "",
        };
        self.tell_held(&mut page);
        self.tell_keys(&mut page);
        self.tell_targets(&mut page);
        self.tell_counted(&mut page);
        out.push(page.text.into());
    }

    fn tell_held(&self, page: &mut Page) {
        let usage = self.usage();
        for (name, help, value) in [
            ("clients", "Connections of clients.", usage.clients),
            ("upstreams", "Connections to upstreams.", usage.upstreams),
            (
                "exchanges",
                "Requests that are received or answered.",
                usage.exchanges,
            ),
            ("waiting", "Requests that wait in line.", usage.waiting),
            ("bodies_bytes", "Bodies of requests.", usage.bodies_bytes),
            (
                "buffered_bytes",
                "Buffers of connections and answers.",
                usage.buffered_bytes,
            ),
        ] {
            page.gauge(name, help);
            page.sample(&[], value);
        }
        page.gauge("draining", "Whether the gateway stops.");
        page.sample(&[], u8::from(self.ctx.is_draining()));
    }

    fn tell_keys(&self, page: &mut Page) {
        let now = self.ctx.now.mono;
        let keys: Vec<Key<'_>> = self.keys().collect();
        let is_out = |key: &&Key<'_>| key.health.cooling_until > now;
        page.gauge("keys", "Keys of the provider, by how they are.");
        let providers = self.ctx.snapshot.providers.iter().zip(&self.providers);
        for (provider, state) in providers {
            let [mut well, mut cooling, mut refused] = [0u32; 3];
            for key in state.keys.health() {
                let count = match key.refused {
                    _ if key.cooling_until <= now => &mut well,
                    Some(_) => &mut refused,
                    None => &mut cooling,
                };
                *count += 1;
            }
            for (state, count) in [("well", well), ("cooling", cooling), ("refused", refused)] {
                page.sample(&[("provider", &provider.name), ("state", state)], count);
            }
        }
        page.gauge("key_out", "Whether the key is left alone.");
        for key in &keys {
            page.sample(&key.labels, u8::from(is_out(&key)));
        }
        let help = "How long the key will be left alone, and why.";
        page.gauge("key_out_seconds", help);
        for key in keys.iter().filter(is_out) {
            let [provider, name] = key.labels;
            let left = key.health.cooling_until.since(now);
            let why = ("why", key.health.why());
            page.sample(&[provider, name, why], left.as_secs_f64());
        }
        page.gauge("key_in_flight", "Requests that use the key.");
        for key in &keys {
            page.sample(&key.labels, key.health.in_flight);
        }
    }

    fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        let providers = self.ctx.snapshot.providers.iter().zip(&self.providers);
        providers.flat_map(|(provider, state)| {
            let keys = provider.keys().iter().zip(state.keys.health());
            keys.take(LISTED_MAX).map(|(key, health)| Key {
                labels: [("provider", &provider.name), ("key", &key.fingerprint)],
                health,
            })
        })
    }

    fn tell_targets(&self, page: &mut Page) {
        let now = self.ctx.now.mono;
        let targets: Vec<Target<'_>> = self.told_targets();
        page.gauge("breaker", "Which state the target's breaker is in.");
        for target in &targets {
            for state in ["closed", "open", "half_open"] {
                let is_it = target.breaker() == state;
                page.sample(&target.and(("state", state)), u8::from(is_it));
            }
        }
        let help = "How long until a request may find out how the target is.";
        page.gauge("breaker_open_seconds", help);
        for target in &targets {
            if let Some((until, _)) = target.state.breaker.open() {
                page.sample(&target.labels(), until.since(now).as_secs_f64());
            }
        }
        page.gauge("target_in_flight", "Requests that the target is asked.");
        for target in &targets {
            page.sample(&target.labels(), target.state.in_flight);
        }
        let help = "Within which time of being asked the target has content, where that is known.";
        page.gauge("first_content_seconds", help);
        for target in &targets {
            for (percent, quantile) in QUANTILES {
                if let Some(time) = target.state.latency.quantile(percent) {
                    let labels = target.and(("quantile", quantile));
                    page.sample(&labels, time.as_secs_f64());
                }
            }
        }
    }

    /// Each model once, whatever names lead there: those that the config names, and of those that
    /// only clients name the ones of which there is something to tell.
    fn told_targets(&self) -> Vec<Target<'_>> {
        let now = self.ctx.now.mono;
        let states = self.targets.iter().filter(|state| state.is_told(now));
        states.filter_map(|state| self.told_target(state)).collect()
    }

    fn told_target<'s>(&'s self, state: &'s TargetState) -> Option<Target<'s>> {
        let provider = &*self.ctx.snapshot.providers.get(state.provider)?.name;
        let labels = match &state.model {
            Some(model) => (String::new(), ["", provider, model]),
            // A provider may stand in a chain twice: only its number tells the two apart.
            None => {
                let mut routed = self.routed_targets();
                let (route, _) = routed.find(|(_, it)| it.target == state.target)?;
                (state.target.to_string(), [route, provider, ""])
            }
        };
        let (target, labels) = labels;
        Some(Target {
            target,
            labels,
            state,
        })
    }

    fn tell_counted(&self, page: &mut Page) {
        self.tell_requests(page);
        self.tell_attempts(page);
        let counters = &self.ctx.counters;
        let told = [
            (
                "hedges_total",
                "Second attempts beside a late one.",
                counters.hedges,
            ),
            (
                "hedges_won_total",
                "Those that had content first.",
                counters.hedges_won,
            ),
            (
                "continuations_total",
                "Broken streams that went on.",
                counters.continuations,
            ),
            (
                "coalesced_total",
                "Requests that got another's answer.",
                counters.coalesced,
            ),
            (
                "broken_events_total",
                "Events that were skipped.",
                counters.broken_events,
            ),
        ];
        for (name, help, count) in told {
            page.counter(name, help);
            page.sample(&[], count);
        }
    }

    fn tell_requests(&self, page: &mut Page) {
        let counters = &self.ctx.counters;
        page.counter(
            "requests_total",
            "Requests for a model's answer that ended.",
        );
        page.sample(&[("outcome", "complete")], counters.complete);
        page.sample(&[("outcome", "client_gone")], counters.clients_gone);
        for ((class, blame), count) in counters.failed.iter() {
            let labels = [
                ("outcome", "failed"),
                ("class", class.name()),
                ("blame", blame.name()),
            ];
            page.sample(&labels, count);
        }
    }

    fn tell_attempts(&self, page: &mut Page) {
        let counters = &self.ctx.counters;
        let models = || {
            let providers = counters.providers.iter();
            providers.flat_map(|(provider, counters)| {
                let models = counters.models.iter();
                models.map(|(model, it)| ([("provider", &**provider), ("model", &**model)], it))
            })
        };
        page.counter("attempts_total", "Attempts at upstreams that ended.");
        for ([provider, model], counters) in models() {
            for (ending, count) in counters.attempts.iter() {
                let (ending, class) = match ending {
                    Ending::Answered => ("answered", ""),
                    Ending::CalledOff => ("called_off", ""),
                    Ending::Failed(class) => ("failed", class.name()),
                };
                let labels = [provider, model, ("ending", ending), ("class", class)];
                page.sample(&labels, count);
            }
        }
        page.counter(
            "tokens_total",
            "Tokens that upstreams told, of all attempts.",
        );
        for ([provider, model], counters) in models() {
            let told = [
                ("input", counters.input_tokens),
                ("output", counters.output_tokens),
            ];
            for (kind, count) in told {
                page.sample(&[provider, model, ("kind", kind)], count);
            }
        }
        page.counter(
            "repetitions_total",
            "Failures after which a target was to be asked again.",
        );
        for (provider, counters) in &counters.providers {
            page.sample(&[("provider", provider)], counters.repetitions);
        }
    }
}

impl Target<'_> {
    fn labels(&self) -> [Label<'_>; 4] {
        let [route, provider, model] = self.labels;
        [
            ("target", &self.target),
            ("route", route),
            ("provider", provider),
            ("model", model),
        ]
    }

    fn and<'t>(&'t self, label: Label<'t>) -> [Label<'t>; 5] {
        let [target, route, provider, model] = self.labels();
        [target, route, provider, model, label]
    }

    const fn breaker(&self) -> &'static str {
        let breaker = &self.state.breaker;
        match (breaker.is_half_open(), breaker.is_open()) {
            (true, _) => "half_open",
            (false, true) => "open",
            (false, false) => "closed",
        }
    }
}

impl Page {
    fn gauge(&mut self, name: &'static str, help: &str) {
        self.family(name, "gauge", help);
    }

    fn counter(&mut self, name: &'static str, help: &str) {
        self.family(name, "counter", help);
    }

    /// The samples of `name` follow, all together as the format asks.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        // Writing into a string cannot fail.
        let _ = write!(
            self.text,
            "# HELP tollgate_{name} {help}\n# TYPE tollgate_{name} {kind}\n"
        );
    }

    fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        let _ = write!(
            self.text,
            "tollgate_{}{{shard=\"{}\"",
            self.name, self.shard
        );
        // To Prometheus an empty label is none.
        for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(self.text, ",{name}=\"");
            for char in value.chars() {
                match char {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    char => self.text.push(char),
                }
            }
            self.text.push('"');
        }
        let _ = writeln!(self.text, "}} {value}");
    }
}
