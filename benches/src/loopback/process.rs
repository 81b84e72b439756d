//! A measured server as a process: with a port and a folder of its own, whatever its config says.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::server::{ServerKind, ServerSpec};
use crate::machine::{self, ProcessTree};

const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const LOG: &str = "stderr.log";

/// A process that was started; dropping it kills it and those that it started, and removes its
/// folder.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Process {
    /// Starts the program of `spec` with so many workers (nginx takes them from its config), on
    /// processor `cpu` alone if one is given. `config` writes what it is to do: it is told the
    /// folder and the port to listen at.
    ///
    /// # Errors
    /// When it cannot be started; the program is named.
    pub(crate) fn start(
        spec: &ServerSpec,
        workers: usize,
        cpu: Option<usize>,
        config: impl FnOnce(&Path, u16) -> String,
    ) -> io::Result<Process> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("tollgate-benches-{id}-{port}"));
        fs::create_dir_all(&folder)?;
        let config = config(&folder, port);
        let child = command(spec, workers, &folder, &config)
            .and_then(|command| spawn(command, cpu))
            .map_err(|error| {
                let _ = fs::remove_dir_all(&folder);
                let program = spec.program.display();
                io::Error::new(error.kind(), format!("{program}: {error}"))
            })?;
        Ok(Process {
            child,
            folder,
            address: ([127, 0, 0, 1], port).into(),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// It and those that it started.
    pub(crate) fn tree(&self) -> ProcessTree {
        ProcessTree::new(self.child.id())
    }

    /// Tries again and again until `is_ready`.
    ///
    /// # Errors
    /// When it ends, or is not ready within 10 seconds: why not, and what it wrote.
    pub(crate) fn await_ready(
        &mut self,
        mut is_ready: impl FnMut(SocketAddr) -> Result<(), String>,
    ) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while let Err(failure) = is_ready(self.address) {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join(LOG)).unwrap_or_default();
                let state = ended.map_or("not ready".into(), |status| status.to_string());
                let message = format!("{state}: {failure}\n{}", log.trim_end());
                return Err(io::Error::other(message));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Tells it to end (SIGTERM).
    ///
    /// # Errors
    /// When it is not there any more.
    pub(crate) fn tell_to_end(&self) -> io::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let pid = pid.ok_or_else(|| io::Error::other("no process"))?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits for its end, `timeout` at most.
    ///
    /// # Errors
    /// When it does not end in time.
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Those that it started would outlive it. Where it has ended, its number may be another's.
        if let Ok(None) = self.child.try_wait() {
            let tree = self.tree().processes().unwrap_or_default();
            for pid in tree.into_iter().map(u32::cast_signed) {
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn command(spec: &ServerSpec, workers: usize, folder: &Path, config: &str) -> io::Result<Command> {
    let file = folder.join("config");
    fs::write(&file, config)?;
    let mut command = Command::new(&spec.program);
    match spec.kind {
        ServerKind::Nginx => {
            command.arg("-p").arg(folder).arg("-c").arg(&file);
        }
        ServerKind::Tollgate {
            runtime,
            force_epoll,
        } => {
            command.arg("--config").arg(&file);
            command.args(["--workers", &workers.to_string(), "--runtime", runtime]);
            command.env_remove("MONOIO_FORCE_LEGACY_DRIVER");
            if force_epoll {
                command.env("MONOIO_FORCE_LEGACY_DRIVER", "1");
            }
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join(LOG))?);
    Ok(command)
}

/// A process inherits the processors of the thread that starts it, so a thread that is bound starts
/// it.
fn spawn(mut command: Command, cpu: Option<usize>) -> io::Result<Child> {
    let Some(cpu) = cpu else {
        return command.spawn();
    };
    let thread = std::thread::spawn(move || {
        machine::pin_thread(cpu)?;
        command.spawn()
    });
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
}
