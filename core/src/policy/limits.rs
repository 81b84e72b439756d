//! Limits of a key as answers tell them in fields: `x-ratelimit-remaining-requests: 0`. For how
//! long the key is to be left alone, and nothing of keys themselves.
//!
//! Spellings (the vendors' references, and answers recorded of them, 2024 to 2026): the unit stands
//! at the end (`x-ratelimit-reset-tokens`: OpenAI, Azure, Groq, Mistral with `-minute`, Cerebras
//! with `-day`) or in the middle (`anthropic-ratelimit-input-tokens-reset`), or there is none
//! (`x-ratelimit-reset`: OpenRouter, Together; `ratelimit-reset`: the IETF's draft until its
//! seventh version, which has all in one field since: `ratelimit: "default";r=0;t=20`). A reset is
//! a span (`6m0s`, `12ms`), a date (RFC 3339), or a number: seconds, seconds or milliseconds since
//! 1970, or Azure's milliseconds. Of a Claude subscription nothing remains when
//! `anthropic-ratelimit-unified-status` is `rejected`.

use core::time::Duration;

use super::date;
use super::retry::{WAIT_MAX, seconds};
use crate::base::UnixMillis;

/// From this number on seconds are a date (September 2001), from the second on milliseconds are.
const EPOCH_SECONDS_MIN: f64 = 1e9;
const EPOCH_MILLIS_MIN: f64 = 1e11;

/// How long a key must be left alone by what an answer's `fields` tell of its limits; `None` where
/// no limit is exhausted, or nobody says until when.
///
/// After an answer that was let through (`is_refused` is false) a limit is exhausted when nothing
/// remains of it. One that refills steadily then needs only the time for one more request like this
/// one, of about `tokens`: by spans and dates OpenAI and Anthropic tell when it will be full. After
/// a refusal it is also exhausted when less remains than this request needs, or nobody says how
/// much, and holds until the reset.
pub fn exhausted<'a>(
    fields: &(impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone),
    tokens: u64,
    is_refused: bool,
    wall: UnixMillis,
) -> Option<Duration> {
    let wait = |(name, value): (&'a [u8], &'a [u8])| {
        if is_refused && let Some(wait) = refused(fields, name, value, wall) {
            return Some(wait);
        }
        if name.eq_ignore_ascii_case(b"ratelimit") {
            return spent(text(value)?);
        }
        let limit = Limit::of(name, "remaining")?;
        let need = limit.need(tokens)?;
        let remaining = number(value)?;
        if remaining > 0 && !(is_refused && remaining < need) {
            return None;
        }
        let of = |aspect| {
            let is_it = |name| Limit::of(name, aspect).is_some_and(|other| other.is(&limit));
            let mut all = fields.clone();
            all.find_map(|(name, value)| is_it(name).then_some(value))
        };
        let size = of("limit").and_then(number);
        if size == Some(0) {
            // Nobody is let through by a limit of nothing: there is none.
            return None;
        }
        let period = of("renewalperiod").and_then(number);
        let (wait, is_steady) = reset(of("reset")?, period, wall)?;
        match size {
            Some(size) if is_steady && !is_refused => Some(share(wait, need, size)),
            _ => Some(wait),
        }
    };
    let longest = fields.clone().filter_map(wait).max()?;
    (!longest.is_zero()).then_some(longest.min(WAIT_MAX))
}

/// How long a limit holds of which nobody says what remains, if the field called `name` tells that
/// this one refused the request.
fn refused<'a>(
    fields: &(impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone),
    name: &'a [u8],
    value: &'a [u8],
    wall: UnixMillis,
) -> Option<Duration> {
    let is = |name: &[u8], wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    let until = if is(name, "anthropic-ratelimit-unified-status") {
        if !is(value, "rejected") {
            return None;
        }
        let mut all = fields.clone();
        all.find(|(name, _)| is(name, "anthropic-ratelimit-unified-reset"))?
            .1
    } else {
        let limit = Limit::of(name, "reset").filter(|it| it.unit.is_empty())?;
        let tells = |name| Limit::of(name, "remaining").is_some_and(|other| other.is(&limit));
        if fields.clone().any(|(name, _)| tells(name)) {
            return None;
        }
        value
    };
    Some(reset(until, None, wall)?.0)
}

