//! Dates as upstreams write them in fields. No calendar: what is needed is how far off they are.

use crate::base::UnixMillis;

/// Reads an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
pub(super) fn http(text: &str) -> Option<UnixMillis> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let day = number(parts.next()?)?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|&month| month == name)? as u64 + 1;
    let year = number(parts.next()?)?;
    let seconds = day_seconds(parts.next()?)?;
    if parts.next() != Some("GMT") {
        return None;
    }
    unix_seconds(year, month, day, seconds).map(|seconds| UnixMillis(seconds * 1000))
}

/// Reads `1994-11-06T08:49:37Z` (RFC 3339 §5.6), with a fraction of a second or another zone too.
pub(super) fn rfc3339(text: &str) -> Option<UnixMillis> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next()?)?;
    let month = number(parts.next()?)?;
    let day = number(parts.next()?)?;
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let local = unix_seconds(year, month, day, day_seconds(clock)?)?;
    let seconds = match zone {
        "Z" | "z" => local,
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            let ahead = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
            match zone.starts_with('+') {
                true => local.checked_sub(ahead)?,
                false => local + ahead,
            }
        }
    };
    Some(UnixMillis(seconds * 1000 + thousandths(fraction)?))
}

/// Two digits each of hour, minute, second: `08:49:37`.
fn day_seconds(clock: &str) -> Option<u64> {
    let mut parts = clock.splitn(3, ':');
    let hour = number(parts.next()?)?;
    let minute = number(parts.next()?)?;
    let second = number(parts.next()?)?;
    // A leap second is one more.
    let is_sane = hour < 24 && minute < 60 && second <= 60;
    is_sane.then_some(hour * 3600 + minute * 60 + second)
}

/// The first three digits after the point.
fn thousandths(digits: &str) -> Option<u64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.bytes().chain(core::iter::repeat(b'0')).take(3);
    Some(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Digits only, and not more than a year has.
fn number(digits: &str) -> Option<u64> {
    let is_number = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Seconds since 1970 of a time of day, in the Gregorian calendar.
fn unix_seconds(year: u64, month: u64, day: u64, seconds: u64) -> Option<u64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since the year 0 with years that begin in March, so that a leap day is a year's last.
    let shifted_year = if month > 2 { year } else { year - 1 };
    let shifted_month = (month + 9) % 12;
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days_to_era = 719_468;
    let days = shifted_year * 365 + leap_days + (shifted_month * 153 + 2) / 5 + day - 1;
    Some(days.checked_sub(days_to_era)? * 86_400 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_from_1970() {
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
            ("Sun, 22 Nov 2026 12:00:00 GMT", 1_795_348_800),
        ];
        for (text, seconds) in cases {
            assert_eq!(http(text), Some(UnixMillis(seconds * 1000)), "{text}");
        }
    }

    #[test]
    fn rfc_3339_with_fractions_and_zones() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("1994-11-06T08:49:37Z", 784_111_777_000),
            ("1994-11-06t08:49:37.5z", 784_111_777_500),
            ("1994-11-06T08:49:37.123456789Z", 784_111_777_123),
            ("1994-11-06T09:49:37+01:00", 784_111_777_000),
            ("1994-11-06T03:19:37.000-05:30", 784_111_777_000),
            ("1994-11-06 08:49:37+00:00", 784_111_777_000),
        ];
        for (text, millis) in cases {
            assert_eq!(rfc3339(text), Some(UnixMillis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "T",
            "1994-11-06",
            "1994-11-06T08:49:37",
            "1994-13-06T08:49:37Z",
            "1994-11-00T08:49:37Z",
            "1994-11-06T25:49:37Z",
            "1994-11-06T08:49:37.x1Z",
            "1994-11-06T08:49:37+99:00",
            "1970-01-01T00:00:00+01:00",
            "99999999999999999999-11-06T08:49:37Z",
            "1969-11-06T08:49:37Z",
            "1994-11-06T08:49:37\u{e9}",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
            assert_eq!(http(text), None, "{text}");
        }
        assert_eq!(http("Sun, 06 Nov 1994 08:49:37 CET"), None);
        assert_eq!(http("Sun, 06 Noy 1994 08:49:37 GMT"), None);
    }
}
