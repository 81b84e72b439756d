//! When to try again, and where: one table for all classes of failure; how long to wait before;
//! and how many tries a target can bear.

use core::time::Duration;

use super::date;
use crate::base::{Instant, Rng, UnixMillis};
use crate::ir::{Blame, Class, Failure};

/// A day: what asks for longer is taken for a mistake (a date in another year, milliseconds as
/// seconds).
pub(super) const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a request that failed goes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// To the same target once more, in a moment; then as [`Next::Target`].
    Here,
    /// To the same target with another key; then as [`Next::Target`].
    Key,
    /// To the next target.
    Target,
    /// Nowhere: whoever is asked, it would fail again, or it must not be asked of another.
    Nowhere,
}

/// Where a request goes next that failed so, before the client has seen any of the answer.
pub const fn next(failure: &Failure) -> Next {
    match (failure.class, failure.blame) {
        // What the gateway has no time for at one target it may have at another.
        (Class::Timeout, Blame::Gateway) => Next::Target,
        // A limit of the gateway's own: another try would meet it as well.
        (_, Blame::Gateway) => Next::Nowhere,
        (Class::Authentication | Class::Billing | Class::Permission | Class::RateLimit, _) => {
            Next::Key
        }
        (Class::BadGateway | Class::Internal | Class::Overloaded | Class::ToolGeneration, _) => {
            Next::Here
        }
        // Once is enough of what takes minutes. And what one target does not have, another may.
        (
            Class::Timeout | Class::Unavailable | Class::NotFound | Class::ContextLength,
            Blame::Upstream | Blame::Key | Blame::Client,
        ) => Next::Target,
        (
            Class::ContentFilter
            | Class::InvalidRequest
            | Class::MethodNotAllowed
            | Class::RequestTimeout
            | Class::RequestTooLarge
            | Class::UnsupportedMediaType,
            _,
        ) => Next::Nowhere,
    }
}

/// Bounds of trying again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetryLimits {
    /// Requests sent to upstreams for one of a client, all in all.
    pub attempts_max: u32,
    /// Of these, repetitions on one target.
    pub repeats_max: u32,
    /// The first wait before a repetition is random below this; it doubles.
    pub backoff: Duration,
    /// It does not grow beyond this.
    pub backoff_max: Duration,
    /// The longest that is waited because an upstream asks for it (`retry-after`), or for a key;
    /// beyond that the client is told to.
    pub wait_max: Duration,
    /// Repetitions per hundred first tries that a target gets, lest they keep a failing one down.
    pub budget_percent: u32,
}

impl Default for RetryLimits {
    fn default() -> RetryLimits {
        RetryLimits {
            attempts_max: 4,
            repeats_max: 1,
            backoff: Duration::from_millis(25),
            backoff_max: Duration::from_secs(2),
            wait_max: Duration::from_secs(10),
            budget_percent: 20,
        }
    }
}

impl RetryLimits {
    /// How long to wait before the repetition number `repeat` (from zero): random, so that those
    /// who failed together do not come back together ("full jitter").
    pub fn backoff(&self, repeat: u32, rng: &mut Rng) -> Duration {
        let factor = 1u32.checked_shl(repeat).unwrap_or(u32::MAX);
        let most = self.backoff.saturating_mul(factor).min(self.backoff_max);
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.below(nanos))
    }
}

/// What repetitions a target can still bear: each first try earns a share of one, and a second of
/// time earns one, up to ten.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    hundredths: u32,
    earned: Instant,
}

impl RetryBudget {
    const FULL: u32 = 1_000;

    /// A target that has seen nothing bears as much as any.
    pub const fn new() -> RetryBudget {
        RetryBudget {
            hundredths: RetryBudget::FULL,
            earned: Instant::ZERO,
        }
    }

    /// A first try was sent.
    pub fn earn(&mut self, limits: &RetryLimits) {
        let more = self.hundredths.saturating_add(limits.budget_percent);
        self.hundredths = more.min(RetryBudget::FULL);
    }

    /// Whether one repetition may be sent; if so it is counted.
    pub fn spend(&mut self, now: Instant) -> bool {
        let seconds = now.since(self.earned).as_secs();
        if seconds > 0 {
            let earned = u32::try_from(seconds.saturating_mul(100)).unwrap_or(u32::MAX);
            self.hundredths = self
                .hundredths
                .saturating_add(earned)
                .min(RetryBudget::FULL);
            self.earned = now;
        }
        let left = self.hundredths.checked_sub(100);
        self.hundredths = left.unwrap_or(self.hundredths);
        left.is_some()
    }
}

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget::new()
    }
}

