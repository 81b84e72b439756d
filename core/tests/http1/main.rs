//! HTTP/1 as its users see it: what is refused, how exchanges follow each other, and that neither
//! the splits of the input nor a relay in between change a message.

// Clippy's own exemption for tests does not reach the functions that they share.
#![allow(clippy::expect_used)]

mod client;
mod relay;
mod server;
mod smuggling;
mod split;
mod support;
