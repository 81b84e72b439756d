//! What the gateway says about itself: health, readiness, and the models that may be asked for.

use super::Shard;
use super::endpoint::Endpoint;
use crate::base::{ExchangeId, JsonStr, OutBuf};
use crate::config::Resolved;
use crate::dialect::ModelEntry;
use crate::ir::{Class, Failure};
use crate::record::Outcome;
use crate::wire::json::Writer;

impl Shard {
    /// Answers from what the gateway knows itself.
    pub(super) fn answer_admin(&mut self, id: ExchangeId, endpoint: &Endpoint) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.access.outcome = Outcome::Complete;
        let snapshot = &exchange.snapshot;
        let dialect = exchange.request.dialect;
        let mut body = OutBuf::new();
        let mut status = 200;
        match endpoint {
            Endpoint::Health => body.put(b"{\"status\":\"ok\"}\n"),
            Endpoint::Ready if self.ctx.is_draining() => {
                status = 503;
                body.put(b"{\"status\":\"draining\"}\n");
            }
            Endpoint::Ready => ready(&self.troubles(), &mut body),
            Endpoint::Root => {
                body.put(
                    concat!(
                        "{\"name\":\"tollgate\",\"version\":\"",
                        env!("CARGO_PKG_VERSION"),
                        "\"}\n"
                    )
                    .as_bytes(),
                );
            }
            Endpoint::Models => {
                let entries: Vec<ModelEntry> = snapshot
                    .listed
                    .iter()
                    .map(|it| entry(&it.id, &it.owner))
                    .collect();
                dialect.encode_models(&entries, &mut body);
            }
            Endpoint::Model(name) => {
                let owner = match snapshot.resolve(name) {
                    None => {
                        let message = format!("there is no model `{name}` here");
                        self.answer_failure(id, Failure::new(Class::NotFound, message));
                        return;
                    }
                    Some(Resolved::Demo) => "tollgate",
                    Some(Resolved::Chain(chain)) => chain
                        .upstreams()
                        .next()
                        .and_then(|upstream| snapshot.provider_name(upstream))
                        .map_or("tollgate", |name| name),
                };
                dialect.encode_model(&entry(name, owner), &mut body);
            }
            Endpoint::Generate(_) => {}
        }
        self.answer_whole(id, status, body, None);
    }
}

/// A provider that is not all well.
struct Trouble<'a> {
    name: &'a str,
    keys: usize,
    refused: usize,
    cooling: usize,
    open_targets: usize,
}

impl Shard {
    /// The providers of which keys or targets are left alone for now.
    fn troubles(&self) -> Vec<Trouble<'_>> {
        let now = self.ctx.now.mono;
        let snapshot = &self.ctx.snapshot;
        let all = snapshot.providers.iter().zip(&self.providers).enumerate();
        let troubles = all.map(|(index, (provider, state))| {
            let of_provider = snapshot.upstreams().filter(|it| it.provider == index);
            let open = of_provider.filter(|it| {
                let state = self.targets.get(it.target);
                state.is_some_and(|state| state.breaker.is_open())
            });
            let health = || state.keys.health().filter(|key| key.cooling_until > now);
            Trouble {
                name: &provider.name,
                keys: provider.keys().len(),
                refused: health().filter(|key| key.refused.is_some()).count(),
                cooling: health().filter(|key| key.refused.is_none()).count(),
                open_targets: open.count(),
            }
        });
        troubles
            .filter(|it| it.refused + it.cooling + it.open_targets > 0)
            .collect()
    }
}

fn ready(troubles: &[Trouble<'_>], out: &mut OutBuf) {
    let mut json = Writer::new(out);
    json.begin_object();
    json.key("status");
    json.text("ready");
    if !troubles.is_empty() {
        json.key("providers");
        json.begin_array();
        for trouble in troubles {
            json.begin_object();
            json.key("name");
            json.text(trouble.name);
            for (key, count) in [
                ("keys", trouble.keys),
                ("keys_refused", trouble.refused),
                ("keys_cooling", trouble.cooling),
                ("targets_open", trouble.open_targets),
            ] {
                json.key(key);
                json.u64(count as u64);
            }
            json.end_object();
        }
        json.end_array();
    }
    json.end_object();
    out.put(b"\n");
}

/// Nobody knows when all the models of all the providers were made; the APIs' own zero says so.
fn entry(id: &str, owner: &str) -> ModelEntry {
    ModelEntry {
        id: JsonStr::escape(id),
        created: 0,
        display_name: JsonStr::escape(id),
        owner: JsonStr::escape(owner),
    }
}
