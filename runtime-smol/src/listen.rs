//! Listening sockets: binding them, and `Accept`, `Unlisten` and the connections of [`PEERS`].
//!
//! A socket is asked for a connection only while an `Accept` is in flight: not issuing it is
//! back-pressure, and the connections wait in the kernel's queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use tollgate_core::base::{ConnId, ListenerId};
use tollgate_core::gateway::io::{Completion, IoFailure, Machine, PEERS, Peer};

use crate::socket::{Handle, failure};
use crate::worker::Worker;
use crate::{Address, Listener};

/// Connections that the kernel may hold for us; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// The sockets of all listeners.
#[derive(Debug)]
pub(crate) struct Bound {
    /// By listener.
    pub(crate) addresses: Vec<Address>,
    pub(crate) files: Vec<SocketFile>,
    /// By worker, then by listener; `None` where the worker does not listen.
    pub(crate) sockets: Vec<Vec<Option<OwnedFd>>>,
}

/// Opens the sockets of all `listeners` for each of the `workers`.
pub(crate) fn bind(listeners: &[Listener], workers: usize) -> io::Result<Bound> {
    let mut bound = Bound {
        addresses: Vec::new(),
        files: Vec::new(),
        sockets: (0..workers).map(|_| Vec::new()).collect(),
    };
    for listener in listeners {
        let result = match listener {
            Listener::Tcp(address) => bind_tcp(*address, &mut bound),
            Listener::Unix { path, mode } => bind_unix(path, *mode, &mut bound),
        };
        if let Err(error) = result {
            for file in bound.files {
                file.remove();
            }
            let place = match listener {
                Listener::Tcp(address) => address.to_string(),
                Listener::Unix { path, .. } => path.display().to_string(),
            };
            let message = format!("cannot listen on {place}: {error}");
            return Err(io::Error::new(error.kind(), message));
        }
    }
    Ok(bound)
}

/// The first socket is bound without SO_REUSEPORT, so that a port which another process listens on
/// is refused rather than shared; then it is opened to our other workers.
fn bind_tcp(mut address: SocketAddr, bound: &mut Bound) -> io::Result<()> {
    let shared = bound.sockets.len() > 1;
    for (id, sockets) in bound.sockets.iter_mut().enumerate() {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if id > 0 {
            sockopt::set_socket_reuseport(&socket, true)?;
        }
        rustix::net::bind(&socket, &address)?;
        if id == 0 {
            address = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
            bound.addresses.push(Address::Tcp(address));
            sockopt::set_socket_reuseport(&socket, shared)?;
        }
        // What is accepted from it inherits this.
        sockopt::set_tcp_nodelay(&socket, true)?;
        rustix::net::listen(&socket, BACKLOG)?;
        sockets.push(Some(socket));
    }
    Ok(())
}

fn bind_unix(path: &Path, mode: Option<u32>, bound: &mut Bound) -> io::Result<()> {
    let address = SocketAddrUnix::new(path)?;
    let new = || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None);
    let socket = new()?;
    let mut result = rustix::net::bind(&socket, &address);
    if result == Err(Errno::ADDRINUSE)
        && fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && rustix::net::connect(new()?, &address) == Err(Errno::CONNREFUSED)
    {
        fs::remove_file(path)?;
        result = rustix::net::bind(&socket, &address);
    }
    result?;
    bound.files.push(SocketFile::new(path)?);
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    bound.addresses.push(Address::Unix(path.to_path_buf()));
    let mut socket = Some(socket);
    for sockets in &mut bound.sockets {
        sockets.push(socket.take());
    }
    Ok(())
}

