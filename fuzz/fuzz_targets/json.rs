//! Any bytes: the scanner takes what `serde_json` takes, what it says of each value holds, and a
//! document written again means the same.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tollgate_core::base::OutBuf;
use tollgate_core::base::limits::JsonLimits;
use tollgate_core::wire::json::{Kind, Tape, Value, Writer, embed};

const LIMITS: JsonLimits = JsonLimits {
    depth_max: 64,
    values_max: 1 << 20,
};

fuzz_target!(|data: &[u8]| {
    let text = Bytes::copy_from_slice(data);
    let mut tape = Tape::new();
    let unlimited = JsonLimits {
        depth_max: usize::MAX,
        values_max: usize::MAX,
    };
    let taken = tape.parse(&text, &unlimited).is_ok();
    assert_eq!(taken, serde_json::from_slice::<&RawValue>(data).is_ok());
    let root = match tape.parse(&text, &LIMITS) {
        Ok(root) => root,
        Err(error) => {
            assert!(error.offset <= data.len() && error.line > 0 && error.column > 0);
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    check(root);
    let mut out = OutBuf::new();
    write(root, &mut Writer::one_line(&mut out));
    let written = out.take_all();
    let mut again = Tape::new();
    let again = again
        .parse(&written, &LIMITS)
        .expect("what is written is JSON");
    same(root, again);
    let string = embed::embed(&root.raw());
    let back = embed::extract(&string, &mut Tape::new(), &LIMITS).expect("it was JSON");
    assert_eq!(back, Some(root.raw()));
});

fn check(value: Value<'_>) {
    let raw = value.raw_text();
    match value.kind() {
        Kind::Number => {
            let number: serde_json::Number = match serde_json::from_slice(raw) {
                Ok(number) => number,
                Err(_) => return assert_eq!(value.as_f64(), None, "out of range"),
            };
            if let Some(integer) = number.as_u64() {
                assert_eq!(value.as_u64(), Some(integer));
            }
            if let Some(integer) = number.as_i64() {
                assert_eq!(value.as_i64(), Some(integer));
            }
        }
        Kind::String => {
            let text = value.as_text().expect("a string");
            assert!(value.is(&text));
            // `serde_json` refuses lone surrogates.
            if let Ok(expected) = serde_json::from_slice::<String>(raw) {
                assert_eq!(text, expected);
            }
        }
        _ => {}
    }
    for (index, element) in value.elements().enumerate() {
        assert_eq!(element.path(), format!("{}[{index}]", value.path()));
        check(element);
    }
    for (key, member) in value.members() {
        assert!(value.get(&key.text()).is_some());
        check(member);
    }
}

fn write(value: Value<'_>, json: &mut Writer<'_>) {
    match value.kind() {
        Kind::String => json.text(&value.as_text().expect("a string")),
        Kind::Array => {
            json.begin_array();
            value.elements().for_each(|element| write(element, json));
            json.end_array();
        }
        Kind::Object => {
            json.begin_object();
            for (key, member) in value.members() {
                json.key_str(&key.to_json_str());
                write(member, json);
            }
            json.end_object();
        }
        _ => json.raw(&value.raw()),
    }
}

fn same(one: Value<'_>, other: Value<'_>) {
    assert_eq!((one.kind(), one.len()), (other.kind(), other.len()));
    match one.kind() {
        Kind::String => assert_eq!(one.as_text(), other.as_text()),
        Kind::Array => one
            .elements()
            .zip(other.elements())
            .for_each(|(a, b)| same(a, b)),
        Kind::Object => {
            for ((key, a), (other_key, b)) in one.members().zip(other.members()) {
                assert_eq!(key.escaped(), other_key.escaped());
                same(a, b);
            }
        }
        _ => assert_eq!(one.raw_text(), other.raw_text()),
    }
}
