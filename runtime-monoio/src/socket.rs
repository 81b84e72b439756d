//! Connections: from an operation to system calls to a completion.
//!
//! What the kernel can do at once is done at once, inside the machine's turn, and its completion
//! queued. Only what would block gets a task, which waits until the socket is ready. `Close` wakes
//! such tasks by shutdown(2) on the descriptor, whatever they wait for; the last of them to end
//! closes.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use monoio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType,
    sockopt,
};
use tollgate_core::base::{ConnId, Id, ShardId, WriteBatch};
use tollgate_core::gateway::io::{Completion, IoFailure, Machine, Peer, ReadClass};

use crate::mailbox::Letter;
use crate::worker::Worker;

/// Slices of a batch that go into one sendmsg; a batch has at most as many.
const SLICES_MAX: usize = 64;

/// A descriptor that can be waited on.
///
/// On io_uring too, a read waits for readiness and then asks the kernel without the ring: measured
/// to cost less than a read in flight with 256 bytes of its own, and no buffer is held meanwhile.
///
/// monoio would close what is dropped some time later, by an operation of its own; a handle closes
/// it when it is dropped. Tasks that wait on it keep it, so nothing is in flight then.
#[derive(Debug)]
pub(crate) struct Handle {
    /// `Some` until dropped.
    stream: Option<TcpStream>,
}

