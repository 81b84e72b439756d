//! Connections: from an operation to system calls to a completion.
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
use tollgate_core::base::{ConnId, ShardId, WriteBatch};
use tollgate_core::gateway::io::{Completion, IoFailure, Peer, ReadClass};

use crate::mailbox::Letter;
use crate::worker::Worker;

/// Slices of a batch that go into one sendmsg; a batch has at most as many.
const SLICES_MAX: usize = 64;

/// A non-blocking descriptor that can be waited on. It may be of any kind: nothing of TCP is asked.
///
/// On io_uring too, an operation waits for readiness and then asks the kernel without the ring:
/// measured to cost less than a read in flight with 256 bytes of its own, and no buffer is held
/// meanwhile. `Some` until dropped.
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
        self.0.take().map(detach).ok_or(Errno::BADF)
    }

    pub(crate) async fn readable(&self) -> Result<(), Errno> {
        let stream = self.0.as_ref().ok_or(Errno::BADF)?;
        known(stream.readable(false).await)
    }

    async fn writable(&self) -> Result<(), Errno> {
        let stream = self.0.as_ref().ok_or(Errno::BADF)?;
        known(stream.writable(false).await)
    }
}

/// The descriptor, out of monoio's hands. Nothing is in flight on it: who waits keeps its handle.
fn detach(stream: TcpStream) -> OwnedFd {
    // SAFETY: the descriptor is open, and monoio just gave it up.
    unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) }
}

impl Drop for Handle {
    /// monoio itself would close it some time later, by an operation of its own.
    fn drop(&mut self) {
        let stream = self.0.take();
        if std::thread::panicking() {
            // Waiting tasks are torn down in any order: what they hold stays open.
            mem::forget(stream);
        } else {
            drop(stream.map(detach));
        }
    }
}

/// A connection, or what is listened on.
pub(crate) struct Socket {
    /// `Shutdown` is in flight, and waits for the write.
    finishing: Cell<bool>,
    /// The error: it could not be opened.
    handle: Result<Handle, Errno>,
    /// The completion of the `Close` or `Unlisten` in flight.
    last: RefCell<Option<Completion>>,
    /// The last read filled its buffer: there is probably more.
    more: Cell<bool>,
    peer: Peer,
    reading: Cell<bool>,
    pub(crate) worker: Rc<Worker>,
    writing: Cell<bool>,
}

