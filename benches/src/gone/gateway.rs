//! A gateway with a config of its own, as a process.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::loopback::{ServerKind, ServerSpec};

const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running tollgate; dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Gateway {
    /// Starts the program of `spec` on a free port with `workers`, listening there and else with
    /// `config`, and waits until it is ready.
    ///
    /// # Errors
    /// When it is no tollgate, cannot be started, ends, or is not ready within 10 seconds; with
    /// what it wrote.
    pub fn start(spec: &ServerSpec, workers: usize, config: &str) -> io::Result<Gateway> {
        let ServerKind::Tollgate {
            runtime,
            force_epoll,
        } = spec.kind
        else {
            return Err(io::Error::other("only tollgate can be asked this"));
        };
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("tollgate-gone-{id}-{port}"));
        fs::create_dir_all(&folder)?;
        let file = folder.join("tollgate.toml");
        let listener = format!("[[listeners]]\naddress = \"127.0.0.1:{port}\"\n");
        fs::write(&file, format!("access_log = \"off\"\n{config}\n{listener}"))?;
        let mut command = Command::new(&spec.program);
        command.arg("--config").arg(&file);
        command.args(["--workers", &workers.to_string(), "--runtime", runtime]);
        command.env_remove("MONOIO_FORCE_LEGACY_DRIVER");
        if force_epoll {
            command.env("MONOIO_FORCE_LEGACY_DRIVER", "1");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(folder.join("stderr.log"))?);
        let mut gateway = Gateway {
            child: command.spawn()?,
            folder,
            address: ([127, 0, 0, 1], port).into(),
        };
        gateway.wait_until_ready()?;
        Ok(gateway)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it to end (SIGTERM).
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn tell_to_end(&self) -> io::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let pid = pid.ok_or_else(|| io::Error::other("no process"))?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits for its end, `timeout` at most.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
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

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if status(self.address, "/ready").is_ok_and(|status| status == 200) {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(self.folder.join("stderr.log")).unwrap_or_default();
                let state = ended.map_or("not ready".into(), |status| status.to_string());
                return Err(io::Error::other(format!("{state}\n{}", said.trim_end())));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // What is measured is over; streams that are left need not be waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The status of `GET path`, asked on a connection of its own.
///
/// # Errors
/// When nobody answers.
pub(super) fn status(address: SocketAddr, path: &str) -> io::Result<u16> {
    let mut connection = TcpStream::connect(address)?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
    connection.write_all(head.as_bytes())?;
    status_of(&mut connection)
}

/// Reads the status line that comes first; the rest is dropped.
///
/// # Errors
/// When none comes.
pub(super) fn status_of(connection: &mut TcpStream) -> io::Result<u16> {
    connection.set_read_timeout(Some(START_TIMEOUT))?;
    let mut answer = Vec::new();
    connection.take(4096).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|it| it.parse().ok());
    status.ok_or_else(|| io::Error::other("no status line"))
}
