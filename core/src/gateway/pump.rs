//! [`Pump`]: all of a runtime that is not I/O, for whoever writes one.
//!
//! It feeds a machine and carries out what the machine asks for: it keeps the sockets by their
//! names, matches connections that other shards hand off with the `Accept` that waits for them,
//! asks the host, and holds the contract of [`io`](super::io) against the machine. What is left to
//! a runtime is
//!
//! - the operations on one socket, in a type that implements [`Socket`];
//! - threads: one for each machine, with a way to give each other's pump inputs ([`Post`]);
//! - a loop: give the pump what came ([`push`](Pump::push), [`arrive`](Pump::arrive)), call
//!   [`turn`](Pump::turn), do what its [`Rest`] says, wait.
//!
//! ```text
//!  letters, timer ───push───▶ ┌──────┐ ──handle──▶ Machine
//!  ended I/O ───completed────▶ │ Pump │ ◀─outputs── (the Shard)
//!  read, write … ◀──────────── └──────┘ ──────────▶ Host, Post
//! ```
//!
//! A pump is of one thread. It may be called from within an operation that it has asked for, except
//! [`turn`](Pump::turn): what ended at once is heard of in the same turn.

use core::cell::{Cell, RefCell, RefMut};
use core::mem::replace;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::io::{Completion, Host, Input, IoFailure, Machine, Op, Output, PEERS, Peer, ReadClass};
use crate::base::{ConnId, Instant, ListenerId, Now, ShardId, WriteBatch};

/// Inputs handled in one turn, so that other work of the thread is not kept waiting.
const INPUTS_MAX: usize = 64;

/// Gives an input to the worker of a shard, from any thread; to be queued, and followed by a turn.
pub type Post = Arc<dyn Fn(ShardId, Input) + Send + Sync>;

/// A connection, or what is listened on: the operations of a runtime.
///
/// Each but [`connect`](Socket::connect) is called with a share of the socket, and when it has
/// ended, at once or later, the pump is told by [`Pump::completed`]. The pump has made sure that
/// the machine may ask for it.
pub trait Socket {
    /// What new connections are made by.
    type Worker;

    /// [`Op::Accept`] on this. [`Pump::accepted`] makes the completion.
    fn accept(self: Rc<Self>, listener: ListenerId, conn: ConnId);

    /// [`Op::Connect`]. What can be known at once, a failure too, is told as any other end is.
    fn connect(worker: &Rc<Self::Worker>, conn: ConnId, address: SocketAddr) -> Rc<Self>;

    /// [`Op::Read`].
    fn read(self: Rc<Self>, conn: ConnId, class: ReadClass, buf: BytesMut);

    /// [`Op::Write`].
    fn write(self: Rc<Self>, conn: ConnId, batch: WriteBatch);

    /// [`Op::Shutdown`].
    fn shutdown(self: Rc<Self>, conn: ConnId);

    /// [`Op::HandOff`]: the only share left, on its way to [`Pump::arrive`] at another worker. The
    /// pump tells the machine.
    fn hand_off(self: Rc<Self>, to: ShardId);

    /// [`Op::Close`] and [`Op::Unlisten`]: ends all that is in flight on this; when that has ended,
    /// `last` is to be told.
    fn close(self: Rc<Self>, last: Completion, abort: bool);
}

/// What follows a turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rest {
    /// Inputs are left: let others have the thread, then turn again.
    Again,
    /// The machine has drained, or [`Pump::end`] was called: all sockets are being closed.
    Over,
    /// Wait for something to [`push`](Pump::push), and no longer than this before a
    /// [`tick`](Pump::tick). It replaces what was said before.
    Until(Duration),
    /// Wait for something to push, or for what [`Until`](Rest::Until) said last. (A deadline that
    /// moved away costs nothing; the tick that comes too early is harmless.)
    Wait,
}

/// A machine, its inputs and its sockets; see the [module](self).
pub struct Pump<S> {
    /// By the index of their names.
    conns: RefCell<Vec<Option<Conn<S>>>>,
    /// When a tick will come.
    due: Cell<Instant>,
    host: Arc<dyn Host>,
    id: ShardId,
    inputs: RefCell<VecDeque<Input>>,
    is_over: Cell<bool>,
    /// The first is [`PEERS`].
    listeners: RefCell<Vec<Listener<S>>>,
    machine: RefCell<Box<dyn Machine>>,
    post: Post,
}

struct Conn<S> {
    is_reading: bool,
    is_writing: bool,
    name: ConnId,
    socket: Rc<S>,
}

struct Listener<S> {
    /// The `Accept` in flight, where there is no socket.
    asked: Option<ConnId>,
    is_closed: bool,
    socket: Option<Rc<S>>,
    /// Handed off by others, and not yet asked for.
    waiting: VecDeque<(Rc<S>, Peer)>,
}

