//! Writing messages: start lines, fields, and the framing of bodies. Fields are checked before the
//! first byte is written, and so a refused message leaves no trace in the output.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::error::SendError;
use super::framing::BodyLength;
use super::syntax::{is_field_value, is_token};
use crate::base::OutBuf;
use crate::base::buf::SLICE_BYTES_MIN;

/// Room made at once for a head: start line, our own fields, and what the caller's need.
const HEAD_ROOM: usize = 128;

/// The interim response that asks for the body (RFC 9110 §15.2.1).
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Checks fields to send, and counts the bytes they need and the Host fields among them.
pub(super) fn check_fields<N, V>(
    fields: impl Iterator<Item = (N, V)>,
) -> Result<FieldsToSend, SendError>
where
    N: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let mut found = FieldsToSend::default();
    for (name, value) in fields {
        let (name, value) = (name.as_ref(), value.as_ref());
        //= RFC 9110 §5.5: CR, LF and NUL within a value are dangerous; a sender MUST NOT
        // generate them. They would let the value's author split the message.
        if !is_token(name) || !is_field_value(value) {
            return Err(SendError::BadField);
        }
        if is_framing_field(name) {
            return Err(SendError::FramingField);
        }
        found.bytes += name.len() + value.len() + 4;
        if name.eq_ignore_ascii_case(b"host") {
            found.hosts += 1;
            found.is_host_valid = super::syntax::is_host(value);
        }
    }
    Ok(found)
}

/// What [`check_fields`] found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FieldsToSend {
    bytes: usize,
    hosts: usize,
    is_host_valid: bool,
}

impl FieldsToSend {
    /// Makes room in `out` for the head, and for a body that is copied behind it.
    pub(super) fn reserve(&self, start_line: usize, body: BodyLength, out: &mut OutBuf) {
        let length = match body {
            BodyLength::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            BodyLength::Chunked | BodyLength::None => 0,
        };
        let copied = if length < SLICE_BYTES_MIN { length } else { 0 };
        out.reserve(HEAD_ROOM + start_line + self.bytes + copied);
    }

    /// RFC 9112 §3.2: a client MUST send a Host in all HTTP/1.1 requests.
    pub(super) fn check_host(&self) -> Result<(), SendError> {
        if self.hosts == 1 && self.is_host_valid {
            return Ok(());
        }
        Err(SendError::BadHost)
    }
}

