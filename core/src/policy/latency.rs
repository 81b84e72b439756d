//! [`Latency`]: how long a target takes to its first content: what it takes now, for balancing, and
//! what it takes as a rule, for hedging and timeouts.
//!
//! Not exact: the average decays in straight lines between halvings, and quantiles are the upper
//! edges of buckets, at most an eighth too high. Memory does not grow, and nothing is a float, so
//! that all machines decide alike.

use core::time::Duration;

use crate::base::Instant;

/// In this time an observation loses half its weight in the average. Some answers of a busy target
/// come within it; a slow one that nobody asks is tried again soon.
const AVERAGE_HALVES: Duration = Duration::from_secs(10);
/// In this time one loses half its weight in quantiles. A silence counts as one such time however
/// long it was: old knowledge is better than none.
const QUANTILES_HALVE: Duration = Duration::from_secs(300);
/// An observation's weight in quantiles, so that halved ones still count.
const WEIGHT: u16 = 16;
/// With more observations, all are halved.
const OBSERVATIONS_MAX: u32 = 1_024;
/// Fewer observations are no rule.
const OBSERVATIONS_MIN: u32 = 20;

/// Buckets for each doubling of time.
const PER_OCTAVE: u64 = 8;
/// All buckets: milliseconds below 16 have one each; the last one begins above two hours.
const BUCKETS: usize = 168;

/// What is known of a target's time to first content.
#[derive(Clone, Debug)]
pub struct Latency {
    average_nanos: u64,
    averaged: Instant,
    weights: [u16; BUCKETS],
    /// The sum of all `weights`.
    total: u32,
    halved: Instant,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            average_nanos: 0,
            averaged: Instant::ZERO,
            weights: [0; BUCKETS],
            total: 0,
            halved: Instant::ZERO,
        }
    }
}

impl Latency {
    /// The first content came after `wait`; or it did not come, and was no longer waited for after
    /// that time.
    pub fn observe(&mut self, wait: Duration, now: Instant) {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let before = self.average_nanos;
        let kept = decayed(before, now.since(self.averaged));
        // A peak counts at once, what is faster only by and by.
        self.average_nanos = if nanos >= before {
            nanos
        } else {
            kept.saturating_add(nanos - decayed(nanos, now.since(self.averaged)))
        };
        self.averaged = now;
        if now.since(self.halved) >= QUANTILES_HALVE
            || self.total >= OBSERVATIONS_MAX * u32::from(WEIGHT)
        {
            self.halve(now);
        }
        if let Some(weight) = self.weights.get_mut(bucket(wait)) {
            // No overflow: all of them together are at most `OBSERVATIONS_MAX` times `WEIGHT`.
            *weight += WEIGHT;
            self.total += u32::from(WEIGHT);
        }
    }

    /// What it takes now: the average over the last seconds, which rises to a peak at once. Zero
    /// where nothing was observed, and near it where that is long ago.
    pub fn peak_ewma(&self, now: Instant) -> Duration {
        Duration::from_nanos(decayed(self.average_nanos, now.since(self.averaged)))
    }

    /// A time within which so many percent of the answers had content, or a little more; `None`
    /// where too few were seen.
    pub fn quantile(&self, percent: u32) -> Option<Duration> {
        if self.total < OBSERVATIONS_MIN * u32::from(WEIGHT) {
            return None;
        }
        let wanted = u64::from(self.total) * u64::from(percent.min(100));
        let mut below = 0u64;
        let reached = self.weights.iter().position(|&weight| {
            below += u64::from(weight) * 100;
            weight > 0 && below >= wanted
        });
        reached.map(upper_edge)
    }

    fn halve(&mut self, now: Instant) {
        for weight in &mut self.weights {
            *weight /= 2;
        }
        self.total = self.weights.iter().map(|&weight| u32::from(weight)).sum();
        self.halved = now;
    }
}

/// What is left of `nanos` after `age`: exact at each halving, and on a straight line between.
fn decayed(nanos: u64, age: Duration) -> u64 {
    let halves = AVERAGE_HALVES.as_millis();
    let age = age.as_millis();
    let Ok(times) = u32::try_from(age / halves) else {
        return 0;
    };
    let whole = nanos.checked_shr(times).unwrap_or(0);
    let lost = u128::from(whole) * (age % halves) / (2 * halves);
    whole - u64::try_from(lost).unwrap_or(whole)
}

