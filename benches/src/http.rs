//! A small incremental HTTP/1.1 reader for the two ends of a measurement.
//!
//! It is deliberately not the one of `tollgate-core`: what checks a server must not share its
//! mistakes. It trusts its peer to be honest (no smuggling checks), but bounds every line, and
//! gives the same parts however the bytes are split. Bodies are slices of the input, never copied.
//!
//! ```text
//!  start line ─▶ fields ─▶ fixed ───────────────────────────▶ end ─▶ start line …
//!                   ├────▶ chunk size ⇄ chunk ─▶ trailers ──▶ end
//!                   └────▶ until close ─ finish()
//! ```

use std::fmt;

use memchr::memchr;

/// Longest start line, field line or chunk-size line that is read, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Which messages a [`Decoder`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads requests: a message without a length has no body.
    Server,
    /// Reads responses: a message without a length ends with the connection.
    Client,
}

/// What the bytes of a connection mean, in order: one `Head`, any number of `Body`, one `End`.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'i> {
    /// Start line and fields are complete.
    Head(Head),
    /// A piece of the content, free of framing; never empty.
    Body(&'i [u8]),
    /// The message is complete.
    End,
}

/// The head of a message: what a measurement needs of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The start line without its line end.
    pub start_line: String,
    /// `connection: close` was sent: no further message follows on this connection.
    pub close: bool,
}

impl Head {
    /// The status code, where this is the head of a response.
    pub fn status(&self) -> Option<u16> {
        self.start_line
            .strip_prefix("HTTP/1.")?
            .split(' ')
            .nth(1)?
            .parse()
            .ok()
    }

    /// The request target without its query, where this is the head of a request.
    pub fn path(&self) -> Option<&str> {
        self.start_line.split(' ').nth(1)?.split('?').next()
    }
}

/// Why a connection cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The first line is neither a request line nor a status line.
    StartLine,
    /// `content-length` is not a number.
    Length,
    /// A chunk size is not a hexadecimal number, or a chunk does not end with its line end.
    Chunk,
    /// A line is longer than 16 KiB.
    LineTooLong,
    /// The connection ended inside a message.
    Truncated,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::StartLine => "not an HTTP/1.1 start line",
            Malformed::Length => "content-length is not a number",
            Malformed::Chunk => "bad chunk framing",
            Malformed::LineTooLong => "a line over 16 KiB",
            Malformed::Truncated => "the connection ended inside a message",
        })
    }
}

impl std::error::Error for Malformed {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    StartLine,
    Fields,
    Fixed(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
}

/// Reads the messages of one direction of one connection.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    state: State,
    line: Vec<u8>,
    head: Head,
    length: Option<u64>,
    chunked: bool,
}

impl Decoder {
    /// A reader at the start of a connection.
    pub fn new(role: Role) -> Decoder {
        Decoder {
            role,
            state: State::StartLine,
            line: Vec::new(),
            head: Head::default(),
            length: None,
            chunked: false,
        }
    }

