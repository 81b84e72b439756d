//! [`Gather`]: a body on its way in, held until it is whole.

use bytes::{Bytes, BytesMut};

/// The bytes of a body so far.
///
/// A body that comes in one piece is not copied. Of any other each piece is, so that a body in
/// small pieces does not keep alive the buffers in which they were read.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Gather {
    expected: usize,
    whole: Bytes,
    buffer: BytesMut,
}

impl Gather {
    /// Room for `expected` bytes is made with the first piece; zero where the length turns out at
    /// the end.
    pub(in crate::gateway) fn new(expected: usize) -> Gather {
        Gather {
            expected,
            whole: Bytes::new(),
            buffer: BytesMut::new(),
        }
    }

    /// Bytes that have come.
    pub(in crate::gateway) fn len(&self) -> usize {
        self.whole.len() + self.buffer.len()
    }

    /// Bytes of memory held.
    pub(in crate::gateway) fn held_bytes(&self) -> usize {
        self.whole.len() + self.buffer.capacity()
    }

    pub(in crate::gateway) fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            if piece.len() == self.expected {
                self.whole = piece;
                return;
            }
            self.buffer.reserve(self.expected.max(piece.len()));
        }
        self.buffer
            .extend_from_slice(&core::mem::take(&mut self.whole));
        self.buffer.extend_from_slice(&piece);
    }

    pub(in crate::gateway) fn into_bytes(self) -> Bytes {
        if self.buffer.is_empty() {
            self.whole
        } else {
            self.buffer.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_one_piece_is_not_copied_and_small_pieces_keep_no_buffers() {
        let piece = Bytes::from(vec![b'a'; 10]);
        let mut gather = Gather::new(10);
        gather.push(piece.clone());
        assert_eq!(gather.into_bytes().as_ptr(), piece.as_ptr());

        let mut gather = Gather::new(0);
        for _ in 0..1000 {
            let read = Bytes::from(vec![b'a'; 4096]);
            gather.push(read.slice(..1));
        }
        assert_eq!(gather.len(), 1000);
        assert!(gather.held_bytes() < 4096, "{}", gather.held_bytes());
        assert_eq!(gather.into_bytes(), vec![b'a'; 1000]);

        let mut gather = Gather::new(3);
        gather.push(Bytes::from_static(b"abc"));
        gather.push(Bytes::from_static(b"de"));
        assert_eq!(gather.into_bytes(), "abcde");
    }
}
