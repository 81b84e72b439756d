//! Listeners: `Accept` on a socket.
//!
//! It is asked for a connection only while an `Accept` is in flight: not issuing it is
//! back-pressure, and the connections wait in the kernel's queue.

use std::net::SocketAddr;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tollgate_core::base::{ConnId, ListenerId};
use tollgate_core::gateway::io::Peer;

use crate::socket::{Handle, Socket};

/// `Op::Accept`.
pub(crate) fn accept(socket: Rc<Socket>, listener: ListenerId, conn: ConnId) {
    socket.drive(false, false, move |socket, fd| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = match fd.and_then(|fd| acceptfrom_with(fd, flags)) {
            // These are of the one connection that it would have given (its manual page), or of
            // none: nothing that the machine could do anything about.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => Err(Errno::AGAIN),
            Err(Errno::HOSTDOWN | Errno::HOSTUNREACH | Errno::NETDOWN) => Err(Errno::AGAIN),
            Err(Errno::NETUNREACH | Errno::NONET | Errno::NOPROTOOPT) => Err(Errno::AGAIN),
            accepted => accepted,
        };
        let worker = &socket.worker;
        let accepted = socket.outcome(accepted)?.map(|(fd, from)| {
            let from = from.and_then(|from| SocketAddr::try_from(from).ok());
            let peer = from.map_or(Peer::Unix, Peer::Tcp);
            (Socket::new(worker, Handle::new(fd), peer), peer)
        });
        Some(worker.pump.accepted(listener, conn, accepted))
    });
}
