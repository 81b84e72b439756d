//! Outgoing bytes: [`OutBuf`] collects them, small pieces copied together and large ones kept as
//! slices of the buffer they arrived in; [`WriteBatch`] is what one write operation carries.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

/// From this length a piece is queued as a slice; below it, copying is cheaper than one more
/// `iovec` and one more reference count, and does not pin the large buffer that the piece lies in.
pub const SLICE_BYTES_MIN: usize = 2048;
/// Slices given to the system at once; a batch of a shard has at most as many.
const SLICES_MAX: usize = 64;
/// A spent buffer up to this capacity is used again for the next small pieces.
const REUSE_BYTES_MAX: usize = 4096;

/// A queue of bytes to write. Pieces of [`SLICE_BYTES_MIN`] bytes and more are kept as they came,
/// everything else is copied into one growing tail, so that a head, a chunk frame and a few small
/// events leave in one slice.
#[derive(Debug, Default)]
pub struct OutBuf {
    parts: VecDeque<Bytes>,
    parts_len: usize,
    tail: BytesMut,
}

impl OutBuf {
    /// An empty queue that holds no memory.
    pub fn new() -> OutBuf {
        OutBuf::default()
    }

    /// Appends a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends `bytes`, by reference when they are many.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SLICE_BYTES_MIN {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        self.seal();
        self.parts_len += bytes.len();
        self.parts.push_back(bytes);
    }

    /// Moves everything out of `other` to the end of this queue.
    pub fn append(&mut self, other: &mut OutBuf) {
        if other.parts.is_empty() && other.tail.len() < SLICE_BYTES_MIN {
            self.tail.extend_from_slice(&other.tail);
            other.tail.clear();
            return;
        }
        other.seal();
        self.seal();
        self.parts_len += core::mem::take(&mut other.parts_len);
        self.parts.append(&mut other.parts);
    }

    /// Appends the decimal digits of `number`.
    pub fn put_u64(&mut self, number: u64) {
        if number < 10 {
            // Indices are hardly ever more.
            self.put(&[b'0' + number as u8]);
            return;
        }
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.put(&digits[at..]);
    }

    /// Makes room for `additional` small bytes at once.
    pub fn reserve(&mut self, additional: usize) {
        self.tail.reserve(additional);
    }

    /// Bytes queued.
    pub fn len(&self) -> usize {
        self.parts_len + self.tail.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes up to `bytes_max` bytes in up to `slices_max` slices from the front.
    pub fn take_batch(&mut self, bytes_max: usize, slices_max: usize) -> WriteBatch {
        let mut batch = WriteBatch::default();
        if self.parts.is_empty() && self.tail.len() <= bytes_max && slices_max > 0 {
            batch.push(self.tail.split().freeze());
            return batch;
        }
        self.seal();
        while batch.slices.len() < slices_max && batch.len < bytes_max {
            let Some(front) = self.parts.front_mut() else {
                break;
            };
            let room = bytes_max - batch.len;
            let part = if front.len() <= room {
                self.parts.pop_front().unwrap_or_default()
            } else {
                front.split_to(room)
            };
            self.parts_len -= part.len();
            batch.push(part);
        }
        batch
    }

    /// Takes everything as one contiguous buffer, without a copy when it is one slice already.
    pub fn take_all(&mut self) -> Bytes {
        if self.parts.is_empty() {
            return self.tail.split().freeze();
        }
        self.seal();
        self.parts_len = 0;
        if self.parts.len() == 1 {
            return self.parts.pop_front().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(self.parts.iter().map(Bytes::len).sum());
        for part in self.parts.drain(..) {
            whole.extend_from_slice(&part);
        }
        whole.freeze()
    }

    /// Takes everything as slices, in order.
    pub fn take_parts(&mut self) -> impl Iterator<Item = Bytes> {
        self.seal();
        self.parts_len = 0;
        core::mem::take(&mut self.parts).into_iter()
    }

    /// Uses the memory of a written batch for the next small pieces, where it is small and nobody
    /// else holds a part of it.
    pub fn recycle(&mut self, batch: WriteBatch) {
        if self.tail.capacity() > 0 || batch.spent.len() != 1 {
            return;
        }
        let Some(spent) = batch.spent.into_iter().next() else {
            return;
        };
        if let Ok(mut buffer) = spent.try_into_mut()
            && buffer.capacity() <= REUSE_BYTES_MAX
        {
            buffer.clear();
            self.tail = buffer;
        }
    }

    /// Gives back the memory kept for the next pieces; for connections that now only wait.
    pub fn shrink(&mut self) {
        if self.tail.is_empty() {
            self.tail = BytesMut::new();
        }
        if self.parts.is_empty() {
            self.parts = VecDeque::new();
        }
    }

    /// Drops everything queued.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.parts_len = 0;
        self.tail.clear();
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.parts_len += tail.len();
            self.parts.push_back(tail);
        }
    }
}

