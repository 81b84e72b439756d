//! Streamed answers: [`Decoder`] reads an upstream's events, [`Encoder`] writes them for a client.

mod decode;
mod encode;
mod held;
mod whole;

pub use decode::Decoder;
pub use encode::Encoder;
