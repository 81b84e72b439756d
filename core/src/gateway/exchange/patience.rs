//! How long an exchange waits: for the whole answer, as the client or the config says, and for the
//! first content, as the target is known.

use core::time::Duration;

use super::super::Shard;
use super::Exchange;
use super::deadlines::Phase;
use super::race::Race;
use crate::base::limits::UpstreamTimers;
use crate::base::{ExchangeId, Instant};
use crate::config::hides_reasoning;
use crate::ir::{Class, Failure};
use crate::policy::latency::Latency;
use crate::wire::http1::Fields;

/// In what time the client wants the whole answer, in seconds.
const TIMEOUT_FIELD: &str = "x-tollgate-timeout";
/// What the vendors' SDKs tell of their own patience, in seconds: with an answer that is not
/// streamed they wait no longer.
const SDK_TIMEOUT_FIELD: &str = "x-stainless-timeout";
/// So many tokens of a prompt are read in a second by a slow machine.
const TOKENS_PER_SECOND: u64 = 2_000;
/// A target is late when it takes so many times what it takes as a rule.
const LATE_FACTOR: u32 = 3;
/// What "as a rule" means: in so many of a hundred cases.
const RULE_PERCENT: u32 = 95;

/// So often it is seen whether another target could answer in the place of one that is late.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the client says of its patience.
///
/// # Errors
/// If it says it in other words than seconds.
pub(super) fn told(fields: &Fields) -> Result<Option<Duration>, Box<Failure>> {
    let Some(value) = fields.first(TIMEOUT_FIELD) else {
        return Ok(None);
    };
    seconds(value).map(Some).ok_or_else(|| {
        let message = format!("`{TIMEOUT_FIELD}` must be a number of seconds above zero");
        Box::new(Failure::new(Class::InvalidRequest, message))
    })
}

/// Whole seconds or decimals, above zero.
fn seconds(value: &[u8]) -> Option<Duration> {
    let seconds: f64 = core::str::from_utf8(value).ok()?.trim().parse().ok()?;
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    (!time.is_zero()).then_some(time)
}

impl Exchange {
    /// The whole answer must be there by `due`, or by when was said before.
    pub(super) fn is_due(&mut self, due: Instant) {
        self.due = self.due.min(due);
        self.deadlines.set(Phase::Total, self.due);
    }

    /// The client says that it waits until `end`, or said before that it does not wait so long.
    pub(super) fn is_patient_until(&mut self, end: Instant) {
        self.patience = self.patience.min(end);
        self.is_due(end);
    }

    /// Whether what comes at `time` comes too late for the client, by its own word.
    pub(super) fn is_hasty(&self, time: Instant) -> bool {
        self.patience <= time && self.patience <= self.due
    }

    /// It is known now whether the client streams: one that does not has less patience.
    pub(super) fn is_awaited(&mut self) {
        let head = self.request.head.as_deref();
        let told = head.and_then(|head| head.fields.first(SDK_TIMEOUT_FIELD));
        if let Some(patience) = told.and_then(seconds).filter(|_| !self.access.stream) {
            self.is_patient_until(self.started + patience);
        }
    }

    /// How long each phase may take at the target that is asked.
    pub(in crate::gateway) fn timers(&self) -> Option<&UpstreamTimers> {
        Some(&self.prompt()?.upstream.timers)
    }

    /// How long the target's first content is waited for. While another target can answer, not much
    /// longer than this one takes as a rule; but of an answer that is not streamed, or that is
    /// thought out unseen first, nothing is known before it is there.
    pub(super) fn first_content_time(&self, latency: Option<&Latency>) -> Duration {
        let Some(prompt) = self.prompt() else {
            return Duration::MAX;
        };
        let timers = &prompt.upstream.timers;
        let Some(prepared) = self.prepared.as_deref() else {
            return timers.first_content;
        };
        let may_be_late = !self.access.stream
            || prepared.asks_reasoning
            || hides_reasoning(&prompt.model.unescape());
        if may_be_late || !self.has_other_target() {
            return timers.first_content;
        }
        let reading = Duration::from_secs(prepared.input_tokens_estimate / TOKENS_PER_SECOND);
        let rule = latency.and_then(|latency| latency.quantile(RULE_PERCENT));
        let late = rule.unwrap_or_default().saturating_mul(LATE_FACTOR);
        let least = timers.first_content_min.saturating_add(reading);
        late.max(least).min(timers.first_content)
    }
}

impl Shard {
    /// Whether the first content that is late is still waited for, since nobody else could be asked
    /// at this moment.
    pub(in crate::gateway) fn is_worth_waiting(&mut self, id: ExchangeId) -> bool {
        let now = self.ctx.now.mono;
        let exchange = self.exchanges.get(id);
        // Of two that race, the other one is asked already.
        let exchange = exchange.filter(|it| matches!(it.race, Race::Alone));
        let due = exchange.map(|it| it.attempt.content_due);
        let due = due.filter(|&due| now < due && !self.is_free_elsewhere(id));
        if let (Some(due), Some(exchange)) = (due, self.exchanges.get_mut(id)) {
            let next = due.min(now + LOOK_AGAIN);
            exchange.deadlines.set(Phase::FirstContent, next);
        }
        due.is_some()
    }

    /// A TLS handshake begins, or waits for its turn.
    pub(in crate::gateway) fn await_handshake(&mut self, id: ExchangeId) {
        let now = self.ctx.now.mono;
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        let Some(tls) = exchange.timers().map(|timers| timers.tls) else {
            return;
        };
        if !exchange.deadlines.is_set(Phase::Tls) {
            exchange.deadlines.clear(Phase::Connect);
            exchange.deadlines.set(Phase::Tls, now + tls);
            exchange.rearm(&mut self.ctx);
        }
    }
}
