//! [`Fields`]: the field lines of one head or trailer section, as slices of the block of bytes they
//! arrived in. Nothing is copied, merged, sorted or lower-cased.

use core::fmt;

use bytes::Bytes;

use super::syntax::{has_token, trim};

/// Where one field line lies in its block.
#[derive(Clone, Copy)]
struct Line {
    name_at: u32,
    name_len: u32,
    value_at: u32,
    value_len: u32,
}

/// Field lines in the order and the case they were received in (RFC 9110 §5). Names are tokens;
/// values hold no CR, LF or NUL and have no blanks around them.
///
/// It keeps the whole block alive, and the buffer that the block was read into; see
/// [`detach`](Fields::detach).
#[derive(Clone, Default)]
pub struct Fields {
    block: Bytes,
    /// Not inline: a head moves several times on its way, and one allocation costs less than that.
    lines: Vec<Line>,
}

impl Fields {
    /// Notes where in `block` the lines lie that httparse found there. The block itself follows by
    /// [`within`](Fields::within), when nothing borrows it any more.
    pub(super) fn places(block: &[u8], parsed: &[httparse::Header<'_>]) -> Fields {
        let base = block.as_ptr() as usize;
        // A block is at most `head_bytes_max` long. A place that did not fit would read as another
        // or as an empty slice, never out of bounds.
        let place = |part: &[u8]| {
            (
                (part.as_ptr() as usize).wrapping_sub(base) as u32,
                part.len(),
            )
        };
        let lines = parsed.iter().map(|header| {
            let (name_at, name_len) = place(header.name.as_bytes());
            let (value_at, value_len) = place(header.value);
            Line {
                name_at,
                name_len: name_len as u32,
                value_at,
                value_len: value_len as u32,
            }
        });
        Fields {
            block: Bytes::new(),
            lines: lines.collect(),
        }
    }

    /// These lines, of `block`.
    pub(super) fn within(self, block: Bytes) -> Fields {
        Fields { block, ..self }
    }

    /// Name and value of each line, in order.
    pub fn iter(&self) -> FieldsIter<'_> {
        FieldsIter {
            block: &self.block,
            lines: self.lines.iter(),
        }
    }

    /// The value of the first line with this name, which is compared without case.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        let name = name.as_bytes();
        self.iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Takes out all lines with this name.
    pub fn remove(&mut self, name: &str) {
        let (block, name) = (&self.block, name.as_bytes());
        let is_it =
            |line: &Line| slice(block, line.name_at, line.name_len).eq_ignore_ascii_case(name);
        self.lines.retain(|line| !is_it(line));
    }

    /// The values of all lines with this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone {
        let name = name.as_bytes();
        self.lines
            .iter()
            .filter(move |line| {
                line.name_len as usize == name.len()
                    && slice(&self.block, line.name_at, line.name_len).eq_ignore_ascii_case(name)
            })
            .map(|line| slice(&self.block, line.value_at, line.value_len))
    }

    /// Whether a line with this name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Whether the comma-separated lists of all lines with this name hold `token`, without case
    /// (RFC 9110 §5.6.1).
    pub fn list_contains(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|list| has_token(list, token.as_bytes()))
    }

    /// The lines that a gateway may pass on: all but those that concern one connection only
    /// (RFC 9110 §7.6.1: Connection, what it names, and the well-known ones), Content-Length, which
    /// belongs to the framing of the message as it is sent, and Expect, which is answered here.
    pub fn end_to_end(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let is_option = |name: &[u8]| {
            !name.eq_ignore_ascii_case(b"close") && !name.eq_ignore_ascii_case(b"keep-alive")
        };
        // Most name nothing else, and then the fields need not be looked for in them.
        let names_fields = self
            .all("connection")
            .any(|options| list(options).any(is_option));
        self.iter().filter(move |(name, _)| {
            !(is_connection_field(name) || names_fields && self.is_named_by_connection(name))
        })
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Copies the block out of the read buffer it lies in, so that the buffer can be freed while
    /// the fields are kept.
    pub fn detach(&mut self) {
        self.block = Bytes::copy_from_slice(&self.block);
    }

    fn is_named_by_connection(&self, name: &[u8]) -> bool {
        self.all("connection").any(|list| has_token(list, name))
    }
}

impl fmt::Debug for Fields {
    /// Names and the lengths of values: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            map.entry(
                &String::from_utf8_lossy(name),
                &format_args!("{} bytes", value.len()),
            );
        }
        map.finish()
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = FieldsIter<'a>;

    fn into_iter(self) -> FieldsIter<'a> {
        self.iter()
    }
}

/// Name and value of each line of [`Fields`].
#[derive(Clone)]
pub struct FieldsIter<'a> {
    block: &'a [u8],
    lines: core::slice::Iter<'a, Line>,
}

impl<'a> Iterator for FieldsIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let line = self.lines.next()?;
        Some((
            slice(self.block, line.name_at, line.name_len),
            slice(self.block, line.value_at, line.value_len),
        ))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.lines.size_hint()
    }
}

fn slice(block: &[u8], at: u32, len: u32) -> &[u8] {
    let at = at as usize;
    block.get(at..at + len as usize).unwrap_or_default()
}

/// Fields that concern one connection and never pass a gateway, whether or not Connection names
/// them (RFC 9110 §7.6.1, RFC 9112 §6.1), Content-Length and Expect.
fn is_connection_field(name: &[u8]) -> bool {
    let names: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        6 => &[b"expect"],
        7 => &[b"trailer", b"upgrade"],
        10 => &[b"connection", b"keep-alive"],
        14 => &[b"content-length"],
        16 => &[b"proxy-connection"],
        17 => &[b"transfer-encoding"],
        _ => &[],
    };
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The elements of a comma-separated list, without the blanks around them; empty ones included.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}
