//! Sockets: from an operation to system calls to a completion.
//!
//! What the kernel can do at once is done at once, inside the machine's turn. Only what would block
//! gets a task, which waits until the socket is ready and tries again ([`Socket::drive`]). `Close`
//! ends such waits by what it does to the descriptor; the last task to let go of the socket closes.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;

use bytes::BytesMut;
use monoio::net::TcpStream;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags};
use rustix::net::{AddressFamily, SocketType, sockopt};
use tollgate_core::base::{ConnId, ListenerId, ShardId, WriteBatch};
use tollgate_core::gateway::io::{Completion, IoFailure, Peer, ReadClass};
use tollgate_core::gateway::pump;

use crate::listen;
use crate::mailbox::Letter;
use crate::worker::Worker;

/// A non-blocking descriptor that can be waited on. It may be of any kind: nothing of TCP is asked.
///
/// On io_uring too, an operation waits for readiness and then asks the kernel without the ring.
/// That costs no more than a read in flight with a buffer of its own, less than one whose buffer is
/// too small, and holds none meanwhile (`read_classes.rs` of the benches). `Some` until dropped.
pub(crate) struct Handle(Option<TcpStream>);

impl Handle {
    pub(crate) fn new(fd: OwnedFd) -> Result<Handle, Errno> {
        known(TcpStream::from_std(fd.into())).map(|stream| Handle(Some(stream)))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        let fd = self.0.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        // SAFETY: the stream owns the descriptor, and lives as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    fn into_fd(mut self) -> Result<OwnedFd, Errno> {
        self.detach().ok_or(Errno::BADF)
    }

    /// Waits until it can be written to, or read from.
    pub(crate) async fn ready(&self, writes: bool) -> Result<(), Errno> {
        let stream = self.0.as_ref().ok_or(Errno::BADF)?;
        known(match writes {
            true => stream.writable(false).await,
            false => stream.readable(false).await,
        })
    }

    /// The descriptor, out of monoio's hands. Nothing is in flight on it: who waits keeps `self`.
    fn detach(&mut self) -> Option<OwnedFd> {
        let stream = self.0.take()?;
        // SAFETY: the descriptor is open, and monoio just gave it up.
        Some(unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) })
    }
}

impl Drop for Handle {
    /// monoio itself would close it some time later, by an operation of its own.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Waiting tasks are torn down in any order: what they hold stays open.
            mem::forget(self.0.take());
        } else {
            drop(self.detach());
        }
    }
}

/// A connection, or what is listened on.
pub(crate) struct Socket {
    /// The error: it could not be opened.
    handle: Result<Handle, Errno>,
    /// What is told last, once it is being closed.
    last: RefCell<Option<Completion>>,
    /// The last read filled its buffer: there is probably more.
    more: Cell<bool>,
    peer: Peer,
    pub(crate) worker: Rc<Worker>,
}

impl Socket {
    pub(crate) fn new(worker: &Rc<Worker>, handle: Result<Handle, Errno>, peer: Peer) -> Rc<Self> {
        Rc::new(Socket {
            handle,
            last: RefCell::new(None),
            more: Cell::new(false),
            peer,
            worker: worker.clone(),
        })
    }

    /// Takes `step` after `step` until one has come to something: the first at once if `eager`,
    /// each other when the socket is ready (for writing, or for reading) or waiting has failed.
    pub(crate) fn drive(
        self: Rc<Self>,
        writes: bool,
        eager: bool,
        mut step: impl FnMut(&Socket, Result<BorrowedFd, Errno>) -> Option<Completion> + 'static,
    ) {
        if eager && let Some(completion) = step(&self, self.fd()) {
            return self.worker.pump.completed(completion);
        }
        let worker = self.worker.clone();
        worker.spawn(async move {
            loop {
                let ready = match &self.handle {
                    Ok(handle) => handle.ready(writes).await,
                    Err(error) => Err(*error),
                };
                if let Some(completion) = step(&self, ready.and_then(|()| self.fd())) {
                    break self.worker.pump.completed(completion);
                }
            }
        });
    }

    /// What a step came to: nothing if it would block, `Canceled` once the socket is being closed.
    pub(crate) fn outcome<T>(&self, result: Result<T, Errno>) -> Option<Result<T, IoFailure>> {
        match result {
            _ if self.last.borrow().is_some() => Some(Err(IoFailure::Canceled)),
            Err(Errno::AGAIN) => None,
            result => Some(result.map_err(|error| io::Error::from(error).into())),
        }
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.handle.as_ref().map(Handle::fd).map_err(|error| *error)
    }
}