/// How long the limits hold of which nothing remains, by the IETF's draft, draft-ietf-httpapi-
/// ratelimit-headers: `"a";r=0;t=20, "b";r=7;t=3`, or `limit=9, remaining=0, reset=20` before.
fn spent(value: &str) -> Option<Duration> {
    let mut is_spent = false;
    let mut longest = None;
    for part in value.split([';', ',']).map(str::trim) {
        match part.split_once('=') {
            Some(("r" | "remaining", left)) => is_spent = left.trim() == "0",
            Some(("t" | "reset", left)) if is_spent => {
                longest = longest.max(seconds(left.trim().parse().ok()?));
            }
            Some(_) => {}
            None => is_spent = false,
        }
    }
    longest
}

/// Which limit a field is about.
#[derive(Clone, Copy)]
struct Limit<'a> {
    start: &'static str,
    /// What is counted, and over which span: `requests`, `tokens-minute`, or nothing.
    unit: &'a [u8],
}

impl<'a> Limit<'a> {
    /// The limit of which the field called `name` tells this `aspect`.
    fn of(name: &'a [u8], aspect: &str) -> Option<Limit<'a>> {
        for start in ["x-ratelimit-", "ratelimit-"] {
            if let Some(rest) = after(name, start) {
                let unit = after(rest, aspect)?;
                let unit = match unit {
                    [] => unit,
                    _ => unit.strip_prefix(b"-")?,
                };
                return Some(Limit { start, unit });
            }
        }
        let start = "anthropic-ratelimit-";
        let rest = after(name, start)?;
        let end = rest.len().checked_sub(aspect.len())?;
        let (unit, end) = rest.split_at(end);
        let unit = unit.strip_suffix(b"-")?;
        let is_it = end.eq_ignore_ascii_case(aspect.as_bytes());
        is_it.then_some(Limit { start, unit })
    }

    fn is(&self, other: &Limit<'_>) -> bool {
        self.start == other.start && self.unit.eq_ignore_ascii_case(other.unit)
    }

    /// How much of it a request of about `tokens` takes; `None` where that is not known, as of
    /// images or seconds of sound.
    fn need(&self, tokens: u64) -> Option<u64> {
        let has = |word: &str| {
            let mut words = self.unit.windows(word.len());
            words.any(|it| it.eq_ignore_ascii_case(word.as_bytes()))
        };
        if has("token") {
            Some(tokens.max(1))
        } else {
            (self.unit.is_empty() || has("req")).then_some(1)
        }
    }
}

/// What follows `start`, in any case.
fn after<'a>(name: &'a [u8], start: &str) -> Option<&'a [u8]> {
    let (head, rest) = name.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start.as_bytes()).then_some(rest)
}

fn text(value: &[u8]) -> Option<&str> {
    core::str::from_utf8(value).ok().map(str::trim)
}

fn number(value: &[u8]) -> Option<u64> {
    text(value)?.parse().ok()
}

/// The time until a reset, and whether it is one that tells when a limit will be full.
fn reset(value: &[u8], period: Option<u64>, wall: UnixMillis) -> Option<(Duration, bool)> {
    let value = text(value)?;
    let until = |at: UnixMillis| Duration::from_millis(at.0.saturating_sub(wall.0));
    if let Ok(number) = value.parse::<f64>() {
        let wait = if number >= EPOCH_MILLIS_MIN {
            until(UnixMillis::from(seconds(number / 1000.0)?))
        } else if number >= EPOCH_SECONDS_MIN {
            until(UnixMillis::from(seconds(number)?))
        } else {
            // Azure writes either; what is longer than the period is no seconds.
            let wait = seconds(number)?;
            let period = period.map(Duration::from_secs);
            match period.is_some_and(|period| wait > period) {
                true => wait / 1000,
                false => wait,
            }
        };
        return Some((wait, false));
    }
    let at = || date::rfc3339(value).map(until);
    span(value).or_else(at).map(|wait| (wait, true))
}