/// How long the upstream asks to wait: `retry-after-ms` (OpenAI, Azure), else `retry-after` in
/// seconds, fractions included, or as a date (RFC 9110 §10.2.3). `field` gives the value of a
/// field.
pub fn retry_after<'a>(
    field: impl Fn(&str) -> Option<&'a [u8]>,
    wall: UnixMillis,
) -> Option<Duration> {
    let text = |name| {
        field(name)
            .and_then(|value| core::str::from_utf8(value).ok())
            .map(str::trim)
    };
    // Seen beside `retry-after: 1`: no milliseconds are no word at all.
    let milliseconds = text("retry-after-ms").and_then(|it| it.parse::<f64>().ok());
    let milliseconds = milliseconds.filter(|&milliseconds| milliseconds != 0.0);
    let wait = match milliseconds {
        Some(milliseconds) => seconds(milliseconds / 1000.0)?,
        None => {
            let value = text("retry-after")?;
            match value.parse::<f64>() {
                Ok(number) => seconds(number)?,
                Err(_) => {
                    let at = date::http(value)?;
                    Duration::from_millis(at.0.saturating_sub(wall.0))
                }
            }
        }
    };
    Some(wait.min(WAIT_MAX))
}

pub(super) fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    fn wait(name: &'static str, value: &'static str) -> Option<Duration> {
        let wall = UnixMillis(784_111_777_000);
        retry_after(|asked| (asked == name).then_some(value.as_bytes()), wall)
    }

    #[test]
    fn a_request_that_is_wrong_goes_nowhere_else() {
        for class in [Class::InvalidRequest, Class::ContentFilter] {
            assert_eq!(next(&Failure::new(class, "no")), Next::Nowhere);
        }
        let full = Failure::new(Class::Overloaded, "full").blame(Blame::Gateway);
        assert_eq!(next(&full), Next::Nowhere);
        assert_eq!(next(&Failure::new(Class::RateLimit, "")), Next::Key);
        assert_eq!(next(&Failure::new(Class::Internal, "")), Next::Here);
        assert_eq!(next(&Failure::new(Class::ToolGeneration, "")), Next::Here);
        assert_eq!(next(&Failure::new(Class::Timeout, "")), Next::Target);
        assert_eq!(next(&Failure::new(Class::ContextLength, "")), Next::Target);
    }

    #[test]
    fn waits_are_random_and_bounded() {
        let limits = RetryLimits::default();
        let mut rng = Rng::new(Seed(3));
        for repeat in [0, 1, 2, 10, 31, 32, u32::MAX] {
            let most = limits.backoff.saturating_mul(1 << repeat.min(20));
            let waits: Vec<_> = (0..100).map(|_| limits.backoff(repeat, &mut rng)).collect();
            assert!(waits.iter().all(|&it| it < most.min(limits.backoff_max)));
            assert!(waits.iter().any(|&it| it > waits[0]) || waits.iter().any(|&it| it < waits[0]));
        }
    }

    #[test]
    fn repetitions_are_a_share_of_the_tries() {
        let limits = RetryLimits::default();
        let mut budget = RetryBudget::new();
        let now = Instant::ZERO;
        let mut repeats = 0;
        for _ in 0..1_000 {
            budget.earn(&limits);
            repeats += u32::from(budget.spend(now));
        }
        assert!((200..=215).contains(&repeats), "{repeats}");
        assert!(
            !RetryBudget {
                hundredths: 0,
                ..budget
            }
            .spend(now)
        );
        let later = now + Duration::from_secs(1);
        let mut poor = RetryBudget {
            hundredths: 0,
            earned: now,
        };
        assert!(poor.spend(later));
        assert!(!poor.spend(later));
    }

    #[test]
    fn every_spelling_is_understood() {
        assert_eq!(wait("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(
            wait("retry-after", "0.25"),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            wait("retry-after-ms", "1500"),
            Some(Duration::from_millis(1500))
        );
        let date = "Sun, 06 Nov 1994 08:49:47 GMT";
        assert_eq!(wait("retry-after", date), Some(Duration::from_secs(10)));
        let past = "Sun, 06 Nov 1994 08:49:30 GMT";
        assert_eq!(wait("retry-after", past), Some(Duration::ZERO));
        assert_eq!(wait("retry-after", "soon"), None);
        assert_eq!(wait("retry-after", "-1"), None);
        assert_eq!(wait("retry-after", "NaN"), None);
        assert_eq!(wait("retry-after", "1e300"), None);
        assert_eq!(wait("retry-after", "9999999"), Some(WAIT_MAX));
    }
}
