//! Listeners: `Accept`, `Unlisten` and the connections of [`PEERS`].
//!
//! A socket is asked for a connection only while an `Accept` is in flight: not issuing it is
//! back-pressure, and the connections wait in the kernel's queue.
//!
//! [`PEERS`]: tollgate_core::gateway::io::PEERS

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tollgate_core::base::{ConnId, ListenerId};
use tollgate_core::gateway::io::{Completion, IoFailure, Peer};

use crate::socket::{Handle, Socket, failure};
use crate::worker::Worker;

/// One listener of a worker. Without a socket it gets what other workers hand off, or nothing.
#[derive(Default)]
pub(crate) struct Listener {
    /// The `Accept` that waits, without a socket.
    asked: Option<ConnId>,
    closed: bool,
    pub(crate) socket: Option<Rc<Socket>>,
    /// Connections handed off, for which no `Accept` came yet.
    waiting: VecDeque<(OwnedFd, Peer)>,
}

/// `Op::Accept`.
pub(crate) fn accept(worker: &Rc<Worker>, id: ListenerId, conn: ConnId) {
    let mut listener = worker.listener(id);
    if let Some(socket) = listener.socket.clone() {
        socket.drive(false, false, move |socket, fd| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match fd.and_then(|fd| acceptfrom_with(fd, flags)) {
                Ok((fd, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    let peer = from.map_or(Peer::Unix, Peer::Tcp);
                    Some(enter(&socket.worker, id, conn, fd, peer))
                }
                // A Unix socket that was shut down says AGAIN for ever.
                Err(_) if socket.is_closing() => Some(accepted(id, conn, Err(IoFailure::Canceled))),
                // These are of the one connection that it would have given (its manual page), or
                // of none: nothing that the machine could do anything about.
                Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => None,
                Err(Errno::HOSTDOWN | Errno::HOSTUNREACH | Errno::NETDOWN) => None,
                Err(Errno::NETUNREACH | Errno::NONET | Errno::NOPROTOOPT) => None,
                Err(error) => Some(accepted(id, conn, Err(failure(error)))),
            }
        });
    } else if listener.closed {
        worker.completed(accepted(id, conn, Err(IoFailure::Canceled)));
    } else if let Some((fd, peer)) = listener.waiting.pop_front() {
        worker.completed(enter(worker, id, conn, fd, peer));
    } else {
        let before = listener.asked.replace(conn);
        assert!(before.is_none(), "a second Accept on {id:?}");
    }
}

/// `Op::Unlisten`.
pub(crate) fn unlisten(worker: &Rc<Worker>, id: ListenerId) {
    let mut listener = worker.listener(id);
    listener.closed = true;
    listener.waiting.clear();
    if let Some(conn) = listener.asked.take() {
        worker.completed(accepted(id, conn, Err(IoFailure::Canceled)));
    }
    let last = Completion::Unlisten { listener: id };
    match listener.socket.take() {
        Some(socket) => socket.close(last, false),
        None => worker.completed(last),
    }
}

/// A connection arrived from another worker.
pub(crate) fn adopt(worker: &Rc<Worker>, id: ListenerId, fd: OwnedFd, peer: Peer) {
    let mut listener = worker.listener(id);
    if let Some(conn) = listener.asked.take() {
        worker.completed(enter(worker, id, conn, fd, peer));
    } else if !listener.closed {
        listener.waiting.push_back((fd, peer));
    }
}

/// Makes `fd` the connection `conn`.
fn enter(worker: &Rc<Worker>, id: ListenerId, conn: ConnId, fd: OwnedFd, peer: Peer) -> Completion {
    let handle = Handle::new(fd);
    let result = handle.map(|handle| {
        worker.insert(conn, Ok(handle), peer);
        peer
    });
    accepted(id, conn, result.map_err(failure))
}

fn accepted(listener: ListenerId, conn: ConnId, result: Result<Peer, IoFailure>) -> Completion {
    Completion::Accept {
        listener,
        conn,
        result,
    }
}
