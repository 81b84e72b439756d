//! TOML values as JSON text: the `parameters` of models.

use bytes::Bytes;
use toml::de::DeValue;

use super::diagnose::Findings;
use super::section::At;
use crate::base::RawJson;
use crate::base::json_text::escape_into;

/// `value` as JSON. Numbers keep their digits; a date becomes a string. `inf` and `nan`, which JSON
/// does not have, are reported.
pub(super) fn raw_json(value: &At<DeValue<'_>>, findings: &mut Findings<'_>) -> RawJson {
    let mut out = Vec::new();
    write(value, &mut out, findings);
    RawJson::from_checked(Bytes::from(out))
}

/// Recursion goes as deep as the TOML parser allows values to nest, which it bounds.
fn write(value: &At<DeValue<'_>>, out: &mut Vec<u8>, findings: &mut Findings<'_>) {
    match value.get_ref() {
        DeValue::String(text) => write_text(text, out),
        DeValue::Boolean(true) => out.extend_from_slice(b"true"),
        DeValue::Boolean(false) => out.extend_from_slice(b"false"),
        DeValue::Datetime(date) => write_text(&date.to_string(), out),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Err(_) => out.extend_from_slice(b"0"),
        },
        DeValue::Float(number) => {
            let digits = number.as_str().trim_start_matches('+');
            if digits.contains(['i', 'n']) {
                let message = "parameters are sent as JSON, which has no such number";
                findings.problem(value.span(), message);
                return out.extend_from_slice(b"0");
            }
            out.extend_from_slice(digits.as_bytes());
        }
        DeValue::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out, findings);
            }
            out.push(b']');
        }
        DeValue::Table(table) => {
            out.push(b'{');
            for (at, (key, item)) in table.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_text(key.get_ref(), out);
                out.push(b':');
                write(item, out, findings);
            }
            out.push(b'}');
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape_into(text, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_json() {
        for (toml, json) in [
            ("\"a\\\"b\\n\\u0001\"", r#""a\"b\n\u0001""#),
            ("0x_ff", "255"),
            ("0xff", "255"),
            ("-1_000", "-1000"),
            ("+1", "1"),
            ("+1.50", "1.50"),
            ("1_0.0e+05", "10.0e+05"),
            ("-0.0", "-0.0"),
            ("1979-05-27", r#""1979-05-27""#),
            ("[1, [true], {}]", "[1,[true],{}]"),
            ("{ a.b = 1, 'c d' = [] }", r#"{"a":{"b":1},"c d":[]}"#),
        ] {
            let Ok(value) = DeValue::parse(toml) else {
                continue;
            };
            let mut findings = Findings::new(toml);
            let found = raw_json(&value, &mut findings);
            assert_eq!(found.text().as_ref(), json.as_bytes(), "{toml}");
            let checked = serde_json::from_slice::<serde_json::Value>(found.text());
            assert!(checked.is_ok(), "{toml}");
            assert!(findings.is_clean());
        }
        for toml in ["inf", "-inf", "nan", "+nan"] {
            let mut findings = Findings::new(toml);
            raw_json(&DeValue::parse(toml).unwrap(), &mut findings);
            assert!(!findings.is_clean(), "{toml}");
        }
    }
}
