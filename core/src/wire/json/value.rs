//! Reading a scanned document: values, members, elements, paths.

use core::fmt;
use core::ops::Range;
use std::borrow::Cow;

use bytes::Bytes;

use super::number;
use super::tape::Node;
use crate::base::{JsonStr, RawJson};

/// Up to this length text is copied out of the document: that takes less time than to count one
/// more reference to it, and does not keep the whole of it alive.
const COPIED_BYTES_MAX: usize = 64;
/// Characters of a key shown in a path; the rest of a longer one is cut.
const PATH_KEY_CHARS_MAX: usize = 64;

/// The kinds of JSON values. `Display` gives a noun with its article, for messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// Any number.
    Number,
    /// Any string.
    String,
    /// Any array.
    Array,
    /// Any object.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        })
    }
}

/// One value of a scanned document.
#[derive(Clone, Copy)]
pub struct Value<'t> {
    nodes: &'t [Node],
    text: &'t Bytes,
    at: u32,
}

impl<'t> Value<'t> {
    pub(super) fn new(nodes: &'t [Node], text: &'t Bytes, at: u32) -> Value<'t> {
        Value { nodes, text, at }
    }

    /// What it is.
    #[inline]
    pub fn kind(self) -> Kind {
        self.node().kind
    }

    /// Its text; where it is long, as a slice that shares the document's memory.
    pub fn raw(self) -> RawJson {
        RawJson::from_checked(self.share(self.span()))
    }

    /// Its text, borrowed.
    pub fn raw_text(self) -> &'t [u8] {
        self.text.get(self.span()).unwrap_or_default()
    }

    /// Where it lies in the document's text.
    pub fn span(self) -> Range<usize> {
        let node = self.node();
        node.start as usize..node.end as usize
    }

    /// Whether it is `null`.
    #[inline]
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// A boolean.
    pub fn as_bool(self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| self.raw_text() == b"true")
    }

    /// A number that is an integer from 0 to 2^64-1, however it is written (`7`, `7.0`, `70e-1`).
    pub fn as_u64(self) -> Option<u64> {
        match self.integer()? {
            (false, magnitude) | (true, magnitude @ 0) => Some(magnitude),
            (true, _) => None,
        }
    }

    /// A number that is an integer from -2^63 to 2^63-1, however it is written.
    pub fn as_i64(self) -> Option<i64> {
        match self.integer()? {
            (false, magnitude) => i64::try_from(magnitude).ok(),
            (true, magnitude) => 0i64.checked_sub_unsigned(magnitude),
        }
    }

    /// A number, rounded to the nearest double; `None` where it exceeds them all.
    pub fn as_f64(self) -> Option<f64> {
        if self.kind() != Kind::Number {
            return None;
        }
        let text = core::str::from_utf8(self.raw_text()).ok()?;
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// A string, still escaped; where it is long, as a slice that shares the document's memory.
    pub fn as_str(self) -> Option<JsonStr> {
        let span = self.inside_quotes()?;
        Some(JsonStr::from_checked(self.share(span)))
    }

    /// A string's characters, borrowed where there are no escapes. A lone surrogate becomes U+FFFD.
    pub fn as_text(self) -> Option<Cow<'t, str>> {
        let escaped = self.escaped()?;
        if self.node().escaped {
            return Some(Cow::Owned(self.as_str()?.unescape().into_owned()));
        }
        Some(String::from_utf8_lossy(escaped))
    }

    /// The inside of a string, still escaped, borrowed.
    #[inline]
    pub fn escaped(self) -> Option<&'t [u8]> {
        self.text.get(self.inside_quotes()?)
    }

    /// Whether it is a string of these characters.
    #[inline]
    pub fn is(self, text: &str) -> bool {
        let node = self.node();
        let len = (node.end - node.start) as usize;
        if node.escaped {
            // An escape takes at most six bytes for one.
            return len <= text.len().saturating_mul(6).saturating_add(2)
                && self.as_text().is_some_and(|own| own == text);
        }
        // Most keys that are asked about differ in length.
        len == text.len() + 2
            && node.kind == Kind::String
            && self
                .text
                .get(node.start as usize + 1..node.end as usize - 1)
                == Some(text.as_bytes())
    }

    /// The member of an object by its key, however that is escaped. Of several the last, as most
    /// parsers have it.
    pub fn get(self, key: &str) -> Option<Value<'t>> {
        let node = self.node();
        let mut found = None;
        if node.kind != Kind::Object {
            return found;
        }
        let mut at = self.at + 1;
        while at < node.next {
            let key_node = Value { at, ..self };
            let value = Value { at: at + 1, ..self };
            if key_node.is(key) {
                found = Some(value);
            }
            at = value.node().next;
        }
        found
    }

    /// The members of an object in their order; nothing for other values.
    #[inline]
    pub fn members(self) -> Members<'t> {
        Members(self.inside(Kind::Object))
    }

    /// The elements of an array in their order; nothing for other values.
    #[inline]
    pub fn elements(self) -> Elements<'t> {
        Elements(self.inside(Kind::Array))
    }

    /// How many members or elements it has; 0 for other values. Counts them.
    pub fn len(self) -> usize {
        match self.kind() {
            Kind::Object => self.members().count(),
            _ => self.elements().count(),
        }
    }

    /// Whether it has no members or elements.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.members().next().is_none() && self.elements().next().is_none()
    }

    /// The way from the root to it, like `messages[3].content[0].text`; for the root itself empty.
    pub fn path(self) -> String {
        let mut path = String::new();
        let mut around = Value { at: 0, ..self };
        while around.at != self.at {
            let found = match around.kind() {
                Kind::Object => around
                    .members()
                    .find(|(_, value)| value.holds(self.at))
                    .map(|(key, value)| {
                        push_key(&mut path, &key.text());
                        value
                    }),
                _ => around
                    .elements()
                    .enumerate()
                    .find(|(_, value)| value.holds(self.at))
                    .map(|(index, value)| {
                        path.push_str(&format!("[{index}]"));
                        value
                    }),
            };
            let Some(value) = found else {
                break;
            };
            around = value;
        }
        path
    }

    pub(super) fn text(self) -> &'t Bytes {
        self.text
    }

    /// Names this value within its document.
    pub(super) fn index(self) -> u32 {
        self.at
    }

    #[inline]
    fn inside_quotes(self) -> Option<Range<usize>> {
        let node = self.node();
        // A string has two quotes, so that no difference here is negative.
        (node.kind == Kind::String).then(|| node.start as usize + 1..node.end as usize - 1)
    }

    #[inline]
    fn share(self, part: Range<usize>) -> Bytes {
        if part.len() > COPIED_BYTES_MAX {
            return self.text.slice(part);
        }
        Bytes::copy_from_slice(self.text.get(part).unwrap_or_default())
    }

    fn integer(self) -> Option<(bool, u64)> {
        if self.kind() != Kind::Number {
            return None;
        }
        number::integer(self.raw_text())
    }

    /// Whether the value of that index is this one or lies within it.
    fn holds(self, at: u32) -> bool {
        (self.at..self.node().next).contains(&at)
    }

    #[inline]
    fn inside(self, kind: Kind) -> Walk<'t> {
        let node = self.node();
        let end = if node.kind == kind {
            node.next
        } else {
            self.at
        };
        Walk {
            at: self.at + 1,
            end,
            of: self,
        }
    }

    #[inline]
    fn node(self) -> &'t Node {
        const NULL: &Node = &Node {
            start: 0,
            end: 0,
            // Beyond every node, so that a walk that came here would end.
            next: u32::MAX,
            kind: Kind::Null,
            escaped: false,
        };
        self.nodes.get(self.at as usize).unwrap_or(NULL)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.raw_text()))
    }
}

