//! HTTP/1 as its users see it: what is refused, how exchanges follow each other, and that neither
//! the splits of the input nor a relay in between change a message.

mod client;
mod relay;
mod server;
mod smuggling;
mod split;
mod support;