impl Socket {
    pub(crate) fn new(worker: &Rc<Worker>, handle: Result<Handle, Errno>, peer: Peer) -> Rc<Self> {
        Rc::new(Socket {
            finishing: Cell::new(false),
            handle,
            last: RefCell::new(None),
            more: Cell::new(false),
            peer,
            reading: Cell::new(false),
            worker: worker.clone(),
            writing: Cell::new(false),
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
            return self.worker.completed(completion);
        }
        let worker = self.worker.clone();
        worker.spawn(async move {
            loop {
                let ready = self.ready(writes).await;
                if let Some(completion) = step(&self, ready.and_then(|()| self.fd())) {
                    break self.worker.completed(completion);
                }
            }
        });
    }

    async fn ready(&self, writes: bool) -> Result<(), Errno> {
        match &self.handle {
            Ok(handle) if writes => handle.writable().await,
            Ok(handle) => handle.readable().await,
            Err(error) => Err(*error),
        }
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.handle.as_ref().map(Handle::fd).map_err(|error| *error)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.last.borrow().is_some()
    }

    /// What an operation came to, unless closing ended it.
    fn outcome<T>(&self, result: Result<T, Errno>) -> Result<T, IoFailure> {
        result.map_err(|error| match self.is_closing() {
            true => IoFailure::Canceled,
            false => failure(error),
        })
    }

    /// Ends whatever waits on this; `last` is said when it has.
    pub(crate) fn close(self: Rc<Self>, last: Completion, abort: bool) {
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

    fn finish(&self, conn: ConnId) {
        let done = self.fd().and_then(|fd| net::shutdown(fd, Shutdown::Write));
        let result = self.outcome(done);
        self.worker.completed(Completion::Shutdown { conn, result });
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            self.worker.completed(last);
        }
    }
}

/// `Op::Connect`.
pub(crate) fn connect(worker: &Rc<Worker>, conn: ConnId, address: SocketAddr) {
    let socket = worker.insert(conn, open(address), Peer::Tcp(address));
    socket.drive(true, false, move |socket, fd| {
        let result = match fd.and_then(sockopt::socket_error) {
            // It may have been connected a moment before it was shut down.
            _ if socket.is_closing() => Err(Errno::CANCELED),
            Ok(result) => result,
            Err(error) => Err(error),
        };
        let result = socket.outcome(result);
        Some(Completion::Connect { conn, result })
    });
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

/// `Op::Read`.
pub(crate) fn read(worker: &Worker, conn: ConnId, class: ReadClass, mut buf: BytesMut) {
    let socket = worker.socket(conn);
    let before = socket.reading.replace(true);
    assert!(!before, "a second Read on {conn:?}");
    // What was filled to the brim before: likely not to block. A quiet read takes no such chance,
    // for it would then wait with all of its room.
    let eager = socket.more.take() && class == ReadClass::Ready;
    socket.drive(false, eager, move |socket, fd| {
        let result = match fd.and_then(|fd| receive(fd, class, &mut buf)) {
            Err(Errno::AGAIN) => return None,
            // Our own shutdown(2) looks like the end of the stream.
            Ok(0) if socket.is_closing() => Err(Errno::CANCELED),
            result => result,
        };
        socket.reading.set(false);
        socket.more.set(buf.len() == buf.capacity());
        let (buf, result) = (mem::take(&mut buf), socket.outcome(result));
        Some(Completion::Read { conn, buf, result })
    });
}

/// `Op::Write`.
pub(crate) fn write(worker: &Worker, conn: ConnId, mut batch: WriteBatch) {
    let socket = worker.socket(conn);
    let before = socket.writing.replace(true);
    assert!(!before, "a second Write on {conn:?}");
    socket.drive(true, true, move |socket, fd| {
        let sent = fd.and_then(|fd| send(fd, &mut batch));
        if sent == Err(Errno::AGAIN) {
            return None;
        }
        socket.writing.set(false);
        if socket.finishing.take() {
            socket.finish(conn);
        }
        let (batch, result) = (mem::take(&mut batch), socket.outcome(sent));
        Some(Completion::Write {
            conn,
            batch,
            result,
        })
    });
}

/// `Op::Shutdown`.
pub(crate) fn shutdown(worker: &Worker, conn: ConnId) {
    let socket = worker.socket(conn);
    match socket.writing.get() {
        true => socket.finishing.set(true),
        false => socket.finish(conn),
    }
}

/// `Op::HandOff`.
pub(crate) fn hand_off(worker: &Worker, conn: ConnId, to: ShardId) {
    let Some(mut socket) = Rc::into_inner(worker.remove(conn)) else {
        panic!("HandOff of {conn:?}, which is in use");
    };
    let handle = mem::replace(&mut socket.handle, Err(Errno::BADF));
    if let Ok(fd) = handle.and_then(Handle::into_fd) {
        worker.mailbox(to).push(Letter::Adopt(fd, socket.peer));
    }
    worker.completed(Completion::HandOff { conn });
}

/// Reads once into the spare room, without waiting. A quiet read has its room made only now.
fn receive(fd: BorrowedFd<'_>, class: ReadClass, buf: &mut BytesMut) -> Result<usize, Errno> {
    if let ReadClass::Quiet { room } = class {
        buf.reserve(room as usize);
    }
    assert!(buf.len() < buf.capacity(), "a Read without room");
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
    while !batch.is_empty() {
        let count = retry_on_intr(|| match batch.slices() {
            [slice] => net::send(fd, slice, FLAGS),
            slices => {
                let mut vector = [IoSlice::new(&[]); SLICES_MAX];
                let length = slices.len().min(SLICES_MAX);
                for (entry, slice) in vector.iter_mut().zip(slices) {
                    *entry = IoSlice::new(slice);
                }
                let mut control = SendAncillaryBuffer::default();
                net::sendmsg(fd, &vector[..length], &mut control, FLAGS)
            }
        })?;
        batch.advance(count);
    }
    Ok(())
}

/// A system error as core knows it.
pub(crate) fn failure(error: Errno) -> IoFailure {
    match error {
        Errno::ADDRNOTAVAIL | Errno::HOSTUNREACH | Errno::NETUNREACH => IoFailure::Unreachable,
        Errno::CANCELED => IoFailure::Canceled,
        Errno::CONNABORTED | Errno::CONNRESET => IoFailure::Reset,
        Errno::CONNREFUSED => IoFailure::Refused,
        Errno::MFILE | Errno::NFILE => IoFailure::DescriptorsExhausted,
        Errno::PIPE => IoFailure::BrokenPipe,
        Errno::TIMEDOUT => IoFailure::TimedOut,
        other => IoFailure::Other(other.raw_os_error()),
    }
}

fn known<T>(result: io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
