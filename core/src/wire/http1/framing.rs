//! How long a body is (RFC 9112 §6), from the fields of a head: [`Facts`] collects what they say in
//! one pass, and refuses what could be understood in two ways. [`BodyReader`] then reads the body.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, Version};

use super::chunked::ChunkedReader;
use super::error::ErrorKind;
use super::fields::{Fields, list};
use super::syntax::{is_host, is_token, parse_decimal};
use crate::base::limits::Http1Limits;

/// The body of a request, or of a message to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyLength {
    /// No body: a request with neither Content-Length nor Transfer-Encoding (RFC 9112 §6.3).
    None,
    /// As many bytes, known beforehand.
    Length(u64),
    /// In chunks, of a length that turns out at its end.
    Chunked,
}

/// The body of a received response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResponseBody {
    /// No body, whatever the fields say: to HEAD, and with 204 and 304 (RFC 9112 §6.3).
    None,
    /// As many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// All that follows until the connection ends.
    CloseDelimited,
}

/// What the fields of a head say about framing and the connection.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    host: Option<&'a [u8]>,
    has_two_hosts: bool,
    content_length: Option<u64>,
    transfer_encoding: Option<&'a [u8]>,
    has_two_transfer_encodings: bool,
    is_close: bool,
    is_keep_alive: bool,
    expect: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    /// Reads the fields that matter; one pass, and most lines are told apart by their length.
    ///
    /// Connection may name no more options than a head may have fields: each is looked for among
    /// the fields when they are passed on.
    pub(super) fn collect(
        fields: &[httparse::Header<'a>],
        limits: &Http1Limits,
    ) -> Result<Facts<'a>, ErrorKind> {
        let mut facts = Facts::default();
        let mut options = 0;
        for field in fields {
            let (name, value) = (field.name.as_bytes(), field.value);
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    let earlier = facts.host.replace(value);
                    facts.has_two_hosts |= earlier.is_some();
                }
                6 if name.eq_ignore_ascii_case(b"expect") => {
                    // Two expectations are one too many to be met.
                    let is_only = facts.expect.is_none();
                    facts.expect = Some(if is_only { value } else { b"" });
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    for option in list(value) {
                        facts.is_close |= option.eq_ignore_ascii_case(b"close");
                        facts.is_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                        options += 1;
                    }
                    if options > limits.fields_max {
                        return Err(ErrorKind::TooManyFields);
                    }
                }
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    //= RFC 9112 §6.3: a list of equal lengths MAY be accepted. Whoever sends one
                    // passed on what it did not understand; it is refused.
                    let length = parse_decimal(value).ok_or(ErrorKind::BadContentLength)?;
                    if facts.content_length.replace(length).is_some() {
                        return Err(ErrorKind::DuplicateContentLength);
                    }
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    let earlier = facts.transfer_encoding.replace(value);
                    facts.has_two_transfer_encodings |= earlier.is_some();
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    /// RFC 9112 §3.2: 400 for an HTTP/1.1 request without Host, and for any request with more than
    /// one or with an invalid one.
    pub(super) fn check_host(&self, version: Version) -> Result<(), ErrorKind> {
        match self.host {
            Some(_) if self.has_two_hosts => Err(ErrorKind::DuplicateHost),
            Some(host) if is_host(host) => Ok(()),
            Some(_) => Err(ErrorKind::BadHost),
            None if version == Version::HTTP_10 => Ok(()),
            None => Err(ErrorKind::MissingHost),
        }
    }

    pub(super) fn request_body(&self, version: Version) -> Result<BodyLength, ErrorKind> {
        if self.is_chunked(version)? {
            return Ok(BodyLength::Chunked);
        }
        Ok(match self.content_length {
            Some(length) => BodyLength::Length(length),
            None => BodyLength::None,
        })
    }

    pub(super) fn response_body(
        &self,
        version: Version,
        request_method: &Method,
        status: StatusCode,
    ) -> Result<ResponseBody, ErrorKind> {
        // Contradicting fields are refused even where they would not matter.
        let is_chunked = self.is_chunked(version)?;
        //= RFC 9112 §6.3: responses to HEAD and 1xx, 204 and 304 end with their head, regardless
        // of the fields; so does a 2xx to CONNECT.
        if has_no_content(request_method, status)
            || status.is_informational()
            || (request_method == Method::CONNECT && status.is_success())
        {
            return Ok(ResponseBody::None);
        }
        Ok(match self.content_length {
            _ if is_chunked => ResponseBody::Chunked,
            Some(length) => ResponseBody::Length(length),
            None => ResponseBody::CloseDelimited,
        })
    }

    //= RFC 9112 §9.3: the rules of persistence.
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        !self.is_close && (version == Version::HTTP_11 || self.is_keep_alive)
    }

    /// RFC 9110 §10.1.1: ignored in HTTP/1.0 and where no content follows; 417 for what we do not
    /// know.
    pub(super) fn expects_continue(
        &self,
        version: Version,
        body: BodyLength,
    ) -> Result<bool, ErrorKind> {
        match self.expect {
            None => Ok(false),
            Some(_) if version == Version::HTTP_10 => Ok(false),
            Some(expect) if expect.eq_ignore_ascii_case(b"100-continue") => {
                Ok(!matches!(body, BodyLength::None | BodyLength::Length(0)))
            }
            Some(_) => Err(ErrorKind::UnknownExpectation),
        }
    }

    fn is_chunked(&self, version: Version) -> Result<bool, ErrorKind> {
        let Some(codings) = self.transfer_encoding else {
            return Ok(false);
        };
        //= RFC 9112 §6.1: in an HTTP/1.0 message the framing is faulty, whatever the value.
        if version == Version::HTTP_10 {
            return Err(ErrorKind::TransferEncodingOnHttp10);
        }
        //= RFC 9112 §6.3: such a message might be an attempt at request smuggling or response
        // splitting, and ought to be handled as an error.
        if self.content_length.is_some() {
            return Err(ErrorKind::LengthWithTransferEncoding);
        }
        if self.has_two_transfer_encodings {
            return Err(ErrorKind::BadTransferEncoding);
        }
        if codings.eq_ignore_ascii_case(b"chunked") {
            return Ok(true);
        }
        //= RFC 9112 §6.1: 501 for a coding that the server does not understand. A list in which
        // chunked is not last, or is repeated, is bad in itself (§6.3, §7.1).
        let is_before_last = |at| at + 1 != list(codings).count();
        let is_chunked_misplaced = list(codings)
            .position(|coding| coding.eq_ignore_ascii_case(b"chunked"))
            .is_some_and(is_before_last);
        if is_chunked_misplaced || !list(codings).all(is_token) {
            return Err(ErrorKind::BadTransferEncoding);
        }
        Err(ErrorKind::UnknownTransferCoding)
    }
}

