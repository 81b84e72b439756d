//! [`Breaker`]: a target that fails again and again is left alone for a while, and then asked once
//! whether it is well.
//!
//! ```text
//!            failures in a row, or too large a share of them
//!   Closed ───────────────────────────────────────────────▶ Open ◀──┐
//!     ▲                                              time up │      │ it fails: longer
//!     └──────────── it succeeds ──────────── Half-open ◀─────┘──────┘
//! ```
//!
//! A probe succeeds with its first content, as the rest may take minutes. Until one call has been
//! answered whole the next failure opens the breaker again, for longer: a target may be able to
//! begin answers and not to end them.

use core::time::Duration;

use crate::base::{Instant, Rng};

/// When a breaker opens, and for how long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BreakerLimits {
    /// As many failures in a row open it.
    pub failures_in_row: u32,
    /// So many percent of the calls within `window` open it, once there are `calls_min`.
    pub failure_percent: u32,
    /// Fewer calls say nothing about a share.
    pub calls_min: u32,
    /// The span over which shares are counted.
    pub window: Duration,
    /// For how long it is open the first time; doubled each time the probe fails.
    pub recovery: Duration,
    /// The longest time it is open.
    pub recovery_max: Duration,
}

impl BreakerLimits {
    /// For how long it is open after a probe that failed.
    fn longer(&self, recovery: Duration) -> Duration {
        recovery.saturating_mul(2).min(self.recovery_max)
    }
}

impl Default for BreakerLimits {
    fn default() -> BreakerLimits {
        BreakerLimits {
            failures_in_row: 3,
            failure_percent: 50,
            calls_min: 20,
            window: Duration::from_secs(30),
            recovery: Duration::from_secs(5),
            recovery_max: Duration::from_secs(60),
        }
    }
}

/// The breaker of one target.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    state: State,
    /// Calls and failures of the current part of the window, and of the one before.
    counts: [Counts; 2],
    part_ends: Instant,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Closed,
    /// There were failures in a row, or what the probe asked for is not there whole.
    ClosedAfter {
        failures: u32,
        /// For how long it opens next, if that is longer than the first time.
        longer: Option<Duration>,
    },
    Open {
        until: Instant,
        recovery: Duration,
    },
    HalfOpen {
        recovery: Duration,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: u32,
    failures: u32,
}

/// Whether a target may be called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Yes.
    Call,
    /// Yes, by this call alone: what comes of it decides.
    Probe,
    /// Not before this time.
    Refused {
        /// When the next probe may go out; [`Instant::FAR`] while one is on its way.
        until: Instant,
    },
}

/// What a call says about its target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It answered well.
    Well,
    /// It answers well so far.
    Begun,
    /// It failed by its own fault.
    Failed,
    /// Nothing: the client left, its request was wrong, or the fault was a key's.
    Nothing,
}

impl Breaker {
    /// Whether a call may go out; does not send one.
    pub fn would_admit(&self, now: Instant) -> Admission {
        match self.state {
            State::Closed | State::ClosedAfter { .. } => Admission::Call,
            State::Open { until, .. } if now < until => Admission::Refused { until },
            State::Open { .. } => Admission::Probe,
            State::HalfOpen { .. } => Admission::Refused {
                until: Instant::FAR,
            },
        }
    }

    /// Sends a call, if one may go out. [`Breaker::ended`] must follow, with `is_probe` as told
    /// here.
    pub fn admit(&mut self, now: Instant) -> Admission {
        let admission = self.would_admit(now);
        if let (Admission::Probe, State::Open { recovery, .. }) = (admission, self.state) {
            self.state = State::HalfOpen { recovery };
        }
        admission
    }

    /// Takes note of how a call went. Of calls that were sent before it opened nothing is learnt.
    pub fn ended(
        &mut self,
        is_probe: bool,
        verdict: Verdict,
        now: Instant,
        limits: &BreakerLimits,
        rng: &mut Rng,
    ) {
        match (self.state, verdict) {
            (State::HalfOpen { recovery }, Verdict::Nothing) if is_probe => {
                self.state = State::Open {
                    until: now,
                    recovery,
                };
            }
            (State::HalfOpen { .. }, Verdict::Well) if is_probe => *self = Breaker::default(),
            (State::HalfOpen { recovery }, Verdict::Begun) if is_probe => {
                *self = Breaker::default();
                self.state = State::ClosedAfter {
                    failures: limits.failures_in_row.saturating_sub(1),
                    longer: Some(limits.longer(recovery)),
                };
            }
            (State::HalfOpen { recovery }, Verdict::Failed) if is_probe => {
                self.trip(limits.longer(recovery), now, rng);
            }
            (State::Closed | State::ClosedAfter { .. }, Verdict::Well) => {
                self.count(false, now, limits);
                self.state = State::Closed;
            }
            (State::Closed | State::ClosedAfter { .. }, Verdict::Failed) => {
                self.count(true, now, limits);
                let (before, longer) = match self.state {
                    State::ClosedAfter { failures, longer } => (failures, longer),
                    _ => (0, None),
                };
                let failures = before.saturating_add(1);
                self.state = State::ClosedAfter { failures, longer };
                if failures >= limits.failures_in_row || self.is_share_too_large(limits) {
                    let first = limits.recovery.min(limits.recovery_max);
                    self.trip(longer.unwrap_or(first), now, rng);
                }
            }
            (State::Closed | State::ClosedAfter { .. }, Verdict::Begun | Verdict::Nothing)
            | (State::Open { .. } | State::HalfOpen { .. }, _) => {}
        }
    }

