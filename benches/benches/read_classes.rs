//! How a connection that only waits is best read: what a message costs and what waiting holds, by
//! readiness, and by a read in flight with a buffer of its own.
//!
//! `cargo bench -p tollgate-benches --bench read_classes [-- ROUNDS]`
//!
//! A process of its own takes each measurement: a server on monoio, on one processor, whose
//! connections wait for a message and answer it, and a client on another.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::mpsc::channel;

use monoio::io::AsyncReadRent as _;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use tollgate_benches::machine::{self, ProcessTree};
use tollgate_benches::report::{Format, Table, figure, lowest, median};

const DRIVERS: [&str; 2] = ["io_uring", "epoll"];
/// Bytes of the buffer in flight; none: readiness.
const BUFFERS: [usize; 3] = [0, 256, 4096];
/// Bytes of a message, connections, messages on each: small ones, such as events; pieces of an
/// answer that fill the small buffer; the same on very many connections.
const TRAFFIC: [[usize; 3]; 3] = [[100, 64, 500], [1400, 64, 500], [1400, 5000, 4]];
/// What is received into beyond the buffer in flight.
const ROOM: usize = 4096;
const ANSWER: [u8; 100] = [b'x'; 100];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["measure", driver, buffer, bytes, conns, messages] => {
            let number = |text: &str| text.parse().map_err(io::Error::other);
            measure(
                driver,
                number(buffer)?,
                number(bytes)?,
                number(conns)?,
                number(messages)?,
            )
        }
        // Cargo adds `--bench`.
        [rounds, ..] if rounds != "--bench" => compare(rounds.parse().map_err(io::Error::other)?),
        _ => compare(9),
    }
}

/// Measures all, `rounds` times in turn: the speed of a shared machine drifts.
fn compare(rounds: usize) -> io::Result<()> {
    let drivers = DRIVERS.iter();
    let ways: Vec<(&str, usize)> = drivers
        .flat_map(|driver| BUFFERS.map(|buffer| (*driver, buffer)))
        .collect();
    // By way: the CPU time of each traffic, and the memory of the last.
    let mut figures = vec![[const { Vec::new() }; TRAFFIC.len() + 1]; ways.len()];
    for _ in 0..rounds {
        for (index, traffic) in TRAFFIC.iter().enumerate() {
            for ((driver, buffer), figures) in ways.iter().zip(&mut figures) {
                let [cpu, memory] = apart(driver, *buffer, traffic)?;
                figures[index].push(cpu);
                if index + 1 == TRAFFIC.len() {
                    figures[index + 1].push(memory);
                }
            }
        }
    }
    let title = "CPU µs per message, median (lowest); memory of a connection that waits";
    let columns = TRAFFIC.map(|[bytes, conns, _]| format!("{bytes} B × {conns}"));
    let columns = columns.into_iter().chain(["resident KiB".to_owned()]);
    let mut table = Table::new(title, ["read".to_owned()].into_iter().chain(columns));
    for ((driver, buffer), figures) in ways.iter().zip(&figures) {
        let name = match buffer {
            0 => format!("{driver}, readiness"),
            buffer => format!("{driver}, {buffer} B in flight"),
        };
        let cells = figures.iter().map(|values| {
            let of = |value: Option<f64>| value.map_or_else(String::new, figure);
            format!("{} ({})", of(median(values)), of(lowest(values)))
        });
        table.row([name].into_iter().chain(cells));
    }
    println!("{}", table.render(Format::Text));
    Ok(())
}

/// What [`measure`] prints, in a process of its own.
fn apart(driver: &str, buffer: usize, traffic: &[usize]) -> io::Result<[f64; 2]> {
    let output = Command::new(std::env::current_exe()?)
        .args(["measure", driver, &buffer.to_string()])
        .args(traffic.iter().map(usize::to_string))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut said = text.split_whitespace().map(str::parse);
    match (said.next(), said.next()) {
        (Some(Ok(cpu)), Some(Ok(memory))) => Ok([cpu, memory]),
        _ => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
    }
}