impl Handle {
    /// `fd` must be non-blocking. It may be of any kind that can be polled: nothing of TCP is
    /// asked.
    pub(crate) fn new(fd: OwnedFd) -> Result<Handle, Errno> {
        match TcpStream::from_std(fd.into()) {
            Ok(stream) => Ok(Handle {
                stream: Some(stream),
            }),
            Err(error) => Err(errno(&error)),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        let fd = self.stream.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        // SAFETY: `stream` owns the descriptor, and lives as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    fn into_fd(mut self) -> Result<OwnedFd, Errno> {
        self.take().ok_or(Errno::BADF)
    }

    /// The descriptor, out of monoio's hands.
    fn take(&mut self) -> Option<OwnedFd> {
        let fd = self.stream.take()?.into_raw_fd();
        // SAFETY: the descriptor is open, and monoio just gave it up.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(crate) async fn readable(&self) -> Result<(), Errno> {
        let stream = self.stream.as_ref().ok_or(Errno::BADF)?;
        stream.readable(false).await.map_err(|error| errno(&error))
    }

    async fn writable(&self) -> Result<(), Errno> {
        let stream = self.stream.as_ref().ok_or(Errno::BADF)?;
        stream.writable(false).await.map_err(|error| errno(&error))
    }

    /// No buffer is held while a connection is quiet.
    async fn read(&self, class: ReadClass, mut buf: BytesMut) -> (Result<usize, Errno>, BytesMut) {
        loop {
            if let Err(error) = self.readable().await {
                return (Err(error), buf);
            }
            make_room(class, &mut buf);
            match receive(self.fd(), &mut buf) {
                Err(Errno::AGAIN) => (),
                result => return (result, buf),
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Waiting tasks are torn down in any order: what they hold stays open.
            std::mem::forget(self.stream.take());
        }
        drop(self.take());
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The read in flight that [`read_all`] takes up next.
    asked: RefCell<Option<(ReadClass, BytesMut)>>,
    /// `Close` is in flight.
    closing: Cell<bool>,
    /// `Shutdown` is in flight, and waits for the write.
    finishing: Cell<bool>,
    /// `None`: it could not be opened.
    handle: Option<Handle>,
    /// Operations in flight, `Close` not counted.
    in_flight: Cell<u8>,
    /// The last read filled its buffer: there is probably more.
    more: Cell<bool>,
    peer: Peer,
    /// [`read_all`] runs.
    served: Cell<bool>,
    writing: Cell<bool>,
}

impl Socket {
    fn new(handle: Option<Handle>, peer: Peer) -> Socket {
        Socket {
            asked: RefCell::new(None),
            closing: Cell::new(false),
            finishing: Cell::new(false),
            handle,
            in_flight: Cell::new(0),
            more: Cell::new(false),
            peer,
            served: Cell::new(false),
            writing: Cell::new(false),
        }
    }

    fn begin(&self) -> Result<&Handle, Errno> {
        assert!(!self.closing.get(), "an operation after Close");
        self.in_flight.set(self.in_flight.get() + 1);
        self.handle.as_ref().ok_or(Errno::NOTCONN)
    }

    /// What an operation came to, unless `Close` ended it.
    fn outcome<T>(&self, result: Result<T, Errno>) -> Result<T, IoFailure> {
        match result {
            Err(_) if self.closing.get() => Err(IoFailure::Canceled),
            result => result.map_err(failure),
        }
    }

    /// Ends whatever waits on this socket.
    fn wake(&self, abort: bool) {
        let Some(handle) = &self.handle else {
            return;
        };
        // Neither can fail in a way that leaves somebody waiting: a socket that is not connected
        // any more has woken its waiters already.
        let reset = abort && rustix::net::connect_unspec(handle.fd()).is_ok();
        if !reset {
            let _ = rustix::net::shutdown(handle.fd(), Shutdown::Both);
        }
    }
}

/// The connections of a worker, by the index of their id.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    slots: Vec<Option<(u32, Rc<Socket>)>>,
}

impl Sockets {
    pub(crate) fn insert(&mut self, conn: ConnId, handle: Handle, peer: Peer) {
        self.put(conn, Socket::new(Some(handle), peer));
    }

    fn put(&mut self, conn: ConnId, socket: Socket) -> Rc<Socket> {
        let Id { index, generation } = conn.0;
        let index = index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let socket = Rc::new(socket);
        let before = self.slots[index].replace((generation, socket.clone()));
        assert!(before.is_none(), "{conn:?} is in use");
        socket
    }

    fn find(&self, conn: ConnId) -> Rc<Socket> {
        let slot = self.slots.get(conn.0.index as usize);
        match slot {
            Some(Some((generation, socket))) if *generation == conn.0.generation => socket.clone(),
            _ => panic!("{conn:?} does not exist"),
        }
    }

    fn remove(&mut self, conn: ConnId) {
        if let Some(slot) = self.slots.get_mut(conn.0.index as usize) {
            *slot = None;
        }
    }

    /// The worker ends: whoever waits is woken, and nobody is told.
    pub(crate) fn stop(&mut self) {
        for (_, socket) in self.slots.drain(..).flatten() {
            socket.closing.set(true);
            socket.wake(false);
        }
    }
}

/// `Op::Connect`.
pub(crate) fn connect<M: Machine>(worker: &Rc<Worker<M>>, conn: ConnId, address: SocketAddr) {
    let (handle, opened) = match open(address) {
        Ok(handle) => (Some(handle), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let socket = Socket::new(handle, Peer::Tcp(address));
    let socket = worker.sockets.borrow_mut().put(conn, socket);
    // Without a handle this fails, and so did `open`.
    let _ = socket.begin();
    match opened {
        Ok(()) => worker.spawn(await_connect(worker.clone(), socket, conn)),
        Err(error) => {
            let result = socket.outcome(Err(error));
            ended(worker, &socket, conn, Completion::Connect { conn, result });
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
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    match rustix::net::connect(&fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Handle::new(fd),
        Err(error) => Err(error),
    }
}

async fn await_connect<M: Machine>(worker: Rc<Worker<M>>, socket: Rc<Socket>, conn: ConnId) {
    let mut result = Ok(());
    if let Some(handle) = &socket.handle {
        result = handle.writable().await;
        result = result.and_then(|()| sockopt::socket_error(handle.fd()).and_then(|error| error));
    }
    if socket.closing.get() {
        // It may have been connected a moment before it was shut down.
        result = Err(Errno::CANCELED);
    }
    let result = socket.outcome(result);
    ended_turn(&worker, &socket, conn, Completion::Connect { conn, result });
}

/// `Op::Read`.
pub(crate) fn read<M: Machine>(
    worker: &Rc<Worker<M>>,
    conn: ConnId,
    class: ReadClass,
    mut buf: BytesMut,
) {
    let socket = worker.sockets.borrow().find(conn);
    let begun = socket.begin().map(|handle| {
        // What was filled to the brim before: likely not to block. A quiet read takes no such
        // chance, for it would then wait with all of its room.
        let try_now = socket.more.take() && class == ReadClass::Ready;
        try_now.then(|| {
            make_room(class, &mut buf);
            receive(handle.fd(), &mut buf)
        })
    });
    let result = match begun {
        Ok(None | Some(Err(Errno::AGAIN))) => {
            let before = socket.asked.replace(Some((class, buf)));
            assert!(before.is_none(), "a second Read on {conn:?}");
            if !socket.served.replace(true) {
                worker.spawn(read_all(worker.clone(), socket, conn));
            }
            return;
        }
        Ok(Some(result)) => result,
        Err(error) => Err(error),
    };
    let completion = read_completion(&socket, conn, buf, result);
    ended(worker, &socket, conn, completion);
}

/// Serves one `Read` after the other; ends when none was issued in the turn of the last.
async fn read_all<M: Machine>(worker: Rc<Worker<M>>, socket: Rc<Socket>, conn: ConnId) {
    if let Some(handle) = &socket.handle {
        loop {
            let asked = socket.asked.take();
            let Some((class, buf)) = asked else {
                break;
            };
            let (result, buf) = handle.read(class, buf).await;
            let completion = read_completion(&socket, conn, buf, result);
            ended_turn(&worker, &socket, conn, completion);
        }
    }
    socket.served.set(false);
}

fn read_completion(
    socket: &Socket,
    conn: ConnId,
    buf: BytesMut,
    result: Result<usize, Errno>,
) -> Completion {
    let full = buf.len() == buf.capacity();
    socket.more.set(full && result.is_ok_and(|count| count > 0));
    let result = match result {
        // Our own shutdown(2) looks like the end of the stream.
        Ok(0) if socket.closing.get() => Err(IoFailure::Canceled),
        result => socket.outcome(result),
    };
    Completion::Read { conn, buf, result }
}

/// `Op::Write`.
pub(crate) fn write<M: Machine>(worker: &Rc<Worker<M>>, conn: ConnId, mut batch: WriteBatch) {
    let socket = worker.sockets.borrow().find(conn);
    let sent = socket
        .begin()
        .and_then(|handle| send(handle.fd(), &mut batch));
    assert!(!socket.writing.get(), "a second Write on {conn:?}");
    if sent == Err(Errno::AGAIN) {
        socket.writing.set(true);
        worker.spawn(await_write(worker.clone(), socket, conn, batch));
    } else {
        let result = socket.outcome(sent);
        let completion = Completion::Write {
            conn,
            batch,
            result,
        };
        ended(worker, &socket, conn, completion);
    }
}

/// Writes what the kernel did not take at once.
async fn await_write<M: Machine>(
    worker: Rc<Worker<M>>,
    socket: Rc<Socket>,
    conn: ConnId,
    mut batch: WriteBatch,
) {
    let mut result = Ok(());
    if let Some(handle) = &socket.handle {
        loop {
            result = handle.writable().await;
            result = result.and_then(|()| send(handle.fd(), &mut batch));
            if result != Err(Errno::AGAIN) {
                break;
            }
        }
    }
    socket.writing.set(false);
    let result = socket.outcome(result);
    if socket.finishing.take() {
        shutdown_now(&worker, &socket, conn);
    }
    let completion = Completion::Write {
        conn,
        batch,
        result,
    };
    ended_turn(&worker, &socket, conn, completion);
}

/// `Op::Shutdown`.
pub(crate) fn shutdown<M: Machine>(worker: &Rc<Worker<M>>, conn: ConnId) {
    let socket = worker.sockets.borrow().find(conn);
    // Without a handle this fails, and so does `shutdown_now`.
    let _ = socket.begin();
    if socket.writing.get() {
        socket.finishing.set(true);
    } else {
        shutdown_now(worker, &socket, conn);
    }
}

fn shutdown_now<M: Machine>(worker: &Rc<Worker<M>>, socket: &Rc<Socket>, conn: ConnId) {
    let done = match &socket.handle {
        Some(handle) => rustix::net::shutdown(handle.fd(), Shutdown::Write),
        None => Err(Errno::NOTCONN),
    };
    let result = socket.outcome(done);
    ended(worker, socket, conn, Completion::Shutdown { conn, result });
}

/// `Op::Close`.
pub(crate) fn close<M: Machine>(worker: &Rc<Worker<M>>, conn: ConnId, abort: bool) {
    let socket = worker.sockets.borrow().find(conn);
    assert!(!socket.closing.replace(true), "a second Close on {conn:?}");
    if let Some(handle) = &socket.handle
        && abort
    {
        // Unix sockets know no RST.
        let _ = sockopt::set_socket_linger(handle.fd(), Some(Duration::ZERO));
    }
    if socket.in_flight.get() == 0 {
        worker.sockets.borrow_mut().remove(conn);
        drop(socket);
        worker.completed(Completion::Close { conn });
    } else {
        socket.wake(abort);
    }
}

/// `Op::HandOff`.
pub(crate) fn hand_off<M: Machine>(worker: &Rc<Worker<M>>, conn: ConnId, to: ShardId) {
    let socket = worker.sockets.borrow().find(conn);
    worker.sockets.borrow_mut().remove(conn);
    let unused = Rc::into_inner(socket).filter(|socket| socket.in_flight.get() == 0);
    assert!(unused.is_some(), "HandOff of {conn:?}, which is in use");
    if let Some(Socket { handle, peer, .. }) = unused
        && let Some(Ok(fd)) = handle.map(Handle::into_fd)
    {
        worker.mailbox(to).push(Letter::Adopt(fd, peer));
    }
    worker.completed(Completion::HandOff { conn });
}

/// An operation ended inside the turn.
fn ended<M: Machine>(
    worker: &Rc<Worker<M>>,
    socket: &Rc<Socket>,
    conn: ConnId,
    completion: Completion,
) {
    worker.completed(completion);
    count_down(worker, socket, conn);
}

/// An operation ended in a task.
fn ended_turn<M: Machine>(
    worker: &Rc<Worker<M>>,
    socket: &Rc<Socket>,
    conn: ConnId,
    completion: Completion,
) {
    // What this queues is handled after `completion`.
    count_down(worker, socket, conn);
    worker.turn_completion(completion);
}

/// The last operation in flight lets `Close` complete.
fn count_down<M: Machine>(worker: &Rc<Worker<M>>, socket: &Rc<Socket>, conn: ConnId) {
    socket.in_flight.set(socket.in_flight.get() - 1);
    if socket.closing.get() && socket.in_flight.get() == 0 {
        worker.sockets.borrow_mut().remove(conn);
        worker.completed(Completion::Close { conn });
    }
}

fn make_room(class: ReadClass, buf: &mut BytesMut) {
    if let ReadClass::Quiet { room } = class {
        buf.reserve(room as usize);
    }
    assert!(buf.len() < buf.capacity(), "a Read without room");
}

/// Reads once into the spare room, without waiting.
fn receive(fd: BorrowedFd<'_>, buf: &mut BytesMut) -> Result<usize, Errno> {
    let count = loop {
        match rustix::net::recv(fd, buf.spare_capacity_mut(), RecvFlags::DONTWAIT) {
            Ok(((init, _), _)) => break init.len(),
            Err(Errno::INTR) => (),
            Err(error) => return Err(error),
        }
    };
    // SAFETY: the first `count` bytes of the spare room were just initialised by recv.
    unsafe { buf.set_len(buf.len() + count) };
    Ok(count)
}

/// Writes as much of `batch` as the kernel takes without waiting; AGAIN when some is left.
fn send(fd: BorrowedFd<'_>, batch: &mut WriteBatch) -> Result<(), Errno> {
    const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
    while !batch.is_empty() {
        let count = match batch.slices() {
            [slice] => rustix::net::send(fd, slice, FLAGS),
            slices => {
                let mut vector = [IoSlice::new(&[]); SLICES_MAX];
                let length = slices.len().min(SLICES_MAX);
                for (entry, slice) in vector.iter_mut().zip(slices) {
                    *entry = IoSlice::new(slice);
                }
                let mut control = SendAncillaryBuffer::default();
                rustix::net::sendmsg(fd, &vector[..length], &mut control, FLAGS)
            }
        };
        match count {
            Ok(count) => batch.advance(count),
            Err(Errno::INTR) => (),
            Err(error) => return Err(error),
        }
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

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
