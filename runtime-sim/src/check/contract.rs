//! Do machine and world keep the contract of `gateway::io`? Every operation and every completion is
//! held against what is in flight.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use tollgate_core::base::{ConnId, ListenerId, TicketId, WriteBatch};
use tollgate_core::gateway::io::{Completion, Op, PEERS, ReadClass};

/// Bytes of one batch.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Slices of one batch.
const BATCH_SLICES_MAX: usize = 64;
/// What a read may hold at most: the longest head, and what the next read may bring.
const READY_BYTES_MAX: usize = 256 * 1024;
/// What a read may hold while it only waits.
const QUIET_BYTES_MAX: usize = 256;

/// What is in flight between one machine and the world.
#[derive(Debug, Default)]
pub(crate) struct Contract {
    conns: BTreeMap<ConnId, Conn>,
    accepts: BTreeMap<ListenerId, ConnId>,
    unlistening: BTreeSet<ListenerId>,
    unlistened: BTreeSet<ListenerId>,
    tickets: BTreeMap<TicketId, Work>,
}

#[derive(Debug, Default)]
struct Conn {
    is_upstream: bool,
    is_open: bool,
    is_connecting: bool,
    is_reading: bool,
    is_writing: bool,
    is_shutting: bool,
    is_shut: bool,
    is_closing: bool,
    is_handing_off: bool,
    was_read: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Work {
    Host,
    Resolve,
}

type Checked = Result<(), String>;

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(message()) }
}

impl Contract {
    /// Whether a connection is there, or an operation is in flight.
    pub(crate) fn open(&self) -> usize {
        self.conns.len() + self.accepts.len() + self.tickets.len() + self.unlistening.len()
    }

    /// Whether the machine has asked for `conn` to be closed, or it is gone.
    pub(crate) fn is_closing(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_none_or(|conn| conn.is_closing)
    }

    /// Connections whose `Close` is in flight.
    pub(crate) fn closing(&self) -> usize {
        self.conns.values().filter(|conn| conn.is_closing).count()
    }

    /// Connections of clients, those waited for included; connections to upstreams; tickets.
    pub(crate) fn asked(&self) -> [usize; 3] {
        let upstreams = self.conns.values().filter(|conn| conn.is_upstream).count();
        let clients = self.conns.len() - upstreams + self.accepts.len();
        [clients, upstreams, self.tickets.len()]
    }

    /// The machine of `shard`, one of `shards`, asks for `op`.
    pub(crate) fn op(&mut self, op: &Op, shard: usize, shards: usize) -> Checked {
        match op {
            Op::Accept { listener, conn } => self.accept(*listener, *conn),
            Op::Unlisten { listener } => {
                let is_new = self.unlistening.insert(*listener);
                let is_new = self.unlistened.insert(*listener) && is_new;
                ensure(is_new, || format!("{listener:?} unlistened twice"))
            }
            Op::HandOff { conn, to } => {
                let (conn_id, to) = (*conn, usize::from(to.0));
                ensure(to < shards && to != shard, || {
                    format!("{conn_id:?} handed off to shard {to}")
                })?;
                let conn = self.idle(conn_id)?;
                ensure(!conn.was_read, || {
                    format!("{conn_id:?} handed off after a read")
                })?;
                conn.is_handing_off = true;
                Ok(())
            }
            Op::Connect { conn, .. } => {
                let fresh = Conn {
                    is_connecting: true,
                    is_upstream: true,
                    ..Conn::default()
                };
                let old = self.conns.insert(*conn, fresh);
                ensure(old.is_none(), || {
                    format!("Connect with {conn:?}, which is open")
                })
            }
            Op::Read { conn, class, buf } => self.read(*conn, *class, buf),
            Op::Write { conn, batch } => self.write(*conn, batch),
            Op::Shutdown { conn } => {
                let conn_id = *conn;
                let conn = self.idle(conn_id)?;
                ensure(!conn.is_writing, || {
                    format!("{conn_id:?}: Shutdown during a write")
                })?;
                ensure(!conn.is_shut, || format!("{conn_id:?}: two Shutdowns"))?;
                conn.is_shut = true;
                conn.is_shutting = true;
                Ok(())
            }
            Op::Close { conn, .. } => self.close(*conn),
            Op::Resolve { ticket, .. } => self.ticket(*ticket, Work::Resolve),
            Op::Host { ticket, .. } => self.ticket(*ticket, Work::Host),
        }
    }

    fn read(&mut self, conn_id: ConnId, class: ReadClass, buf: &BytesMut) -> Checked {
        let room = buf.capacity() - buf.len();
        let held = buf.capacity();
        let conn = self.idle(conn_id)?;
        ensure(!conn.is_reading, || format!("{conn_id:?}: two reads"))?;
        match class {
            ReadClass::Quiet { room } => {
                ensure(room > 0, || format!("{conn_id:?}: a quiet read of nothing"))?;
                ensure(held < QUIET_BYTES_MAX, || {
                    format!("{conn_id:?}: a quiet read holds {held} bytes")
                })?;
            }
            ReadClass::Ready => {
                ensure(room > 0, || format!("{conn_id:?}: a read without room"))?;
                ensure(conn.was_read || conn.is_upstream, || {
                    format!("{conn_id:?}: a new client is read with memory held for it")
                })?;
                ensure(held <= READY_BYTES_MAX, || {
                    format!("{conn_id:?}: a read holds {held} bytes")
                })?;
            }
        }
        conn.is_reading = true;
        conn.was_read = true;
        Ok(())
    }

