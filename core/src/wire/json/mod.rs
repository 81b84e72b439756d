//! JSON (RFC 8259) without a tree: a strict scanner that checks a document once and notes where
//! each value lies, a writer, and edits in place.
//!
//! A gateway needs few of a document's values and passes most of them on. So [`Tape::parse`] checks
//! the whole text and keeps one small node per value; a [`Value`] is a place in that table; and
//! text leaves as [`JsonStr`](crate::base::JsonStr) and [`RawJson`](crate::base::RawJson), slices
//! of the received buffer. Numbers keep their digits, objects their order, strings their escapes.
//!
//! It is no deserialiser (use `serde_json` where a typed value is wanted and speed is not) and is
//! not lenient: comments, trailing commas, a byte order mark, bare control characters and broken
//! UTF-8 are errors. Half a surrogate pair in an escape, which the grammar allows, is not.
//!
//! Invariants: every node's range lies within the text and on character borders; a container's
//! nodes follow it directly, an object's as key, value, key, value; text that leaves as `JsonStr`
//! or `RawJson` has been checked.
//!
//! ```
//! use bytes::Bytes;
//! use tollgate_core::base::limits::JsonLimits;
//! use tollgate_core::wire::json::Tape;
//!
//! let text = Bytes::from_static(br#"{"model":"m","messages":[{"role":"user"}]}"#);
//! let mut tape = Tape::new();
//! let root = tape.parse(&text, &JsonLimits::default()).unwrap();
//! assert!(root.get("model").is_some_and(|model| model.is("m")));
//! let message = root.get("messages").and_then(|all| all.elements().next()).unwrap();
//! assert_eq!(message.get("role").unwrap().path(), "messages[0].role");
//! ```

pub mod edit;
pub mod embed;
mod error;
mod number;
mod scan;
mod tape;
mod value;
mod writer;

pub use edit::Edit;
pub use error::{JsonError, JsonErrorKind};
pub use tape::Tape;
pub use value::{Elements, Key, Kind, Members, Value};
pub use writer::Writer;
