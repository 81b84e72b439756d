//! [`Worker`]: one thread that owns a machine, feeds it and does what it asks.
//!
//! Inputs are queued, and a *turn* hands them to the machine and does all that it asks for; what
//! ends at once becomes an input of the same turn, up to a limit, so that no connection keeps the
//! others waiting.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc::Sender};
use std::time::SystemTime;

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tollgate_core::base::{ConnId, Instant, ListenerId, Now, ShardId, UnixMillis};
use tollgate_core::gateway::io::{Completion, Host, Input, Machine, Op, Output, PEERS, Peer};

use crate::listen::{self, Listener};
use crate::mailbox::{Letter, Mailbox};
use crate::socket::{self, Handle, Socket};
use crate::timer::Alarm;
use crate::{Driver, Options, Said};

/// Inputs handled in one turn.
const INPUTS_MAX: usize = 64;

/// What a worker is given.
pub(crate) struct Seat {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) id: ShardId,
    pub(crate) mailboxes: Arc<[Mailbox]>,
    pub(crate) options: Options,
    /// By listener.
    pub(crate) sockets: Vec<Option<OwnedFd>>,
    pub(crate) zero: std::time::Instant,
}

/// Runs `machine` on this thread until it has drained.
pub(crate) fn run(seat: Seat, machine: Box<dyn Machine>, said: &Sender<Said>) -> io::Result<()> {
    let ring = match seat.options.driver {
        Driver::Epoll => None,
        Driver::Uring => Some(ring()?),
        Driver::Auto if monoio::utils::detect_uring() => ring().ok(),
        Driver::Auto => None,
    };
    if let Some(mut ring) = ring {
        return ring.block_on(serve(seat, machine, said, "monoio (io_uring)"));
    }
    let builder = RuntimeBuilder::<LegacyDriver>::new();
    let mut epoll = builder.enable_timer().build()?;
    epoll.block_on(serve(seat, machine, said, "monoio (epoll)"))
}

/// A ring that only this thread uses and that runs its work when asked: a third less CPU time for a
/// small request. Kernels before 6.1 do not know these flags and get a plain one.
fn ring() -> io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    let build = |flags: &io_uring::Builder| {
        let builder = RuntimeBuilder::<IoUringDriver>::new();
        builder.uring_builder(flags.clone()).enable_timer().build()
    };
    let plain = io_uring::IoUring::builder();
    let mut alone = plain.clone();
    alone.setup_single_issuer().setup_coop_taskrun();
    alone.setup_defer_taskrun();
    build(&alone).or_else(|_| build(&plain))
}

/// Reads letters until the machine has drained, while the tasks do the rest; then ends them all.
async fn serve(
    mut seat: Seat,
    machine: Box<dyn Machine>,
    said: &Sender<Said>,
    driver: &'static str,
) -> io::Result<()> {
    if seat.options.pin {
        pin(seat.id)?;
    }
    let bell = Handle::new(seat.mailboxes[usize::from(seat.id.0)].bell()?)?;
    let sockets = std::mem::take(&mut seat.sockets).into_iter();
    let handles = sockets.map(|fd| fd.map(Handle::new).transpose());
    let handles = handles.collect::<Result<Vec<_>, _>>()?;
    let worker = Rc::new(Worker {
        alarm: Alarm::new(),
        failed: Cell::new(false),
        inputs: RefCell::default(),
        listeners: RefCell::default(),
        machine: RefCell::new(machine),
        seat,
        sockets: RefCell::default(),
        stopped: Cell::new(false),
        tasks: Cell::new(0),
    });
    // The first is that of `PEERS`.
    worker.listeners.borrow_mut().push(Listener::default());
    for handle in handles {
        let mut listener = Listener::default();
        listener.socket = handle.map(|handle| Socket::new(&worker, Ok(handle), Peer::Unix));
        worker.listeners.borrow_mut().push(listener);
    }
    let mailbox = worker.mailbox(worker.seat.id);
    // Nobody hears it when another worker failed.
    let _ = said.send(Said::Started(driver));
    let ticked = worker.clone();
    worker.spawn(async move {
        while !ticked.stopped.get() {
            ticked.alarm.rung().await;
            ticked.inputs.borrow_mut().push_back(Input::Tick);
            ticked.turn();
        }
    });
    worker.turn();
    while !worker.stopped.get() || worker.tasks.get() > 0 {
        bell.readable().await?;
        for letter in mailbox.take() {
            match letter {
                _ if worker.stopped.get() => (),
                Letter::Adopt(fd, peer) => listen::adopt(&worker, PEERS, fd, peer),
                Letter::Input(input) => worker.inputs.borrow_mut().push_back(input),
                Letter::Stop => worker.stop(),
            }
        }
        assert!(!worker.failed.get(), "a task panicked");
        worker.turn();
    }
    Ok(())
}

