//! [`Worker`]: one thread that owns a machine, feeds it and does what it asks.
//!
//! A *turn* gives the machine one input and does all that it then asks for. Operations that end at
//! once do not nest: their completions are queued and handled by the same turn, up to a limit, so
//! that no connection keeps the others waiting.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use rustix::thread::CpuSet;
use smol::LocalExecutor;
use tollgate_core::base::{Instant, ListenerId, Now, ShardId, UnixMillis};
use tollgate_core::gateway::io::{Completion, Host, Input, Machine, Op, Output, PEERS};

use crate::Driver;
use crate::listen::{self, Listening};
use crate::mailbox::{Letter, Mailbox};
use crate::socket::{self, Handle, Sockets};
use crate::timer::{self, Alarm};

/// Completions of operations that ended at once, handled in one turn.
const COMPLETIONS_MAX: usize = 64;

/// What a worker is given.
pub(crate) struct Seat {
    pub(crate) driver: Driver,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) id: ShardId,
    pub(crate) mailboxes: Arc<[Mailbox]>,
    pub(crate) pin: bool,
    /// By listener.
    pub(crate) sockets: Vec<Option<OwnedFd>>,
    pub(crate) zero: std::time::Instant,
}

/// Says how a start went: the driver found, or why there is none.
pub(crate) type Started = mpsc::Sender<io::Result<&'static str>>;

/// Runs `machine` on this thread until it has drained.
pub(crate) fn run<M: Machine>(seat: Seat, machine: M, started: &Started) -> io::Result<()> {
    if seat.driver == Driver::Uring {
        let error = io::Error::new(
            io::ErrorKind::Unsupported,
            "smol knows epoll, and no io_uring",
        );
        let _ = started.send(Err(error));
        return Ok(());
    }
    smol::block_on(async {
        let executor = Rc::new(LocalExecutor::new());
        executor
            .run(serve(
                seat,
                machine,
                started,
                "smol (epoll)",
                executor.clone(),
            ))
            .await
    })
}

/// Reads letters until the machine has drained, while the tasks do the rest; then ends them all.
async fn serve<M: Machine>(
    seat: Seat,
    machine: M,
    started: &Started,
    driver: &'static str,
    executor: Rc<LocalExecutor<'static>>,
) -> io::Result<()> {
    let prepared = Worker::new(seat, machine, executor).and_then(|worker| {
        let bell = Handle::new(worker.mailbox(worker.id).bell()?)?;
        Ok((worker, bell))
    });
    let (worker, bell) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = started.send(Err(error));
            return Ok(());
        }
    };
    // Nobody waits for it when another worker failed.
    let _ = started.send(Ok(driver));
    worker.spawn(timer::run(worker.clone()));
    worker.pump();
    while !worker.stopped.get() || worker.tasks.get() > 0 {
        bell.readable().await?;
        for letter in worker.mailbox(worker.id).take() {
            worker.open(letter);
        }
        assert!(!worker.failed.get(), "a turn panicked");
        if worker.again.take() {
            worker.turn(Input::Tick);
        }
        if worker.drained.get() {
            worker.stop();
        }
    }
    Ok(())
}

/// One shard's machine, and all that it needs to run.
pub(crate) struct Worker<M> {
    /// Another turn is due at once, after the sockets had theirs.
    again: Cell<bool>,
    pub(crate) alarm: Alarm,
    /// Completions of operations that ended at once.
    completions: RefCell<VecDeque<Completion>>,
    drained: Cell<bool>,
    executor: Rc<LocalExecutor<'static>>,
    failed: Cell<bool>,
    host: Arc<dyn Host>,
    pub(crate) id: ShardId,
    listeners: Vec<Rc<Listening>>,
    machine: RefCell<M>,
    mailboxes: Arc<[Mailbox]>,
    peers: Rc<Listening>,
    pub(crate) sockets: RefCell<Sockets>,
    stopped: Cell<bool>,
    tasks: Cell<usize>,
    zero: std::time::Instant,
}

impl<M: Machine> Worker<M> {
    fn new(
        seat: Seat,
        machine: M,
        executor: Rc<LocalExecutor<'static>>,
    ) -> io::Result<Rc<Worker<M>>> {
        if seat.pin {
            pin(seat.id)?;
        }
        let listeners = seat
            .sockets
            .into_iter()
            .map(Listening::new)
            .map(|new| new.map(Rc::new));
        Ok(Rc::new(Worker {
            again: Cell::new(false),
            alarm: Alarm::default(),
            completions: RefCell::default(),
            drained: Cell::new(false),
            executor,
            failed: Cell::new(false),
            host: seat.host,
            id: seat.id,
            listeners: listeners.collect::<io::Result<_>>()?,
            machine: RefCell::new(machine),
            mailboxes: seat.mailboxes,
            peers: Rc::new(Listening::new(None)?),
            sockets: RefCell::default(),
            stopped: Cell::new(false),
            tasks: Cell::new(0),
            zero: seat.zero,
        }))
    }

