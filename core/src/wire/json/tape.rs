//! The table that a scan fills: one node per value and per key, in the order of the text.

use bytes::Bytes;

use super::error::{Fault, JsonError, JsonErrorKind};
use super::scan::Scanner;
use super::value::{Kind, Value};
use crate::base::limits::JsonLimits;

/// Nodes kept by [`Tape::shrink`]: 32 KiB, enough for a stream event or a small request.
const KEPT_NODES_MAX: usize = 2048;

/// One value or key: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// First byte, the quote or bracket included.
    pub(super) start: u32,
    /// One after the last byte.
    pub(super) end: u32,
    /// Index of the first node after this value and all within it. While a container is open: the
    /// container around it, so that the scan needs no stack.
    pub(super) next: u32,
    pub(super) kind: Kind,
    /// Whether a string has escapes.
    pub(super) escaped: bool,
}

/// The reusable table of a document's values. It holds no text and no meaning between two parses,
/// only memory; one per shard is enough, and two where one document is read while another is.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
}

impl Tape {
    /// A table that holds no memory yet.
    pub fn new() -> Tape {
        Tape::default()
    }

    /// Checks that `text` is exactly one JSON value, with white space around it, and returns it.
    ///
    /// # Errors
    /// Where the text is not JSON, or exceeds `limits`, or is 4 GiB long or more.
    pub fn parse<'t>(
        &'t mut self,
        text: &'t Bytes,
        limits: &JsonLimits,
    ) -> Result<Value<'t>, JsonError> {
        self.nodes.clear();
        match self.scan(text, limits) {
            Ok(()) => Ok(Value::new(&self.nodes, text, 0)),
            Err(fault) => Err(JsonError::new(text, fault)),
        }
    }

    /// Gives memory back where a large document made the table grow.
    pub fn shrink(&mut self) {
        if self.nodes.capacity() > KEPT_NODES_MAX {
            self.nodes = Vec::new();
        }
    }

    fn scan(&mut self, text: &[u8], limits: &JsonLimits) -> Result<(), Fault> {
        if u32::try_from(text.len()).is_err() {
            return Err((0, JsonErrorKind::TooLong));
        }
        if text.starts_with(b"\xEF\xBB\xBF") {
            return Err((0, JsonErrorKind::ByteOrderMark));
        }
        // Once over all of it: faster than string by string, and only strings may hold more than
        // ASCII.
        if simdutf8::basic::from_utf8(text).is_err() {
            let valid = core::str::from_utf8(text).map_or_else(|it| it.valid_up_to(), str::len);
            return Err((valid, JsonErrorKind::Utf8));
        }
        Scanner::new(text, limits, &mut self.nodes).document()
    }
}
