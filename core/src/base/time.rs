//! Three notions of time, all handed in: [`Instant`] (monotonic), [`UnixMillis`] (wall clock), and
//! [`Now`], the pair that enters with each input. Core never reads a clock.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// Monotonic time: nanoseconds since the process began, with the same zero in all shards.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant(u64);

impl Instant {
    /// The zero: the moment the process began.
    pub const ZERO: Instant = Instant(0);
    /// A moment that never comes; what "no deadline" is compared with.
    pub const FAR: Instant = Instant(u64::MAX);

    /// An instant `nanos` nanoseconds after the process began.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the process began.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the process began, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at [`Instant::FAR`].
    fn add(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:06}s",
            self.0 / 1_000_000_000,
            self.0 / 1_000 % 1_000_000
        )
    }
}

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z. It may jump; policy never uses it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Whole seconds since the epoch, as in the `created` field of OpenAI's objects.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

impl From<Duration> for UnixMillis {
    /// The moment that is this long after 1970-01-01T00:00:00Z.
    fn from(duration: Duration) -> UnixMillis {
        UnixMillis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The time of one input, read once by the runtime.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// Monotonic; never goes back between two inputs of a shard.
    pub mono: Instant,
    /// Wall clock, for dates, signatures and expiry only.
    pub wall: UnixMillis,
}
