//! [`RateWindow`]: how much happened within the last minute.

use core::time::Duration;

use crate::base::Instant;

/// The time over which providers count.
const MINUTE: Duration = Duration::from_secs(60);
/// Parts of the minute that are counted apart.
const SLOTS: usize = 13;
/// Twelve slots make the minute; with the one begun they cover every span of a minute that ends
/// now, so that a limit is never exceeded in any of them.
const SLOT_NANOS: u64 = MINUTE.as_nanos() as u64 / (SLOTS as u64 - 1);

/// Counts of the last minute. It errs on the side of too much, by at most five seconds' worth.
#[derive(Clone, Debug, Default)]
pub struct RateWindow {
    counts: [u64; SLOTS],
    /// The number of the slot that is being counted, from the start of time.
    slot: u64,
    sum: u64,
}

impl RateWindow {
    /// What has been added within the minute before `now`.
    pub fn sum(&mut self, now: Instant) -> u64 {
        let slot = now.as_nanos() / SLOT_NANOS;
        let passed = slot.saturating_sub(self.slot);
        if passed >= SLOTS as u64 {
            self.counts = [0; SLOTS];
            self.sum = 0;
            self.slot = slot;
        }
        while self.slot < slot {
            self.slot += 1;
            let count = core::mem::take(self.current());
            self.sum = self.sum.saturating_sub(count);
        }
        self.sum
    }

    /// Adds `count` at `now`.
    pub fn add(&mut self, count: u64, now: Instant) {
        self.sum(now);
        let current = self.current();
        *current = current.saturating_add(count);
        self.sum = self.sum.saturating_add(count);
    }

    /// Takes back of what was `added` at a time, as far as it is still counted at `now`.
    pub fn take_back(&mut self, count: u64, added: Instant, now: Instant) {
        self.sum(now);
        let slot = added.as_nanos() / SLOT_NANOS;
        let age = self.slot.checked_sub(slot);
        if age.is_none_or(|age| age >= SLOTS as u64) {
            return;
        }
        let index = usize::try_from(slot % SLOTS as u64).unwrap_or(0);
        if let Some(counted) = self.counts.get_mut(index) {
            let taken = count.min(*counted);
            *counted -= taken;
            self.sum = self.sum.saturating_sub(taken);
        }
    }

    /// When `more` will fit beside what is counted, within `limit`: `now` if it does already. What
    /// is more than the limit by itself fits once nothing else is counted.
    pub fn fits_at(&mut self, more: u64, limit: u64, now: Instant) -> Instant {
        let mut sum = self.sum(now);
        if sum == 0 || sum.saturating_add(more) <= limit {
            return now;
        }
        // The oldest slot leaves first.
        for age in (0..SLOTS as u64).rev() {
            let Some(slot) = self.slot.checked_sub(age) else {
                continue;
            };
            let index = usize::try_from(slot % SLOTS as u64).unwrap_or(0);
            sum = sum.saturating_sub(self.counts.get(index).copied().unwrap_or(0));
            if sum == 0 || sum.saturating_add(more) <= limit {
                return Instant::from_nanos((slot + SLOTS as u64).saturating_mul(SLOT_NANOS));
            }
        }
        now
    }

    fn current(&mut self) -> &mut u64 {
        // In bounds: a remainder of the length.
        &mut self.counts[usize::try_from(self.slot % SLOTS as u64).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Seed};

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn no_minute_ever_holds_more_than_the_limit() {
        for seed in 0..50 {
            let mut rng = Rng::new(Seed(seed));
            let mut window = RateWindow::default();
            let mut calls: Vec<u64> = Vec::new();
            let mut now = 0;
            for _ in 0..2_000 {
                now += rng.below(3_000);
                let fits = window.fits_at(1, 40, at(now));
                if fits > at(now) {
                    now = fits.as_millis() + 1;
                    assert_eq!(window.fits_at(1, 40, at(now)), at(now));
                }
                window.add(1, at(now));
                calls.push(now);
            }
            for (index, &call) in calls.iter().enumerate() {
                let within = calls[..=index].iter().filter(|&&it| it + 60_000 > call);
                assert!(within.count() <= 40);
            }
        }
    }

    #[test]
    fn what_is_taken_back_or_old_does_not_count() {
        let mut window = RateWindow::default();
        window.add(30, at(1_000));
        window.add(5, at(20_000));
        window.take_back(20, at(1_000), at(20_000));
        assert_eq!(window.sum(at(20_000)), 15);
        assert_eq!(window.fits_at(100, 40, at(20_000)), at(85_000));
        assert_eq!(window.sum(at(64_999)), 15);
        assert_eq!(window.sum(at(65_000)), 5);
        assert_eq!(window.sum(at(85_000)), 0);
        assert_eq!(window.sum(at(10_000_000)), 0);
        // What is no longer counted leaves what others have added since.
        window.add(7, at(10_000_000));
        window.take_back(30, at(9_930_000), at(10_000_000));
        window.take_back(30, at(10_005_000), at(10_000_000));
        assert_eq!(window.sum(at(10_000_000)), 7);
    }
}