impl pump::Socket for Socket {
    type Worker = Worker;

    fn accept(self: Rc<Self>, listener: ListenerId, conn: ConnId) {
        listen::accept(self, listener, conn);
    }

    fn connect(worker: &Rc<Worker>, conn: ConnId, address: SocketAddr) -> Rc<Self> {
        let socket = Socket::new(worker, open(address), Peer::Tcp(address));
        socket.clone().drive(true, false, move |socket, fd| {
            let result = fd.and_then(|fd| sockopt::socket_error(fd)?);
            let result = socket.outcome(result)?;
            Some(Completion::Connect { conn, result })
        });
        socket
    }

    fn read(self: Rc<Self>, conn: ConnId, class: ReadClass, mut buf: BytesMut) {
        // What was filled to the brim before: likely not to block. A quiet read takes no such
        // chance, for it would then wait with all of its room.
        let eager = self.more.take() && class == ReadClass::Ready;
        self.drive(false, eager, move |socket, fd| {
            let result = fd.and_then(|fd| receive(fd, class, &mut buf));
            let result = socket.outcome(result)?;
            socket.more.set(buf.len() == buf.capacity());
            let buf = mem::take(&mut buf);
            Some(Completion::Read { conn, buf, result })
        });
    }

    fn write(self: Rc<Self>, conn: ConnId, mut batch: WriteBatch) {
        self.drive(true, true, move |socket, fd| {
            let result = fd.and_then(|fd| send(fd, &mut batch));
            let result = socket.outcome(result)?;
            let batch = mem::take(&mut batch);
            Some(Completion::Write {
                conn,
                batch,
                result,
            })
        });
    }

    fn shutdown(self: Rc<Self>, conn: ConnId) {
        self.drive(true, true, move |socket, fd| {
            let result = fd.and_then(|fd| net::shutdown(fd, Shutdown::Write));
            let result = socket.outcome(result)?;
            Some(Completion::Shutdown { conn, result })
        });
    }

    fn hand_off(self: Rc<Self>, to: ShardId) {
        let Some(mut socket) = Rc::into_inner(self) else {
            panic!("a connection was handed off that is in use");
        };
        let handle = mem::replace(&mut socket.handle, Err(Errno::BADF));
        if let Ok(fd) = handle.and_then(Handle::into_fd) {
            let letter = Letter::Adopt(fd, socket.peer);
            socket.worker.mailbox(to).push(letter);
        }
    }

    fn close(self: Rc<Self>, last: Completion, abort: bool) {
        self.last.replace(Some(last));
        if let Ok(fd) = self.fd() {
            // Neither can fail in a way that leaves somebody waiting: a socket that is no longer
            // connected has woken its waiters already. The first sends RST; Unix sockets know none.
            let reset = abort && net::connect_unspec(fd).is_ok();
            if !reset && Rc::strong_count(&self) > 1 {
                let _ = net::shutdown(fd, Shutdown::Both);
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            self.worker.pump.completed(last);
        }
    }
}

/// Begins to connect.
fn open(address: SocketAddr) -> Result<Handle, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    match net::connect(&fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Handle::new(fd),
        Err(error) => Err(error),
    }
}

/// Reads once into the spare room, without waiting. A quiet read has its room made only now.
fn receive(fd: BorrowedFd<'_>, class: ReadClass, buf: &mut BytesMut) -> Result<usize, Errno> {
    class.make_room(buf);
    let count = retry_on_intr(|| {
        let received = net::recv(fd, buf.spare_capacity_mut(), RecvFlags::DONTWAIT);
        received.map(|((bytes, _), _)| bytes.len())
    })?;
    // SAFETY: the first `count` bytes of the spare room were just initialised by recv.
    unsafe { buf.set_len(buf.len() + count) };
    Ok(count)
}

/// Writes as much of `batch` as the kernel takes without waiting; AGAIN when some is left.
fn send(fd: BorrowedFd<'_>, batch: &mut WriteBatch) -> Result<(), Errno> {
    const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
    let send = |slices: &[IoSlice<'_>]| match slices {
        [slice] => net::send(fd, slice, FLAGS),
        slices => net::sendmsg(fd, slices, &mut SendAncillaryBuffer::default(), FLAGS),
    };
    batch.write_by(|slices| retry_on_intr(|| send(slices)))
}

fn known<T>(result: io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
