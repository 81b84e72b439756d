//! Protocol machines: bytes to events and back. They do no I/O, know no LLM, and are usable on
//! their own.
//!
//! One vocabulary for all: limits at construction, buffers owned by the caller, `next_*` takes
//! events out of an input buffer without copying bodies, `send_*` appends to an output buffer,
//! and errors latch and say whose fault they are.

pub mod http1;
