//! The Date field (RFC 9110 §6.6.1), formatted once a second.

use crate::base::UnixMillis;

/// Formats the current time for the Date field, and keeps the text while the second lasts.
#[derive(Clone, Debug)]
pub struct HttpDate {
    second: u64,
    text: [u8; 29],
}

impl HttpDate {
    /// The epoch.
    pub fn new() -> HttpDate {
        HttpDate {
            second: 0,
            text: format(0),
        }
    }

    /// `now` as an IMF-fixdate (RFC 9110 §5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn at(&mut self, now: UnixMillis) -> &[u8] {
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.text = format(self.second);
        }
        &self.text
    }
}

impl Default for HttpDate {
    fn default() -> HttpDate {
        HttpDate::new()
    }
}

const DAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

fn format(unix_secs: u64) -> [u8; 29] {
    let days = unix_secs / 86_400;
    let second = unix_secs % 86_400;
    // Days are counted in years that begin in March, so that the leap day is a year's last, from
    // 0000-03-01, in eras of 400 years (146 097 days).
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);

    let mut text = *b"Sun, 00 Jan 0000 00:00:00 GMT";
    // 1970-01-01 was a Thursday. Both remainders are below the lengths of the tables.
    text[..3].copy_from_slice(DAYS[((days + 4) % 7) as usize]);
    text[8..11].copy_from_slice(MONTHS[month as usize]);
    put_two(&mut text, 5, day);
    put_two(&mut text, 12, year / 100 % 100);
    put_two(&mut text, 14, year % 100);
    put_two(&mut text, 17, second / 3_600);
    put_two(&mut text, 20, second / 60 % 60);
    put_two(&mut text, 23, second % 60);
    text
}

fn put_two(text: &mut [u8; 29], at: usize, number: u64) {
    text[at] = b'0' + (number / 10 % 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        let mut date = HttpDate::new();
        for (secs, text) in cases {
            let now = UnixMillis(secs * 1000 + 999);
            assert_eq!(core::str::from_utf8(date.at(now)), Ok(text));
        }
        date.at(UnixMillis(u64::MAX));
    }
}