/// The bucket of a time: by its highest bit and the three below.
fn bucket(wait: Duration) -> usize {
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let index = match millis.checked_ilog2() {
        None | Some(0..=2) => millis,
        Some(bit) => (u64::from(bit) - 2) * PER_OCTAVE + ((millis >> (bit - 3)) & (PER_OCTAVE - 1)),
    };
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The first time that is beyond a bucket.
fn upper_edge(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    let millis = match bucket / PER_OCTAVE {
        0 => bucket + 1,
        // At most 20, for there are no more buckets.
        octave => (PER_OCTAVE + bucket % PER_OCTAVE + 1) << (octave - 1),
    };
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + ms(millis)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let mut latency = Latency::default();
        assert_eq!(latency.peak_ewma(at(0)), Duration::ZERO);
        latency.observe(ms(100), at(0));
        latency.observe(ms(800), at(10));
        assert_eq!(latency.peak_ewma(at(10)), ms(800));
        assert_eq!(latency.peak_ewma(at(10_010)), ms(400));
        assert_eq!(latency.peak_ewma(at(20_010)), ms(200));
        // Faster answers bring it down with time, not with their number.
        for _ in 0..1_000 {
            latency.observe(ms(100), at(10));
        }
        assert_eq!(latency.peak_ewma(at(10)), ms(800));
        latency.observe(ms(100), at(10_010));
        assert_eq!(latency.peak_ewma(at(10_010)), ms(450));
        for second in 20..100 {
            latency.observe(ms(100), at(second * 1_000));
        }
        let average = latency.peak_ewma(at(99_000));
        assert!(average < ms(110) && average >= ms(99), "{average:?}");
        assert_eq!(latency.peak_ewma(Instant::FAR), Duration::ZERO);
    }

    #[test]
    fn quantiles_are_close_and_never_too_low() {
        let mut latency = Latency::default();
        for millis in 1..=19 {
            latency.observe(ms(millis * 10), at(millis));
        }
        assert_eq!(latency.quantile(50), None, "too few");
        latency = Latency::default();
        for millis in 1..=1_000 {
            latency.observe(ms(millis), at(millis));
        }
        for (percent, exact) in [(1, 10), (50, 500), (95, 950), (99, 990), (100, 1_000)] {
            let told = latency.quantile(percent).unwrap();
            assert!(
                told >= ms(exact) && told <= ms(exact * 9 / 8 + 2),
                "{told:?}"
            );
        }
        assert_eq!(latency.quantile(0), Some(ms(2)));
        assert_eq!(latency.quantile(1_000), latency.quantile(100));
    }

    #[test]
    fn what_is_old_is_outweighed() {
        let mut latency = Latency::default();
        for _ in 0..5_000 {
            latency.observe(ms(100), at(0));
        }
        for _ in 0..2_000 {
            latency.observe(ms(3_000), at(1));
        }
        assert!(latency.quantile(50).unwrap() > ms(2_900), "by number");
        let mut latency = Latency::default();
        for _ in 0..100 {
            latency.observe(ms(100), at(0));
        }
        for minute in [6, 12, 18, 24] {
            for _ in 0..20 {
                latency.observe(ms(3_000), at(minute * 60_000));
            }
        }
        assert!(latency.quantile(50).unwrap() > ms(2_900), "by time");
        // A long silence does not make it forget everything.
        latency.observe(ms(3_000), at(1_000_000_000));
        assert!(latency.quantile(95).is_some());
    }

    #[test]
    fn every_time_has_a_bucket_below_its_edge() {
        let mut before = 0;
        for shift in 0..44 {
            for step in 0..16 {
                let millis = (1u64 << shift) + (step << shift) / 16;
                let index = bucket(ms(millis));
                assert!(index >= before || millis < 16, "{millis}");
                assert!(index < BUCKETS);
                if index < BUCKETS - 1 {
                    assert!(upper_edge(index) > ms(millis), "{millis}");
                    assert!(upper_edge(index) <= ms(millis * 9 / 8 + 1), "{millis}");
                }
                before = index;
            }
        }
        let mut latency = Latency::default();
        latency.observe(Duration::MAX, Instant::FAR);
        assert!(latency.peak_ewma(Instant::FAR) > Duration::from_secs(1 << 30));
        latency.observe(Duration::ZERO, Instant::FAR);
    }
}