/// Prints the server's CPU time of a message in µs, and the resident KiB of a connection.
fn measure(
    driver: &str,
    buffer: usize,
    bytes: usize,
    conns: usize,
    messages: usize,
) -> io::Result<()> {
    machine::raise_open_files(4 * conns as u64 + 100)?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let is_uring = driver == DRIVERS[0];
    let (tell, told) = channel();
    std::thread::spawn(move || -> io::Result<()> {
        // One processor will do, where there is only one.
        let _ = machine::pin_thread(0);
        let mut streams = Vec::new();
        for _ in 0..conns {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(!is_uring)?;
            streams.push(stream);
        }
        let _ = tell.send(rustix::thread::gettid().as_raw_nonzero());
        let serve = serve(streams, buffer, bytes);
        if is_uring {
            let mut flags = io_uring::IoUring::builder();
            flags.setup_single_issuer().setup_coop_taskrun();
            flags.setup_defer_taskrun();
            let builder = RuntimeBuilder::<IoUringDriver>::new();
            builder.uring_builder(flags).build()?.block_on(serve)
        } else {
            RuntimeBuilder::<LegacyDriver>::new()
                .build()?
                .block_on(serve)
        }
    });
    let _ = machine::pin_thread(1);
    let clients = (0..conns).map(|_| TcpStream::connect(address));
    let mut clients = clients.collect::<io::Result<Vec<_>>>()?;
    let thread = told.recv().map_err(io::Error::other)?;
    let before = ProcessTree::new(std::process::id()).memory()?.rss;
    let message = vec![b'm'; bytes];
    // The first fills what is lazily made; and so that each buffer is in memory.
    exchange(&mut clients, &message)?;
    let resident = ProcessTree::new(std::process::id()).memory()?.rss;
    let begun = nanos(thread)?;
    for _ in 0..messages {
        exchange(&mut clients, &message)?;
    }
    let spent = nanos(thread)? - begun;
    let cpu = spent as f64 / 1e3 / (conns * messages) as f64;
    let kib = resident.saturating_sub(before) as f64 / 1024.0 / conns as f64;
    println!("{cpu} {kib}");
    Ok(())
}

/// Sends one message on each connection, then takes the answers.
fn exchange(clients: &mut [TcpStream], message: &[u8]) -> io::Result<()> {
    for client in &mut *clients {
        client.write_all(message)?;
    }
    for client in clients {
        client.read_exact(&mut ANSWER.clone())?;
    }
    Ok(())
}

/// Processor time of a thread of this process.
fn nanos(thread: std::num::NonZeroI32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"))?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().map_err(io::Error::other)
}

async fn serve(streams: Vec<TcpStream>, buffer: usize, bytes: usize) -> io::Result<()> {
    let mut tasks = Vec::new();
    for stream in streams {
        tasks.push(monoio::spawn(answer(stream, buffer, bytes)));
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

/// Answers each message of `bytes` until the client leaves.
async fn answer(direct: TcpStream, buffer: usize, bytes: usize) -> io::Result<()> {
    let mut stream = monoio::net::TcpStream::from_std(direct.try_clone()?)?;
    let mut buf = Vec::with_capacity(buffer);
    let mut left = bytes;
    loop {
        let mut is_full = true;
        if buffer == 0 {
            stream.readable(false).await?;
        } else {
            buf.clear();
            let result;
            (result, buf) = stream.read(buf).await;
            let count = result?;
            if count == 0 {
                return Ok(());
            }
            is_full = count == buffer;
            left = left.saturating_sub(count);
        }
        if is_full && left > 0 {
            // Memory is made when there is something to be read, and gone afterwards.
            let mut room = Vec::with_capacity(ROOM);
            let spare = rustix::buffer::spare_capacity(&mut room);
            match rustix::net::recv(direct.as_fd(), spare, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Ok(()),
                Ok((count, _)) => left = left.saturating_sub(count),
                Err(Errno::AGAIN) => (),
                Err(error) => return Err(error.into()),
            }
        }
        if left == 0 {
            rustix::net::send(direct.as_fd(), &ANSWER, SendFlags::NOSIGNAL)?;
            left = bytes;
        }
    }
}