    /// Somebody else's breaker of the same target opened until a time, for so long in all, or
    /// closed. A probe of this one that is on its way decides by itself.
    pub fn heard(&mut self, open: Option<(Instant, Duration)>) {
        match (self.state, open) {
            (State::HalfOpen { .. }, _) => {}
            (
                State::Open {
                    recovery: own,
                    until: own_until,
                },
                Some((until, recovery)),
            ) => {
                self.state = State::Open {
                    until: own_until.max(until),
                    recovery: own.max(recovery),
                };
            }
            (State::Closed | State::ClosedAfter { .. }, Some((until, recovery))) => {
                self.counts = [Counts::default(); 2];
                self.state = State::Open { until, recovery };
            }
            (State::Open { .. }, None) => *self = Breaker::default(),
            (State::Closed | State::ClosedAfter { .. }, None) => {}
        }
    }

    /// Somebody else saw the target fail as often in a row, or answer well again.
    pub fn heard_failures(&mut self, in_row: u32) {
        self.state = match (self.state, in_row) {
            (State::Closed | State::ClosedAfter { .. }, 0) => State::Closed,
            (State::Closed, failures) => State::ClosedAfter {
                failures,
                longer: None,
            },
            (State::ClosedAfter { failures, longer }, in_row) => State::ClosedAfter {
                failures: failures.max(in_row),
                longer,
            },
            (state @ (State::Open { .. } | State::HalfOpen { .. }), _) => state,
        };
    }

    /// Failures in a row while it is closed; of one that a probe's first content closed, one less
    /// than open it.
    pub const fn failures_in_row(&self) -> u32 {
        match self.state {
            State::ClosedAfter { failures, .. } => failures,
            State::Closed | State::Open { .. } | State::HalfOpen { .. } => 0,
        }
    }

    /// Until when calls are refused, and for how long in all, if they are; a probe on its way
    /// counts as no time.
    pub const fn open(&self) -> Option<(Instant, Duration)> {
        match self.state {
            State::Open { until, recovery } => Some((until, recovery)),
            State::HalfOpen { .. } | State::Closed | State::ClosedAfter { .. } => None,
        }
    }

    /// This breaker where what was sent before is not heard of again: a probe on its way is given
    /// up.
    #[must_use]
    pub fn following(&self) -> Breaker {
        let mut breaker = self.clone();
        if let State::HalfOpen { recovery } = breaker.state {
            breaker.state = State::Open {
                until: Instant::ZERO,
                recovery,
            };
        }
        breaker
    }

    /// Whether a probe is on its way.
    pub const fn is_half_open(&self) -> bool {
        matches!(self.state, State::HalfOpen { .. })
    }