/// A socket file that we made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    inode: (u64, u64),
    path: PathBuf,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<SocketFile> {
        let file = fs::symlink_metadata(path)?;
        Ok(SocketFile {
            inode: (file.dev(), file.ino()),
            path: path.to_path_buf(),
        })
    }

    /// Removes the file, unless another took its place.
    pub(crate) fn remove(self) {
        let file = fs::symlink_metadata(&self.path);
        if file.is_ok_and(|file| (file.dev(), file.ino()) == self.inode) {
            // Without the right to remove it, it stays; the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// One listener of a worker.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    /// The `Accept` in flight.
    asked: Cell<Option<ConnId>>,
    closed: Cell<bool>,
    /// `None` when closed, and on workers that do not listen here.
    handle: RefCell<Option<Rc<Handle>>>,
    /// Connections handed off, for which no `Accept` came yet. Of [`PEERS`] only.
    waiting: RefCell<VecDeque<(OwnedFd, Peer)>>,
    /// There is a task that serves `asked`.
    served: Cell<bool>,
}

impl Listening {
    pub(crate) fn new(socket: Option<OwnedFd>) -> io::Result<Listening> {
        let handle = socket.map(Handle::new).transpose()?.map(Rc::new);
        Ok(Listening {
            handle: RefCell::new(handle),
            ..Listening::default()
        })
    }

    /// The worker ends.
    pub(crate) fn stop(&self) {
        self.closed.set(true);
        self.waiting.take();
        if let Some(handle) = self.handle.take() {
            // A task that waits on it is woken by this.
            let _ = rustix::net::shutdown(handle.fd(), Shutdown::Both);
        }
    }
}

/// `Op::Accept`.
pub(crate) fn accept<M: Machine>(worker: &Rc<Worker<M>>, id: ListenerId, conn: ConnId) {
    let listening = worker.listening(id);
    let before = listening.asked.replace(Some(conn));
    assert!(before.is_none(), "a second Accept on {id:?}");
    if listening.closed.get() {
        refuse(worker, &listening, id);
    } else if id == PEERS {
        adopt_next(worker, &listening);
    } else if !listening.served.get() {
        let handle = listening.handle.borrow().clone();
        if let Some(handle) = handle {
            listening.served.set(true);
            worker.spawn(serve(worker.clone(), listening, id, handle));
        }
    }
}

/// `Op::Unlisten`.
pub(crate) fn unlisten<M: Machine>(worker: &Rc<Worker<M>>, id: ListenerId) {
    let listening = worker.listening(id);
    listening.stop();
    // The task, if it waits, has been woken and finds nothing to do.
    refuse(worker, &listening, id);
    worker.completed(Completion::Unlisten { listener: id });
}

/// A connection arrived from another worker.
pub(crate) fn adopt<M: Machine>(worker: &Rc<Worker<M>>, socket: OwnedFd, peer: Peer) {
    let listening = worker.listening(PEERS);
    if !listening.closed.get() {
        listening.waiting.borrow_mut().push_back((socket, peer));
        adopt_next(worker, &listening);
    }
}

fn adopt_next<M: Machine>(worker: &Rc<Worker<M>>, listening: &Listening) {
    if let Some(conn) = listening.asked.get() {
        let next = listening.waiting.borrow_mut().pop_front();
        if let Some((socket, peer)) = next {
            listening.asked.set(None);
            worker.completed(enter(worker, PEERS, conn, socket, peer));
        }
    }
}

/// Ends an `Accept` in flight.
fn refuse<M: Machine>(worker: &Rc<Worker<M>>, listening: &Listening, listener: ListenerId) {
    if let Some(conn) = listening.asked.take() {
        worker.completed(Completion::Accept {
            listener,
            conn,
            result: Err(IoFailure::Canceled),
        });
    }
}

/// Serves one `Accept` after the other; ends when none was issued in the turn of the last.
async fn serve<M: Machine>(
    worker: Rc<Worker<M>>,
    listening: Rc<Listening>,
    listener: ListenerId,
    handle: Rc<Handle>,
) {
    while listening.asked.get().is_some() {
        let ready = handle.readable().await;
        let Some(conn) = listening.asked.get() else {
            break;
        };
        let taken = match ready {
            Ok(()) => rustix::net::acceptfrom_with(handle.fd(), FLAGS),
            Err(error) => Err(error),
        };
        let completion = match taken {
            Ok((socket, from)) => enter(&worker, listener, conn, socket, peer(from)),
            Err(error) if is_of_connection(error) => continue,
            Err(error) => Completion::Accept {
                listener,
                conn,
                result: Err(failure(error)),
            },
        };
        listening.asked.set(None);
        worker.turn_completion(completion);
    }
    listening.served.set(false);
}

/// Makes `socket` the connection `conn`.
fn enter<M: Machine>(
    worker: &Rc<Worker<M>>,
    listener: ListenerId,
    conn: ConnId,
    socket: OwnedFd,
    peer: Peer,
) -> Completion {
    let result = match Handle::new(socket) {
        Ok(handle) => {
            worker.sockets.borrow_mut().insert(conn, handle, peer);
            Ok(peer)
        }
        Err(error) => Err(failure(error)),
    };
    Completion::Accept {
        listener,
        conn,
        result,
    }
}

fn peer(from: Option<SocketAddrAny>) -> Peer {
    from.and_then(|from| SocketAddr::try_from(from).ok())
        .map_or(Peer::Unix, Peer::Tcp)
}

/// Whether accept(2) failed for the one connection it would have given, or for none: nothing that
/// the machine could do anything about. (Linux hands errors of the new connection to accept; see
/// its manual page.)
fn is_of_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::AGAIN
            | Errno::CONNABORTED
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::INTR
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NONET
            | Errno::NOPROTOOPT
            | Errno::PROTO
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_socket_has_no_delay() {
        let bound = bind(&[Listener::Tcp(([127, 0, 0, 1], 0).into())], 2).unwrap();
        let [Address::Tcp(address)] = bound.addresses[..] else {
            panic!("one listener");
        };
        assert!(std::net::TcpListener::bind(address).is_err());
        // Enough connections that both sockets of the group get some: each is tried.
        let clients: Vec<_> = (0..64)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        let mut accepted = 0;
        for socket in bound.sockets.iter().flatten().flatten() {
            while let Ok((socket, _)) = rustix::net::acceptfrom_with(socket, FLAGS) {
                assert!(sockopt::tcp_nodelay(&socket).unwrap());
                accepted += 1;
            }
        }
        assert_eq!(accepted, clients.len());
    }
}