    fn write(&mut self, conn_id: ConnId, batch: &WriteBatch) -> Checked {
        let (bytes, slices) = (batch.len(), batch.slices().len());
        let conn = self.idle(conn_id)?;
        ensure(!conn.is_writing, || format!("{conn_id:?}: two writes"))?;
        ensure(!conn.is_shut, || {
            format!("{conn_id:?}: a write after Shutdown")
        })?;
        ensure(bytes > 0 && bytes <= BATCH_BYTES_MAX, || {
            format!("{conn_id:?}: a batch of {bytes} bytes")
        })?;
        ensure(slices <= BATCH_SLICES_MAX, || {
            format!("{conn_id:?}: a batch of {slices} slices")
        })?;
        conn.is_writing = true;
        Ok(())
    }

    fn close(&mut self, conn_id: ConnId) -> Checked {
        let Some(conn) = self.conns.get_mut(&conn_id) else {
            return Err(format!("Close of {conn_id:?}, which is unknown"));
        };
        ensure(!conn.is_closing, || format!("{conn_id:?}: two Closes"))?;
        ensure(!conn.is_handing_off, || {
            format!("{conn_id:?}: Close after HandOff")
        })?;
        conn.is_closing = true;
        Ok(())
    }

    fn accept(&mut self, listener: ListenerId, conn: ConnId) -> Checked {
        let is_listening = listener == PEERS || !self.unlistened.contains(&listener);
        ensure(is_listening, || {
            format!("Accept on {listener:?}, which is unlistened")
        })?;
        let is_known =
            self.conns.contains_key(&conn) || self.accepts.values().any(|&waiting| waiting == conn);
        ensure(!is_known, || {
            format!("Accept with {conn:?}, which is in use")
        })?;
        let old = self.accepts.insert(listener, conn);
        ensure(old.is_none(), || format!("two Accepts on {listener:?}"))
    }

    fn ticket(&mut self, ticket: TicketId, work: Work) -> Checked {
        let old = self.tickets.insert(ticket, work);
        ensure(old.is_none(), || format!("{ticket:?} used twice"))
    }

    /// A connection on which an operation may be issued.
    fn idle(&mut self, id: ConnId) -> Result<&mut Conn, String> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Err(format!("an operation on {id:?}, which is unknown"));
        };
        ensure(!conn.is_closing, || {
            format!("{id:?}: an operation after Close")
        })?;
        ensure(!conn.is_handing_off, || {
            format!("{id:?}: an operation after HandOff")
        })?;
        ensure(conn.is_open, || {
            format!("{id:?}: an operation before it is open")
        })?;
        Ok(conn)
    }

    /// The world completes an operation.
    pub(crate) fn completion(&mut self, completion: &Completion) -> Checked {
        match completion {
            Completion::Accept {
                listener,
                conn,
                result,
            } => {
                let waiting = self.accepts.remove(listener);
                ensure(waiting == Some(*conn), || {
                    format!("no Accept of {conn:?} in flight")
                })?;
                if result.is_ok() {
                    self.conns.insert(
                        *conn,
                        Conn {
                            is_open: true,
                            ..Conn::default()
                        },
                    );
                }
                Ok(())
            }
            Completion::Unlisten { listener } => {
                let was = self.unlistening.remove(listener);
                ensure(was, || format!("no Unlisten of {listener:?} in flight"))
            }
            Completion::HandOff { conn } => {
                let was = self
                    .conns
                    .remove(conn)
                    .is_some_and(|conn| conn.is_handing_off);
                ensure(was, || format!("no HandOff of {conn:?} in flight"))
            }
            Completion::Connect { conn, result } => self.done(*conn, "Connect", |conn| {
                conn.is_open = result.is_ok();
                core::mem::take(&mut conn.is_connecting)
            }),
            Completion::Read { conn, .. } => {
                self.done(*conn, "Read", |conn| core::mem::take(&mut conn.is_reading))
            }
            Completion::Write { conn, .. } => {
                self.done(*conn, "Write", |conn| core::mem::take(&mut conn.is_writing))
            }
            Completion::Shutdown { conn, .. } => self.done(*conn, "Shutdown", |conn| {
                core::mem::take(&mut conn.is_shutting)
            }),
            Completion::Close { conn } => self.closed(*conn),
            Completion::Resolve { ticket, .. } => {
                let was = self.tickets.remove(ticket);
                ensure(was == Some(Work::Resolve), || {
                    format!("no Resolve {ticket:?}")
                })
            }
            Completion::Host { ticket, .. } => {
                let was = self.tickets.remove(ticket);
                ensure(was == Some(Work::Host), || format!("no Host {ticket:?}"))
            }
        }
    }

    fn closed(&mut self, conn_id: ConnId) -> Checked {
        let Some(state) = self.conns.remove(&conn_id) else {
            return Err(format!("Close of {conn_id:?} completes, which is unknown"));
        };
        ensure(state.is_closing, || {
            format!("no Close of {conn_id:?} in flight")
        })?;
        let is_last =
            !state.is_connecting && !state.is_reading && !state.is_writing && !state.is_shutting;
        ensure(is_last, || {
            format!("{conn_id:?}: Close completes before others")
        })
    }

    fn done(&mut self, id: ConnId, name: &str, take: impl Fn(&mut Conn) -> bool) -> Checked {
        let was = self.conns.get_mut(&id).is_some_and(take);
        ensure(was, || format!("{id:?}: no {name} in flight"))
    }

    /// The machine says that it is drained. What it has asked of the host may come to its end
    /// later.
    pub(crate) fn drained(&self) -> Checked {
        let open = self.conns.len() + self.accepts.len();
        ensure(open == 0, || {
            format!("Drained while {open} things are open: {self:?}")
        })
    }
}
