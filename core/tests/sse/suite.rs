//! Every case of the shared event stream cases, in the chunks they give, whole, and byte by byte.

use std::path::Path;

use serde_json::Value;
use tollgate_core::base::limits::SseLimits;

use crate::{Feed, decode};

const CASES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/specs/eventsource-cases.json"
);

#[test]
fn the_cases_of_the_standard_pass() {
    if !Path::new(CASES).exists() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no {CASES}");
        println!("skipped: no {CASES}");
        return;
    }
    let file: Value = serde_json::from_slice(&std::fs::read(CASES).unwrap()).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() >= 43);
    for case in cases {
        let bytes = base64(&case["bytes_base64"]);
        check(case, std::slice::from_ref(&bytes));
        check(
            case,
            &bytes.iter().map(|&byte| vec![byte]).collect::<Vec<_>>(),
        );
        if let Some(chunks) = case["chunks_base64"].as_array() {
            check(case, &chunks.iter().map(base64).collect::<Vec<_>>());
        }
    }
    println!("{} cases", cases.len());
}

fn check(case: &Value, chunks: &[Vec<u8>]) {
    for rebase in [false, true] {
        let feed = Feed {
            strict: true,
            rebase,
        };
        let chunks = chunks.iter().map(Vec::as_slice);
        let outcome = decode(chunks, feed, &SseLimits::default());
        assert_eq!(outcome.error, None);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let events: Vec<Value> = outcome
            .events
            .iter()
            .map(|event| {
                let name = if event.name.is_empty() {
                    b"message"
                } else {
                    &event.name[..]
                };
                serde_json::json!({
                    "event": text(name),
                    "data": text(&event.data),
                    "last_event_id": text(&event.last_event_id),
                })
            })
            .collect();
        assert_eq!(Value::Array(events), case["events"], "{}", case["name"]);
        if let Some(retry_ms) = case.get("retry_ms") {
            assert_eq!(outcome.retry_ms, retry_ms.as_u64(), "{}", case["name"]);
        }
    }
}

fn base64(text: &Value) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.as_str().unwrap().bytes().filter(|&b| b != b'=') {
        let digit = DIGITS.iter().position(|&d| d == byte).unwrap();
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}
