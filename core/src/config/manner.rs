//! [`Manner`]: how the requests of a route are answered, beside where they go.

use std::sync::Arc;

use super::diagnose::Findings;
use super::section::Section;
use crate::policy::balance::Strategy;

/// More events than an answer has.
const EVENTS_MAX: u64 = 1_000_000;

/// How the requests of a route are answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manner {
    /// As many events with content are held back from a client that streams: until then another
    /// target can still answer in the place of one that fails. What `client_queue_bytes_max` cannot
    /// hold goes out earlier.
    pub hold_events: u32,
    /// Of a hundred requests so many may be sent to a second target as well, when the first is
    /// slower than it mostly is; zero for none.
    pub hedge_percent: u32,
    /// Whether an answer that broke after some of it went out is continued by a target that goes on
    /// from where a text breaks off (the trait `prefill`).
    pub resume: bool,
    /// What the client is told, as the answer of a model, when no target can answer; by default it
    /// is the first error.
    pub message: Option<Arc<str>>,
    /// How steps spread their requests that do not say so themselves.
    pub balance: Strategy,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner {
            hold_events: 1,
            hedge_percent: 0,
            resume: false,
            message: None,
            balance: Strategy::default(),
        }
    }
}

impl Manner {
    /// Reads what `[retry]` says for all routes.
    pub(super) fn read(s: &mut Section<'_, '_>, manner: &mut Manner, f: &mut Findings<'_>) {
        let Manner {
            hold_events,
            hedge_percent,
            resume,
            message: _,
            balance: _,
        } = manner;
        for (key, most, limit) in [
            ("hold_events", EVENTS_MAX, hold_events),
            ("hedge_percent", 100, hedge_percent),
        ] {
            let least = u64::from(key == "hold_events");
            let count = s.count(key, least..=most, f);
            let count = count.and_then(|it| u32::try_from(it).ok());
            *limit = count.unwrap_or(*limit);
        }
        *resume = s.flag("resume", f).unwrap_or(*resume);
    }

    /// Reads what the table of a route says, over what holds for all.
    pub(super) fn read_of_route(
        s: &mut Section<'_, '_>,
        manner: &mut Manner,
        f: &mut Findings<'_>,
    ) {
        Manner::read(s, manner, f);
        let balance = s.choice("balance", &Strategy::NAMES, f);
        manner.balance = balance.unwrap_or(manner.balance);
        if let Some(text) = s.text("message", f) {
            if text.get_ref().is_empty() {
                f.problem(text.span(), "`message` must not be empty");
            }
            manner.message = Some((*text.get_ref()).into());
        }
    }
}
