//! A gateway is told to end while it streams.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::gateway::{Gateway, closed, read_until, request, status, status_of};
use super::upstream::Upstream;
use crate::histogram::Histogram;
use crate::loopback::ServerSpec;

const IDLE_CONNECTIONS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(20);
/// The threads of clients need little.
const STACK_BYTES: usize = 128 * 1024;

/// What came of it.
#[derive(Debug)]
pub struct Drained {
    /// Streams that were open when it was told to end.
    pub streams: usize,
    /// Of these, how many came to their end as if nothing had been.
    pub finished: usize,
    /// From being told to the answer of `/ready` to a request that had begun before.
    pub ready_time: Duration,
    /// The status of that answer.
    pub ready_status: u16,
    /// What a new connection meets that asks for `/ready` at once: a status, or nobody.
    pub ready_anew: Option<u16>,
    /// From being told until an idle connection was closed.
    pub idle_closed: Histogram,
    /// From being told to the end of the process.
    pub end_time: Duration,
    /// Whether the process ended with status 0.
    pub is_success: bool,
}

/// Tells a gateway to end (SIGTERM) while it passes on `streams` streams, each of two seconds.
///
/// # Errors
/// When something cannot be started, or waits for longer than 20 seconds.
pub fn drain(spec: &ServerSpec, workers: usize, streams: usize) -> io::Result<Drained> {
    let upstream = Upstream::start()?;
    let config = format!(
        "[providers.live]\ndialect = \"anthropic\"\nbase_url = \"http://{}/live\"\n\
         key = \"sk-mock\"\n[models]\n\"live\" = \"live/m\"\n",
        upstream.address
    );
    let mut gateway = Gateway::start(spec, workers, &config)?;
    let address = gateway.address();
    let idle = idle_connections(address)?;
    let (begun, has_begun) = channel();
    let mut clients = Vec::new();
    for _ in 0..streams {
        let begun = begun.clone();
        let client = thread::Builder::new().stack_size(STACK_BYTES);
        clients.push(client.spawn(move || stream(address, &begun).unwrap_or(false))?);
    }
    for _ in 0..streams {
        let waited = has_begun.recv_timeout(PATIENCE);
        waited.map_err(|_| io::Error::other("not all streams begin"))?;
    }
    let mut half = TcpStream::connect(address)?;
    half.write_all(b"GET /ready HTTP/1.1\r\n")?;
    // Its beginning has been read when a later connection of the same kind was answered.
    status(address, "/ready")?;
    let told = Instant::now();
    gateway.tell_to_end()?;
    let closing: Vec<_> = idle
        .into_iter()
        .map(|mut connection| thread::spawn(move || closed(&mut connection)))
        .collect();
    let (ready_time, ready_status) = finish_half(&mut half, address, told)?;
    let ready_anew = status(address, "/ready").ok();
    let mut idle_closed = Histogram::default();
    for thread in closing {
        let at = thread.join().map_err(|_| io::Error::other("a panic"))??;
        idle_closed.record(at.saturating_duration_since(told));
    }
    let results = clients
        .into_iter()
        .map(|client| client.join().unwrap_or(false));
    let finished = results.filter(|is_whole| *is_whole).count();
    let status = gateway.wait(PATIENCE)?;
    Ok(Drained {
        streams,
        finished,
        ready_time,
        ready_status,
        ready_anew,
        idle_closed,
        end_time: told.elapsed(),
        is_success: status.success(),
    })
}

/// Connections that have been used and wait.
fn idle_connections(address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    let mut connections = Vec::new();
    for _ in 0..IDLE_CONNECTIONS {
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.write_all(b"HEAD /health HTTP/1.1\r\nhost: gateway\r\n\r\n")?;
        read_until(&mut connection, "\r\n\r\n")?;
        connections.push(connection);
    }
    Ok(connections)
}

/// The signal has arrived once nobody is listening any more; only then is the request completed
/// that was begun before. Gives how long after `told` that was, and the status.
fn finish_half(
    half: &mut TcpStream,
    address: SocketAddr,
    told: Instant,
) -> io::Result<(Duration, u16)> {
    while status(address, "/ready").is_ok_and(|status| status == 200) {
        if told.elapsed() > PATIENCE {
            return Err(io::Error::other("it goes on as if it had not been told"));
        }
    }
    let ready_time = told.elapsed();
    half.write_all(b"host: gateway\r\nconnection: close\r\n\r\n")?;
    Ok((ready_time, status_of(half)?))
}

/// Reads one stream; says whether it came to its end.
fn stream(address: SocketAddr, begun: &Sender<()>) -> io::Result<bool> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(&request("live", 100, true))?;
    let mut said = String::new();
    let mut part = [0; 4096];
    let mut has_begun = false;
    loop {
        let read = connection.read(&mut part)?;
        if read == 0 {
            return Ok(false);
        }
        said += &String::from_utf8_lossy(part.get(..read).unwrap_or_default());
        if !has_begun && said.contains("text_delta") {
            has_begun = true;
            let _ = begun.send(());
        }
        if said.ends_with("\r\n0\r\n\r\n") {
            return Ok(said.contains("\"message_stop\"") && !said.contains("event: error"));
        }
    }
}
