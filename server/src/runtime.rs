//! The two runtimes behind one door. They have the same face; here it is decided which one serves.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::config::{RuntimeChoice, Snapshot};
use tollgate_core::gateway::Shard;
use tollgate_core::gateway::io::Host;
use tollgate_monoio as monoio;
use tollgate_smol as smol;

/// How to run the shards.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Which runtime.
    pub(crate) runtime: RuntimeChoice,
    /// Whether anything but io_uring is an error.
    pub(crate) requires_io_uring: bool,
    /// Whether each worker stays on a processor of its own.
    pub(crate) pin: bool,
}

/// Shards that run.
#[derive(Debug)]
pub(crate) enum Running {
    Monoio(monoio::Running),
    Smol(smol::Running),
}

/// Speaks to all shards.
#[derive(Clone, Debug)]
pub(crate) enum Control {
    Monoio(monoio::Control),
    Smol(smol::Control),
}

/// Starts one worker per shard, each with the sockets that it listens on.
///
/// # Errors
/// A kernel without io_uring where that is required, or too few descriptors or threads.
pub(crate) fn start(
    plan: &Plan,
    shards: Vec<(Shard, Vec<Option<OwnedFd>>)>,
    host: Arc<dyn Host>,
) -> io::Result<Running> {
    let pin = plan.pin;
    match plan.runtime {
        // monoio is the faster one on epoll too, and so is taken where the kernel refuses io_uring.
        RuntimeChoice::Auto | RuntimeChoice::Monoio => {
            let driver = match plan.requires_io_uring {
                true => monoio::Driver::Uring,
                false => monoio::Driver::Auto,
            };
            monoio::start(monoio::Options { driver, pin }, shards, host).map(Running::Monoio)
        }
        RuntimeChoice::Smol => {
            let driver = match plan.requires_io_uring {
                true => smol::Driver::Uring,
                false => smol::Driver::Auto,
            };
            smol::start(smol::Options { driver, pin }, shards, host).map(Running::Smol)
        }
    }
}

impl Running {
    /// The runtime that serves and what it asks the kernel with, such as `monoio (io_uring)`.
    pub(crate) fn driver(&self) -> &'static str {
        match self {
            Running::Monoio(running) => running.driver(),
            Running::Smol(running) => running.driver(),
        }
    }

    /// A handle to speak to all shards.
    pub(crate) fn control(&self) -> Control {
        match self {
            Running::Monoio(running) => Control::Monoio(running.control()),
            Running::Smol(running) => Control::Smol(running.control()),
        }
    }

    /// Blocks until all shards have drained.
    ///
    /// # Errors
    /// A worker panicked, or its driver failed.
    pub(crate) fn wait(self) -> io::Result<()> {
        match self {
            Running::Monoio(running) => running.wait(),
            Running::Smol(running) => running.wait(),
        }
    }
}

impl Control {
    /// Gives all shards a new config.
    pub(crate) fn reload(&self, snapshot: &Arc<Snapshot>) {
        match self {
            Control::Monoio(control) => control.reload(snapshot),
            Control::Smol(control) => control.reload(snapshot),
        }
    }

    /// Tells all shards to stop accepting, and to end what still runs `after` this time.
    pub(crate) fn drain(&self, after: Duration) {
        match self {
            Control::Monoio(control) => control.drain(after),
            Control::Smol(control) => control.drain(after),
        }
    }
}
