//! A strict reader of HTTP/1.1 responses, with no line in common with core's: whatever a client is
//! sent must be what this reads.

/// What a response holds.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Head(Head),
    Body(Vec<u8>),
    End,
}

/// The head of a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn closes(&self) -> bool {
        self.field("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn count(&self, name: &str) -> usize {
        self.fields
            .iter()
            .filter(|(field, _)| field == name)
            .count()
    }
}

/// Reads the responses of one connection.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    input: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Head,
    Length(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailer,
}

impl Reader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Whether bytes of an unfinished response are there.
    pub(crate) fn is_within(&self) -> bool {
        self.state != State::Head || !self.input.is_empty()
    }

    /// The next part; `is_head` tells that the response is to a HEAD request.
    pub(crate) fn next(&mut self, is_head: bool) -> Result<Option<Part>, String> {
        loop {
            match self.state {
                State::Head => return self.head(is_head),
                State::Length(0) => {
                    self.state = State::Head;
                    return Ok(Some(Part::End));
                }
                State::Length(left) => {
                    let Some(body) = self.take(left) else {
                        return Ok(None);
                    };
                    self.state = State::Length(left - body.len());
                    return Ok(Some(Part::Body(body)));
                }
                State::ChunkSize => {
                    let Some(line) = self.line()? else {
                        return Ok(None);
                    };
                    let is_hex = !line.is_empty()
                        && line.len() <= 8
                        && line.bytes().all(|byte| byte.is_ascii_hexdigit());
                    if !is_hex {
                        return Err(format!("the chunk size {line:?}"));
                    }
                    let size = usize::from_str_radix(&line, 16).map_err(|it| it.to_string())?;
                    self.state = if size == 0 {
                        State::Trailer
                    } else {
                        State::Chunk(size)
                    };
                }
                State::Chunk(0) => self.state = State::ChunkEnd,
                State::Chunk(left) => {
                    let Some(body) = self.take(left) else {
                        return Ok(None);
                    };
                    self.state = State::Chunk(left - body.len());
                    return Ok(Some(Part::Body(body)));
                }
                State::ChunkEnd => {
                    let Some(line) = self.line()? else {
                        return Ok(None);
                    };
                    if !line.is_empty() {
                        return Err(format!("{line:?} behind a chunk"));
                    }
                    self.state = State::ChunkSize;
                }
                State::Trailer => {
                    let Some(line) = self.line()? else {
                        return Ok(None);
                    };
                    if line.is_empty() {
                        self.state = State::Head;
                        return Ok(Some(Part::End));
                    }
                }
            }
        }
    }

    fn take(&mut self, most: usize) -> Option<Vec<u8>> {
        let count = most.min(self.input.len());
        (count > 0).then(|| self.input.drain(..count).collect())
    }

    fn line(&mut self) -> Result<Option<String>, String> {
        let Some(end) = self.input.windows(2).position(|at| at == b"\r\n") else {
            return Ok(None);
        };
        let line: Vec<u8> = self.input.drain(..end + 2).take(end).collect();
        if line.iter().any(|&byte| byte == b'\n' || byte == b'\r') {
            return Err(format!("a bare line end in {line:?}"));
        }
        String::from_utf8(line)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    fn head(&mut self, is_head: bool) -> Result<Option<Part>, String> {
        let Some(end) = self.input.windows(4).position(|at| at == b"\r\n\r\n") else {
            let start = &self.input[..self.input.len().min(9)];
            if !b"HTTP/1.1 ".starts_with(start) {
                return Err(format!("a response beginning {start:?}"));
            }
            return Ok(None);
        };
        let head: Vec<u8> = self.input.drain(..end + 4).take(end).collect();
        let text = String::from_utf8(head).map_err(|error| error.to_string())?;
        let mut lines = text.split("\r\n");
        let status = status(lines.next().unwrap_or_default())?;
        let mut fields = Vec::new();
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                return Err(format!("the field line {line:?}"));
            };
            let is_token = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !is_token || value.bytes().any(|byte| byte < 0x20 && byte != b'\t') {
                return Err(format!("the field line {line:?}"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let head = Head { status, fields };
        self.state = framing(&head, is_head)?;
        Ok(Some(Part::Head(head)))
    }
}

fn status(line: &str) -> Result<u16, String> {
    let code = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    let is_followed = line.as_bytes().get(12) == Some(&b' ');
    match code
        .and_then(|code| code.parse().ok())
        .filter(|_| is_followed)
    {
        Some(status @ 100..600) => Ok(status),
        _ => Err(format!("the status line {line:?}")),
    }
}

fn framing(head: &Head, is_head: bool) -> Result<State, String> {
    let lengths = head.count("content-length");
    let codings = head.count("transfer-encoding");
    if lengths + codings > 1 {
        return Err(format!("two framings: {head:?}"));
    }
    if head.status < 200 || head.status == 204 || head.status == 304 {
        if lengths + codings > 0 {
            return Err(format!("a framing where there is no body: {head:?}"));
        }
        return Ok(if head.status < 200 {
            State::Head
        } else {
            State::Length(0)
        });
    }
    if is_head {
        return Ok(State::Length(0));
    }
    if codings == 1 {
        return match head.field("transfer-encoding") {
            Some("chunked") => Ok(State::ChunkSize),
            other => Err(format!("transfer-encoding: {other:?}")),
        };
    }
    let length = head.field("content-length").unwrap_or_default();
    match length.parse() {
        Ok(length) if length_is_plain(head) => Ok(State::Length(length)),
        _ => Err(format!("no length: {head:?}")),
    }
}

/// Digits only: `parse` would take a sign too.
fn length_is_plain(head: &Head) -> bool {
    head.field("content-length")
        .is_some_and(|text| text.bytes().all(|it| it.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<Vec<Part>, String> {
        let mut reader = Reader::default();
        let mut parts = Vec::new();
        for byte in text.bytes() {
            reader.push(&[byte]);
            while let Some(part) = reader.next(false)? {
                parts.push(part);
            }
        }
        Ok(parts)
    }

    #[test]
    fn what_is_legal_is_read_and_what_is_not_is_refused() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        assert_eq!(
            parts(chunked).expect("legal")[1..],
            [Part::Body(b"a".to_vec()), Part::End]
        );
        let sized =
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nabHTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(parts(sized).expect("legal").len(), 5);
        for wrong in [
            "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\naX\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        ] {
            assert!(parts(wrong).is_err(), "{wrong:?}");
        }
    }
}
