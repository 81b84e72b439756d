//! A log-linear histogram of durations: fixed memory, 1.6 % resolution, mergeable.

use std::time::Duration;

/// Buckets per power of two: values are known to one part in 64.
const STEPS: usize = 64;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();
/// Values up to 2^40 ns (18 minutes) are told apart; longer ones count as that.
const EXPONENT_MAX: u32 = 40;
const BUCKETS: usize = (EXPONENT_MAX - STEPS_LOG2 + 1) as usize * STEPS;

/// Counts durations in buckets that widen with the value.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: vec![0; BUCKETS],
            total: 0,
            max: Duration::ZERO,
        }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest value, exactly.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The smallest value that at least `share` (0 to 1) of all values do not exceed, rounded up to
    /// the end of its bucket; zero when nothing was counted.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(index)).min(self.max);
            }
        }
        self.max
    }
}

/// Below 64 each value has a bucket of its own; above, the six bits after the leading one decide.
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.min((1 << EXPONENT_MAX) - 1);
    let exponent = 63u32.saturating_sub(nanos.leading_zeros());
    if exponent < STEPS_LOG2 {
        return nanos as usize;
    }
    let shift = exponent - STEPS_LOG2;
    (shift as usize + 1) * STEPS + (nanos >> shift) as usize - STEPS
}

fn upper_bound(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_hold_their_values() {
        for index in 0..BUCKETS {
            let last = upper_bound(index).saturating_sub(u64::from(index >= STEPS));
            assert_eq!(bucket(last), index);
            if index + 1 < BUCKETS {
                assert_eq!(bucket(last + 1), index + 1);
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        let mut second = Histogram::default();
        for value in 1..=1000 {
            let target = if value % 2 == 0 {
                &mut histogram
            } else {
                &mut second
            };
            target.record(Duration::from_micros(value));
        }
        histogram.merge(&second);
        for (share, exact) in [(0.5, 500.0), (0.99, 990.0), (0.001, 1.0), (1.0, 1000.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!(
                (exact..exact * 1.02).contains(&found),
                "{share}: {found} µs"
            );
        }
        assert_eq!(
            (histogram.count(), histogram.max()),
            (1000, Duration::from_millis(1))
        );
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }
}
