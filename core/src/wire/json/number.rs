//! Integers out of number text. JSON has one kind of number; a client that writes `1e3` or `4096.0`
//! for an integer means the integer.

/// Sign and magnitude of a number text whose value is an integer of at most 64 bits, in whatever
/// syntax: `7`, `-0`, `1e3`, `1.50e1`.
pub(super) fn integer(text: &[u8]) -> Option<(bool, u64)> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if digits.iter().all(u8::is_ascii_digit) {
        return Some((negative, accumulate(digits.iter())?));
    }
    let (mantissa, exponent) = match digits.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (digits.get(..at)?, exponent(digits.get(at + 1..)?)),
        None => (digits, 0),
    };
    let point = mantissa.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (mantissa.get(..at)?, mantissa.get(at + 1..)?),
        None => (mantissa, &[][..]),
    };
    Some((negative, scale(whole, fraction, exponent)?))
}

/// `whole.fraction` times ten to the `exponent`, where that is an integer.
fn scale(whole: &[u8], fraction: &[u8], exponent: i64) -> Option<u64> {
    let digits = || whole.iter().chain(fraction);
    let zeros = digits().rev().take_while(|&&digit| digit == b'0').count();
    let significant = whole.len() + fraction.len() - zeros;
    if significant == 0 {
        return Some(0);
    }
    let magnitude = accumulate(digits().take(significant))?;
    // What is left out are zeros, of which some may stand before the point.
    let shift = exponent.checked_add(i64::try_from(whole.len()).ok()?)?;
    let shift = shift.checked_sub(i64::try_from(significant).ok()?)?;
    let power = 10u64.checked_pow(u32::try_from(shift).ok()?)?;
    magnitude.checked_mul(power)
}

fn accumulate<'d>(mut digits: impl Iterator<Item = &'d u8>) -> Option<u64> {
    digits.try_fold(0u64, |sum, &digit| {
        sum.checked_mul(10)?
            .checked_add(u64::from(digit.wrapping_sub(b'0')))
    })
}

/// The exponent, or one far beyond any 64-bit integer where its digits are too many.
fn exponent(text: &[u8]) -> i64 {
    const BEYOND: i64 = i64::MAX / 4;
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let magnitude = accumulate(digits.iter())
        .and_then(|magnitude| i64::try_from(magnitude).ok())
        .map_or(BEYOND, |magnitude| magnitude.min(BEYOND));
    if negative { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_in_every_syntax() {
        let cases: [(&str, Option<(bool, u64)>); 18] = [
            ("0", Some((false, 0))),
            ("-0", Some((true, 0))),
            ("-0.0e-5", Some((true, 0))),
            ("0e99999999999999999999999", Some((false, 0))),
            ("18446744073709551615", Some((false, u64::MAX))),
            ("18446744073709551616", None),
            ("1844674407370955161.5e1", Some((false, u64::MAX))),
            ("1.0", Some((false, 1))),
            ("1.5", None),
            ("1.50e1", Some((false, 15))),
            ("1e3", Some((false, 1000))),
            ("1E+3", Some((false, 1000))),
            ("-12000e-3", Some((true, 12))),
            ("1200e-3", None),
            ("1e20", None),
            ("1e-99999999999999999999999", None),
            ("1e99999999999999999999999", None),
            ("100000000000000000000000e-23", Some((false, 1))),
        ];
        for (text, expected) in cases {
            assert_eq!(integer(text.as_bytes()), expected, "{text}");
        }
    }
}
