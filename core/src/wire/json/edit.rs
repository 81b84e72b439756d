//! Edits of a document in place: a few members change, and every other byte leaves as it came,
//! large stretches as slices of the received buffer.
//!
//! A key may stand in an object twice, and parsers differ in which one they take. What this gateway
//! decided by one of them must not be undone by the other: [`Edit::set`] and [`Edit::remove`] leave
//! no second one behind.

use core::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::embed;
use super::value::{Kind, Value};
use crate::base::buf::SLICE_BYTES_MIN;
use crate::base::{JsonStr, OutBuf, RawJson};

/// Room made for what is inserted: a model's name and little more.
const INSERTED_BYTES: usize = 128;

/// Edits to one document, collected first and applied at once. Where one edit lies within what
/// another replaces or removes, the outer one holds.
///
/// ```
/// use bytes::Bytes;
/// use tollgate_core::base::{JsonStr, OutBuf, RawJson, limits::JsonLimits};
/// use tollgate_core::wire::json::{Edit, Tape, embed};
///
/// let text = Bytes::from_static(br#"{"model": "a", "n": 1.0, "user": "u"}"#);
/// let mut tape = Tape::new();
/// let root = tape.parse(&text, &JsonLimits::default()).unwrap();
/// let mut edit = Edit::new(root);
/// edit.set(root, "model", embed::string(&JsonStr::from_static("b")));
/// edit.set(root, "stream", RawJson::from_checked(Bytes::from_static(b"true")));
/// edit.remove(root, "user");
/// let mut out = OutBuf::new();
/// edit.apply(&mut out);
/// assert_eq!(out.take_all().as_ref(), br#"{"model": "b", "n": 1.0,"stream":true}"#);
/// ```
#[derive(Debug)]
pub struct Edit<'t> {
    document: Value<'t>,
    replaced: SmallVec<[(Value<'t>, RawJson); 4]>,
    /// Members by the index of their value; possibly one twice.
    removed: SmallVec<[u32; 4]>,
    /// Objects whose members change in number.
    objects: SmallVec<[Value<'t>; 2]>,
    inserted: SmallVec<[Insertion; 4]>,
}

#[derive(Debug)]
struct Insertion {
    /// Index of the object.
    object: u32,
    first: bool,
    key: JsonStr,
    value: RawJson,
}

/// Stretches of the document, and what takes the place of each. A document may hold a removed key a
/// million times, and so a patch is small.
#[derive(Default)]
struct Patches {
    list: SmallVec<[Patch; 8]>,
    texts: SmallVec<[Bytes; 8]>,
}

struct Patch {
    range: Range<usize>,
    /// Which of the texts.
    texts: Range<usize>,
}

impl<'t> Edit<'t> {
    /// No edits yet of the document that `value` belongs to.
    pub fn new(value: Value<'t>) -> Edit<'t> {
        Edit {
            document: value,
            replaced: SmallVec::new(),
            removed: SmallVec::new(),
            objects: SmallVec::new(),
            inserted: SmallVec::new(),
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.removed.is_empty() && self.inserted.is_empty()
    }

    /// Puts `with` in the place of a value anywhere in the document.
    pub fn replace(&mut self, value: Value<'t>, with: RawJson) {
        self.replaced
            .retain(|(old, _)| old.index() != value.index());
        self.replaced.push((value, with));
    }

    /// Makes the member `key` of `object` have this value: in its place where there is one, else at
    /// the end. Values other than objects have no members and stay as they are.
    pub fn set(&mut self, object: Value<'t>, key: &str, value: RawJson) {
        if let Some(old) = object.get(key) {
            self.remove(object, key);
            self.removed.retain(|index| *index != old.index());
            self.replace(old, value);
        } else {
            self.remove(object, key);
            self.insert(object, key, value, false);
        }
    }

    /// Takes the member `key`, and each further one of that key, out of `object`, each with one
    /// comma.
    pub fn remove(&mut self, object: Value<'t>, key: &str) {
        let at = object.index();
        self.inserted
            .retain(|new| new.object != at || !new.key.is(key));
        for (_, value) in object.members().filter(|(own, _)| own.is(key)) {
            self.touch(object);
            self.removed.push(value.index());
        }
    }

    /// Adds a member before all others of `object`. Whether it has that key already is not looked
    /// at.
    pub fn insert_first(&mut self, object: Value<'t>, key: &str, value: RawJson) {
        self.insert(object, key, value, true);
    }

    /// Adds a member behind all others of `object`. Whether it has that key already is not looked
    /// at.
    pub fn insert_last(&mut self, object: Value<'t>, key: &str, value: RawJson) {
        self.insert(object, key, value, false);
    }

    /// Appends the edited document to `out`.
    pub fn apply(mut self, out: &mut OutBuf) {
        let document = self.document.text();
        self.removed.sort_unstable();
        let mut patches = Patches::default();
        for object in &self.objects {
            self.patch_object(*object, &mut patches);
        }
        for (value, with) in &self.replaced {
            let from = patches.texts.len();
            patches.texts.push(with.text().clone());
            patches.push(value.span(), from);
        }
        // Insertions before what begins at their place, and the outer of two ranges before the
        // inner.
        patches.list.sort_by_key(|patch| {
            let Range { start, end } = patch.range;
            (start, end != start, core::cmp::Reverse(end))
        });
        // What is copied, of a short document all of it.
        out.reserve(document.len().min(SLICE_BYTES_MIN) + INSERTED_BYTES);
        let mut at = 0;
        for patch in patches.list {
            if patch.range.start < at {
                continue;
            }
            copy(document, at..patch.range.start, out);
            for text in patches.texts.get(patch.texts).unwrap_or_default() {
                out.push(text.clone());
            }
            at = patch.range.end;
        }
        copy(document, at..document.len(), out);
    }

    fn insert(&mut self, object: Value<'t>, key: &str, value: RawJson, first: bool) {
        if object.kind() != Kind::Object {
            return;
        }
        self.touch(object);
        let (object, key) = (object.index(), JsonStr::escape(key));
        self.inserted.push(Insertion {
            object,
            first,
            key,
            value,
        });
    }

    fn touch(&mut self, object: Value<'t>) {
        if !self
            .objects
            .iter()
            .any(|known| known.index() == object.index())
        {
            self.objects.push(object);
        }
    }

    /// A removed member takes the comma before it along, and all white space up to the member
    /// before; where none stays before it, the comma and white space behind it.
    fn patch_object(&self, object: Value<'t>, patches: &mut Patches) {
        let begin = object.span().start + 1;
        let mut stayed = false;
        let mut end = begin;
        let mut members = object.members().peekable();
        while let Some((key, value)) = members.next() {
            let removed = self.removed.binary_search(&value.index()).is_ok();
            if removed {
                let range = match members.peek() {
                    _ if stayed => end..value.span().end,
                    Some((next, _)) => key.span().start..next.span().start,
                    None => key.span().start..value.span().end,
                };
                patches.push(range, patches.texts.len());
            }
            stayed |= !removed;
            end = value.span().end;
        }
        self.patch_insertions(object.index(), stayed, begin..end, patches);
    }

    fn patch_insertions(
        &self,
        object: u32,
        stayed: bool,
        members: Range<usize>,
        patches: &mut Patches,
    ) {
        let of_object = || self.inserted.iter().filter(move |new| new.object == object);
        let from = patches.texts.len();
        let mut before = false;
        // The last one asked to stand first does; the others follow it.
        for new in of_object().filter(|new| new.first).rev() {
            patches.push_member(new, before);
            before = true;
        }
        if stayed && before {
            patches.texts.push(Bytes::from_static(b","));
        }
        before |= stayed;
        let middle = patches.texts.len();
        if stayed {
            patches.push(members.start..members.start, from);
        }
        for new in of_object().filter(|new| !new.first) {
            patches.push_member(new, before);
            before = true;
        }
        if stayed {
            patches.push(members.end..members.end, middle);
        } else {
            // All of them go to one place: the old members lie between the two.
            patches.push(members.start..members.start, from);
        }
    }
}

impl Patches {
    /// Puts the texts from that one on in the place of a stretch.
    fn push(&mut self, range: Range<usize>, from: usize) {
        let texts = from..self.texts.len();
        // An empty patch would change nothing, but cut a stretch in two.
        if !range.is_empty() || !texts.is_empty() {
            self.list.push(Patch { range, texts });
        }
    }

    fn push_member(&mut self, new: &Insertion, comma: bool) {
        if comma {
            self.texts.push(Bytes::from_static(b","));
        }
        self.texts.push(embed::string(&new.key).text().clone());
        self.texts.push(Bytes::from_static(b":"));
        self.texts.push(new.value.text().clone());
    }
}

fn copy(document: &Bytes, range: Range<usize>, out: &mut OutBuf) {
    if range.len() < SLICE_BYTES_MIN {
        out.put(document.get(range).unwrap_or_default());
    } else {
        out.push(document.slice(range));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tape;
    use super::*;
    use crate::base::limits::JsonLimits;

    fn raw(text: &'static str) -> RawJson {
        RawJson::from_checked(Bytes::from_static(text.as_bytes()))
    }

    fn edited(text: &'static str, change: impl FnOnce(&mut Edit<'_>)) -> String {
        let text = Bytes::from_static(text.as_bytes());
        let mut tape = Tape::new();
        let root = tape.parse(&text, &JsonLimits::default()).unwrap();
        let mut edit = Edit::new(root);
        change(&mut edit);
        let mut out = OutBuf::new();
        edit.apply(&mut out);
        String::from_utf8(out.take_all().to_vec()).unwrap()
    }

    fn removed(text: &'static str, keys: &[&str]) -> String {
        edited(text, |edit| {
            for key in keys {
                edit.remove(edit.document, key);
            }
        })
    }

    #[test]
    fn members_go_with_their_commas() {
        let text = "{ \"a\" : 1 ,\n \"b\" : 2 ,\n \"c\" : 3 }";
        assert_eq!(removed(text, &["a"]), "{ \"b\" : 2 ,\n \"c\" : 3 }");
        assert_eq!(removed(text, &["b"]), "{ \"a\" : 1 ,\n \"c\" : 3 }");
        assert_eq!(removed(text, &["c"]), "{ \"a\" : 1 ,\n \"b\" : 2 }");
        assert_eq!(removed(text, &["a", "b"]), "{ \"c\" : 3 }");
        assert_eq!(removed(text, &["c", "a"]), "{ \"b\" : 2 }");
        assert_eq!(removed(text, &["b", "c"]), "{ \"a\" : 1 }");
        assert_eq!(removed(text, &["a", "b", "c", "d"]), "{  }");
        assert_eq!(removed("[1]", &["a"]), "[1]");
    }

    #[test]
    fn members_come_with_their_commas() {
        let insert = |text, firsts: u8, lasts: u8| {
            edited(text, |edit| {
                let root = edit.document;
                (0..firsts).for_each(|_| edit.insert_first(root, "f\"", raw("1")));
                (0..lasts).for_each(|_| edit.insert_last(root, "l", raw("2")));
                edit.remove(root, "gone");
            })
        };
        assert_eq!(insert("{}", 1, 0), r#"{"f\"":1}"#);
        assert_eq!(insert("{ }", 0, 2), r#"{"l":2,"l":2 }"#);
        assert_eq!(insert(r#"{"gone":0}"#, 1, 1), r#"{"f\"":1,"l":2}"#);
        assert_eq!(
            insert(r#"{ "a":0 }"#, 2, 1),
            r#"{"f\"":1,"f\"":1, "a":0,"l":2 }"#
        );
        assert_eq!(insert(r#"{"a":0,"gone":1}"#, 0, 1), r#"{"a":0,"l":2}"#);
        assert_eq!(insert(r#"{"gone":0,"a":1}"#, 1, 0), r#"{"f\"":1,"a":1}"#);
        assert_eq!(insert("7", 1, 1), "7");
    }

    #[test]
    fn a_key_is_set_once_and_for_all() {
        let text = r#"{"model":"a","x":1,"mod\u0065l":"b"}"#;
        let set = edited(text, |edit| edit.set(edit.document, "model", raw("0")));
        assert_eq!(set, r#"{"x":1,"mod\u0065l":0}"#);
        let twice = edited(r#"{"x":1}"#, |edit| {
            edit.set(edit.document, "y", raw("0"));
            edit.set(edit.document, "y", raw("2"));
            edit.remove(edit.document, "x");
            edit.set(edit.document, "x", raw("3"));
        });
        assert_eq!(twice, r#"{"x":3,"y":2}"#);
    }

    #[test]
    fn the_outer_edit_holds() {
        let text = r#"{"a":{"b":{"c":1}},"d":2}"#;
        let change = |edit: &mut Edit<'_>, remove: bool| {
            let a = edit.document.get("a").unwrap();
            let b = a.get("b").unwrap();
            edit.set(b, "c", raw("9"));
            edit.insert_first(b, "z", raw("9"));
            edit.insert_last(a, "y", raw("8"));
            edit.replace(b, raw("[]"));
            if remove {
                edit.remove(edit.document, "a");
            }
        };
        assert_eq!(
            edited(text, |edit| change(edit, false)),
            r#"{"a":{"b":[],"y":8},"d":2}"#
        );
        assert_eq!(edited(text, |edit| change(edit, true)), r#"{"d":2}"#);
    }
}
