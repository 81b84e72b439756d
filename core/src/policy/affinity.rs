//! [`Affinity`]: which target a session got where that is not decided by its hash, so that it stays
//! there and the provider's prompt cache stays warm. Bounded in number and in age.
//!
//! Two halves: sessions that were seen lately, and those before them. When the first is full or
//! old it becomes the second, and the second is forgotten; so what is used least goes first.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::base::Instant;

/// Prompt caches live for minutes, an hour at most.
const HALF_AGE: Duration = Duration::from_secs(30 * 60);
/// Sessions in each half.
const HALF_SESSIONS_MAX: usize = 8_192;

/// What is known of sessions' targets.
#[derive(Debug, Default)]
pub struct Affinity {
    recent: BTreeMap<u64, u64>,
    earlier: BTreeMap<u64, u64>,
    /// When `recent` was begun.
    begun: Instant,
}

impl Affinity {
    /// The target that `session` got, if it was there within the last half hour, or not much
    /// longer ago.
    pub fn target(&self, session: u64, now: Instant) -> Option<u64> {
        let age = now.since(self.begun);
        let recent = self.recent.get(&session).filter(|_| age < 2 * HALF_AGE);
        let earlier = self.earlier.get(&session).filter(|_| age < HALF_AGE);
        recent.or(earlier).copied()
    }

    /// `session` is with `target` now.
    pub fn keep(&mut self, session: u64, target: u64, now: Instant) {
        let age = now.since(self.begun);
        let is_full = self.recent.len() >= HALF_SESSIONS_MAX;
        if age >= HALF_AGE || (is_full && !self.recent.contains_key(&session)) {
            self.earlier = core::mem::take(&mut self.recent);
            if age >= 2 * HALF_AGE {
                self.earlier.clear();
            }
            self.begun = now;
        }
        self.recent.insert(session, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(minutes * 60)
    }

    #[test]
    fn a_session_is_known_while_it_goes_on() {
        let mut affinity = Affinity::default();
        assert_eq!(affinity.target(1, at(0)), None);
        affinity.keep(1, 10, at(0));
        affinity.keep(2, 20, at(0));
        for minute in (0..500).step_by(10) {
            assert_eq!(affinity.target(1, at(minute)), Some(10), "{minute}");
            affinity.keep(1, 10, at(minute));
        }
        assert_eq!(affinity.target(2, at(500)), None);
        affinity.keep(1, 11, at(500));
        assert_eq!(affinity.target(1, at(500)), Some(11));
        assert_eq!(affinity.target(1, at(600)), None);
        affinity.keep(2, 20, at(700));
        assert_eq!(affinity.target(1, at(700)), None);
    }

    #[test]
    fn the_number_of_sessions_is_bounded_and_the_latest_stay() {
        let mut affinity = Affinity::default();
        for session in 0..100_000 {
            affinity.keep(session, session, at(1));
            assert_eq!(
                affinity.target(0, at(1)).is_some(),
                session < 16_384,
                "{session}"
            );
        }
        assert!(affinity.recent.len() + affinity.earlier.len() <= 2 * HALF_SESSIONS_MAX);
        assert_eq!(affinity.target(99_999 - 8_000, at(1)), Some(91_999));
    }
}