/// Fields that must agree with what the connection does. Expect is one: it would promise that the
/// body waits (RFC 9110 §10.1.1), and ours never does.
fn is_framing_field(name: &[u8]) -> bool {
    match name.len() {
        6 => name.eq_ignore_ascii_case(b"expect"),
        10 => name.eq_ignore_ascii_case(b"connection"),
        14 => name.eq_ignore_ascii_case(b"content-length"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}

/// Writes checked field lines.
pub(super) fn put_fields<N, V>(fields: impl Iterator<Item = (N, V)>, out: &mut OutBuf)
where
    N: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    for (name, value) in fields {
        out.put(name.as_ref());
        out.put(b": ");
        out.put(value.as_ref());
        out.put(b"\r\n");
    }
}

/// Writes `content-length` with the value.
pub(super) fn put_content_length(length: u64, out: &mut OutBuf) {
    out.put(b"content-length: ");
    out.put_u64(length);
    out.put(b"\r\n");
}

/// Writes `transfer-encoding: chunked`.
pub(super) fn put_chunked(out: &mut OutBuf) {
    out.put(b"transfer-encoding: chunked\r\n");
}

/// Writes a request line.
pub(super) fn put_request_line(method: &Method, target: &str, out: &mut OutBuf) {
    out.put(method.as_str().as_bytes());
    out.put(b" ");
    out.put(target.as_bytes());
    out.put(b" HTTP/1.1\r\n");
}

/// Writes a status line. Our version is 1.1 also towards HTTP/1.0 clients (RFC 9110 §2.5).
pub(super) fn put_status_line(status: StatusCode, out: &mut OutBuf) {
    let line: &[u8] = match status.as_u16() {
        200 => b"HTTP/1.1 200 OK\r\n",
        201 => b"HTTP/1.1 201 Created\r\n",
        204 => b"HTTP/1.1 204 No Content\r\n",
        304 => b"HTTP/1.1 304 Not Modified\r\n",
        400 => b"HTTP/1.1 400 Bad Request\r\n",
        401 => b"HTTP/1.1 401 Unauthorized\r\n",
        403 => b"HTTP/1.1 403 Forbidden\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        429 => b"HTTP/1.1 429 Too Many Requests\r\n",
        500 => b"HTTP/1.1 500 Internal Server Error\r\n",
        502 => b"HTTP/1.1 502 Bad Gateway\r\n",
        503 => b"HTTP/1.1 503 Service Unavailable\r\n",
        504 => b"HTTP/1.1 504 Gateway Timeout\r\n",
        _ => return put_other_status_line(status, out),
    };
    out.put(line);
}

fn put_other_status_line(status: StatusCode, out: &mut OutBuf) {
    out.put(b"HTTP/1.1 ");
    out.put(status.as_str().as_bytes());
    // RFC 9112 §4: the blank is sent even where no reason phrase follows.
    out.put(b" ");
    out.put(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put(b"\r\n");
}

/// Frames the body of a message that is being sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum BodyWriter {
    /// The message has no content, whatever is given: the response to HEAD, 204 and 304.
    #[default]
    Discard,
    /// As many bytes are still to come.
    Length(u64),
    Chunked,
    CloseDelimited,
}

impl From<BodyLength> for BodyWriter {
    fn from(body: BodyLength) -> BodyWriter {
        match body {
            BodyLength::None => BodyWriter::Length(0),
            BodyLength::Length(length) => BodyWriter::Length(length),
            BodyLength::Chunked => BodyWriter::Chunked,
        }
    }
}

impl BodyWriter {
    /// Writes one piece, which is one chunk where the body is chunked. An empty piece writes
    /// nothing: an empty chunk would end the body.
    pub(super) fn piece(&mut self, piece: Bytes, out: &mut OutBuf) -> Result<(), SendError> {
        if self.open(piece.len(), out)? {
            out.push(piece);
            self.shut(out);
        }
        Ok(())
    }

    /// Writes all of `pieces` as one piece and leaves it empty.
    pub(super) fn pieces(
        &mut self,
        pieces: &mut OutBuf,
        out: &mut OutBuf,
    ) -> Result<(), SendError> {
        if self.open(pieces.len(), out)? {
            out.append(pieces);
            self.shut(out);
        }
        pieces.clear();
        Ok(())
    }

    /// Ends the body.
    pub(super) fn end(&mut self, out: &mut OutBuf) -> Result<(), SendError> {
        match self {
            BodyWriter::Length(1..) => return Err(SendError::BodyTooShort),
            BodyWriter::Chunked => out.put(b"0\r\n\r\n"),
            BodyWriter::Discard | BodyWriter::Length(0) | BodyWriter::CloseDelimited => {}
        }
        Ok(())
    }

    /// Begins a piece of `len` bytes; false if it is not to be written.
    fn open(&mut self, len: usize, out: &mut OutBuf) -> Result<bool, SendError> {
        match self {
            BodyWriter::Length(left) => {
                *left = left.checked_sub(len as u64).ok_or(SendError::BodyTooLong)?;
            }
            BodyWriter::Chunked if len > 0 => put_chunk_size(len, out),
            BodyWriter::Chunked | BodyWriter::Discard | BodyWriter::CloseDelimited => {}
        }
        Ok(len > 0 && !matches!(self, BodyWriter::Discard))
    }

    fn shut(&self, out: &mut OutBuf) {
        if matches!(self, BodyWriter::Chunked) {
            out.put(b"\r\n");
        }
    }
}

/// Writes the size line of a chunk (RFC 9112 §7.1).
fn put_chunk_size(len: usize, out: &mut OutBuf) {
    // 16 digits and CRLF, filled from the end.
    let mut line = [0u8; 18];
    let mut rest = len;
    let mut begin = line.len();
    for (at, place) in line.iter_mut().enumerate().rev() {
        *place = match at {
            17 => b'\n',
            16 => b'\r',
            _ => {
                let digit = b"0123456789abcdef"[rest & 0xF];
                rest >>= 4;
                digit
            }
        };
        begin = at;
        if at < 16 && rest == 0 {
            break;
        }
    }
    out.put(&line[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for len in [1, 9, 10, 15, 16, 255, 256, 4096, 65_535, usize::MAX] {
            let mut out = OutBuf::new();
            put_chunk_size(len, &mut out);
            assert_eq!(out.take_all(), format!("{len:x}\r\n").into_bytes());
        }
    }

    #[test]
    fn every_status_line_has_its_reason() {
        for code in 200..=999 {
            let status = StatusCode::from_u16(code).expect("in range");
            let mut out = OutBuf::new();
            put_status_line(status, &mut out);
            let reason = status.canonical_reason().unwrap_or("");
            assert_eq!(out.take_all(), format!("HTTP/1.1 {code} {reason}\r\n"));
        }
    }

    #[test]
    fn several_slices_are_one_chunk_and_keep_their_memory() {
        let large = Bytes::from(vec![b'x'; 4096]);
        let address = large.as_ptr();
        let (mut pieces, mut out) = (OutBuf::new(), OutBuf::new());
        pieces.put(b"data: ");
        pieces.push(large);
        BodyWriter::Chunked
            .pieces(&mut pieces, &mut out)
            .expect("is sent");
        BodyWriter::Chunked
            .pieces(&mut pieces, &mut out)
            .expect("nothing is sent");
        let parts: Vec<Bytes> = out.take_parts().collect();
        assert_eq!(parts[0], b"1006\r\n"[..]);
        assert_eq!(parts[1], b"data: "[..]);
        assert_eq!(parts[2].as_ptr(), address);
        assert_eq!(parts[3], b"\r\n"[..]);
    }
}
