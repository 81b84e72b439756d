//! The end: draining, its deadline, and the second signal.

use std::fs::OpenOptions;
use std::io::{ErrorKind, PipeReader, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Child;
use std::sync::mpsc;
use std::thread;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, Folder, JSON, PATIENCE, Program, tollgate};

const STREAM: &str = "{\"model\":\"demo\",\"max_tokens\":200,\"stream\":true,\
                      \"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}";

#[test]
fn a_stream_goes_on_to_its_end() {
    for runtime in ["monoio", "smol"] {
        let mut program = Program::start(&["--runtime", runtime]);
        let address = program.address();
        let mut client = Client::new(address);
        let length = STREAM.len();
        client.send(&format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\n{JSON}content-length: {length}\r\n\r\n\
             {STREAM}"
        ));
        assert_eq!(client.head().0, 200);
        let mut body = client.chunk();
        program.signal(Signal::TERM);
        program.line("SIGTERM: draining");
        loop {
            let chunk = client.chunk();
            if chunk.is_empty() {
                break;
            }
            body += &chunk;
        }
        assert!(body.contains("event: message_stop"), "{body}");
        // Or the gateway waits a moment for the client to close its side.
        drop(client);
        let (status, said) = program.end();
        assert!(status.success(), "{said:#?}");
        assert!(said.iter().any(|line| line.contains(" 200 ")), "{said:#?}");
    }
}

/// A client in the middle of its request; the gateway has read its head.
fn half_a_request(address: std::net::SocketAddr) -> Client {
    let mut client = Client::new(address);
    client.send(&format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\n{JSON}expect: 100-continue\r\n\
         content-length: 1000\r\n\r\n"
    ));
    assert_eq!(client.head().0, 100);
    client.send("{");
    client
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let mut program = Program::start(&[]);
    let client = half_a_request(program.address());
    program.signal(Signal::INT);
    program.line("SIGINT: draining, for 30 s at most");
    program.signal(Signal::TERM);
    program.line("SIGTERM: ending at once");
    assert_eq!(program.end().0.code(), Some(128 + 15));
    drop(client);
}

#[test]
fn what_does_not_end_is_ended() {
    let folder = Folder::new();
    let config = folder.write("t.toml", "[timers]\ndrain = \"50ms\"\nlinger = \"50ms\"\n");
    let mut program = Program::start(&["--config", &config]);
    let client = half_a_request(program.address());
    program.signal(Signal::TERM);
    assert!(program.end().0.success());
    drop(client);
}

/// The program while it serves, with a stderr that is full: its only reader reads no more.
fn muted() -> (Child, PipeReader) {
    let (mut reader, writer) = pipe().unwrap();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    // Opened once more: that these writes do not wait is not to change those of the program.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let mut options = OpenOptions::new();
    let options = options.write(true).custom_flags(nonblocking);
    let mut filler = options.open(path).unwrap();
    let mut command = tollgate();
    command.args(["--listen", "127.0.0.1:0"]).stderr(writer);
    let child = command.spawn().unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains(" serves http://") {
        let mut piece = [0; 4096];
        let count = reader.read(&mut piece).unwrap();
        said.extend_from_slice(&piece[..count]);
    }
    let full = loop {
        if let Err(error) = filler.write_all(b".") {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    (child, reader)
}

#[test]
fn a_stderr_that_nobody_reads_keeps_it_from_nothing() {
    let (mut child, reader) = muted();
    let pid = Pid::from_child(&child);
    let (sender, ended) = mpsc::channel();
    let waiter = thread::spawn(move || drop(sender.send(child.wait())));
    kill_process(pid, Signal::TERM).unwrap();
    let ended = ended.recv_timeout(PATIENCE);
    if ended.is_err() {
        // Not to be left behind.
        kill_process(pid, Signal::KILL).unwrap();
    }
    waiter.join().unwrap();
    assert!(ended.expect("it ends").unwrap().success());
    drop(reader);
}
