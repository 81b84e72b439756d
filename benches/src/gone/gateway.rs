//! A gateway with a config of its own, as a process.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::loopback::{Process, ServerKind, ServerSpec};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A running tollgate; dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
}

impl Gateway {
    /// Starts the program of `spec` on a free port with `workers`, listening there and else with
    /// `config`, and waits until it is ready.
    ///
    /// # Errors
    /// When it is no tollgate, cannot be started, ends, or is not ready within 10 seconds; with
    /// what it wrote.
    pub fn start(spec: &ServerSpec, workers: usize, config: &str) -> io::Result<Gateway> {
        if spec.kind == ServerKind::Nginx {
            return Err(io::Error::other("only tollgate can be asked this"));
        }
        let mut process = Process::start(spec, workers, None, |_, port| {
            let listener = format!("[[listeners]]\naddress = \"127.0.0.1:{port}\"\n");
            format!("access_log = \"off\"\n{config}\n{listener}")
        })?;
        process.await_ready(|address| match status(address, "/ready") {
            Ok(200) => Ok(()),
            Ok(status) => Err(format!("/ready says {status}")),
            Err(error) => Err(error.to_string()),
        })?;
        Ok(Gateway { process })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Tells it to end (SIGTERM).
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn tell_to_end(&self) -> io::Result<()> {
        self.process.tell_to_end()
    }

    /// Waits for its end, `timeout` at most.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        self.process.wait(timeout)
    }
}

/// A request of `model`, in bytes; `number` is its `max_tokens`, by which it is known again.
pub(super) fn request(model: &str, number: u32, is_stream: bool) -> Vec<u8> {
    let body = format!(
        "{{\"model\":\"{model}\",\"max_tokens\":{number},\"stream\":{is_stream},\
         \"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}"
    );
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
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
    connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut answer = Vec::new();
    connection.take(4096).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|it| it.parse().ok());
    status.ok_or_else(|| io::Error::other("no status line"))
}

/// Reads until `text` has come.
///
/// # Errors
/// When it does not.
pub(super) fn read_until(connection: &mut TcpStream, text: &str) -> io::Result<()> {
    let mut said = Vec::new();
    let mut part = [0; 4096];
    while !String::from_utf8_lossy(&said).contains(text) {
        let read = connection.read(&mut part)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        said.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    Ok(())
}

/// Waits until the other side closes, or breaks, a connection that nothing comes on any more; gives
/// when.
///
/// # Errors
/// When something comes all the same, or nothing happens.
pub(super) fn closed(connection: &mut TcpStream) -> io::Result<Instant> {
    let mut rest = Vec::new();
    match connection.read_to_end(&mut rest) {
        Ok(0) => Ok(Instant::now()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Instant::now()),
        Ok(_) => {
            let said = String::from_utf8_lossy(&rest);
            Err(io::Error::other(format!("instead of its end came: {said}")))
        }
        Err(error) => Err(error),
    }
}
