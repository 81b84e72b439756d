//! Drives any [`Machine`] of `tollgate-core` on smol: one thread per machine, each with its own
//! executor, readiness from epoll through `async-io`.
//!
//! A machine asks for operations, this crate performs them and hands back one completion for each.
//! There is no policy, no parsing, no TLS and no binding of addresses here. `tollgate-monoio` has
//! the same files in the same order: `diff -r` shows what the two runtimes do apart.
//!
//! All workers share the one reactor of `async-io`; the thread of that name is its fallback poller.
//!
//! ```
//! use std::{io, net::TcpListener, sync::Arc};
//! use tollgate_core::gateway::io::{Host, Machine};
//! use tollgate_smol::{Options, start};
//!
//! fn serve<M: Machine>(machine: M, host: Arc<dyn Host>) -> io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     listener.set_nonblocking(true)?;
//!     let machines = vec![(machine, vec![Some(listener.into())])];
//!     start(Options::default(), machines, host)?.wait()
//! }
//! ```
#![cfg(target_os = "linux")]

mod listen;
mod mailbox;
mod socket;
mod timer;
mod worker;

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tollgate_core::base::ShardId;
use tollgate_core::config::Snapshot;
use tollgate_core::gateway::io::{Host, Input, Machine};

use crate::mailbox::{Letter, Mailbox};

/// How to run the machines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What the kernel is asked with.
    pub driver: Driver,
    /// Whether worker `i` runs on the `i`-th processor that this process may use (modulo their
    /// number).
    pub pin: bool,
}

/// What the kernel is asked with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Driver {
    /// The best that this runtime has on this kernel.
    #[default]
    Auto,
    /// epoll, or an error at start.
    Epoll,
    /// io_uring, or an error at start.
    Uring,
}

/// What a worker tells: the driver that it got, when it starts; nothing, when it has drained.
type Said = io::Result<Option<&'static str>>;

/// Starts one thread per machine; machine `i` is shard `i`. With it come the sockets that it
/// listens on, non-blocking, by `ListenerId`; `None` is a listener of which it gets nothing.
/// What is accepted inherits their TCP_NODELAY, which is to be set.
///
/// # Errors
/// No machine, a driver that this kernel or runtime does not have, or too few descriptors or
/// threads.
pub fn start<M: Machine>(
    options: Options,
    machines: Vec<(M, Vec<Option<OwnedFd>>)>,
    host: Arc<dyn Host>,
) -> io::Result<Running> {
    let workers = u16::try_from(machines.len()).unwrap_or(0);
    if workers == 0 {
        let error = "the number of machines must be between 1 and 65535";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    let mailboxes = (0..workers).map(|_| Mailbox::new());
    let mailboxes = mailboxes.collect::<io::Result<Vec<_>>>()?;
    let (mailboxes, letters): (Vec<_>, Vec<_>) = mailboxes.into_iter().unzip();
    let mailboxes = Arc::<[Mailbox]>::from(mailboxes);
    let zero = Instant::now();
    let (sender, said) = mpsc::channel();
    let mut running = Running {
        control: Control { mailboxes, zero },
        driver: "",
        said,
        threads: Vec::new(),
        unfinished: workers,
    };
    for ((id, letters), (machine, sockets)) in (0..workers).zip(letters).zip(machines) {
        let seat = worker::Seat {
            host: host.clone(),
            id: ShardId(id),
            letters,
            mailboxes: running.control.mailboxes.clone(),
            options,
            sockets,
            zero,
        };
        let sender = sender.clone();
        let run = move || {
            let run = AssertUnwindSafe(|| worker::run(seat, Box::new(machine), &sender));
            let panicked = |_| Err(io::Error::other(format!("worker {id} panicked")));
            let ended = catch_unwind(run).unwrap_or_else(panicked);
            // Nobody hears it when `Running` was dropped.
            let _ = sender.send(ended.map(|()| None));
        };
        match Builder::new().name(format!("tollgate-{id}")).spawn(run) {
            Ok(thread) => running.threads.push(thread),
            Err(error) => return Err(running.abandon(error)),
        }
    }
    drop((host, sender));
    let mut starting = workers;
    while starting > 0 {
        match running.hear() {
            Ok(None) => continue,
            Ok(Some(driver)) if ["", driver].contains(&running.driver) => running.driver = driver,
            // The kernel gave to one worker what it refused to another.
            Ok(Some(_)) => running.driver = "several drivers",
            Err(error) => return Err(running.abandon(error)),
        }
        starting -= 1;
    }
    Ok(running)
}

/// Machines that run.
#[derive(Debug)]
pub struct Running {
    control: Control,
    driver: &'static str,
    said: mpsc::Receiver<Said>,
    threads: Vec<JoinHandle<()>>,
    unfinished: u16,
}

impl Running {
    /// The runtime and what it asks the kernel with, as found at start: `smol (epoll)`,
    /// `monoio (io_uring)` or `monoio (epoll)`.
    pub fn driver(&self) -> &'static str {
        self.driver
    }

    /// A handle to speak to all machines, from any thread.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Blocks until each machine said `Output::Drained`; then all threads have ended, all
    /// sockets are closed.
    ///
    /// # Errors
    /// At once when a worker panicked. Its machine is lost and the others go on: end the process.
    pub fn wait(mut self) -> io::Result<()> {
        while self.unfinished > 0 {
            self.hear()?;
        }
        self.join();
        Ok(())
    }

    /// The next driver that is told, or a worker that has drained.
    fn hear(&mut self) -> io::Result<Option<&'static str>> {
        let lost = |_| io::Error::other("a worker was lost");
        let said = self.said.recv().map_err(lost)?;
        self.unfinished -= u16::from(!matches!(said, Ok(Some(_))));
        said
    }

    /// Stops what was started before `error`.
    fn abandon(mut self, error: io::Error) -> io::Error {
        self.control.tell(|| Letter::Stop);
        self.join();
        error
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // What it came to was said.
            let _ = thread.join();
        }
    }
}

/// Speaks to all machines of a [`Running`]; outlives it without effect.
#[derive(Clone, Debug)]
pub struct Control {
    mailboxes: Arc<[Mailbox]>,
    zero: Instant,
}

impl Control {
    /// Gives every machine a new config.
    pub fn reload(&self, snapshot: &Arc<Snapshot>) {
        self.tell(|| Letter::Input(Input::Reload(snapshot.clone())));
    }

    /// Tells every machine to stop accepting, and to end what still runs `after` this time.
    pub fn drain(&self, after: Duration) {
        let deadline = worker::mono(self.zero) + after;
        self.tell(|| Letter::Input(Input::Drain { deadline }));
    }

    fn tell(&self, letter: impl Fn() -> Letter) {
        self.mailboxes
            .iter()
            .for_each(|mailbox| mailbox.push(letter()));
    }
}
