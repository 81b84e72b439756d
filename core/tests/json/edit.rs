//! Random edits of random documents: what comes out parses to the edited model, and bytes that no
//! edit concerns are those of the original.

use bytes::Bytes;
use tollgate_core::base::limits::JsonLimits;
use tollgate_core::base::{OutBuf, RawJson};
use tollgate_core::wire::json::{Edit, Kind, Tape, Value};

use crate::random::{KEYS, Model, Random};

#[test]
fn an_edited_document_is_the_edited_model() {
    for seed in 0..5000 {
        let mut random = Random::new(seed);
        let mut model = random.object(3);
        let mut text = String::new();
        random.print(&model, &mut text);
        let text = Bytes::from(text);
        let mut tape = Tape::new();
        let root = tape.parse(&text, &JsonLimits::default()).unwrap();
        let mut edit = Edit::new(root);
        for _ in 0..random.below(5) {
            change(&mut random, &mut edit, root, &mut model);
        }
        let mut out = OutBuf::new();
        edit.apply(&mut out);
        let edited = out.take_all();
        let mut tape = Tape::new();
        let again = tape.parse(&edited, &JsonLimits::default()).unwrap();
        assert_eq!(
            compact(again),
            printed(&model),
            "seed {seed}: {text:?} became {edited:?}"
        );
    }
}

#[test]
fn no_edit_changes_no_byte() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let model = random.object(3);
        let mut text = String::from(" \n");
        random.print(&model, &mut text);
        text.push_str(" \t");
        let text = Bytes::from(text);
        let mut tape = Tape::new();
        let root = tape.parse(&text, &JsonLimits::default()).unwrap();
        let mut edit = Edit::new(root);
        edit.remove(root, "no such key");
        assert!(edit.is_empty());
        let mut out = OutBuf::new();
        edit.apply(&mut out);
        assert_eq!(out.take_all(), text);
    }
}

/// All but the replaced value, the removed member or the inserted one is as it was.
#[test]
fn one_edit_touches_one_place() {
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let model = random.object(3);
        let mut text = String::new();
        random.print(&model, &mut text);
        let text = Bytes::from(text);
        let mut tape = Tape::new();
        let root = tape.parse(&text, &JsonLimits::default()).unwrap();
        let Some((_, value)) = root.members().nth(random.below(4)) else {
            continue;
        };
        let mut edit = Edit::new(root);
        edit.replace(value, number(77));
        let mut out = OutBuf::new();
        edit.apply(&mut out);
        let edited = out.take_all();
        let span = value.span();
        assert_eq!(edited[..span.start], text[..span.start]);
        assert_eq!(edited[span.start..span.start + 2], *b"77");
        assert_eq!(edited[span.start + 2..], text[span.end..]);
        let mut edit = Edit::new(root);
        edit.insert_last(root, "new", number(77));
        edit.apply(&mut out);
        let edited = out.take_all();
        let end = root.members().last().unwrap().1.span().end;
        assert_eq!(edited[..end], text[..end]);
        assert_eq!(edited[end..end + 9], *b",\"new\":77");
        assert_eq!(edited[end + 9..], text[end..]);
    }
}

#[test]
fn untouched_stretches_are_slices_of_the_original() {
    let long = "x".repeat(10_000);
    let text = Bytes::from(format!("{{\"a\":\"{long}\",\"model\":1,\"b\":\"{long}\"}}"));
    let mut tape = Tape::new();
    let root = tape.parse(&text, &JsonLimits::default()).unwrap();
    let mut edit = Edit::new(root);
    edit.set(root, "model", number(2));
    let mut out = OutBuf::new();
    edit.apply(&mut out);
    let parts: Vec<Bytes> = out.take_parts().collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0].as_ptr(), text.as_ptr());
    assert_eq!(parts[2].as_ptr_range().end, text.as_ptr_range().end);
}

#[test]
fn a_key_that_stands_there_very_often_takes_no_longer() {
    let text = Bytes::from(format!("{{{}\"b\":1}}", "\"a\":1,\"c\":2,".repeat(100_000)));
    let mut tape = Tape::new();
    let root = tape.parse(&text, &JsonLimits::default()).unwrap();
    let mut edit = Edit::new(root);
    edit.remove(root, "c");
    edit.set(root, "a", number(2));
    let mut out = OutBuf::new();
    edit.apply(&mut out);
    assert_eq!(out.take_all().as_ref(), b"{\"a\":2,\"b\":1}");
}

/// Makes one random edit, to the root or to an object in it, and the same to the model.
fn change<'t>(random: &mut Random, edit: &mut Edit<'t>, root: Value<'t>, model: &mut Model) {
    let Model::Object(members) = model else {
        return;
    };
    let inner = root
        .members()
        .zip(members.iter_mut())
        .filter(|_| edit.is_empty())
        .find(|((_, value), _)| value.kind() == Kind::Object);
    if let Some(((_, value), (_, inner))) = inner.filter(|_| random.below(2) == 0) {
        return change_members(random, edit, value, inner);
    }
    change_members(random, edit, root, model);
}

fn change_members<'t>(
    random: &mut Random,
    edit: &mut Edit<'t>,
    object: Value<'t>,
    model: &mut Model,
) {
    let Model::Object(members) = model else {
        return;
    };
    let key = KEYS[random.below(KEYS.len())];
    let digits = random.below(1000);
    let plain = Model::Plain(digits.to_string());
    let has = |members: &[(String, Model)]| members.iter().rposition(|(own, _)| own == key);
    match random.below(4) {
        0 => {
            edit.remove(object, key);
            members.retain(|(own, _)| own != key);
        }
        // To insert a second member of one key is allowed, but a later `set` would not see it.
        1 if has(members).is_none() => {
            edit.insert_first(object, key, number(digits));
            members.insert(0, (key.to_owned(), plain));
        }
        2 if has(members).is_none() => {
            edit.insert_last(object, key, number(digits));
            members.push((key.to_owned(), plain));
        }
        _ => {
            edit.set(object, key, number(digits));
            let fresh = (key.to_owned(), plain);
            match has(members) {
                Some(at) => members[at] = fresh,
                None => members.push(fresh),
            }
            let last = has(members);
            let mut at = 0;
            members.retain(|(own, _)| {
                at += 1;
                own != key || Some(at - 1) == last
            });
        }
    }
}

fn number(number: usize) -> RawJson {
    RawJson::from_checked(Bytes::from(number.to_string()))
}

fn compact(value: Value<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    flatten(value, &mut lines);
    // The order among inserted members is tested by hand; here only what is there counts.
    lines.sort();
    lines
}

fn flatten(value: Value<'_>, lines: &mut Vec<String>) {
    lines.push(match value.kind() {
        Kind::String => format!("{} {:?}", value.path(), value.as_text()),
        Kind::Array | Kind::Object => format!("{} {} {}", value.path(), value.kind(), value.len()),
        _ => format!(
            "{} {}",
            value.path(),
            String::from_utf8_lossy(value.raw_text())
        ),
    });
    value.elements().for_each(|element| flatten(element, lines));
    value
        .members()
        .for_each(|(_, member)| flatten(member, lines));
}

fn printed(model: &Model) -> Vec<String> {
    let mut text = String::new();
    Random::new(0).print(model, &mut text);
    let text = Bytes::from(text);
    let mut tape = Tape::new();
    compact(tape.parse(&text, &JsonLimits::default()).unwrap())
}
