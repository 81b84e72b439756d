//! Streamed answers: [`Decoder`] reads an upstream's chunks, [`Encoder`] writes a client's.

mod calls;
mod choice;
mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::Encoder;