    /// Runs `task` beside the others of this worker.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let worker = self.clone();
        self.tasks.set(self.tasks.get() + 1);
        let task = async move {
            task.await;
            worker.tasks.set(worker.tasks.get() - 1);
            if worker.stopped.get() {
                worker.mailbox(worker.id).ring();
            }
        };
        self.executor.spawn(task).detach();
    }

    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Now {
            mono: mono(self.zero),
            wall: UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    pub(crate) fn listening(&self, id: ListenerId) -> Rc<Listening> {
        if id == PEERS {
            return self.peers.clone();
        }
        let listening = self.listeners.get(usize::from(id.0)).cloned();
        listening.unwrap_or_else(|| panic!("{id:?} does not exist"))
    }

    pub(crate) fn mailbox(&self, id: ShardId) -> &Mailbox {
        let mailbox = self.mailboxes.get(usize::from(id.0));
        mailbox.unwrap_or_else(|| panic!("{id:?} does not exist"))
    }

    /// Queues the completion of an operation that ended inside the turn.
    pub(crate) fn completed(&self, completion: Completion) {
        self.completions.borrow_mut().push_back(completion);
    }

    /// A turn for the completion of an operation that ended outside.
    pub(crate) fn turn_completion(self: &Rc<Self>, completion: Completion) {
        self.turn(Input::Complete(completion));
    }

    /// Gives the machine `input` and does what it asks.
    pub(crate) fn turn(self: &Rc<Self>, input: Input) {
        if self.stopped.get() {
            return;
        }
        let turn = Turn(self);
        let now = self.now();
        self.machine.borrow_mut().handle(now, input);
        self.work(now);
        drop(turn);
    }

    /// Does what the machine asks, without an input.
    fn pump(self: &Rc<Self>) {
        let turn = Turn(self);
        self.work(self.now());
        drop(turn);
    }

    fn work(self: &Rc<Self>, now: Now) {
        let mut left = COMPLETIONS_MAX;
        loop {
            // The machine is not borrowed while an output is routed.
            loop {
                let output = self.machine.borrow_mut().poll_output();
                let Some(output) = output else { break };
                self.route(output);
            }
            if left == 0 {
                break self.call_again();
            }
            let completion = self.completions.borrow_mut().pop_front();
            let Some(completion) = completion else { break };
            let input = Input::Complete(completion);
            self.machine.borrow_mut().handle(now, input);
            left -= 1;
        }
        match self.machine.borrow().poll_timeout() {
            Some(due) if due <= now.mono => self.call_again(),
            Some(due) => self.alarm.set(due),
            None => (),
        }
    }

    fn call_again(&self) {
        self.again.set(true);
        self.mailbox(self.id).ring();
    }

    fn route(self: &Rc<Self>, output: Output) {
        match output {
            Output::Op(op) => self.perform(op),
            Output::Send { to, message } => {
                self.mailbox(to).push(Letter::Message(self.id, message));
            }
            Output::Record(record) => self.host.record(self.id, record),
            Output::Drained => {
                self.drained.set(true);
                self.mailbox(self.id).ring();
            }
        }
    }

    fn perform(self: &Rc<Self>, op: Op) {
        match op {
            Op::Accept { listener, conn } => listen::accept(self, listener, conn),
            Op::Unlisten { listener } => listen::unlisten(self, listener),
            Op::HandOff { conn, to } => socket::hand_off(self, conn, to),
            Op::Connect { conn, address } => socket::connect(self, conn, address),
            Op::Read { conn, class, buf } => socket::read(self, conn, class, buf),
            Op::Write { conn, batch } => socket::write(self, conn, batch),
            Op::Shutdown { conn } => socket::shutdown(self, conn),
            Op::Close { conn, abort } => socket::close(self, conn, abort),
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
        let (mailboxes, id) = (self.mailboxes.clone(), usize::from(self.id.0));
        Box::new(move |answer| {
            if let Some(mailbox) = mailboxes.get(id) {
                mailbox.push(Letter::Complete(complete(answer)));
            }
        })
    }

    fn open(self: &Rc<Self>, letter: Letter) {
        match letter {
            Letter::Adopt(socket, peer) if !self.stopped.get() => {
                listen::adopt(self, socket, peer);
                self.pump();
            }
            Letter::Adopt(..) => (),
            Letter::Complete(completion) => self.turn_completion(completion),
            Letter::Drain(deadline) => self.turn(Input::Drain { deadline }),
            Letter::Message(from, message) => self.turn(Input::Message { from, message }),
            Letter::Reload(snapshot) => self.turn(Input::Reload(snapshot)),
            Letter::Stop => self.stop(),
        }
    }

    /// Closes everything; the machine hears nothing any more.
    fn stop(&self) {
        if !self.stopped.replace(true) {
            self.mailbox(self.id).close();
            self.alarm.stop();
            self.peers.stop();
            for listening in &self.listeners {
                listening.stop();
            }
            self.sockets.borrow_mut().stop();
        }
    }
}

/// Makes a panic in a turn known: some executors keep the panic of a task to themselves, and a
/// machine that panicked half-way must not run on.
struct Turn<'a, M: Machine>(&'a Worker<M>);

impl<M: Machine> Drop for Turn<'_, M> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.set(true);
            self.0.mailbox(self.0.id).ring();
        }
    }
}

/// Time since `zero`.
pub(crate) fn mono(zero: std::time::Instant) -> Instant {
    Instant::from_nanos(u64::try_from(zero.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Binds this thread to one of the processors that the process may use.
fn pin(id: ShardId) -> io::Result<()> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect();
    if let Some(cpu) = processors.get(usize::from(id.0) % processors.len().max(1)) {
        let mut only = CpuSet::new();
        only.set(*cpu);
        rustix::thread::sched_setaffinity(None, &only)?;
    }
    Ok(())
}