type Slot = Option<(ConnId, Rc<Socket>)>;

/// One shard's machine, and all that it needs to run.
pub(crate) struct Worker {
    alarm: Alarm,
    failed: Cell<bool>,
    inputs: RefCell<VecDeque<Input>>,
    listeners: RefCell<Vec<Listener>>,
    machine: RefCell<Box<dyn Machine>>,
    seat: Seat,
    /// By the index of their names.
    sockets: RefCell<Vec<Slot>>,
    stopped: Cell<bool>,
    tasks: Cell<usize>,
}

impl Worker {
    /// Runs `task` beside the others of this worker; a turn follows its end.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        self.tasks.set(self.tasks.get() + 1);
        let running = Task(self.clone());
        let task = async move {
            task.await;
            running.0.turn();
        };
        drop(monoio::spawn(task));
    }

    pub(crate) fn listener(&self, id: ListenerId) -> RefMut<'_, Listener> {
        let index = usize::from(id.0.wrapping_sub(PEERS.0));
        RefMut::map(self.listeners.borrow_mut(), |all| &mut all[index])
    }

    pub(crate) fn mailbox(&self, id: ShardId) -> &Mailbox {
        &self.seat.mailboxes[usize::from(id.0)]
    }

    /// Adds a connection.
    pub(crate) fn insert(
        self: &Rc<Self>,
        conn: ConnId,
        handle: Result<Handle, Errno>,
        peer: Peer,
    ) -> Rc<Socket> {
        let socket = Socket::new(self, handle, peer);
        let (mut slots, index) = (self.sockets.borrow_mut(), conn.0.index as usize);
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        let before = slots[index].replace((conn, socket.clone()));
        assert!(before.is_none(), "{conn:?} is in use");
        socket
    }

    pub(crate) fn socket(&self, conn: ConnId) -> Rc<Socket> {
        match self.sockets.borrow().get(conn.0.index as usize) {
            Some(Some((name, socket))) if *name == conn => socket.clone(),
            _ => panic!("{conn:?} does not exist"),
        }
    }

    pub(crate) fn remove(&self, conn: ConnId) -> Rc<Socket> {
        let socket = self.socket(conn);
        self.sockets.borrow_mut()[conn.0.index as usize] = None;
        socket
    }

    /// An operation ended; the machine hears of it in this turn, or in the next.
    pub(crate) fn completed(&self, completion: Completion) {
        let input = Input::Complete(completion);
        self.inputs.borrow_mut().push_back(input);
    }

    /// Gives the machine what is queued, and does what it asks.
    fn turn(self: &Rc<Self>) {
        let now = Now {
            mono: mono(self.seat.zero),
            wall: wall(),
        };
        let mut left = INPUTS_MAX;
        while !self.stopped.get() {
            // The machine is not borrowed while an output is carried out.
            let output = self.machine.borrow_mut().poll_output();
            if let Some(output) = output {
                self.perform(output);
                continue;
            }
            if left == 0 {
                return self.mailbox(self.seat.id).ring();
            }
            left -= 1;
            let input = self.inputs.borrow_mut().pop_front();
            let Some(input) = input else { break };
            self.machine.borrow_mut().handle(now, input);
        }
        let due = self.machine.borrow().poll_timeout();
        match due {
            _ if self.stopped.get() => (),
            Some(due) if due <= now.mono => {
                self.inputs.borrow_mut().push_back(Input::Tick);
                self.mailbox(self.seat.id).ring();
            }
            Some(due) => self.alarm.set(now.mono, due),
            None => (),
        }
    }

    fn perform(self: &Rc<Self>, output: Output) {
        let op = match output {
            Output::Op(op) => op,
            Output::Send { to, message } => {
                let from = self.seat.id;
                let input = Input::Message { from, message };
                return self.mailbox(to).push(Letter::Input(input));
            }
            Output::Record(record) => return self.seat.host.record(self.seat.id, record),
            Output::Drained => return self.stop(),
        };
        match op {
            Op::Accept { listener, conn } => listen::accept(self, listener, conn),
            Op::Unlisten { listener } => listen::unlisten(self, listener),
            Op::HandOff { conn, to } => socket::hand_off(self, conn, to),
            Op::Connect { conn, address } => socket::connect(self, conn, address),
            Op::Read { conn, class, buf } => socket::read(self, conn, class, buf),
            Op::Write { conn, batch } => socket::write(self, conn, batch),
            Op::Shutdown { conn } => socket::shutdown(self, conn),
            Op::Close { conn, abort } => self.remove(conn).close(Completion::Close { conn }, abort),
            Op::Resolve { ticket, host, port } => {
                let reply = self.reply(move |result| Completion::Resolve { ticket, result });
                self.seat.host.resolve(host, port, reply);
            }
            Op::Host { ticket, work } => {
                let reply = self.reply(move |done| Completion::Host { ticket, done });
                self.seat.host.perform(work, reply);
            }
        }
    }

    /// What the host calls, from any thread, with the answer.
    fn reply<T>(
        &self,
        complete: impl FnOnce(T) -> Completion + Send + 'static,
    ) -> Box<dyn FnOnce(T) + Send> {
        let (mailboxes, id) = (self.seat.mailboxes.clone(), usize::from(self.seat.id.0));
        Box::new(move |answer| {
            let input = Input::Complete(complete(answer));
            mailboxes[id].push(Letter::Input(input));
        })
    }

    /// Closes everything; the machine hears nothing any more.
    fn stop(&self) {
        self.stopped.set(true);
        let mailbox = self.mailbox(self.seat.id);
        mailbox.close();
        mailbox.ring();
        self.alarm.set(Instant::FAR, Instant::ZERO);
        let listened = self.listeners.take().into_iter();
        let listened = listened.filter_map(|listener| listener.socket);
        let connected = self.sockets.take().into_iter().flatten();
        for socket in listened.chain(connected.map(|(_, socket)| socket)) {
            // Nobody hears it.
            socket.close(Completion::Unlisten { listener: PEERS }, false);
        }
    }
}

/// A task that runs. Some executors keep the panic of a task to themselves, and a machine that
/// panicked half-way must not run on.
struct Task(Rc<Worker>);

impl Drop for Task {
    fn drop(&mut self) {
        let worker = &self.0;
        worker.tasks.set(worker.tasks.get() - 1);
        worker
            .failed
            .set(worker.failed.get() || std::thread::panicking());
        if worker.stopped.get() || worker.failed.get() {
            worker.mailbox(worker.seat.id).ring();
        }
    }
}

/// Time since `zero`.
pub(crate) fn mono(zero: std::time::Instant) -> Instant {
    Instant::ZERO + zero.elapsed()
}

fn wall() -> UnixMillis {
    let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
}

/// Binds this thread to one of the processors that the process may use.
fn pin(id: ShardId) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let all = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let mut only = CpuSet::new();
    let turn = usize::from(id.0) % allowed.count().max(1) as usize;
    all.skip(turn).take(1).for_each(|cpu| only.set(cpu));
    Ok(sched_setaffinity(None, &only)?)
}
