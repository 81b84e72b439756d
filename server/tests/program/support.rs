//! Starts the program, waits for what it says, and speaks plain HTTP/1.1 to it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing here takes so long; what does is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const JSON: &str = "content-type: application/json\r\n";

/// The program with nothing in its environment.
pub(crate) fn tollgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Runs a command to its end, with `input` on stdin.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: &[S], input: &str) -> Output {
    let mut command = tollgate();
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end without reading all of it.
    let writer = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The program while it serves.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    /// Serves on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Program {
        let mut command = tollgate();
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Program::spawn(&mut command)
    }

    pub(crate) fn spawn(command: &mut Command) -> Program {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Program {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// Waits for a line with `part` in it.
    pub(crate) fn line(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {part:?} ({error}) in {:#?}", self.said),
            }
        }
    }

    /// Waits for the start line; the first address in it.
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.line(" serves http://");
        let (_, rest) = line.split_once("http://").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub(crate) fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    /// Waits for its end; how it ended, and all that it said.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("it does not end ({error}): {:#?}", self.said),
            }
        }
        (self.child.wait().unwrap(), std::mem::take(&mut self.said))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already where the test got to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder for one test's files, removed at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tollgate-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.file(name), text).unwrap();
        self.file(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A connection to the program.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn send(&mut self, request: &str) {
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// One line without its end; `None` at the end of the connection.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).unwrap();
        (count > 0).then(|| line.trim_end().to_owned())
    }

    /// A head, up to its empty line.
    pub(crate) fn head(&mut self) -> (u16, String) {
        let mut head = String::new();
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            head += &(line + "\n");
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (
            status.unwrap_or_else(|| panic!("no head: {head:?}")),
            head.to_lowercase(),
        )
    }

    /// One chunk of a chunked body, as text; empty for the last.
    pub(crate) fn chunk(&mut self) -> String {
        let size = self.line().expect("a chunk");
        let size = usize::from_str_radix(&size, 16).unwrap();
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk).unwrap();
        assert_eq!(self.line().as_deref(), Some(""));
        text(&chunk)
    }

    /// A whole answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let mut body = String::new();
        if head.contains("transfer-encoding: chunked") {
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break;
                }
                body += &chunk;
            }
        } else if let Some((_, rest)) = head.split_once("content-length: ") {
            let length = rest.lines().next().unwrap().parse().unwrap();
            let mut bytes = vec![0; length];
            self.stream.read_exact(&mut bytes).unwrap();
            body = text(&bytes);
        }
        Answer { status, head, body }
    }

    pub(crate) fn post(&mut self, path: &str, fields: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\n{JSON}{fields}content-length: {length}\r\n\r\n\
             {body}"
        ));
        self.answer()
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        self.answer()
    }
}
