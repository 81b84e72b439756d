//! `tollgate` without a command: serves until it is told to end.
//!
//! The main thread waits for events: SIGHUP reads the config again, SIGTERM and SIGINT drain, and a
//! second one of these ends the process at once. A SIGHUP because the terminal is gone drains too.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use tollgate_core::config::Snapshot;

use crate::banner;
use crate::cli::ServeArgs;
use crate::fault::Fault;
use crate::gateway::{Event, Gateway};
use crate::say::say;
use crate::settings::{Settings, processors};
use crate::signals;

/// Serves.
pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode, Fault> {
    let (sender, events) = mpsc::channel();
    signals::forward(&[Signal::HUP, Signal::INT, Signal::TERM], sender.clone())?;
    raise_descriptor_limit();
    let mut settings = Settings::load(args)?;
    let snapshot = Arc::new(std::mem::take(&mut settings.snapshot));
    // Several workers on one processor would only be in each other's way if they could not move.
    let pin = settings.workers > 1 && settings.workers <= processors();
    let gateway = Gateway::start(&settings, &snapshot, pin, sender)?;
    banner::print(&gateway, &settings, &snapshot);
    let terminal = Terminal::new();
    let mut served = Served {
        args,
        gateway,
        settings,
        snapshot,
        terminal,
    };
    let result = served.until_stopped(&events);
    if let Err(fault) = &result {
        served.gateway.say(fault.to_string());
    }
    served.gateway.flush();
    Ok(result.unwrap_or(ExitCode::FAILURE))
}

/// What serves, and under which config.
struct Served<'a> {
    args: &'a ServeArgs,
    gateway: Gateway,
    /// As at the start: what cannot change without a restart is compared with it.
    settings: Settings,
    snapshot: Arc<Snapshot>,
    terminal: Terminal,
}

impl Served<'_> {
    fn until_stopped(&mut self, events: &Receiver<Event>) -> Result<ExitCode, Fault> {
        let mut is_draining = false;
        loop {
            match events.recv() {
                Ok(Event::Signal(Signal::HUP)) if is_draining => {}
                Ok(Event::Signal(Signal::HUP)) if !self.terminal.is_gone() => self.reload(),
                Ok(Event::ChildExited) => {}
                Ok(Event::Signal(signal)) if is_draining => {
                    let text = format!("{}: ending at once", signals::name(signal));
                    self.gateway.say(text);
                    self.gateway.flush();
                    process::exit(i32::from(signals::exit_code(signal.as_raw())));
                }
                Ok(Event::Signal(signal)) => {
                    is_draining = true;
                    let after = self.snapshot.limits.timers.drain;
                    self.gateway.say(format!(
                        "{}: draining, for {} s at most; once more ends at once",
                        signals::name(signal),
                        after.as_secs_f32()
                    ));
                    self.gateway.drain(after);
                }
                Ok(Event::Stopped(Ok(()))) => return Ok(ExitCode::SUCCESS),
                Ok(Event::Stopped(Err(error))) => {
                    return Err(Fault::Other(format!("the gateway stopped: {error}")));
                }
                Err(_) => return Err(Fault::Other("the gateway is lost".to_owned())),
            }
        }
    }

    fn reload(&mut self) {
        let text = self.reloaded();
        self.gateway.say(text);
    }

    /// Reads the config again; tells what came of it.
    fn reloaded(&mut self) -> String {
        let Some(file) = &self.settings.file else {
            return "SIGHUP: there is no config file to read again".to_owned();
        };
        let file = file.display();
        let later = Settings::load(self.args).and_then(|later| {
            self.settings.check_later(&later)?;
            Ok(later)
        });
        let mut later = match later {
            Ok(later) => later,
            Err(fault) => {
                return format!("{fault}\nSIGHUP: {file} has faults, the config from before stays");
            }
        };
        for warning in &later.warnings {
            self.gateway.say(format!("warning: {warning}"));
        }
        let fixed = self.settings.fixed_differences(&later);
        self.snapshot = Arc::new(std::mem::take(&mut later.snapshot));
        self.gateway.reload(&self.snapshot, later.log);
        match fixed.as_slice() {
            [] => format!("SIGHUP: took over {file}"),
            fixed => format!(
                "SIGHUP: took over {file}, but for what needs a restart: {}",
                fixed.join(", ")
            ),
        }
    }
}

/// The terminal that the program was started from, if it was.
struct Terminal {
    was_there: bool,
}

impl Terminal {
    fn new() -> Terminal {
        Terminal {
            was_there: Terminal::is_there(),
        }
    }

    /// Whether it was hung up: its descriptors are no terminal's any more.
    fn is_gone(&self) -> bool {
        self.was_there && !Terminal::is_there()
    }

    fn is_there() -> bool {
        stdin().is_terminal() || stdout().is_terminal() || stderr().is_terminal()
    }
}

/// Each connection takes a descriptor, and the usual limit of 1024 is for programs that use
/// `select`.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            say!("warning: the limit of open files stays as it is: {error}");
        }
    }
}
