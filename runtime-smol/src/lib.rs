//! Drives any [`Machine`] of `tollgate-core` on smol: one thread per machine, each with its own
//! executor, readiness from epoll through `async-io`.
//!
//! A machine asks for operations, this crate performs them and hands back one completion for each.
//! There is no policy, no parsing and no TLS here. Its sibling `tollgate-monoio` has the same files
//! with the same contents in the same order, so that `diff -r` shows what the two runtimes do
//! apart.
//!
//! All workers share the one reactor of `async-io` (one epoll descriptor for the process); the
//! thread named `async-io` is its fallback poller.
//!
//! ```
//! use std::sync::Arc;
//! use tollgate_core::gateway::io::{Host, Machine};
//! use tollgate_smol::{Listener, Options, start};
//!
//! fn serve<M: Machine>(machines: Vec<M>, host: Arc<dyn Host>) -> std::io::Result<()> {
//!     let mut options = Options::new();
//!     options.listeners = vec![Listener::Tcp(([127, 0, 0, 1], 0).into())];
//!     let running = start(options, machines, host)?;
//!     println!("{} listens on {:?}", running.driver(), running.addresses());
//!     running.wait()
//! }
//! ```
#![cfg(target_os = "linux")]

mod listen;
mod mailbox;
mod socket;
mod timer;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tollgate_core::base::ShardId;
use tollgate_core::config::Snapshot;
use tollgate_core::gateway::io::{Host, Machine};

use crate::listen::Bound;
use crate::mailbox::{Letter, Mailbox};

/// How to run the machines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// What the kernel is asked with.
    pub driver: Driver,
    /// Where to listen; a `ListenerId` is an index into this.
    pub listeners: Vec<Listener>,
    /// Whether worker `i` runs on the `i`-th processor that this process may use (modulo their
    /// number).
    pub pin: bool,
    /// The zero of `Now::mono`. One value for all that runs in a process.
    pub zero: Instant,
}

impl Options {
    /// No listeners, not pinned, the best driver, the clock beginning now.
    pub fn new() -> Options {
        Options {
            driver: Driver::Auto,
            listeners: Vec::new(),
            pin: false,
            zero: Instant::now(),
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

/// Where connections come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Listener {
    /// Each worker listens on its own socket (SO_REUSEPORT), and the kernel spreads the
    /// connections. With port 0 all of them get the same free port. An IPv6 address does not take
    /// IPv4 clients.
    Tcp(SocketAddr),
    /// Worker 0 listens; the other workers get connections of it by hand-off only. A socket file
    /// that nobody listens on is replaced; the file is removed by [`Running::wait`].
    Unix {
        /// The socket file.
        path: PathBuf,
        /// Its permission bits, set before the first connection is possible; `None`: by the umask.
        mode: Option<u32>,
    },
}

/// A place that is listened on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// The address with the port that was chosen.
    Tcp(SocketAddr),
    /// The socket file.
    Unix(PathBuf),
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

/// Starts one thread per machine; machine `i` is shard `i`.
///
/// # Errors
/// No machine, a listener that cannot be bound (the message has its address), a driver that this
/// kernel or runtime does not have, or too few descriptors or threads.
pub fn start<M: Machine>(
    options: Options,
    machines: Vec<M>,
    host: Arc<dyn Host>,
) -> io::Result<Running> {
    let Options {
        driver,
        listeners,
        pin,
        zero,
    } = options;
    let workers = u16::try_from(machines.len()).unwrap_or(0);
    if workers == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the number of machines must be between 1 and 65535",
        ));
    }
    let mailboxes: Arc<[Mailbox]> = (0..workers)
        .map(|_| Mailbox::new())
        .collect::<io::Result<_>>()?;
    let Bound {
        addresses,
        files,
        sockets,
    } = listen::bind(&listeners, machines.len())?;
    let (started_sender, started) = mpsc::channel();
    let (ended_sender, ended) = mpsc::channel();
    let mut running = Running {
        addresses,
        control: Control {
            mailboxes: mailboxes.clone(),
            zero,
        },
        driver: "",
        ended,
        files,
        threads: Vec::with_capacity(machines.len()),
    };
    for (id, (machine, sockets)) in (0..workers).zip(machines.into_iter().zip(sockets)) {
        let seat = worker::Seat {
            driver,
            host: host.clone(),
            id: ShardId(id),
            mailboxes: mailboxes.clone(),
            pin,
            sockets,
            zero,
        };
        let (started, ended) = (started_sender.clone(), Ended(ended_sender.clone(), id));
        let thread = std::thread::Builder::new()
            .name(format!("tollgate-{id}"))
            .spawn(move || {
                let result = worker::run(seat, machine, &started);
                drop(started);
                ended.report(result);
            });
        match thread {
            Ok(thread) => running.threads.push(thread),
            Err(error) => return Err(running.abandon(error)),
        }
    }
    drop((host, started_sender));
    match running.await_start(workers, &started) {
        Ok(()) => Ok(running),
        Err(error) => Err(running.abandon(error)),
    }
}

/// Machines that run.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<Address>,
    control: Control,
    driver: &'static str,
    ended: mpsc::Receiver<io::Result<()>>,
    files: Vec<listen::SocketFile>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Where each listener listens, in the order of [`Options::listeners`].
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The runtime and what it asks the kernel with, as found at start: `smol (epoll)`,
    /// `monoio (io_uring)` or `monoio (epoll)`.
    pub fn driver(&self) -> &'static str {
        self.driver
    }

    /// A handle to speak to all machines, from any thread.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Blocks until each machine said `Output::Drained`; then all threads have ended, all sockets
    /// are closed and socket files are removed.
    ///
    /// # Errors
    /// At once when a worker panicked. Its machine is lost and the others go on: end the process.
    pub fn wait(mut self) -> io::Result<()> {
        for _ in 0..self.threads.len() {
            self.ended
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("a worker was lost")))?;
        }
        self.join();
        Ok(())
    }

    /// Waits until every worker has said which driver it got.
    fn await_start(
        &mut self,
        workers: u16,
        started: &mpsc::Receiver<io::Result<&'static str>>,
    ) -> io::Result<()> {
        for _ in 0..workers {
            match started.recv() {
                Ok(Ok(driver)) if ["", driver].contains(&self.driver) => self.driver = driver,
                // The kernel gave to one worker what it refused to another.
                Ok(Ok(_)) => self.driver = "several drivers",
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(io::Error::other("a worker did not start")),
            }
        }
        Ok(())
    }

    /// Stops what was started before `error`.
    fn abandon(mut self, error: io::Error) -> io::Error {
        for mailbox in self.control.mailboxes.iter() {
            mailbox.push(Letter::Stop);
        }
        self.join();
        error
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic was already reported through `ended`.
            let _ = thread.join();
        }
        for file in self.files.drain(..) {
            file.remove();
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
        for mailbox in self.mailboxes.iter() {
            mailbox.push(Letter::Reload(snapshot.clone()));
        }
    }

    /// Tells every machine to stop accepting, and to end what still runs `after` this time.
    pub fn drain(&self, after: Duration) {
        let deadline = worker::mono(self.zero) + after;
        for mailbox in self.mailboxes.iter() {
            mailbox.push(Letter::Drain(deadline));
        }
    }
}

/// Tells how a worker ended, also when it unwinds.
struct Ended(mpsc::Sender<io::Result<()>>, u16);

impl Ended {
    fn report(self, result: io::Result<()>) {
        // Nobody waits when `Running` was dropped.
        let _ = self.0.send(result);
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = io::Error::other(format!("worker {} panicked", self.1));
            let _ = self.0.send(Err(error));
        }
    }
}
