//! [`Gateway`]: shards, their runtime and their host as one thing that is started, told of a new
//! config, and drained.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tollgate_core::base::ShardId;
use tollgate_core::config::{AccessLog, ListenAddress, Snapshot};
use tollgate_core::gateway::{Shard, ShardOptions};

use crate::host::Services;
use crate::listeners::{self, Bound};
use crate::runtime::{self, Control, Plan};
use crate::seed;
use crate::settings::Settings;

/// What the main thread waits for.
#[derive(Debug)]
pub(crate) enum Event {
    /// A signal came.
    Signal(Signal),
    /// The gateway has drained, or failed.
    Stopped(io::Result<()>),
    /// The command that the gateway serves has ended.
    ChildExited,
}

/// A gateway that serves. It ends when its shards have drained, which is an [`Event::Stopped`].
#[derive(Debug)]
pub(crate) struct Gateway {
    addresses: Vec<ListenAddress>,
    control: Control,
    driver: &'static str,
    services: Arc<Services>,
}

impl Gateway {
    /// Starts serving. `pin` keeps each worker on a processor of its own.
    ///
    /// # Errors
    /// See [`listeners::bind`] and [`runtime::start`]; the message tells what can be done.
    pub(crate) fn start(
        settings: &Settings,
        snapshot: &Arc<Snapshot>,
        pin: bool,
        events: Sender<Event>,
    ) -> Result<Gateway, String> {
        let listeners = u16::try_from(settings.listeners.len())
            .map_err(|_| "there are too many listeners".to_owned())?;
        let count = u16::try_from(settings.workers).unwrap_or(u16::MAX);
        let mut shards = Vec::with_capacity(settings.workers);
        for id in 0..count {
            let options = ShardOptions {
                id: ShardId(id),
                shards: count,
                listeners,
                seed: seed::seed()?,
            };
            shards.push(Shard::new(&options, Arc::clone(snapshot)));
        }
        let services = Arc::new(Services::start(settings.log)?);
        let plan = Plan {
            runtime: settings.runtime,
            requires_io_uring: settings.requires_io_uring,
            pin,
        };
        let Bound {
            addresses,
            files,
            sockets,
        } = listeners::bind(&settings.listeners, settings.workers)
            .map_err(|error| advice(&error))?;
        let shards = shards.into_iter().zip(sockets).collect();
        let running = runtime::start(&plan, shards, Arc::clone(&services) as _)
            .map_err(|error| advice(&error))?;
        let gateway = Gateway {
            addresses,
            control: running.control(),
            driver: running.driver(),
            services,
        };
        let wait = move || {
            let result = running.wait();
            drop(files);
            // Nobody listens when the process is ending.
            let _ = events.send(Event::Stopped(result));
        };
        let thread = thread::Builder::new().name("wait".to_owned()).spawn(wait);
        thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(gateway)
    }

    /// Where it listens, with the ports that were chosen.
    pub(crate) fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// The runtime and its driver.
    pub(crate) fn driver(&self) -> &'static str {
        self.driver
    }

    /// Takes over a new config.
    pub(crate) fn reload(&self, snapshot: &Arc<Snapshot>, log: AccessLog) {
        self.control.reload(snapshot);
        self.services.log_as(log);
    }

    /// Stops accepting; what still runs `after` this time is ended.
    pub(crate) fn drain(&self, after: Duration) {
        self.control.drain(after);
    }

    /// Tells people something, in line with the access log. The program's other way, which is
    /// [`say`](mod@crate::say), would wait for a stderr that nobody reads, and who waits hears no
    /// signal.
    pub(crate) fn say(&self, text: String) {
        self.services.say(text);
    }

    /// Writes out what was said, and what the access log still holds.
    pub(crate) fn flush(&self) {
        self.services.flush();
    }
}

/// What went wrong, and what can be done about it.
fn advice(error: &io::Error) -> String {
    let help = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there (`ss -ltnp` tells which): end it, or choose another \
             address with --listen"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE, a socket file needs the \
             right to write to its folder"
        }
        _ => return error.to_string(),
    };
    format!("{error}\n  = help: {help}")
}
