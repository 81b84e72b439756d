//! Every case of JSONTestSuite.

use std::path::Path;

use serde_json::Value;

use crate::check;

const CASES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/specs/json-test-suite.json"
);

#[test]
fn the_parser_test_suite_passes() {
    if !Path::new(CASES).exists() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no {CASES}");
        println!("skipped: no {CASES}");
        return;
    }
    let file: Value = serde_json::from_slice(&std::fs::read(CASES).unwrap()).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() >= 318);
    let mut wrong = Vec::new();
    let mut taken = 0;
    for case in cases {
        let result = check(&bytes_of(case));
        taken += usize::from(result.is_ok());
        let right = match case["expect"].as_str().unwrap() {
            "accept" => result.is_ok(),
            "reject" => result.is_err(),
            _ => true,
        };
        if !right {
            wrong.push(format!("{}: {result:?}", case["name"]));
        }
    }
    println!("{} cases, {taken} accepted", cases.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn bytes_of(case: &Value) -> Vec<u8> {
    let mut bytes = match case.get("repeat") {
        Some(repeat) => {
            let times = repeat["times"].as_u64().unwrap();
            base64(&repeat["base64"]).repeat(usize::try_from(times).unwrap())
        }
        None => base64(&case["base64"]),
    };
    if let Some(end) = case.get("then_base64") {
        bytes.extend(base64(end));
    }
    bytes
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