/// What one write operation carries: at most 64 KiB in at most 64 slices. The adapter writes all of
/// it, however many system calls that takes, and hands it back in the completion.
#[derive(Debug, Default)]
pub struct WriteBatch {
    slices: SmallVec<[Bytes; 2]>,
    /// Slices written whole, kept so that their memory can be used again.
    spent: SmallVec<[Bytes; 2]>,
    len: usize,
}

impl WriteBatch {
    fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.len += slice.len();
            self.slices.push(slice);
        }
    }

    /// A batch of one slice.
    pub fn from_bytes(slice: Bytes) -> WriteBatch {
        let mut batch = WriteBatch::default();
        batch.push(slice);
        batch
    }

    /// Bytes not yet written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether all is written.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slices not yet written, in order; none of them is empty.
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// Has `write` take bytes from the front, again and again until all are written: it is given
    /// slices, and says how many bytes it took.
    ///
    /// # Errors
    /// That of `write`; the rest stays.
    pub fn write_by<E>(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<(), E> {
        while !self.is_empty() {
            let count = match self.slices() {
                [slice] => write(&[IoSlice::new(slice)])?,
                slices => {
                    let mut vector = [IoSlice::new(&[]); SLICES_MAX];
                    let filled = vector.iter_mut().zip(slices);
                    let count = filled
                        .map(|(entry, slice)| *entry = IoSlice::new(slice))
                        .count();
                    write(&vector[..count])?
                }
            };
            self.advance(count);
        }
        Ok(())
    }

    /// Marks the first `count` bytes as written.
    ///
    /// # Panics
    /// If `count` is more than [`len`](WriteBatch::len): the adapter claims to have written bytes
    /// that it was not given.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "wrote {count} of {} bytes", self.len);
        self.len -= count;
        let mut left = count;
        let mut whole = 0;
        for slice in &mut self.slices {
            if left < slice.len() {
                slice.advance(left);
                break;
            }
            left -= slice.len();
            whole += 1;
        }
        self.spent.extend(self.slices.drain(..whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_join_and_large_ones_keep_their_memory() {
        let mut out = OutBuf::new();
        let large = Bytes::from(vec![b'x'; SLICE_BYTES_MIN]);
        let address = large.as_ptr();
        out.put(b"head");
        out.push(Bytes::from_static(b"small"));
        out.push(large);
        out.put_u64(1_234_567);
        assert_eq!(out.len(), 9 + SLICE_BYTES_MIN + 7);
        let batch = out.take_batch(64 * 1024, 64);
        let slices = batch.slices();
        assert_eq!(slices.len(), 3);
        assert_eq!(slices[0].as_ref(), b"headsmall");
        assert_eq!(slices[1].as_ptr(), address);
        assert_eq!(slices[2].as_ref(), b"1234567");
        assert!(out.is_empty());
    }

    #[test]
    fn a_batch_is_bounded_and_the_rest_stays() {
        let mut out = OutBuf::new();
        out.push(Bytes::from(vec![b'x'; 10_000]));
        out.put(b"tail");
        let mut batch = out.take_batch(4096, 64);
        assert_eq!(batch.len(), 4096);
        assert_eq!(out.len(), 10_004 - 4096);
        batch.advance(96);
        assert_eq!(batch.len(), 4000);
        batch.advance(4000);
        assert!(batch.is_empty());
        assert_eq!(out.take_all().len(), 10_004 - 4096);
        assert!(out.is_empty());
    }

    #[test]
    fn a_batch_is_written_in_as_many_steps_as_it_takes() {
        let mut out = OutBuf::new();
        let sent: Vec<u8> = (0..100 * SLICE_BYTES_MIN)
            .map(|at| (at / 7) as u8)
            .collect();
        for part in sent.chunks(SLICE_BYTES_MIN) {
            out.push(Bytes::copy_from_slice(part));
        }
        let mut batch = out.take_batch(usize::MAX, 100);
        let mut written = Vec::new();
        let mut take = |slices: &[IoSlice<'_>], count_max: usize| {
            assert!(!slices.is_empty() && slices.len() <= SLICES_MAX);
            let bytes: Vec<u8> = slices
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            let count = bytes.len().min(count_max);
            written.extend_from_slice(&bytes[..count]);
            count
        };
        let mut calls = 0;
        let result = batch.write_by(|slices| {
            calls += 1;
            if calls > 2 {
                Err("full")
            } else {
                Ok(take(slices, 3000))
            }
        });
        assert_eq!((result, batch.len()), (Err("full"), sent.len() - 6000));
        assert_eq!(
            batch.write_by(|slices| Ok::<_, ()>(take(slices, 150_000))),
            Ok(())
        );
        assert!(batch.is_empty() && written == sent);
    }

    #[test]
    fn a_written_batch_lends_its_memory_to_the_next_pieces() {
        let mut out = OutBuf::new();
        out.put(b"first");
        let mut batch = out.take_batch(64, 1);
        let address = batch.slices()[0].as_ptr();
        batch.advance(5);
        let mut next = OutBuf::new();
        out.shrink();
        next.recycle(batch);
        next.put(b"second");
        assert_eq!(next.take_all().as_ptr(), address);
    }
}
