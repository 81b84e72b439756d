//! What the gateway says about itself: that it lives, whether it is ready, how all is, and the
//! models that may be asked for.

use super::Shard;
use super::endpoint::Endpoint;
use crate::base::{ExchangeId, JsonStr, OutBuf};
use crate::config::Resolved;
use crate::dialect::ModelEntry;
use crate::ir::{Class, Failure};
use crate::record::Outcome;

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
            Endpoint::Ready => self.tell_health(&mut body),
            Endpoint::Metrics => self.tell_metrics(&mut body),
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

/// Nobody knows when all the models of all the providers were made; the APIs' own zero says so.
fn entry(id: &str, owner: &str) -> ModelEntry {
    ModelEntry {
        id: JsonStr::escape(id),
        created: 0,
        display_name: JsonStr::escape(id),
        owner: JsonStr::escape(owner),
    }
}