/// The key of a member.
#[derive(Clone, Copy)]
pub struct Key<'t>(Value<'t>);

impl<'t> Key<'t> {
    /// Whether it has these characters, however it is escaped.
    pub fn is(self, text: &str) -> bool {
        self.0.is(text)
    }

    /// Its characters.
    pub fn text(self) -> Cow<'t, str> {
        self.0.as_text().unwrap_or_default()
    }

    /// The inside of the quotes. To tell many known names apart, match on this: keys are hardly
    /// ever escaped, and [`is`](Key::is) is there for the one name that must not be missed.
    #[inline]
    pub fn escaped(self) -> &'t [u8] {
        self.0.escaped().unwrap_or_default()
    }

    /// As a value's [`as_str`](Value::as_str).
    pub fn to_json_str(self) -> JsonStr {
        self.0.as_str().unwrap_or_default()
    }

    /// Where it lies in the document's text, quotes included.
    pub fn span(self) -> Range<usize> {
        self.0.span()
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The members of an object.
#[derive(Clone, Debug)]
pub struct Members<'t>(Walk<'t>);

impl<'t> Iterator for Members<'t> {
    type Item = (Key<'t>, Value<'t>);

    #[inline]
    fn next(&mut self) -> Option<(Key<'t>, Value<'t>)> {
        let walk = &mut self.0;
        if walk.at >= walk.end {
            return None;
        }
        // A key has nothing within it: its value comes next.
        let (key, value) = (walk.at, walk.at + 1);
        let [key, value] = [key, value].map(|at| Value { at, ..walk.of });
        walk.at = value.node().next;
        Some((Key(key), value))
    }
}

