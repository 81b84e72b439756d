//! HTTP/1.1 messages as a strict peer reads them, and as a plain one writes them.

use serde_json::Value as Json;

/// A message, or as much of it as has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    /// The start line.
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
    /// The body without its framing.
    pub(crate) body: Vec<u8>,
    /// Whether it has come to its end; a body that ends with the connection never does.
    pub(crate) is_complete: bool,
}

impl Message {
    /// The value of the first field called `name`, which is in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(own, _)| own == name);
        field.map(|(_, value)| value.as_str())
    }

    /// A response's status.
    pub(crate) fn status(&self) -> u16 {
        let (version, rest) = self.start.split_once(' ').expect("a status line");
        assert_eq!(version, "HTTP/1.1");
        rest.get(..3).expect("a status").parse().expect("a status")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        core::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&self.body)))
    }
}

/// Reads every message of a connection. The last may be incomplete; a head that is not whole is
/// none.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let Some((message, used)) = read_one(bytes) else {
            break;
        };
        bytes = &bytes[used..];
        let is_complete = message.is_complete;
        all.push(message);
        if !is_complete {
            break;
        }
    }
    all
}

/// The one message that `bytes` holds, and nothing behind it.
pub(crate) fn only(bytes: &[u8]) -> Message {
    let mut all = read(bytes);
    all.retain(|message| !message.start.starts_with("HTTP/1.1 1"));
    assert_eq!(all.len(), 1, "{}", String::from_utf8_lossy(bytes));
    all.remove(0)
}

fn read_one(bytes: &[u8]) -> Option<(Message, usize)> {
    let head_len = find(bytes, b"\r\n\r\n")? + 4;
    let head = core::str::from_utf8(&bytes[..head_len - 4]).expect("an ASCII head");
    let mut lines = head.split("\r\n");
    let mut message = Message {
        start: lines.next().expect("a start line").to_owned(),
        ..Message::default()
    };
    assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "{head:?}");
    for line in lines {
        let (name, value) = line.split_once(':').expect("a field");
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(is_token), "{line:?}");
        let value = value.trim_matches(' ').to_owned();
        message.fields.push((name.to_ascii_lowercase(), value));
    }
    let rest = &bytes[head_len..];
    let used = read_body(&mut message, rest);
    Some((message, head_len + used))
}

fn read_body(message: &mut Message, rest: &[u8]) -> usize {
    let length = message.field("content-length").map(str::to_owned);
    let coding = message.field("transfer-encoding").map(str::to_owned);
    assert!(length.is_none() || coding.is_none(), "two framings");
    let count = |name: &str| message.fields.iter().filter(|it| it.0 == name).count();
    assert!(count("content-length") <= 1 && count("transfer-encoding") <= 1);
    let is_response = message.start.starts_with("HTTP/");
    if is_response && (message.status() < 200 || message.status() == 204) {
        message.is_complete = true;
        return 0;
    }
    match (length, coding) {
        (Some(length), _) => {
            let length: usize = length.parse().expect("a length");
            let come = rest.len().min(length);
            message.body = rest[..come].to_vec();
            message.is_complete = come == length;
            come
        }
        (None, Some(coding)) => {
            assert_eq!(coding, "chunked");
            read_chunks(message, rest)
        }
        (None, None) if is_response => {
            message.body = rest.to_vec();
            rest.len()
        }
        (None, None) => {
            message.is_complete = true;
            0
        }
    }
}

fn read_chunks(message: &mut Message, bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(line) = find(&bytes[at..], b"\r\n") {
        let digits = core::str::from_utf8(&bytes[at..at + line]).expect("a chunk size");
        let is_plain = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_hexdigit());
        assert!(is_plain, "a chunk of size {digits:?}");
        let size = usize::from_str_radix(digits, 16).expect("a chunk size");
        let from = at + line + 2;
        if size == 0 {
            if bytes.len() >= from + 2 {
                assert_eq!(&bytes[from..from + 2], b"\r\n", "trailers");
                message.is_complete = true;
                return from + 2;
            }
            return bytes.len();
        }
        let come = size.min(bytes.len() - from);
        message.body.extend_from_slice(&bytes[from..from + come]);
        if bytes.len() < from + size + 2 {
            return bytes.len();
        }
        assert_eq!(&bytes[from + size..from + size + 2], b"\r\n");
        at = from + size + 2;
    }
    bytes.len()
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|it| it == needle)
}

/// A request with a body of known length.
pub(crate) fn request(path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: gateway\r\n");
    if !fields.iter().any(|(name, _)| *name == "content-type") {
        head += "content-type: application/json\r\n";
    }
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// How a response's body is framed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    /// By the end of the connection.
    Close,
}

/// A response; chunks are of `chunk_len` bytes.
pub(crate) fn response(
    status: u16,
    fields: &[(String, String)],
    body: &[u8],
    framing: Framing,
    chunk_len: usize,
) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} Reason\r\n").into_bytes();
    for (name, value) in fields {
        out.extend(format!("{name}: {value}\r\n").bytes());
    }
    match framing {
        Framing::Length => {
            out.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
            out.extend_from_slice(body);
        }
        Framing::Chunked => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in body.chunks(chunk_len.max(1)) {
                out.extend(format!("{:x}\r\n", chunk.len()).bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Framing::Close => {
            out.extend_from_slice(b"connection: close\r\n\r\n");
            out.extend_from_slice(body);
        }
    }
    out
}