/// Whether a final response has no content, whatever its fields say (RFC 9110 §6.4.1).
pub(super) fn has_no_content(request_method: &Method, status: StatusCode) -> bool {
    request_method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// Takes a body out of the input.
#[derive(Debug, Default)]
pub(super) enum BodyReader {
    #[default]
    Empty,
    Length(u64),
    Chunked(ChunkedReader),
    CloseDelimited,
}

/// The next piece of a body.
#[derive(Debug)]
pub(super) enum BodyStep {
    /// Never empty.
    Data(Bytes),
    /// Never empty; rare, and boxed so that pieces of data stay small to move.
    Trailers(Box<Fields>),
    End,
    NeedData,
}

impl From<BodyLength> for BodyReader {
    fn from(body: BodyLength) -> BodyReader {
        match body {
            BodyLength::None => BodyReader::Empty,
            BodyLength::Length(length) => BodyReader::Length(length),
            BodyLength::Chunked => BodyReader::Chunked(ChunkedReader::default()),
        }
    }
}

impl From<ResponseBody> for BodyReader {
    fn from(body: ResponseBody) -> BodyReader {
        match body {
            ResponseBody::None => BodyReader::Empty,
            ResponseBody::Length(length) => BodyReader::Length(length),
            ResponseBody::Chunked => BodyReader::Chunked(ChunkedReader::default()),
            ResponseBody::CloseDelimited => BodyReader::CloseDelimited,
        }
    }
}

impl BodyReader {
    /// The next piece; at the end of input (`is_eof`), what is missing is an error.
    pub(super) fn next(
        &mut self,
        input: &mut BytesMut,
        is_eof: bool,
        limits: &Http1Limits,
    ) -> Result<BodyStep, ErrorKind> {
        let step = match self {
            BodyReader::Empty | BodyReader::Length(0) => BodyStep::End,
            BodyReader::Length(left) => take(input, left),
            BodyReader::Chunked(reader) => reader.next(input, limits)?,
            BodyReader::CloseDelimited if input.is_empty() && is_eof => BodyStep::End,
            BodyReader::CloseDelimited => take(input, &mut { u64::MAX }),
        };
        //= RFC 9112 §8: a message whose framing is not complete when the connection ends is
        // incomplete.
        match step {
            BodyStep::NeedData if is_eof => Err(ErrorKind::Truncated),
            step => Ok(step),
        }
    }
}

/// Splits up to `left` bytes off the input.
pub(super) fn take(input: &mut BytesMut, left: &mut u64) -> BodyStep {
    if input.is_empty() {
        return BodyStep::NeedData;
    }
    let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    *left -= len as u64;
    BodyStep::Data(input.split_to(len).freeze())
}