/// The elements of an array.
#[derive(Clone, Debug)]
pub struct Elements<'t>(Walk<'t>);

impl<'t> Iterator for Elements<'t> {
    type Item = Value<'t>;

    #[inline]
    fn next(&mut self) -> Option<Value<'t>> {
        self.0.next()
    }
}

/// Steps over neighbouring nodes, past all that lies within each.
#[derive(Clone, Debug)]
struct Walk<'t> {
    at: u32,
    end: u32,
    of: Value<'t>,
}

impl<'t> Walk<'t> {
    #[inline]
    fn next(&mut self) -> Option<Value<'t>> {
        if self.at >= self.end {
            return None;
        }
        let value = Value {
            at: self.at,
            ..self.of
        };
        self.at = value.node().next;
        Some(value)
    }
}

fn push_key(path: &mut String, key: &str) {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$');
    let cut = key.char_indices().nth(PATH_KEY_CHARS_MAX).map(|(at, _)| at);
    let shown = cut.and_then(|at| key.get(..at)).unwrap_or(key);
    let more = if cut.is_some() { "…" } else { "" };
    if !shown.is_empty() && shown.chars().all(is_name) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(shown);
        path.push_str(more);
    } else {
        path.push_str(&format!("[{shown:?}{more}]"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tape;
    use super::*;
    use crate::base::limits::JsonLimits;

    fn with_document(text: &'static str, check: impl FnOnce(Value<'_>)) {
        let text = Bytes::from_static(text.as_bytes());
        let mut tape = Tape::new();
        check(tape.parse(&text, &JsonLimits::default()).unwrap());
    }

    #[test]
    fn members_are_found_by_their_characters_and_the_last_one_wins() {
        with_document(
            r#" {"a":1,"\u0062":[true,null,{}],"a":2,"":-3.5} "#,
            |root| {
                assert_eq!(root.kind(), Kind::Object);
                assert_eq!(root.len(), 4);
                assert_eq!(root.get("a").and_then(Value::as_u64), Some(2));
                assert_eq!(root.get("").and_then(Value::as_f64), Some(-3.5));
                let array = root.get("b").unwrap();
                assert_eq!(array.len(), 3);
                assert!(array.elements().nth(1).unwrap().is_null());
                assert!(array.elements().nth(2).unwrap().is_empty());
                assert_eq!(array.raw().text().as_ref(), b"[true,null,{}]");
                assert!(array.get("a").is_none());
                assert!(root.get("c").is_none());
            },
        );
    }

    #[test]
    fn strings_keep_their_escapes_until_asked() {
        with_document(r#"["plain","a\n\ud83d\ude00","é"]"#, |root| {
            let values: Vec<_> = root.elements().collect();
            assert_eq!(values[0].escaped(), Some(&b"plain"[..]));
            assert!(matches!(values[0].as_text(), Some(Cow::Borrowed("plain"))));
            assert!(values[1].is("a\n😀"));
            assert!(!values[1].is("a\\n\\ud83d\\ude00"));
            assert_eq!(values[1].as_str().unwrap().len(), 15);
            assert!(values[2].is("é"));
            assert_eq!(root.as_str(), None);
        });
    }

    #[test]
    fn paths_lead_from_the_root() {
        with_document(r#"{"m":[0,{"a b":{"c":[[7]]}}]}"#, |root| {
            let inner = root.get("m").and_then(|m| m.elements().nth(1)).unwrap();
            let deep = inner.get("a b").and_then(|v| v.get("c")).unwrap();
            let seven = deep
                .elements()
                .next()
                .and_then(|v| v.elements().next())
                .unwrap();
            assert_eq!(seven.path(), r#"m[1]["a b"].c[0][0]"#);
            assert_eq!(root.path(), "");
        });
    }

    #[test]
    fn integers_have_their_range() {
        with_document(
            "[-9223372036854775808,9223372036854775808,-0,1e400]",
            |root| {
                let values: Vec<_> = root.elements().collect();
                assert_eq!(values[0].as_i64(), Some(i64::MIN));
                assert_eq!(values[0].as_u64(), None);
                assert_eq!(values[1].as_i64(), None);
                assert_eq!(values[1].as_u64(), Some(1 << 63));
                assert_eq!(values[2].as_u64(), Some(0));
                assert_eq!(values[3].as_f64(), None);
            },
        );
    }
}
