//! Complete head blocks to [`RequestHead`] and [`ResponseHead`], by httparse and the checks that it
//! leaves to its caller.

use core::mem::MaybeUninit;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use httparse::{Header, Status};

use super::error::ErrorKind;
use super::fields::Fields;
use super::framing::{BodyLength, Facts, ResponseBody};
use super::syntax::{TargetParts, parse_target};
use crate::base::limits::Http1Limits;

/// Field lines for which the table of httparse lies on the stack; it is not initialised, and so the
/// size costs nothing.
const STACK_FIELDS: usize = 128;

/// The head of a received request (RFC 9112 §3): checked, and free of everything that two readers
/// could understand in two ways.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method, also one that is not registered.
    pub method: Method,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The field lines.
    pub fields: Fields,
    /// What body follows.
    pub body: BodyLength,
    /// Whether the client lets the connection persist (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    target: Bytes,
    parts: TargetParts,
}

impl RequestHead {
    /// The request target as it was sent; ASCII without blanks (RFC 9112 §3.2).
    pub fn target(&self) -> &str {
        ascii(&self.target)
    }

    /// The path, percent-encoded as it was sent: `/` where the absolute form has none, `*` for
    /// the asterisk form, and empty for CONNECT.
    pub fn path(&self) -> &str {
        let path = self.part(self.parts.path);
        if path.is_empty() && self.method != Method::CONNECT {
            return "/";
        }
        path
    }

    /// The query without its `?`, if there is one.
    pub fn query(&self) -> Option<&str> {
        self.parts.query.map(|query| self.part(query))
    }

    /// Host and port that the request is for. The authority of an absolute-form target replaces
    /// Host (RFC 9112 §3.2.2); empty where HTTP/1.0 gives neither.
    pub fn authority(&self) -> &str {
        let authority = self.part(self.parts.authority);
        if authority.is_empty() {
            return ascii(self.fields.first("host").unwrap_or_default());
        }
        authority
    }

    /// Copies the head out of the read buffer it lies in, so that the buffer can be freed while the
    /// head is kept.
    pub fn detach(&mut self) {
        self.fields.detach();
        self.target = Bytes::copy_from_slice(&self.target);
    }

    fn part(&self, (start, end): (u32, u32)) -> &str {
        ascii(
            self.target
                .get(start as usize..end as usize)
                .unwrap_or_default(),
        )
    }
}

/// The head of a received final response (RFC 9112 §4). The reason phrase means nothing and is
/// dropped.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status, 200 to 999.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The field lines.
    pub fields: Fields,
    /// What body follows.
    pub body: ResponseBody,
    /// Whether the server lets the connection persist (RFC 9112 §9.3).
    pub keep_alive: bool,
}

/// Reads a request's head from its whole block of `lines` lines.
pub(super) fn parse_request(
    block: Bytes,
    lines: usize,
    limits: &Http1Limits,
) -> Result<RequestHead, ErrorKind> {
    let head = with_table(lines, |table| {
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(&block, table);
        check_complete(parsed, &block).map_err(|kind| kind.unwrap_or(ErrorKind::BadRequestLine))?;
        let method = request.method.unwrap_or_default();
        let target = request.path.unwrap_or_default();
        //= RFC 9112 §3: a request-target longer than any URI that the server wishes to parse MUST
        // be answered with 414.
        if target.len() > limits.target_bytes_max {
            return Err(ErrorKind::TargetTooLong);
        }
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| ErrorKind::BadRequestLine)?;
        let parts = parse_target(&method, target.as_bytes()).ok_or(ErrorKind::BadTarget)?;
        let version = version(request.version);
        let facts = Facts::collect(request.headers, limits)?;
        facts.check_host(version)?;
        let body = facts.request_body(version)?;
        Ok(RequestHead {
            body,
            keep_alive: facts.keep_alive(version),
            expect_continue: facts.expects_continue(version, body)?,
            method,
            version,
            fields: Fields::places(&block, request.headers),
            target: block.slice_ref(target.as_bytes()),
            parts,
        })
    })?;
    Ok(RequestHead {
        fields: head.fields.within(block),
        ..head
    })
}

/// Reads a response's head, an interim one's too, from its whole block of `lines` lines.
pub(super) fn parse_response(
    block: Bytes,
    lines: usize,
    request_method: &Method,
    limits: &Http1Limits,
) -> Result<ResponseHead, ErrorKind> {
    let head = with_table(lines, |table| {
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            &block,
            table,
        );
        check_complete(parsed, &block).map_err(|kind| kind.unwrap_or(ErrorKind::BadStatusLine))?;
        let status = StatusCode::from_u16(response.code.unwrap_or(0))
            .map_err(|_| ErrorKind::BadStatusLine)?;
        let version = version(response.version);
        let facts = Facts::collect(response.headers, limits)?;
        Ok(ResponseHead {
            body: facts.response_body(version, request_method, status)?,
            keep_alive: facts.keep_alive(version),
            status,
            version,
            fields: Fields::places(&block, response.headers),
        })
    })?;
    Ok(ResponseHead {
        fields: head.fields.within(block),
        ..head
    })
}

/// Reads a trailer section from its whole block of `lines` lines (RFC 9112 §7.1.2).
pub(super) fn parse_trailers(block: Bytes, lines: usize) -> Result<Fields, ErrorKind> {
    let mut table = vec![httparse::EMPTY_HEADER; lines];
    let fields = match httparse::parse_headers(&block, &mut table) {
        Ok(Status::Complete((len, headers))) if len == block.len() => {
            Fields::places(&block, headers)
        }
        _ => return Err(ErrorKind::BadField),
    };
    Ok(fields.within(block))
}

fn with_table<'b, T>(
    lines: usize,
    parse: impl FnOnce(&mut [MaybeUninit<Header<'b>>]) -> Result<T, ErrorKind>,
) -> Result<T, ErrorKind> {
    if lines <= STACK_FIELDS {
        return parse(&mut [const { MaybeUninit::uninit() }; STACK_FIELDS]);
    }
    parse(&mut vec![MaybeUninit::uninit(); lines])
}

/// Maps what httparse says of a block; `Err(None)` where the start line is at fault.
fn check_complete(parsed: httparse::Result<usize>, block: &[u8]) -> Result<(), Option<ErrorKind>> {
    match parsed {
        Ok(Status::Complete(len)) if len == block.len() => Ok(()),
        Ok(Status::Complete(_) | Status::Partial) => Err(None),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            Err(Some(ErrorKind::BadField))
        }
        Err(httparse::Error::TooManyHeaders) => Err(Some(ErrorKind::TooManyFields)),
        Err(httparse::Error::Version) if names_other_version(block) => {
            Err(Some(ErrorKind::UnsupportedVersion))
        }
        Err(_) => Err(None),
    }
}

/// Whether the start line begins or ends with a well-formed version (RFC 9112 §2.3), which then
/// is one that httparse does not know.
fn names_other_version(block: &[u8]) -> bool {
    let end = memchr::memchr(b'\r', block).unwrap_or(block.len());
    let mut words = block
        .get(..end)
        .unwrap_or_default()
        .split(|byte| *byte == b' ');
    let is_version = |word: Option<&[u8]>| match word {
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]) => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    };
    let first = words.next();
    is_version(first) || (words.clone().count() == 2 && is_version(words.next_back()))
}

fn version(minor: Option<u8>) -> Version {
    match minor {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    }
}

/// What was checked to be ASCII, as text.
fn ascii(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}
