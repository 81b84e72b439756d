//! `tollgate exec`: a gateway for one command. It listens on a free port of this machine, the
//! command finds it by the variables that API clients read, and it ends with the command.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{self, Child, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tollgate_core::config::{AccessLog, Caller, Credentials, ListenAddress, Snapshot};

use crate::banner::base_url;
use crate::cli::ExecArgs;
use crate::fault::Fault;
use crate::gateway::{Event, Gateway};
use crate::say::say;
use crate::seed;
use crate::settings::Settings;
use crate::signals;

/// What shells answer for a command that is there but cannot be run, and for one that is not there.
const NOT_RUNNABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the command and passes its exit status on.
pub(crate) fn run(args: &ExecArgs) -> Result<ExitCode, Fault> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Fault::Other("there is no command to run".to_owned()));
    };
    let (sender, events) = mpsc::channel();
    let wanted = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];
    signals::forward(&wanted, sender.clone())?;
    let mut settings = settings(args)?;
    let mut snapshot = std::mem::take(&mut settings.snapshot);
    let key = own_key(&mut snapshot)?;
    let snapshot = Arc::new(snapshot);
    let gateway = Gateway::start(&settings, &snapshot, false, sender.clone())?;
    for warning in &settings.warnings {
        say!("warning: {warning}");
    }
    let base = gateway.addresses().iter().find_map(base_url);
    let base = base.ok_or_else(|| "clients need an address with a port".to_owned())?;
    let variables = variables(program, &base, key.as_deref());
    let mut command = process::Command::new(program);
    command.args(arguments).envs(variables);
    if program_name(program) == Some("claude") && key.is_some() {
        command.env_remove("ANTHROPIC_API_KEY");
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            say!("error: cannot run {}: {error}", program.to_string_lossy());
            return Ok(ExitCode::from(match error.kind() {
                ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_RUNNABLE,
            }));
        }
    };
    let (status, is_serving) = serve(child, sender, &events)?;
    if is_serving {
        gateway.drain(snapshot.limits.timers.drain);
        until_drained(&events);
    }
    gateway.flush();
    Ok(ExitCode::from(exit_code(status)))
}

fn settings(args: &ExecArgs) -> Result<Settings, Fault> {
    let mut serve = args.serve.clone();
    if serve.listen.is_empty() {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        serve.listen.push(ListenAddress::Tcp(any_port));
    }
    // One person is served, and the terminal is the command's.
    serve.workers = serve.workers.or(Some(1));
    let is_log_wanted = serve.log.is_some();
    let mut settings = Settings::load(&serve)?;
    if !is_log_wanted {
        settings.log = AccessLog::Off;
    }
    Ok(settings)
}

/// A key for this run, without which nobody else on this machine gets in. Where a provider wants
/// the clients' own credentials there is none: a request has one place for either.
fn own_key(snapshot: &mut Snapshot) -> Result<Option<String>, String> {
    let own = |credentials: &Credentials| matches!(credentials, Credentials::Client);
    if snapshot
        .providers
        .iter()
        .any(|provider| own(&provider.credentials))
    {
        return Ok(None);
    }
    let key = seed::key()?;
    snapshot.callers.push(Caller::new("exec", &key));
    Ok(Some(key))
}

/// What the clients of both APIs read, and their elder siblings.
fn variables(program: &OsString, base: &str, key: Option<&str>) -> Vec<(&'static str, String)> {
    let v1 = format!("{base}/v1");
    let mut variables = vec![
        ("ANTHROPIC_BASE_URL", base.to_owned()),
        ("ANTHROPIC_API_BASE", base.to_owned()),
        ("OPENAI_BASE_URL", v1.clone()),
        ("OPENAI_API_BASE", v1),
    ];
    if let Some(key) = key {
        variables.push(("ANTHROPIC_AUTH_TOKEN", key.to_owned()));
        variables.push(("OPENAI_API_KEY", key.to_owned()));
        // Claude Code asks about every new key, but not about a token.
        if program_name(program) != Some("claude") {
            variables.push(("ANTHROPIC_API_KEY", key.to_owned()));
        }
    }
    // A proxy cannot reach this machine's loopback.
    for name in ["NO_PROXY", "no_proxy"] {
        let others = env::var(name).unwrap_or_default();
        let separator = if others.is_empty() { "" } else { "," };
        variables.push((name, format!("{others}{separator}127.0.0.1,localhost")));
    }
    variables
}

fn program_name(program: &OsString) -> Option<&str> {
    Path::new(program)
        .file_name()
        .and_then(|name| name.to_str())
}

/// Passes signals on to the command until it ends; how it did, and whether the gateway still runs.
fn serve(
    mut child: Child,
    sender: Sender<Event>,
    events: &Receiver<Event>,
) -> Result<(ExitStatus, bool), String> {
    let failed = |error: io::Error| format!("cannot watch the command: {error}");
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = id.ok_or_else(|| "the command has no process id".to_owned())?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    // It is not reaped before the last signal was sent: until then the id is no other process's.
    let watch = move || {
        let _ = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
        let _ = sender.send(Event::ChildExited);
    };
    thread::Builder::new()
        .name("child".to_owned())
        .spawn(watch)
        .map_err(failed)?;
    let is_interactive =
        io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
    let is_serving = loop {
        match events.recv() {
            Ok(Event::Signal(signal)) => pass_on(&process, signal, is_interactive),
            Ok(Event::Stopped(result)) => {
                let reason = result
                    .err()
                    .map_or(String::new(), |error| format!(": {error}"));
                say!("error: the gateway stopped{reason}");
                pass_on(&process, Signal::TERM, is_interactive);
                break false;
            }
            Ok(Event::ChildExited) | Err(_) => break true,
        }
    };
    Ok((child.wait().map_err(failed)?, is_serving))
}

/// Passes a signal on. Those that a terminal sends for a key went to the command too.
fn pass_on(process: &OwnedFd, signal: Signal, is_interactive: bool) {
    let is_key = matches!(signal, Signal::INT | Signal::QUIT);
    if !(is_key && is_interactive) {
        // It fails if the command has just ended, which is an event of its own.
        let _ = pidfd_send_signal(process, signal);
    }
}

/// Waits for requests that others (grandchildren) still have; a signal ends that.
fn until_drained(events: &Receiver<Event>) {
    while let Ok(Event::ChildExited) = events.recv() {}
}

fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal)) => signals::exit_code(signal),
        (None, None) => u8::MAX,
    }
}
