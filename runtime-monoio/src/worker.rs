//! [`Worker`]: one thread that gives a machine its turns.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, SystemTime};

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tollgate_core::base::{Instant, Now, ShardId};
use tollgate_core::gateway::io::{Host, Machine, Peer};
use tollgate_core::gateway::pump::{Pump, Rest};

use crate::mailbox::{Letter, Mailbox};
use crate::socket::{Handle, Socket};
use crate::timer::Alarm;
use crate::{Driver, Options, Said};

/// What a worker is given.
pub(crate) struct Seat {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) id: ShardId,
    pub(crate) letters: Receiver<Letter>,
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
    let bell = seat.mailboxes[usize::from(seat.id.0)].bell.try_clone()?;
    let bell = Handle::new(bell)?;
    let sockets = std::mem::take(&mut seat.sockets).into_iter();
    let handles = sockets.map(|fd| fd.map(Handle::new).transpose());
    let handles = handles.collect::<Result<Vec<_>, _>>()?;
    let mailboxes = seat.mailboxes.clone();
    let post = move |to: ShardId, input| mailboxes[usize::from(to.0)].push(Letter::Input(input));
    let worker = Rc::new(Worker {
        alarm: Alarm::new(),
        failed: Cell::new(false),
        pump: Pump::new(seat.id, machine, seat.host.clone(), Arc::new(post)),
        seat,
    });
    for handle in handles {
        let socket = handle.map(|handle| Socket::new(&worker, Ok(handle), Peer::Unix));
        worker.pump.listen(socket);
    }
    // Nobody hears it when another worker failed.
    let _ = said.send(Ok(Some(driver)));
    let ticked = worker.clone();
    worker.spawn(async move {
        while !ticked.pump.is_over() {
            ticked.alarm.rung().await;
            ticked.pump.tick();
            ticked.turn();
        }
    });
    worker.turn();
    // Sockets and tasks hold the worker.
    while !worker.pump.is_over() || Rc::strong_count(&worker) > 1 {
        bell.ready(false).await?;
        worker.mailbox(worker.seat.id).silence();
        for letter in worker.seat.letters.try_iter() {
            match letter {
                Letter::Adopt(fd, peer) => {
                    let socket = Socket::new(&worker, Handle::new(fd), peer);
                    worker.pump.arrive(socket, peer);
                }
                Letter::Input(input) => worker.pump.push(input),
                Letter::Stop => worker.pump.end(),
            }
        }
        assert!(!worker.failed.get(), "a task panicked");
        worker.turn();
    }
    Ok(())
}

/// One shard's machine, and all that it needs to run.
pub(crate) struct Worker {
    alarm: Alarm,
    failed: Cell<bool>,
    pub(crate) pump: Pump<Socket>,
    seat: Seat,
}

impl Worker {
    /// Runs `task` beside the others of this worker; a turn follows its end.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let running = Task(self.clone());
        let task = async move {
            task.await;
            running.0.turn();
        };
        drop(monoio::spawn(task));
    }

    pub(crate) fn mailbox(&self, id: ShardId) -> &Mailbox {
        &self.seat.mailboxes[usize::from(id.0)]
    }

    fn turn(self: &Rc<Self>) {
        let now = Now {
            mono: mono(self.seat.zero),
            wall: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().into(),
        };
        match self.pump.turn(self, now) {
            Rest::Again => self.mailbox(self.seat.id).ring(),
            // Who waits for it is to see that it is over.
            Rest::Over => self.alarm.set(Duration::ZERO),
            Rest::Until(wait) => self.alarm.set(wait),
            Rest::Wait => (),
        }
    }
}

/// A task that runs. Some executors keep the panic of a task to themselves, and a machine that
/// panicked half-way must not run on.
struct Task(Rc<Worker>);

impl Drop for Task {
    fn drop(&mut self) {
        let worker = &self.0;
        let failed = worker.failed.get() || std::thread::panicking();
        worker.failed.set(failed);
        if failed || worker.pump.is_over() {
            worker.mailbox(worker.seat.id).ring();
        }
    }
}

/// Time since `zero`.
pub(crate) fn mono(zero: std::time::Instant) -> Instant {
    Instant::ZERO + zero.elapsed()
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