impl<S> Listener<S> {
    const fn new(socket: Option<Rc<S>>) -> Listener<S> {
        Listener {
            asked: None,
            is_closed: false,
            socket,
            waiting: VecDeque::new(),
        }
    }
}

impl<S: Socket> Pump<S> {
    /// A pump for `machine`, which is shard `id`.
    pub fn new(id: ShardId, machine: Box<dyn Machine>, host: Arc<dyn Host>, post: Post) -> Self {
        Pump {
            conns: RefCell::default(),
            due: Cell::new(Instant::FAR),
            host,
            id,
            inputs: RefCell::default(),
            is_over: Cell::new(false),
            listeners: RefCell::new(vec![Listener::new(None)]),
            machine: RefCell::new(machine),
            post,
        }
    }

    /// Adds the next listener, before the first turn. Without a socket no connection comes there.
    pub fn listen(&self, socket: Option<Rc<S>>) {
        self.listeners.borrow_mut().push(Listener::new(socket));
    }

    /// Whether the machine hears nothing any more.
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Queues an input. Completions of a socket's operations: [`completed`](Pump::completed).
    pub fn push(&self, input: Input) {
        if !self.is_over() {
            self.inputs.borrow_mut().push_back(input);
        }
    }

    /// The time has come that [`Rest::Until`] said.
    pub fn tick(&self) {
        self.due.set(Instant::FAR);
        self.push(Input::Tick);
    }

    /// An operation on a socket ended.
    pub fn completed(&self, completion: Completion) {
        // A connection that is being closed is no longer here.
        let mut conns = self.conns.borrow_mut();
        match completion {
            Completion::Read { conn: name, .. } => {
                if let Some(Some(conn)) = place(&mut conns, name) {
                    conn.is_reading = false;
                }
            }
            Completion::Write { conn: name, .. } => {
                if let Some(Some(conn)) = place(&mut conns, name) {
                    conn.is_writing = false;
                }
            }
            _ => (),
        }
        drop(conns);
        self.push(Input::Complete(completion));
    }

    /// What to tell of an `Accept` that ended. What it brought is from now on `conn`.
    #[must_use]
    pub fn accepted(
        &self,
        listener: ListenerId,
        conn: ConnId,
        result: Result<(Rc<S>, Peer), IoFailure>,
    ) -> Completion {
        let result = result.map(|(socket, peer)| {
            self.insert(conn, socket);
            peer
        });
        Completion::Accept {
            listener,
            conn,
            result,
        }
    }

    /// A connection came that another shard handed off. It waits until it is asked for.
    pub fn arrive(&self, socket: Rc<S>, peer: Peer) {
        if self.is_over() {
            return;
        }
        self.listener(PEERS).waiting.push_back((socket, peer));
        self.pair(PEERS);
    }

    /// Gives the machine what is queued, and begins all that it asks for.
    pub fn turn(&self, worker: &Rc<S::Worker>, now: Now) -> Rest {
        let mut left = INPUTS_MAX;
        while !self.is_over() {
            // The machine is not borrowed while an output is carried out.
            let output = self.machine.borrow_mut().poll_output();
            if let Some(output) = output {
                self.perform(worker, output);
                continue;
            }
            if left == 0 {
                return Rest::Again;
            }
            left -= 1;
            let input = self.inputs.borrow_mut().pop_front();
            let Some(input) = input else {
                return self.rest(now);
            };
            self.machine.borrow_mut().handle(now, input);
        }
        Rest::Over
    }

    /// Closes all sockets; the machine hears nothing any more.
    pub fn end(&self) {
        self.is_over.set(true);
        let listeners = self.listeners.take().into_iter();
        let conns = self.conns.take().into_iter().flatten();
        let sockets = listeners.filter_map(|listener| listener.socket);
        for socket in sockets.chain(conns.map(|conn| conn.socket)) {
            // Nobody hears it.
            socket.close(Completion::Unlisten { listener: PEERS }, false);
        }
    }

    fn rest(&self, now: Now) -> Rest {
        let due = self.machine.borrow().poll_timeout();
        let due = due.unwrap_or(Instant::FAR);
        if due <= now.mono {
            self.push(Input::Tick);
            return Rest::Again;
        }
        if due >= self.due.get() {
            return Rest::Wait;
        }
        self.due.set(due);
        Rest::Until(due.since(now.mono))
    }

