//! [`Timers`]: a hierarchical wheel of one-millisecond ticks (Varghese and Lauck 1987, scheme 7).
//! Arming and cancelling are O(1), so each exchange may move its deadline on every event.

use super::time::Instant;

const LEVELS: usize = 7;
const SLOTS: usize = 64;
/// Index of the list of entries that are due; after the wheel's own slots.
const DUE: usize = LEVELS * SLOTS;
const NONE: u32 = u32::MAX;
const NANOS_PER_TICK: u64 = 1_000_000;

/// Names an armed timer; stale once it fired or was cancelled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

/// Timers that carry a `T` each. Deadlines are rounded up to whole milliseconds: a timer never
/// fires early, and at most one tick late.
#[derive(Debug)]
pub struct Timers<T> {
    /// The last tick that was looked at; all entries of the wheel lie after it.
    tick: u64,
    heads: Box<[u32; DUE + 1]>,
    occupied: [u64; LEVELS],
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
struct Entry<T> {
    at: u64,
    slot: u16,
    generation: u32,
    previous: u32,
    next: u32,
    value: Option<T>,
}

impl<T> Timers<T> {
    /// No timers, at time zero.
    pub fn new() -> Timers<T> {
        Timers {
            tick: 0,
            heads: Box::new([NONE; DUE + 1]),
            occupied: [0; LEVELS],
            entries: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// Number of armed timers, those due but not yet popped included.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is armed.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Arms a timer that fires at the first [`pop`](Timers::pop) at or after `at`.
    pub fn arm(&mut self, at: Instant, value: T) -> TimerKey {
        let tick = at.as_nanos().div_ceil(NANOS_PER_TICK);
        let index = self.take_entry(tick, value);
        self.link(index);
        self.len += 1;
        TimerKey {
            index,
            generation: self.entries[index as usize].generation,
        }
    }

    /// Takes a timer out before it fires; `None` if it fired or was cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation != key.generation || entry.value.is_none() {
            return None;
        }
        self.unlink(key.index);
        self.release(key.index)
    }

    /// The next timer that is due at `now`, earliest tick first.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        self.advance(now.as_nanos() / NANOS_PER_TICK);
        let index = self.heads[DUE];
        if index == NONE {
            return None;
        }
        self.unlink(index);
        self.release(index)
    }

    /// When to call [`pop`](Timers::pop) next: never later than the earliest deadline (rounded up),
    /// perhaps earlier.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.heads[DUE] != NONE {
            return Some(Instant::from_nanos(
                self.tick.saturating_mul(NANOS_PER_TICK),
            ));
        }
        let (_, _, tick) = self.next_slot()?;
        Some(Instant::from_nanos(tick.saturating_mul(NANOS_PER_TICK)))
    }

    fn advance(&mut self, now: u64) {
        while let Some((level, slot, tick)) = self.next_slot() {
            if tick > now {
                break;
            }
            self.tick = tick;
            let mut index = self.heads[level * SLOTS + slot];
            while index != NONE {
                let next = self.entries[index as usize].next;
                self.unlink(index);
                self.link(index);
                index = next;
            }
        }
        self.tick = self.tick.max(now);
    }

    /// The first occupied slot: level, slot and the tick at which it begins.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        for level in 0..LEVELS {
            let bits = self.occupied[level];
            if bits == 0 {
                continue;
            }
            // An entry's level is that of the highest digit in which it differs from the current
            // tick, so within a level all slots lie after the current one, and lower levels come
            // first.
            let slot = bits.trailing_zeros() as usize;
            let shift = 6 * level;
            let above = if shift + 6 >= 64 {
                0
            } else {
                self.tick >> (shift + 6) << (shift + 6)
            };
            return Some((level, slot, above | (slot as u64) << shift));
        }
        None
    }

    fn slot_of(&self, at: u64) -> usize {
        if at <= self.tick {
            return DUE;
        }
        let digit = (63 - (at ^ self.tick).leading_zeros() as usize) / 6;
        if digit >= LEVELS {
            // 2^42 milliseconds ahead: never. The last slot keeps it.
            return DUE - 1;
        }
        digit * SLOTS + ((at >> (6 * digit)) & 63) as usize
    }

    fn link(&mut self, index: u32) {
        let slot = self.slot_of(self.entries[index as usize].at);
        let head = self.heads[slot];
        let entry = &mut self.entries[index as usize];
        entry.slot = slot as u16;
        entry.previous = NONE;
        entry.next = head;
        if head != NONE {
            self.entries[head as usize].previous = index;
        }
        self.heads[slot] = index;
        if slot < DUE {
            self.occupied[slot / SLOTS] |= 1 << (slot % SLOTS);
        }
    }

    fn unlink(&mut self, index: u32) {
        let (slot, previous, next) = {
            let entry = &self.entries[index as usize];
            (entry.slot as usize, entry.previous, entry.next)
        };
        if previous == NONE {
            self.heads[slot] = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if slot < DUE && self.heads[slot] == NONE {
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
    }

    fn take_entry(&mut self, at: u64, value: T) -> u32 {
        if self.free != NONE {
            let index = self.free;
            let entry = &mut self.entries[index as usize];
            self.free = entry.next;
            entry.at = at;
            entry.value = Some(value);
            return index;
        }
        // `Limits` bounds connections and exchanges, and so timers, far below 2^32.
        let index = self.entries.len() as u32;
        self.entries.push(Entry {
            at,
            slot: 0,
            generation: 0,
            previous: NONE,
            next: NONE,
            value: Some(value),
        });
        index
    }

    fn release(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
        entry.value.take()
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::base::rng::{Rng, Seed};

    #[test]
    fn timers_agree_with_a_sorted_map() {
        for seed in 0..200 {
            let mut rng = Rng::new(Seed(seed));
            let mut timers = Timers::new();
            let mut model: BTreeMap<(u64, u64), TimerKey> = BTreeMap::new();
            let mut now = Instant::ZERO;
            for id in 0..400u64 {
                match rng.below(4) {
                    0 | 1 => {
                        let exponent = rng.below(30);
                        let delay = Duration::from_micros(rng.below(1 << exponent));
                        let at = now + delay;
                        model.insert((at.as_nanos().div_ceil(1_000_000), id), timers.arm(at, id));
                    }
                    2 => {
                        let nth = rng.below(model.len() as u64 + 1) as usize;
                        if let Some((&(tick, id), &key)) = model.iter().nth(nth) {
                            assert_eq!(timers.cancel(key), Some(id));
                            assert_eq!(timers.cancel(key), None);
                            model.remove(&(tick, id));
                        }
                    }
                    _ => {
                        let exponent = rng.below(26);
                        let step = Duration::from_micros(rng.below(1 << exponent));
                        now = now + step;
                        let mut fired = Vec::new();
                        while let Some(id) = timers.pop(now) {
                            fired.push(id);
                        }
                        let mut due: Vec<u64> = Vec::new();
                        while let Some((&(tick, id), _)) = model.first_key_value() {
                            if tick > now.as_millis() {
                                break;
                            }
                            due.push(id);
                            model.pop_first();
                        }
                        fired.sort_unstable();
                        due.sort_unstable();
                        assert_eq!(fired, due, "seed {seed}");
                    }
                }
                assert_eq!(timers.len(), model.len());
                let earliest = model.first_key_value().map(|(&(tick, _), _)| tick);
                let deadline = timers.next_deadline().map(Instant::as_millis);
                assert_eq!(deadline.is_some(), earliest.is_some());
                assert!(deadline <= earliest || earliest <= Some(now.as_millis()));
            }
        }
    }
}
