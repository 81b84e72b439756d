//! When to try again: what upstreams say about it in their answers' fields.

use core::time::Duration;

use crate::base::UnixMillis;

/// A day: what asks for longer is taken for a mistake (a date in another year, milliseconds as
/// seconds).
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

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
    let milliseconds = text("retry-after-ms").and_then(|it| it.parse::<f64>().ok());
    let wait = match milliseconds {
        Some(milliseconds) => seconds(milliseconds / 1000.0)?,
        None => {
            let value = text("retry-after")?;
            match value.parse::<f64>() {
                Ok(number) => seconds(number)?,
                Err(_) => {
                    let at = parse_http_date(value)?;
                    Duration::from_millis(at.0.saturating_sub(wall.0))
                }
            }
        }
    };
    Some(wait.min(WAIT_MAX))
}

fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

/// Reads an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
fn parse_http_date(text: &str) -> Option<UnixMillis> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = text.split_once(", ")?;
    let mut parts = date.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let month_name = parts.next()?;
    let month = MONTHS.iter().position(|&month| month == month_name)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':');
    let hour: u64 = clock.next()?.parse().ok()?;
    let minute: u64 = clock.next()?.parse().ok()?;
    let second: u64 = clock.next()?.parse().ok()?;
    let is_sane = (1970..10_000).contains(&year)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_sane || parts.next() != Some("GMT") {
        return None;
    }
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March, so that
    // a leap day is a year's last.
    let shifted_year = if month > 2 { year } else { year - 1 };
    let shifted_month = (month + 9) % 12;
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days_to_era = 719_468;
    let days = shifted_year * 365 + leap_days + (shifted_month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(days_to_era)?;
    Some(UnixMillis(
        (days * 86_400 + hour * 3600 + minute * 60 + second) * 1000,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(name: &'static str, value: &'static str) -> Option<Duration> {
        let wall = UnixMillis(784_111_777_000);
        retry_after(|asked| (asked == name).then_some(value.as_bytes()), wall)
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

    #[test]
    fn dates_count_from_1970() {
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
            ("Sun, 22 Nov 2026 12:00:00 GMT", 1_795_348_800),
        ];
        for (text, seconds) in cases {
            assert_eq!(
                parse_http_date(text),
                Some(UnixMillis(seconds * 1000)),
                "{text}"
            );
        }
    }
}
