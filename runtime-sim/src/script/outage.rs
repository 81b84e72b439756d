//! Times in which a provider fails for all, and dates as upstreams write them.

use core::time::Duration;

use tollgate_core::base::{Instant, Rng};

use crate::faults::{Fault, Faults};
use crate::setup::PROVIDERS;

/// A time in which a provider fails, whatever it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) provider: usize,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
    pub(crate) how: How,
}

/// How it fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// By this status.
    Status(&'static str),
    /// Nobody listens.
    Refused,
    /// Each connection is reset when a request has come.
    Reset,
    /// Nothing is answered.
    Silent,
    /// Each key is at its limit, for so many seconds.
    Exhausted(u64),
}

/// The outages of a run.
pub(crate) fn draw(faults: &Faults, rng: &mut Rng) -> Vec<Outage> {
    let mut outages = Vec::new();
    for (fault, is_limit) in [(Fault::Outage, false), (Fault::KeysExhausted, true)] {
        for _ in 0..1 + rng.below(2) {
            let outage = one(is_limit, rng);
            if faults.enabled().contains(fault) {
                outages.push(outage);
            }
        }
    }
    outages
}

fn one(is_limit: bool, rng: &mut Rng) -> Outage {
    let from = Instant::ZERO + Duration::from_millis(rng.below(10_000));
    let until = from + Duration::from_millis(5000 + rng.below(60_000));
    let how = [
        How::Status("503 Service Unavailable"),
        How::Status("500 Internal Server Error"),
        How::Status("529 Overloaded"),
        How::Refused,
        How::Reset,
        How::Silent,
    ][rng.below(6) as usize];
    let seconds = [1, 2, 10, 40][rng.below(4) as usize];
    Outage {
        provider: rng.below(PROVIDERS.len() as u64) as usize,
        from,
        until,
        how: if is_limit {
            How::Exhausted(seconds)
        } else {
            how
        },
    }
}

/// A date as of RFC 9110 §5.6.7.
#[derive(Clone, Debug)]
pub(crate) struct Date {
    pub(crate) text: String,
    /// The time that it says, if it is within the month in which all runs begin.
    pub(crate) at: Option<Instant>,
}

/// The date at some time of a run: they begin on Sunday, 2026-11-22, at midnight.
pub(crate) fn date(at: Instant) -> Date {
    const WEEK: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let seconds = at.as_millis() / 1000;
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let weekday = WEEK[(days % 7) as usize];
    let day = 22 + days;
    Date {
        text: format!("{weekday}, {day:02} Nov 2026 {hour:02}:{minute:02}:{second:02} GMT"),
        at: (day <= 30).then(|| Instant::ZERO + Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_says_its_second() {
        let at = Instant::ZERO + Duration::from_millis(93_784_567);
        let date = date(at);
        assert_eq!(date.text, "Mon, 23 Nov 2026 02:03:04 GMT");
        assert_eq!(date.at, Some(Instant::ZERO + Duration::from_secs(93_784)));
    }
}
