//! Starts and stops the measured servers: the reference proxy nginx, and tollgate on each runtime.
//!
//! A server runs as a process of its own, bound to one processor, with a generated configuration in
//! a temporary directory that goes with it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::getuid;

use super::process::Process;
use crate::load::{Expect, Load, Until};
use crate::machine::ProcessTree;
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

    /// Of [all](Self::all) those with one of these names; all where there are no names.
    pub fn chosen(nginx: &Path, tollgate: &Path, names: &[String]) -> Vec<ServerSpec> {
        let mut servers = ServerSpec::all(nginx, tollgate);
        servers.retain(|spec| names.is_empty() || names.iter().any(|name| name == spec.name));
        servers
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
    process: Process,
}

impl Server {
    /// Starts the server on a free loopback port, bound to processor `cpu`, before `upstream`, and
    /// waits until it answers a request. The plan of `upstream` becomes the default one.
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not answer within 10 seconds; with what it wrote
    /// last.
    pub fn start(spec: &ServerSpec, upstream: &MockUpstream, cpu: usize) -> io::Result<Server> {
        let upstream_port = upstream.address().port();
        let process = Process::start(spec, 1, Some(cpu), |dir, port| match spec.kind {
            ServerKind::Nginx => nginx_config(dir, port, upstream_port),
            ServerKind::Tollgate { .. } => tollgate_config(port, upstream_port),
        })?;
        let mut server = Server { process };
        upstream.set_plan(Plan::default());
        server.process.await_ready(answers)?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Its processes.
    pub fn processes(&self) -> ProcessTree {
        self.process.tree()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may end by itself, its workers first; what does not is killed.
        if self.process.tell_to_end().is_ok() {
            let _ = self.process.wait(STOP_TIMEOUT);
        }
    }
}

/// A gateway drains at the end of its life; streams that a measurement left open need not be waited
/// for.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the server at `address` answers a request.
fn answers(address: SocketAddr) -> Result<(), String> {
    let body = requests::body(Api::Messages, Size::Small, model(Api::Messages), false);
    let request = requests::http(Api::Messages, address, &body);
    let load = Load::connect(address, request, 1, Expect::default());
    match load.and_then(|mut load| load.run(Until::Requests(1))) {
        Ok(report) if report.completed == 1 => Ok(()),
        Ok(report) => Err(report.first_failure.unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }
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
