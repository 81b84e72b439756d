//! A bare byte relay: what a runtime costs before the gateway does anything.
//!
//! `relay LISTEN UPSTREAM [auto|epoll|uring]`, for instance `relay 127.0.0.1:9001 127.0.0.1:9000`.
//! Each client gets a connection of its own to the upstream; bytes pass both ways. It ends when its
//! standard input does.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::{Driver, Options, start};
use bytes::BytesMut;
use tollgate_core::base::{ConnId, Id, Instant, ListenerId, Now, ShardId, WriteBatch};
use tollgate_core::gateway::io::{
    Completion, Host, Input, Machine, Op, Output, ReadClass, ResolveReply, Work, WorkReply,
};
use tollgate_core::record::Record;

const FIRST: ListenerId = ListenerId(0);
const QUIET: ReadClass = ReadClass::Quiet { room: 16 * 1024 };

/// Connection `2n` is a client, `2n + 1` its upstream. For measuring: names are not used again.
struct Relay {
    upstream: SocketAddr,
    outputs: VecDeque<Output>,
    /// By connection: whether it exists and is not being closed.
    open: Vec<bool>,
    pairs: u32,
    listening: bool,
    /// Connections that exist.
    count: usize,
}

fn name(index: u32) -> ConnId {
    let generation = 0;
    ConnId(Id { index, generation })
}

/// The other of the pair.
fn other(conn: ConnId) -> ConnId {
    name(conn.0.index ^ 1)
}

impl Relay {
    fn new(upstream: SocketAddr) -> Relay {
        let mut relay = Relay {
            upstream,
            outputs: VecDeque::new(),
            open: Vec::new(),
            pairs: 0,
            listening: true,
            count: 0,
        };
        relay.accept();
        relay
    }

    fn op(&mut self, op: Op) {
        self.outputs.push_back(Output::Op(op));
    }

    fn accept(&mut self) {
        let pair = self.pairs;
        self.pairs += 1;
        self.open.extend([false, false]);
        self.op(Op::Accept {
            listener: FIRST,
            conn: name(2 * pair),
        });
    }

    fn read(&mut self, conn: ConnId, class: ReadClass) {
        let buf = match class {
            ReadClass::Quiet { .. } => BytesMut::new(),
            ReadClass::Ready => BytesMut::with_capacity(16 * 1024),
        };
        self.op(Op::Read { conn, class, buf });
    }

    fn close(&mut self, conn: ConnId) {
        if let Some(open) = self.open.get_mut(conn.0.index as usize)
            && std::mem::take(open)
        {
            self.op(Op::Close { conn, abort: false });
        }
    }

    fn opened(&mut self, conn: ConnId) {
        self.count += 1;
        if let Some(open) = self.open.get_mut(conn.0.index as usize) {
            *open = true;
        }
    }

    fn is_open(&self, conn: ConnId) -> bool {
        self.open.get(conn.0.index as usize) == Some(&true)
    }

    fn completed(&mut self, completion: Completion) {
        match completion {
            Completion::Accept { conn, result, .. } if result.is_ok() => {
                self.opened(conn);
                self.opened(other(conn));
                let (conn, address) = (other(conn), self.upstream);
                self.op(Op::Connect { conn, address });
                self.accept();
            }
            Completion::Connect { conn, result } => {
                if result.is_ok() && self.is_open(other(conn)) {
                    self.read(conn, QUIET);
                    self.read(other(conn), QUIET);
                } else {
                    self.close(conn);
                    self.close(other(conn));
                }
            }
            Completion::Read { conn, buf, result } => {
                if matches!(result, Ok(count) if count > 0) && self.is_open(other(conn)) {
                    let batch = WriteBatch::from_bytes(buf.freeze());
                    let conn = other(conn);
                    self.op(Op::Write { conn, batch });
                } else {
                    self.close(conn);
                    self.close(other(conn));
                }
            }
            Completion::Write { conn, result, .. }
                if result.is_ok() && self.is_open(other(conn)) =>
            {
                // An upstream goes on with its answer, a client waits for it.
                let from = other(conn);
                let client = from.0.index.is_multiple_of(2);
                self.read(from, if client { QUIET } else { ReadClass::Ready });
            }
            Completion::Close { .. } => {
                self.count -= 1;
                self.closed();
            }
            _ => (),
        }
    }

    fn closed(&mut self) {
        if self.count == 0 && !self.listening {
            self.outputs.push_back(Output::Drained);
        }
    }
}

impl Machine for Relay {
    fn handle(&mut self, _: Now, input: Input) {
        match input {
            Input::Complete(completion) => self.completed(completion),
            Input::Drain { .. } => {
                self.listening = false;
                self.op(Op::Unlisten { listener: FIRST });
                for index in 0..2 * self.pairs {
                    self.close(name(index));
                }
                self.closed();
            }
            _ => (),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        // As a gateway would: some timer is always set.
        Some(Instant::FAR)
    }
}

struct Nobody;

impl Host for Nobody {
    fn resolve(&self, _: Arc<str>, _: u16, _: ResolveReply) {}
    fn perform(&self, _: Work, _: WorkReply) {}
    fn record(&self, _: ShardId, _: Box<Record>) {}
}

pub(crate) fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut address = || -> io::Result<SocketAddr> {
        let text = arguments.next().unwrap_or_default();
        text.parse().map_err(io::Error::other)
    };
    let (listen, upstream) = (address()?, address()?);
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let driver = match arguments.next().as_deref() {
        Some("epoll") => Driver::Epoll,
        Some("uring") => Driver::Uring,
        _ => Driver::Auto,
    };
    let machines = vec![(Relay::new(upstream), vec![Some(listener.into())])];
    let options = Options { driver, pin: false };
    let running = start(options, machines, Arc::new(Nobody))?;
    println!("{} on {address}", running.driver());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    running.control().drain(Duration::ZERO);
    running.wait()
}
