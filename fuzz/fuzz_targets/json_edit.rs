//! Edits of any document: what comes out is JSON, and holds what was asked for. The input is one
//! line of edits, two bytes each (what to do, which value or key), and then the document.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tollgate_core::base::limits::JsonLimits;
use tollgate_core::base::{OutBuf, RawJson};
use tollgate_core::wire::json::{Edit, Tape, Value};

const KEYS: [&str; 5] = ["a", "model", "", "k\"\n", "\u{e9}"];

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|&byte| byte == b'\n') else {
        return;
    };
    let text = Bytes::copy_from_slice(&data[end + 1..]);
    let limits = JsonLimits {
        depth_max: 64,
        values_max: 1 << 16,
    };
    let mut tape = Tape::new();
    let Ok(root) = tape.parse(&text, &limits) else {
        return;
    };
    let mut values = Vec::new();
    collect(root, &mut values);
    let mut edit = Edit::new(root);
    for step in data[..end].chunks_exact(2).take(16) {
        let value = values[usize::from(step[1]) % values.len()];
        let key = KEYS[usize::from(step[1]) % KEYS.len()];
        match step[0] % 5 {
            0 => edit.replace(value, RawJson::EMPTY_OBJECT),
            1 => edit.remove(value, key),
            2 => edit.set(value, key, RawJson::NULL),
            3 => edit.insert_first(value, key, RawJson::NULL),
            _ => edit.insert_last(value, key, RawJson::NULL),
        }
    }
    let empty = edit.is_empty();
    // The last word on these two is the root's own.
    let of_object = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let replaced = data[..end]
        .chunks_exact(2)
        .take(16)
        .any(|step| step[0] % 5 == 0 && usize::from(step[1]) % values.len() == 0);
    edit.set(
        root,
        "set",
        RawJson::from_checked(Bytes::from_static(b"[7]")),
    );
    edit.remove(root, "model");
    let mut out = OutBuf::new();
    edit.apply(&mut out);
    let edited = out.take_all();
    let mut again = Tape::new();
    let again = again
        .parse(&edited, &limits)
        .expect("what was edited is JSON");
    if of_object && !replaced {
        assert_eq!(again.members().filter(|(key, _)| key.is("set")).count(), 1);
        assert_eq!(again.get("set").map(Value::raw_text), Some(&b"[7]"[..]));
        assert!(again.get("model").is_none());
    }
    if empty && !of_object {
        assert_eq!(edited, text);
    }
});

fn collect<'t>(value: Value<'t>, values: &mut Vec<Value<'t>>) {
    values.push(value);
    value
        .elements()
        .for_each(|element| collect(element, values));
    value
        .members()
        .for_each(|(_, member)| collect(member, values));
}