    /// Whether calls are refused, or would be but for a probe.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::HalfOpen { .. })
    }

    /// Opens it, with up to a tenth more time so that many gateways do not probe at once.
    fn trip(&mut self, recovery: Duration, now: Instant, rng: &mut Rng) {
        let nanos = u64::try_from(recovery.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(rng.below(nanos / 10 + 1));
        self.counts = [Counts::default(); 2];
        self.state = State::Open {
            until: now + recovery + jitter,
            recovery,
        };
    }

    fn count(&mut self, is_failure: bool, now: Instant, limits: &BreakerLimits) {
        let part = limits.window / 2;
        if now >= self.part_ends {
            let is_next = now.since(self.part_ends) < part;
            let [current, _] = self.counts;
            self.counts = [Counts::default(), Counts::default()];
            if is_next {
                self.counts = [Counts::default(), current];
            }
            self.part_ends = now + part;
        }
        let [current, _] = &mut self.counts;
        current.calls = current.calls.saturating_add(1);
        current.failures = current.failures.saturating_add(u32::from(is_failure));
    }

    fn is_share_too_large(&self, limits: &BreakerLimits) -> bool {
        let [current, before] = self.counts;
        let calls = u64::from(current.calls) + u64::from(before.calls);
        let failures = u64::from(current.failures) + u64::from(before.failures);
        calls >= u64::from(limits.calls_min)
            && failures * 100 >= calls * u64::from(limits.failure_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    struct Bench {
        breaker: Breaker,
        limits: BreakerLimits,
        rng: Rng,
    }

    impl Bench {
        fn new() -> Bench {
            Bench {
                breaker: Breaker::default(),
                limits: BreakerLimits::default(),
                rng: Rng::new(Seed(1)),
            }
        }

        fn ended(&mut self, is_probe: bool, verdict: Verdict, now: Instant) {
            let (limits, rng) = (&self.limits, &mut self.rng);
            self.breaker.ended(is_probe, verdict, now, limits, rng);
        }

        fn call(&mut self, verdict: Verdict, millis: u64) {
            assert_eq!(self.breaker.admit(at(millis)), Admission::Call);
            self.ended(false, verdict, at(millis));
        }

        fn opens_again(&self) -> Instant {
            match self.breaker.would_admit(Instant::ZERO) {
                Admission::Refused { until } => until,
                other => panic!("{other:?}"),
            }
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_one_probe_goes_out() {
        let mut bench = Bench::new();
        bench.call(Verdict::Failed, 1);
        bench.call(Verdict::Failed, 2);
        bench.call(Verdict::Well, 3);
        bench.call(Verdict::Failed, 4);
        bench.call(Verdict::Nothing, 5);
        bench.call(Verdict::Failed, 6);
        assert!(!bench.breaker.is_open());
        bench.call(Verdict::Failed, 7);
        let until = bench.opens_again();
        assert!(until >= at(5_007) && until <= at(5_507), "{until:?}");
        assert_eq!(bench.breaker.admit(at(5_000)), Admission::Refused { until });
        assert_eq!(bench.breaker.admit(until), Admission::Probe);
        for _ in 0..1_000 {
            let refused = Admission::Refused {
                until: Instant::FAR,
            };
            assert_eq!(bench.breaker.admit(until), refused);
        }
        bench.ended(false, Verdict::Well, until);
        assert!(bench.breaker.is_open(), "an older call decides nothing");
        bench.ended(true, Verdict::Well, until);
        bench.call(Verdict::Failed, 10_000);
        assert!(!bench.breaker.is_open());
    }

    #[test]
    fn a_failed_probe_doubles_the_time_and_an_abandoned_one_gives_way() {
        let mut bench = Bench::new();
        for millis in 0..3 {
            bench.call(Verdict::Failed, millis);
        }
        let mut recovery = 5_000;
        for _ in 0..8 {
            let until = bench.opens_again();
            assert_eq!(bench.breaker.admit(until), Admission::Probe);
            bench.ended(true, Verdict::Nothing, until);
            assert_eq!(bench.breaker.admit(until), Admission::Probe);
            bench.ended(true, Verdict::Failed, until);
            recovery = (recovery * 2).min(60_000);
            let open = bench.opens_again().since(until).as_millis() as u64;
            assert!(
                open >= recovery && open <= recovery + recovery / 10,
                "{open}"
            );
        }
    }

    #[test]
    fn content_of_a_probe_closes_it_and_the_next_failure_opens_it_for_longer() {
        let mut bench = Bench::new();
        for millis in 0..3 {
            bench.call(Verdict::Failed, millis);
        }
        let until = bench.opens_again();
        assert_eq!(bench.breaker.admit(until), Admission::Probe);
        bench.ended(true, Verdict::Begun, until);
        assert_eq!(bench.breaker.admit(until), Admission::Call);
        bench.ended(false, Verdict::Nothing, until);
        bench.ended(false, Verdict::Failed, until);
        let open = bench.opens_again().since(until).as_millis() as u64;
        assert!((10_000..=11_000).contains(&open), "{open}");

        let until = bench.opens_again();
        assert_eq!(bench.breaker.admit(until), Admission::Probe);
        bench.ended(true, Verdict::Begun, until);
        bench.ended(false, Verdict::Well, until);
        bench.call(Verdict::Failed, 40_000);
        bench.call(Verdict::Failed, 40_001);
        assert!(!bench.breaker.is_open());
    }

    #[test]
    fn a_large_share_of_failures_opens_it() {
        let mut bench = Bench::new();
        let mut calls = 0;
        while !bench.breaker.is_open() {
            let verdict = if calls % 2 == 1 {
                Verdict::Failed
            } else {
                Verdict::Well
            };
            bench.call(verdict, calls * 100);
            calls += 1;
        }
        assert_eq!(calls, 20);
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let mut bench = Bench::new();
        for call in 0..200u64 {
            let verdict = if call % 3 == 2 {
                Verdict::Failed
            } else {
                Verdict::Well
            };
            bench.call(verdict, call * 1_000);
        }
        let mut calls = 0;
        while !bench.breaker.is_open() {
            bench.call(Verdict::Failed, 400_000 + calls * 2);
            if !bench.breaker.is_open() {
                bench.call(Verdict::Well, 400_001 + calls * 2);
            }
            calls += 1;
        }
        assert_eq!(calls, 11);
    }
}
