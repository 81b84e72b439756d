//! Starts and stops the measured servers: the reference proxy nginx, and tollgate on each runtime.
//!
//! A server runs as a process of its own, bound to one processor, with a generated configuration in
//! a temporary directory that goes with it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::load::{Expect, Load, Until};
use crate::machine::{self, ProcessTree};
use crate::requests::{self, Api, Size};
use crate::upstream::{MockUpstream, Plan};

/// A server to measure: how tables call it, and how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// The name in tables.
    pub name: &'static str,
    /// The file to run.
    pub program: PathBuf,
    /// What it is.
    pub kind: ServerKind,
}

/// The servers that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// nginx as a reverse proxy with one worker: passes bytes, translates nothing.
    Nginx,
    /// tollgate with one worker.
    Tollgate {
        /// The value of `--runtime`.
        runtime: &'static str,
        /// Makes monoio use epoll where it could use io_uring.
        force_epoll: bool,
    },
}

impl ServerSpec {
    /// nginx and the three ways to run tollgate, in the order of tables.
    pub fn all(nginx: &Path, tollgate: &Path) -> Vec<ServerSpec> {
        let tollgate = |name, runtime, force_epoll| ServerSpec {
            name,
            program: tollgate.to_owned(),
            kind: ServerKind::Tollgate {
                runtime,
                force_epoll,
            },
        };
        vec![
            ServerSpec {
                name: "nginx",
                program: nginx.to_owned(),
                kind: ServerKind::Nginx,
            },
            tollgate("smol", "smol", false),
            tollgate("monoio-epoll", "monoio", true),
            tollgate("monoio-uring", "monoio", false),
        ]
    }

    /// Whether the server can answer a client of one API from an upstream of another.
    pub fn translates(&self) -> bool {
        !matches!(self.kind, ServerKind::Nginx)
    }
}

/// The model name that routes to the mock upstream's endpoint of `to`.
pub fn model(to: Api) -> &'static str {
    match to {
        Api::Messages => "m-messages",
        Api::Chat => "m-chat",
    }
}

/// nginx in front of the mock upstream, in the foreground, all its files under `dir`. The request's
/// body is held in memory before it is passed on, as a gateway that routes by it must do.
pub fn nginx_config(dir: &Path, port: u16, upstream_port: u16) -> String {
    let dir = dir.display();
    let user = if getuid().is_root() { "user root;" } else { "" };
    format!(
        r#"daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 16384; }}
http {{
  client_body_temp_path {dir}/client_body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  access_log off;
  tcp_nodelay on;
  keepalive_requests 100000000;
  client_max_body_size 64m;
  client_body_buffer_size 1m;
  upstream mock {{
    server 127.0.0.1:{upstream_port};
    keepalive 256;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"#
    )
}

/// tollgate in front of the mock upstream, which is a provider of each API.
pub fn tollgate_config(port: u16, upstream_port: u16) -> String {
    format!(
        r#"[[listeners]]
address = "127.0.0.1:{port}"

[providers.mock-messages]
dialect = "anthropic"
base_url = "http://127.0.0.1:{upstream_port}"
key = "sk-mock"

[providers.mock-chat]
dialect = "openai-chat"
base_url = "http://127.0.0.1:{upstream_port}/v1"
key = "sk-mock"

[models]
"{messages}" = "mock-messages/claude-mock"
"{chat}" = "mock-chat/gpt-mock"
"#,
        messages = model(Api::Messages),
        chat = model(Api::Chat),
    )
}

/// A running server; dropping it ends its processes and removes its directory.
#[derive(Debug)]
pub struct Server {
    child: Child,
    dir: PathBuf,
    address: SocketAddr,
}

impl Server {
    /// Starts the server on a free loopback port, bound to processor `cpu`, before `upstream`, and
    /// waits until it answers a request. The plan of `upstream` becomes the default one.
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not answer within 10 seconds; with what it wrote
    /// last.
    pub fn start(spec: &ServerSpec, upstream: &MockUpstream, cpu: usize) -> io::Result<Server> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let id = std::process::id();
        let dir = std::env::temp_dir().join(format!("tollgate-loopback-{id}-{port}"));
        fs::create_dir_all(&dir)?;
        let command = command(spec, &dir, port, upstream.address().port())?;
        let child = match spawn_on(command, cpu) {
            Ok(child) => child,
            Err(error) => {
                let _ = fs::remove_dir_all(&dir);
                let program = spec.program.display();
                return Err(io::Error::new(error.kind(), format!("{program}: {error}")));
            }
        };
        let mut server = Server {
            child,
            dir,
            address: ([127, 0, 0, 1], port).into(),
        };
        upstream.set_plan(Plan::default());
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its processes.
    pub fn processes(&self) -> ProcessTree {
        ProcessTree::new(self.child.id())
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let body = requests::body(Api::Messages, Size::Small, model(Api::Messages), false);
        let request = requests::http(Api::Messages, self.address, &body);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let load = Load::connect(self.address, request.clone(), 1, Expect::default());
            let failure = match load.and_then(|mut load| load.run(Until::Requests(1))) {
                Ok(report) if report.completed == 1 => return Ok(()),
                Ok(report) => report.first_failure.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.dir.join(LOG)).unwrap_or_default();
                let state = ended.map_or("does not answer".into(), |status| status.to_string());
                return Err(io::Error::other(format!(
                    "{state}: {failure}\n{}",
                    log.trim_end()
                )));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Asks the server to end, and ends it where it does not listen. A master process is asked
    /// first, for its workers would outlive it.
    fn stop(&mut self) -> io::Result<()> {
        let processes = self.processes().processes()?;
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                for pid in processes
                    .iter()
                    .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
                {
                    let _ = kill_process(pid, Signal::KILL);
                }
                self.child.wait()?;
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stop().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A gateway drains at the end of its life; streams that a measurement left open need not be waited
/// for.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const LOG: &str = "stderr.log";

fn command(spec: &ServerSpec, dir: &Path, port: u16, upstream_port: u16) -> io::Result<Command> {
    let config = dir.join("config");
    let mut command = Command::new(&spec.program);
    match spec.kind {
        ServerKind::Nginx => {
            fs::write(&config, nginx_config(dir, port, upstream_port))?;
            command.arg("-p").arg(dir).arg("-c").arg(&config);
        }
        ServerKind::Tollgate {
            runtime,
            force_epoll,
        } => {
            fs::write(&config, tollgate_config(port, upstream_port))?;
            command.arg("--config").arg(&config);
            command.args(["--workers", "1", "--runtime", runtime]);
            command.env_remove("MONOIO_FORCE_LEGACY_DRIVER");
            if force_epoll {
                command.env("MONOIO_FORCE_LEGACY_DRIVER", "1");
            }
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join(LOG))?);
    Ok(command)
}

/// A process inherits the processors of the thread that starts it, so a thread that is bound starts
/// it.
fn spawn_on(mut command: Command, cpu: usize) -> io::Result<Child> {
    let thread = std::thread::spawn(move || {
        machine::pin_thread(cpu)?;
        command.spawn()
    });
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let upstream = MockUpstream::start(any, Plan::default(), None).unwrap();
        let [nginx, tollgate] = ["/nowhere/nginx", "/nowhere/tollgate"].map(Path::new);
        for spec in ServerSpec::all(nginx, tollgate) {
            let error = Server::start(&spec, &upstream, 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
            assert!(error.to_string().starts_with("/nowhere/"), "{error}");
        }
    }
}