/// Reads a span as Go writes it: `1h2m3.5s`, `12ms`.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (count, more) = rest.split_at(rest.find(|it: char| it.is_ascii_alphabetic())?);
        let end = more.find(|it: char| !it.is_ascii_alphabetic());
        let (unit, more) = more.split_at(end.unwrap_or(more.len()));
        let unit = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let count: f64 = count.parse().ok()?;
        sum = sum.checked_add(seconds(count * unit)?)?;
        rest = more;
    }
    (!text.is_empty()).then_some(sum)
}

/// The part of `wait` after which `need` of `size` is there again, where all of it is after `wait`.
fn share(wait: Duration, need: u64, size: u64) -> Duration {
    if need >= size {
        return wait;
    }
    let nanos = wait.min(WAIT_MAX).as_nanos() * u128::from(need) / u128::from(size);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-27T22:24:57Z.
    const WALL: UnixMillis = UnixMillis(1_769_552_697_000);

    fn told(fields: &[(&str, &str)], tokens: u64, is_refused: bool) -> Option<f64> {
        let fields = fields.iter();
        let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        exhausted(&fields, tokens, is_refused, WALL).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn what_remains_is_no_limit() {
        let openai = [
            ("x-ratelimit-limit-requests", "5000"),
            ("x-ratelimit-limit-tokens", "800000"),
            ("x-ratelimit-remaining-requests", "4999"),
            ("x-ratelimit-remaining-tokens", "799984"),
            ("x-ratelimit-reset-requests", "12ms"),
            ("x-ratelimit-reset-tokens", "1ms"),
        ];
        assert_eq!(told(&openai, 100, false), None);
        assert_eq!(told(&openai, 100, true), None);
        assert_eq!(told(&openai, 800_000, true), Some(0.001));
        assert_eq!(told(&[], 100, true), None);
    }

    #[test]
    fn a_limit_that_refills_is_waited_for_as_long_as_one_request_needs() {
        let groq = [
            ("X-RateLimit-Limit-Requests", "14400"),
            ("X-RateLimit-Remaining-Requests", "0"),
            ("X-RateLimit-Reset-Requests", "24h0m0s"),
            ("x-ratelimit-remaining-tokens", "17993"),
            ("x-ratelimit-reset-tokens", "7.66s"),
        ];
        assert_eq!(told(&groq, 100, false), Some(6.0));
        assert_eq!(told(&groq, 100, true), Some(86_400.0));
        let anthropic = |unit: &str| {
            [
                (format!("anthropic-ratelimit-{unit}-limit"), "80000"),
                (format!("anthropic-ratelimit-{unit}-remaining"), "0"),
                (
                    format!("anthropic-ratelimit-{unit}-reset"),
                    "2026-01-27T22:25:57Z",
                ),
            ]
        };
        for (unit, seconds) in [
            ("tokens", 15.0),
            ("input-tokens", 15.0),
            ("requests", 0.00075),
        ] {
            let fields = anthropic(unit);
            let fields: Vec<_> = fields.iter().map(|(name, it)| (&**name, *it)).collect();
            assert_eq!(told(&fields, 20_000, false), Some(seconds), "{unit}");
            assert_eq!(told(&fields, 20_000, true), Some(60.0), "{unit}");
            assert_eq!(told(&fields, 200_000, true), Some(60.0), "{unit}");
        }
    }

    #[test]
    fn every_spelling_of_a_reset_is_understood() {
        for (reset, seconds) in [
            ("1s", Some(1.0)),
            ("6m0s", Some(360.0)),
            ("20ms", Some(0.02)),
            ("1h2m3.5s", Some(3_723.5)),
            ("1d", Some(86_400.0)),
            ("59.369", Some(59.369)),
            ("2", Some(2.0)),
            ("1769552757", Some(60.0)),
            ("1769552757000", Some(60.0)),
            ("1769552757.5", Some(60.5)),
            ("2026-01-27T22:25:05Z", Some(8.0)),
            // In the past, or now.
            ("0", None),
            ("0s", None),
            ("1769552000", None),
            ("2025-01-27T22:25:05Z", None),
            // Nonsense.
            ("soon", None),
            ("", None),
            ("-1", None),
            ("NaN", None),
            ("s", None),
            ("1", Some(1.0)),
            ("5parsecs", None),
            ("1e300", None),
            ("9e99s", None),
            // More than a day.
            ("48h", Some(86_400.0)),
            ("999999999", Some(86_400.0)),
            ("9000-01-27T22:25:05Z", Some(86_400.0)),
        ] {
            for start in ["x-ratelimit-", "ratelimit-"] {
                let names = ["remaining", "reset"].map(|it| format!("{start}{it}"));
                let fields = [(&*names[0], "0"), (&*names[1], reset)];
                assert_eq!(told(&fields, 1, false), seconds, "{reset}");
            }
        }
    }

    #[test]
    fn a_refusal_tells_until_when_without_what_remains() {
        let subscription = |status| {
            [
                ("anthropic-ratelimit-unified-status", status),
                ("anthropic-ratelimit-unified-reset", "1769552757"),
                ("anthropic-ratelimit-unified-overage-status", "rejected"),
                ("anthropic-ratelimit-unified-7d-reset", "1769559999"),
            ]
        };
        assert_eq!(told(&subscription("rejected"), 1, true), Some(60.0));
        assert_eq!(told(&subscription("rejected"), 1, false), None);
        assert_eq!(told(&subscription("allowed"), 1, true), None);
        let lone = [("x-ratelimit-reset", "7")];
        assert_eq!(told(&lone, 1, true), Some(7.0));
        assert_eq!(told(&lone, 1, false), None);
        let rest = [("x-ratelimit-reset", "7"), ("x-ratelimit-remaining", "9")];
        assert_eq!(told(&rest, 1, true), None);
        assert_eq!(told(&[("x-ratelimit-reset-images", "7")], 1, true), None);
    }

    #[test]
    fn one_field_may_tell_all() {
        for (value, seconds) in [
            (r#""default";r=0;t=20"#, Some(20.0)),
            (r#""a";r=0;t=3, "b";r=7;t=60, "c";r=0;t=20"#, Some(20.0)),
            (r#""a";r=7;t=60"#, None),
            (r#""a";r=0, "b";t=60"#, None),
            ("limit=9, remaining=0, reset=20", Some(20.0)),
            ("limit=9, remaining=1, reset=20", None),
            ("r=0;t=soon", None),
            ("", None),
        ] {
            for is_refused in [true, false] {
                let fields = [("RateLimit", value)];
                assert_eq!(told(&fields, 1, is_refused), seconds, "{value}");
            }
        }
    }

    #[test]
    fn milliseconds_are_told_from_seconds_by_the_period() {
        for (reset, seconds) in [("500", 0.5), ("1", 1.0), ("60", 60.0), ("30000", 30.0)] {
            let azure = [
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", reset),
                ("x-ratelimit-limit-requests", "50"),
                ("x-ratelimit-renewalperiod-requests", "60"),
            ];
            assert_eq!(told(&azure, 1, false), Some(seconds), "{reset}");
        }
    }

    #[test]
    fn units_are_kept_apart_and_the_longest_holds() {
        let fields = [
            ("x-ratelimit-remaining-requests-day", "0"),
            ("x-ratelimit-reset-requests-minute", "5"),
            ("x-ratelimit-remaining-tokens-minute", "0"),
            ("x-ratelimit-reset-tokens-minute", "11.5"),
            ("x-ratelimit-remaining-req-minute", "0"),
            ("x-ratelimit-reset-req-minute", "3"),
            ("x-ratelimit-remaining-audio-seconds", "0"),
            ("x-ratelimit-reset-audio-seconds", "100"),
            ("anthropic-ratelimit-tokens-minute-reset", "200"),
            ("x-ratelimit-remainingtokens", "0"),
            ("x-ratelimit-remaining-", "0"),
            ("anthropic-ratelimit-remaining", "0"),
            ("x-ratelimit-", "0"),
            ("x-rate", "0"),
        ];
        assert_eq!(told(&fields, 1, false), Some(11.5));
        // A limit of nothing is none, and one whose rest is unknown too.
        let none = [
            ("x-ratelimit-limit-tokens", "0"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "60s"),
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-reset-requests", "60s"),
        ];
        assert_eq!(told(&none, 1, true), None);
    }
}
