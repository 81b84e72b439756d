//! An upstream that plays what a phase takes, and tells when its callers go. Each connection has a
//! thread: at most some hundred are open.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What one request meets, by the first part of its path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Play {
    /// Nothing comes.
    Silence,
    /// The head and events without content, then nothing.
    Begin,
    /// Half of an answer that is not streamed, then nothing.
    Half,
    /// Some text, then nothing.
    Text,
    /// 503 with a second to wait.
    Busy,
    /// Twenty pieces of text over two seconds, and the end.
    Live,
}

/// Name, play.
const PLAYS: [(&str, Play); 6] = [
    ("silence", Play::Silence),
    ("begin", Play::Begin),
    ("half", Play::Half),
    ("text", Play::Text),
    ("busy", Play::Busy),
    ("live", Play::Live),
];
const PIECES: u32 = 20;
const PIECE_INTERVAL: Duration = Duration::from_millis(100);

/// What the upstream saw. The number of a request is its `max_tokens`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// It was asked, and has sent what the play says.
    Played { number: u32 },
    /// The caller has closed.
    Closed { number: u32, at: Instant },
}

/// The upstream, and what it saw.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) seen: Receiver<Seen>,
}

impl Upstream {
    pub(super) fn start() -> io::Result<Upstream> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        // The standard backlog is below what a test opens at once.
        rustix::net::listen(&listener, 4096)?;
        let address = listener.local_addr()?;
        let (tell, seen) = channel();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let tell = tell.clone();
                thread::spawn(move || {
                    // Its end is the caller's: what is told of it has been told.
                    let _ = serve(connection, &tell);
                });
            }
        });
        Ok(Upstream { address, seen })
    }
}

/// Answers the requests of one connection.
fn serve(mut connection: TcpStream, tell: &Sender<Seen>) -> io::Result<()> {
    connection.set_nodelay(true)?;
    loop {
        let Some((play, number)) = request(&mut connection)? else {
            return Ok(());
        };
        perform(&mut connection, play)?;
        let _ = tell.send(Seen::Played { number });
        if matches!(play, Play::Busy | Play::Live) {
            continue;
        }
        let mut rest = [0; 256];
        // Nobody sends anything more: an end or an error.
        while connection.read(&mut rest).is_ok_and(|read| read > 0) {}
        let at = Instant::now();
        let _ = tell.send(Seen::Closed { number, at });
        return Ok(());
    }
}

/// Reads a request: what is to be played, and its number.
fn request(connection: &mut TcpStream) -> io::Result<Option<(Play, u32)>> {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = connection.read(&mut part)?;
        if read == 0 {
            return Ok(None);
        }
        text.extend_from_slice(part.get(..read).unwrap_or_default());
        let said = String::from_utf8_lossy(&text);
        let Some((head, body)) = said.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        let name = path.split('/').nth(1).unwrap_or_default();
        let play = PLAYS.iter().find(|(known, _)| *known == name);
        let number = body.split_once("\"max_tokens\":").map(|(_, rest)| {
            let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(0);
            rest.get(..end).and_then(|digits| digits.parse().ok())
        });
        let found = play.map(|(_, play)| *play).zip(number.flatten());
        return found
            .map(Some)
            .ok_or_else(|| io::ErrorKind::InvalidData.into());
    }
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                           transfer-encoding: chunked\r\n\r\n";
const BEGIN: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\
    \"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\
    \"stop_reason\":null,\"stop_sequence\":null,\
    \"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n\
    event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
    \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
const TEXT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
    \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"some text \"}}\n\n";
const END: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\
    \"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\
    \"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\
    \"usage\":{\"output_tokens\":20}}\n\n\
    event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                    content-length: 1000\r\n\r\n{\"id\":\"msg_1\",";
const BUSY_HEAD: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
                         retry-after: 1\r\n";
const BUSY: &str =
    "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"no\"}}";

fn perform(connection: &mut TcpStream, play: Play) -> io::Result<()> {
    match play {
        Play::Silence => Ok(()),
        Play::Begin => {
            connection.write_all(STREAM_HEAD.as_bytes())?;
            chunk(connection, BEGIN)
        }
        Play::Half => connection.write_all(HALF.as_bytes()),
        Play::Text => {
            connection.write_all(STREAM_HEAD.as_bytes())?;
            chunk(connection, BEGIN)?;
            chunk(connection, TEXT)
        }
        Play::Busy => {
            let head = format!("{BUSY_HEAD}content-length: {}\r\n\r\n{BUSY}", BUSY.len());
            connection.write_all(head.as_bytes())
        }
        Play::Live => {
            connection.write_all(STREAM_HEAD.as_bytes())?;
            chunk(connection, BEGIN)?;
            for _ in 0..PIECES {
                chunk(connection, TEXT)?;
                thread::sleep(PIECE_INTERVAL);
            }
            chunk(connection, END)?;
            connection.write_all(b"0\r\n\r\n")
        }
    }
}

fn chunk(connection: &mut TcpStream, text: &str) -> io::Result<()> {
    connection.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}