    /// The next part, taken off the front of `input`; `None` when all of `input` is used up.
    ///
    /// # Errors
    /// [`Malformed`] says what cannot be read; the connection is of no further use.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Part<'i>>, Malformed> {
        loop {
            match self.state {
                State::Fixed(0) => {
                    self.state = State::StartLine;
                    return Ok(Some(Part::End));
                }
                State::Fixed(left) => {
                    return Ok(body(input, left).map(|(part, left)| {
                        self.state = State::Fixed(left);
                        part
                    }));
                }
                State::Chunk(0) => self.state = State::ChunkEnd,
                State::Chunk(left) => {
                    return Ok(body(input, left).map(|(part, left)| {
                        self.state = State::Chunk(left);
                        part
                    }));
                }
                State::UntilClose => return Ok(body(input, u64::MAX).map(|(part, _)| part)),
                State::StartLine
                | State::Fields
                | State::ChunkSize
                | State::ChunkEnd
                | State::Trailers => {
                    if !self.take_line(input)? {
                        return Ok(None);
                    }
                    let part = self.line_complete()?;
                    self.line.clear();
                    if part.is_some() {
                        return Ok(part);
                    }
                }
            }
        }
    }

    /// The peer ended the connection: `true` when that completes a message, `false` between
    /// messages.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] inside a message.
    pub fn finish(&mut self) -> Result<bool, Malformed> {
        match self.state {
            State::UntilClose => {
                self.state = State::StartLine;
                Ok(true)
            }
            State::StartLine if self.line.is_empty() => Ok(false),
            _ => Err(Malformed::Truncated),
        }
    }

    /// Moves bytes up to a line end into `line`; `false` when there is none yet.
    fn take_line(&mut self, input: &mut &[u8]) -> Result<bool, Malformed> {
        let (taken, complete) = match memchr(b'\n', input) {
            Some(at) => (at + 1, true),
            None => (input.len(), false),
        };
        if self.line.len() + taken > LINE_BYTES_MAX {
            return Err(Malformed::LineTooLong);
        }
        let (line, rest) = input.split_at(taken);
        self.line.extend_from_slice(line);
        *input = rest;
        if complete {
            while matches!(self.line.last(), Some(b'\n' | b'\r')) {
                self.line.pop();
            }
        }
        Ok(complete)
    }

    fn line_complete(&mut self) -> Result<Option<Part<'static>>, Malformed> {
        match self.state {
            State::StartLine => self.start_line()?,
            State::Fields if self.line.is_empty() => return Ok(self.head_complete()),
            State::Fields => self.field()?,
            State::ChunkSize => {
                let digits = self.line.split(|b| *b == b';').next().unwrap_or_default();
                let size = std::str::from_utf8(digits)
                    .map_err(|_| Malformed::Chunk)?
                    .trim();
                self.state = match u64::from_str_radix(size, 16) {
                    Ok(0) => State::Trailers,
                    Ok(size) => State::Chunk(size),
                    Err(_) => return Err(Malformed::Chunk),
                };
            }
            State::ChunkEnd if self.line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(Malformed::Chunk),
            State::Trailers if self.line.is_empty() => {
                self.state = State::StartLine;
                return Ok(Some(Part::End));
            }
            State::Trailers | State::Fixed(_) | State::Chunk(_) | State::UntilClose => {}
        }
        Ok(None)
    }

    fn start_line(&mut self) -> Result<(), Malformed> {
        if self.line.is_empty() {
            return Ok(()); // RFC 9112 §2.2: an empty line before a request is ignored
        }
        let line = std::str::from_utf8(&self.line).map_err(|_| Malformed::StartLine)?;
        let known = match self.role {
            Role::Server => line.ends_with(" HTTP/1.1") || line.ends_with(" HTTP/1.0"),
            Role::Client => line.starts_with("HTTP/1."),
        };
        if !known {
            return Err(Malformed::StartLine);
        }
        self.head = Head {
            start_line: line.to_owned(),
            close: false,
        };
        self.length = None;
        self.chunked = false;
        self.state = State::Fields;
        Ok(())
    }

    fn field(&mut self) -> Result<(), Malformed> {
        let colon = memchr(b':', &self.line).unwrap_or(self.line.len());
        let (name, value) = self.line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value).map_err(|_| Malformed::Length)?;
            self.length = Some(digits.parse().map_err(|_| Malformed::Length)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.head.close = value.eq_ignore_ascii_case(b"close");
        }
        Ok(())
    }

    fn head_complete(&mut self) -> Option<Part<'static>> {
        let status = match self.role {
            Role::Server => None,
            Role::Client => self.head.status(),
        };
        if matches!(status, Some(100..=199)) {
            self.state = State::StartLine; // an interim response: the real one follows
            return None;
        }
        self.state = match (self.chunked, self.length, self.role) {
            _ if matches!(status, Some(204 | 304)) => State::Fixed(0),
            (true, _, _) => State::ChunkSize,
            (false, Some(length), _) => State::Fixed(length),
            (false, None, Role::Server) => State::Fixed(0),
            (false, None, Role::Client) => State::UntilClose,
        };
        Some(Part::Head(std::mem::take(&mut self.head)))
    }
}

