//! [`Socket`]: the part that client and upstream connections share. It keeps the contract with the
//! runtime (one read and one write in flight, `Close` last) and asserts it, in release builds too:
//! a runtime that breaks it would mix up bytes of different people.

use bytes::BytesMut;

use super::io::{IoFailure, Op, Output, ReadClass};
use super::outbox::Outbox;
use crate::base::limits::ShardLimits;
use crate::base::{ConnId, OutBuf, WriteBatch};

/// Room of the first read after silence, and of every read while little comes at a time.
const ROOM_MIN: u32 = 4 * 1024;
/// Room of reads while much comes: what a socket buffer holds at loopback speed.
const ROOM_MAX: u32 = 64 * 1024;

/// One connection as the runtime sees it.
#[derive(Debug)]
pub(super) struct Socket {
    conn: ConnId,
    /// Received and not yet consumed; empty while a read that is to continue it holds it.
    pub(super) input: BytesMut,
    /// Bytes of the input that the read in flight holds.
    lent: usize,
    /// To be sent.
    pub(super) output: OutBuf,
    is_reading: bool,
    is_writing: bool,
    is_shut: bool,
    is_closing: bool,
    /// No more bytes will come: the peer's FIN, or a failure.
    is_ended: bool,
    /// Room of the next read: doubled after a full one, halved after a short one.
    room: u32,
    /// The last read filled its buffer, so more is probably there already.
    expects_more: bool,
}

/// What a completed read brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Received {
    /// Bytes, now in `input`.
    Bytes,
    /// The peer's FIN.
    End,
    /// The connection failed.
    Failed(IoFailure),
}

impl Socket {
    pub(super) fn new(conn: ConnId) -> Socket {
        Socket {
            conn,
            input: BytesMut::new(),
            lent: 0,
            output: OutBuf::new(),
            is_reading: false,
            is_writing: false,
            is_shut: false,
            is_closing: false,
            is_ended: false,
            room: ROOM_MIN,
            expects_more: false,
        }
    }

    pub(super) const fn is_reading(&self) -> bool {
        self.is_reading
    }

    pub(super) const fn is_writing(&self) -> bool {
        self.is_writing
    }

    pub(super) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether something has come that is not consumed yet, be it a part of a head.
    pub(super) fn has_input(&self) -> bool {
        self.lent > 0 || !self.input.is_empty()
    }

    /// Bytes of memory held for this connection.
    pub(super) fn held_bytes(&self) -> usize {
        self.input.capacity() + self.output.len()
    }

    /// Asks for bytes, unless they are asked for already or none can come.
    ///
    /// While nothing of an earlier read is left over, no memory is held until bytes are there.
    pub(super) fn read(&mut self, outbox: &mut Outbox) {
        if !self.may_read() {
            return;
        }
        if self.expects_more || !self.input.is_empty() {
            self.input.reserve(self.room as usize);
            self.issue_read(ReadClass::Ready, outbox);
        } else {
            self.input = BytesMut::new();
            self.issue_read(ReadClass::Quiet { room: self.room }, outbox);
        }
    }

    /// Asks for bytes that are known to come: the rest of a body, `expected` bytes of it, or none
    /// where its length turns out at its end.
    pub(super) fn read_body(&mut self, expected: usize, outbox: &mut Outbox) {
        if !self.may_read() {
            return;
        }
        let room = if expected == 0 {
            self.room as usize
        } else {
            expected
        };
        self.input.reserve(room.min(ROOM_MAX as usize));
        self.issue_read(ReadClass::Ready, outbox);
    }

    /// Watches for the peer's end while its earlier bytes stay where they are.
    pub(super) fn watch(&mut self, outbox: &mut Outbox) {
        if !self.may_read() {
            return;
        }
        let earlier = core::mem::take(&mut self.input);
        self.issue_read(ReadClass::Quiet { room: ROOM_MIN }, outbox);
        self.input = earlier;
    }

    const fn may_read(&self) -> bool {
        !self.is_reading && !self.is_ended && !self.is_closing
    }

    fn issue_read(&mut self, class: ReadClass, outbox: &mut Outbox) {
        self.is_reading = true;
        self.lent = self.input.len();
        outbox.push(Output::Op(Op::Read {
            conn: self.conn,
            class,
            buf: core::mem::take(&mut self.input),
        }));
    }

    /// Takes the completion of a read.
    pub(super) fn read_done(
        &mut self,
        buf: BytesMut,
        result: Result<usize, IoFailure>,
    ) -> Received {
        assert!(
            self.is_reading,
            "{:?}: a read completed that was not in flight",
            self.conn
        );
        self.is_reading = false;
        self.lent = 0;
        if self.is_closing {
            return Received::Failed(IoFailure::Canceled);
        }
        if self.input.is_empty() {
            self.input = buf;
        } else {
            self.input.extend_from_slice(&buf);
        }
        match result {
            Ok(0) => {
                self.is_ended = true;
                Received::End
            }
            Ok(count) => {
                self.expects_more = count >= self.room as usize;
                if self.expects_more {
                    self.room = (self.room * 2).min(ROOM_MAX);
                } else if count < self.room as usize / 2 {
                    self.room = (self.room / 2).max(ROOM_MIN);
                }
                Received::Bytes
            }
            Err(failure) => {
                self.is_ended = true;
                Received::Failed(failure)
            }
        }
    }

    /// Sends what is queued, unless a write is in flight: then its completion goes on.
    pub(super) fn flush(&mut self, limits: &ShardLimits, outbox: &mut Outbox) {
        if self.is_writing || self.is_shut || self.is_closing || self.output.is_empty() {
            return;
        }
        self.is_writing = true;
        let batch = self
            .output
            .take_batch(limits.write_bytes_max, limits.write_slices_max);
        outbox.push(Output::Op(Op::Write {
            conn: self.conn,
            batch,
        }));
    }

    /// Takes the completion of a write; says whether all of the batch was written.
    pub(super) fn write_done(
        &mut self,
        batch: WriteBatch,
        result: Result<(), IoFailure>,
    ) -> Result<(), IoFailure> {
        assert!(
            self.is_writing,
            "{:?}: a write completed that was not in flight",
            self.conn
        );
        self.is_writing = false;
        if result.is_ok() {
            assert!(
                batch.is_empty(),
                "{:?}: a write left {} bytes",
                self.conn,
                batch.len()
            );
            self.output.recycle(batch);
        }
        result
    }

    /// Sends FIN; only once nothing is left to be sent.
    pub(super) fn shutdown(&mut self, outbox: &mut Outbox) {
        if self.is_shut || self.is_closing || self.is_writing {
            return;
        }
        self.is_shut = true;
        outbox.push(Output::Op(Op::Shutdown { conn: self.conn }));
    }

    /// Ends the connection and frees what it holds. Says whether it was open.
    pub(super) fn close(&mut self, abort: bool, outbox: &mut Outbox) -> bool {
        if self.is_closing {
            return false;
        }
        self.is_closing = true;
        self.input = BytesMut::new();
        self.output = OutBuf::new();
        outbox.push(Output::Op(Op::Close {
            conn: self.conn,
            abort,
        }));
        true
    }

    /// Gives back memory that a connection which only waits does not need.
    pub(super) fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.output.shrink();
        self.room = ROOM_MIN;
        self.expects_more = false;
    }
}