    fn perform(&self, worker: &Rc<S::Worker>, output: Output) {
        let op = match output {
            Output::Op(op) => op,
            Output::Send { to, message } => {
                let from = self.id;
                return (self.post)(to, Input::Message { from, message });
            }
            Output::Record(record) => return self.host.record(self.id, record),
            Output::Drained => return self.end(),
        };
        match op {
            Op::Accept { listener, conn } => self.accept(listener, conn),
            Op::Unlisten { listener } => self.unlisten(listener),
            Op::HandOff { conn, to } => {
                self.remove(conn).hand_off(to);
                self.completed(Completion::HandOff { conn });
            }
            Op::Connect { conn, address } => {
                self.insert(conn, S::connect(worker, conn, address));
            }
            Op::Read { conn, class, buf } => {
                let socket = self.share(conn, |conn| replace(&mut conn.is_reading, true));
                socket.read(conn, class, buf);
            }
            Op::Write { conn, batch } => {
                let socket = self.share(conn, |conn| replace(&mut conn.is_writing, true));
                socket.write(conn, batch);
            }
            Op::Shutdown { conn } => self.share(conn, |conn| conn.is_writing).shutdown(conn),
            Op::Close { conn, abort } => {
                self.remove(conn).close(Completion::Close { conn }, abort);
            }
            Op::Resolve { ticket, host, port } => {
                let reply = self.reply(move |result| Completion::Resolve { ticket, result });
                self.host.resolve(host, port, reply);
            }
            Op::Host { ticket, work } => {
                let reply = self.reply(move |done| Completion::Host { ticket, done });
                self.host.perform(work, reply);
            }
        }
    }

    /// What the host calls, from any thread, with the answer.
    fn reply<T>(
        &self,
        complete: impl FnOnce(T) -> Completion + Send + 'static,
    ) -> Box<dyn FnOnce(T) + Send> {
        let (post, id) = (self.post.clone(), self.id);
        Box::new(move |answer| post(id, Input::Complete(complete(answer))))
    }

    fn accept(&self, id: ListenerId, conn: ConnId) {
        let mut listener = self.listener(id);
        if let Some(socket) = listener.socket.clone() {
            drop(listener);
            return socket.accept(id, conn);
        }
        let before = listener.asked.replace(conn);
        assert!(before.is_none(), "a second Accept on {id:?}");
        drop(listener);
        self.pair(id);
    }

    fn unlisten(&self, id: ListenerId) {
        let mut listener = self.listener(id);
        listener.is_closed = true;
        let socket = listener.socket.take();
        drop(listener);
        self.pair(id);
        let last = Completion::Unlisten { listener: id };
        match socket {
            Some(socket) => socket.close(last, false),
            None => self.completed(last),
        }
    }

    /// Ends an `Accept` without a socket, if what ends it is there.
    fn pair(&self, id: ListenerId) {
        let mut listener = self.listener(id);
        if listener.is_closed {
            listener.waiting.clear();
        } else if listener.waiting.is_empty() {
            return;
        }
        let Some(conn) = listener.asked.take() else {
            return;
        };
        let result = listener.waiting.pop_front().ok_or(IoFailure::Canceled);
        drop(listener);
        self.completed(self.accepted(id, conn, result));
    }

    fn listener(&self, id: ListenerId) -> RefMut<'_, Listener<S>> {
        let index = usize::from(id.0.wrapping_sub(PEERS.0));
        RefMut::map(self.listeners.borrow_mut(), |all| &mut all[index])
    }

    fn insert(&self, name: ConnId, socket: Rc<S>) {
        let (mut conns, index) = (self.conns.borrow_mut(), name.0.index as usize);
        if conns.len() <= index {
            conns.resize_with(index + 1, || None);
        }
        let before = conns[index].replace(Conn {
            is_reading: false,
            is_writing: false,
            name,
            socket,
        });
        assert!(before.is_none(), "{name:?} is in use");
    }

    /// A share of the socket, for an operation that may not begin while it `is_busy`.
    fn share(&self, name: ConnId, is_busy: impl FnOnce(&mut Conn<S>) -> bool) -> Rc<S> {
        let mut conns = self.conns.borrow_mut();
        let Some(conn) = place(&mut conns, name).and_then(Option::as_mut) else {
            panic!("{name:?} does not exist");
        };
        assert!(!is_busy(conn), "{name:?} is busy");
        conn.socket.clone()
    }

    fn remove(&self, name: ConnId) -> Rc<S> {
        let mut conns = self.conns.borrow_mut();
        let Some(conn) = place(&mut conns, name).and_then(Option::take) else {
            panic!("{name:?} does not exist");
        };
        conn.socket
    }
}

/// Where `name` is; `None` if it is not, or not any more.
fn place<S>(conns: &mut [Option<Conn<S>>], name: ConnId) -> Option<&mut Option<Conn<S>>> {
    let place = conns.get_mut(name.0.index as usize)?;
    let is_it = place.as_ref().is_some_and(|conn| conn.name == name);
    is_it.then_some(place)
}