/// Up to `left` bytes of `input` as a part, and how many are left after it.
fn body<'i>(input: &mut &'i [u8], left: u64) -> Option<(Part<'i>, u64)> {
    if input.is_empty() {
        return None;
    }
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    let (piece, rest) = input.split_at(taken);
    *input = rest;
    Some((Part::Body(piece), left - taken as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Messages = Vec<(String, Vec<u8>)>;

    fn read_all(role: Role, pieces: &[&[u8]]) -> Result<Messages, Malformed> {
        let mut decoder = Decoder::new(role);
        let mut messages = Messages::new();
        let mut open = None;
        for piece in pieces {
            let mut input = *piece;
            while let Some(part) = decoder.next(&mut input)? {
                match part {
                    Part::Head(head) => open = Some((head.start_line, Vec::new())),
                    Part::Body(bytes) => open.as_mut().unwrap().1.extend_from_slice(bytes),
                    Part::End => messages.push(open.take().unwrap()),
                }
            }
        }
        if decoder.finish()? {
            messages.extend(open);
        }
        Ok(messages)
    }

    const REQUESTS: &[u8] = b"POST /a HTTP/1.1\r\nhost: x\r\nContent-Length: 5\r\n\r\nhello\
        POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n\
        0\r\n\
        trailer: t\r\n\r\nGET /c HTTP/1.1\r\n\r\n";

    #[test]
    fn any_split_gives_the_same_messages() {
        let whole = read_all(Role::Server, &[REQUESTS]).unwrap();
        assert_eq!(whole.len(), 3);
        assert_eq!(
            whole[1],
            ("POST /b HTTP/1.1".into(), b"abc0123456789".to_vec())
        );
        for at in 0..REQUESTS.len() {
            let (a, b) = REQUESTS.split_at(at);
            assert_eq!(
                read_all(Role::Server, &[a, b]).unwrap(),
                whole,
                "cut at {at}"
            );
        }
        let bytes: Vec<&[u8]> = REQUESTS.chunks(1).collect();
        assert_eq!(read_all(Role::Server, &bytes).unwrap(), whole);
    }

    #[test]
    fn responses_end_by_length_chunk_status_or_close() {
        let wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nto the end";
        let messages = read_all(Role::Client, &[wire]).unwrap();
        let bodies: Vec<&[u8]> = messages.iter().map(|(_, body)| body.as_slice()).collect();
        assert_eq!(bodies, [&b""[..], b"ok", b"to the end"]);
    }

    #[test]
    fn what_is_cut_or_broken_is_an_error() {
        let cases: [(&[u8], Malformed); 5] = [
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
                Malformed::Truncated,
            ),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
                Malformed::Chunk,
            ),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab",
                Malformed::Truncated,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
                Malformed::Length,
            ),
            (b"SMTP\r\n", Malformed::StartLine),
        ];
        for (wire, expected) in cases {
            assert_eq!(read_all(Role::Client, &[wire]), Err(expected));
        }
        let long = vec![b'a'; LINE_BYTES_MAX + 1];
        assert_eq!(
            read_all(Role::Client, &[&long]),
            Err(Malformed::LineTooLong)
        );
    }

    #[test]
    fn the_head_says_status_path_and_close() {
        let mut wire: &[u8] = b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n";
        let head = match Decoder::new(Role::Client).next(&mut wire) {
            Ok(Some(Part::Head(head))) => head,
            other => panic!("{other:?}"),
        };
        assert_eq!((head.status(), head.close), (Some(503), true));
        let head = Head {
            start_line: "POST /v1/messages?beta=true HTTP/1.1".into(),
            close: false,
        };
        assert_eq!(head.path(), Some("/v1/messages"));
    }
}
