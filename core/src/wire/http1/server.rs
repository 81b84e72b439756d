//! [`ServerConn`]: the side that receives requests and sends responses.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, Version};

use super::encode::{
    self, BodyWriter, CONTINUE, put_chunked, put_content_length, put_fields, put_status_line,
};
use super::error::{Blame, ErrorKind, Http1Error, SendError};
use super::framing::{BodyLength, BodyReader, BodyStep, has_no_content};
use super::head::{RequestHead, parse_request};
use super::scan::{LineScan, SectionLimits};
use super::state::{CloseReason, OutOfTurn, Phase, Reuse, Side, Signal, State};
use super::syntax::is_token_byte;
use super::{Event, START_LINE_SLACK};
use crate::base::OutBuf;
use crate::base::limits::Http1Limits;

/// One client connection.
///
/// An exchange ends with [`next_cycle`](ServerConn::next_cycle), which says whether another may
/// follow. Until then a request that came early stays in the input.
#[derive(Debug)]
pub struct ServerConn {
    limits: Http1Limits,
    state: State,
    scan: LineScan,
    reader: BodyReader,
    writer: BodyWriter,
    request: Request,
    has_skipped_line: bool,
    is_eof: bool,
    error: Option<Http1Error>,
}

/// What the response depends on.
#[derive(Clone, Debug, Default)]
struct Request {
    /// The method, where it matters.
    method: Method,
    /// Unknown if the head could not be read.
    version: Option<Version>,
    /// Whether the client still waits for 100 (Continue).
    waits_for_continue: bool,
}

impl ServerConn {
    /// A connection on which nothing has been received.
    pub fn new(limits: &Http1Limits) -> ServerConn {
        ServerConn {
            limits: limits.clone(),
            state: State::new(),
            scan: LineScan::default(),
            reader: BodyReader::Empty,
            writer: BodyWriter::Discard,
            request: Request::default(),
            has_skipped_line: false,
            is_eof: false,
            error: None,
        }
    }

    /// Takes the next event out of `input`. Body bytes are split off, not copied; bytes of later
    /// requests stay.
    ///
    /// While the current request is unanswered and complete, the event is `NeedData` or, if bytes
    /// of a later one are there, `Paused`.
    ///
    /// # Errors
    /// The client broke the protocol or a limit. A head at fault stays in `input`. The same error
    /// is returned from then on; the response that tells the client may still be sent, and the
    /// connection then has to be closed.
    pub fn next_event(&mut self, input: &mut BytesMut) -> Result<Event<RequestHead>, Http1Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.step(input).map_err(|kind| {
            let error = Http1Error::new(kind, Blame::Client);
            self.error = Some(error);
            let _ = self.state.apply(Side::Request, Signal::Fault);
            self.state.forbid_reuse(CloseReason::Failed);
            error
        })
    }

    /// Tells that the client has ended its side: no more than `input` holds will come.
    pub fn end_of_input(&mut self) {
        self.is_eof = true;
    }

    /// Gives up on a request that is not complete, such as one that takes too long or is too
    /// large: no more of it is read, a response may be sent even if its head never came, and the
    /// connection is to be closed afterwards.
    pub fn refuse_request(&mut self) {
        if self.state.request() != Phase::Done {
            let _ = self.state.apply(Side::Request, Signal::Fault);
        }
        self.state.forbid_reuse(CloseReason::Local);
    }

    /// Whether the client waits for 100 (Continue) before it sends the body.
    pub fn waits_for_continue(&self) -> bool {
        self.request.waits_for_continue && self.state.response() == Phase::Idle
    }

    /// Sends 100 (Continue) (RFC 9110 §10.1.1).
    ///
    /// # Errors
    /// `OutOfTurn` if the client does not wait for it.
    pub fn send_continue(&mut self, out: &mut OutBuf) -> Result<(), SendError> {
        if !self.request.waits_for_continue {
            return Err(SendError::OutOfTurn);
        }
        self.state.apply(Side::Response, Signal::Interim)?;
        self.request.waits_for_continue = false;
        out.put(CONTINUE);
        Ok(())
    }

    /// Sends the head of the final response. Framing and `connection` fields are added; a chunked
    /// body becomes a close-delimited one for an HTTP/1.0 client. For HEAD, 204 and 304 the body
    /// that follows is dropped.
    ///
    /// # Errors
    /// Nothing was written then, and another head may be sent: see [`SendError`].
    pub fn send_head<I, N, V>(
        &mut self,
        status: StatusCode,
        fields: I,
        body: BodyLength,
        out: &mut OutBuf,
    ) -> Result<(), SendError>
    where
        I: IntoIterator<Item = (N, V)>,
        I::IntoIter: Clone,
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let fields = fields.into_iter();
        //= RFC 9110 §9.3.6: after a 2xx to CONNECT the connection would be a tunnel.
        let is_tunnel = self.request.method == Method::CONNECT && status.is_success();
        if status.is_informational() || is_tunnel {
            return Err(SendError::BadStatus);
        }
        let checked = encode::check_fields(fields.clone())?;
        self.state.apply(Side::Response, Signal::Head)?;
        if self.request.waits_for_continue {
            self.state.forbid_reuse(CloseReason::UnmetExpectation);
        }
        if self.state.request() == Phase::Failed {
            self.state.forbid_reuse(CloseReason::Failed);
        }
        checked.reserve(0, body, out);
        put_status_line(status, out);
        put_fields(fields, out);
        self.put_framing(status, body, out);
        //= RFC 9112 §9.6: a server that will not read further requests sends `close`. §9.3: an
        // HTTP/1.0 client is told where the connection persists.
        if !self.state.is_persistent() {
            out.put(b"connection: close\r\n");
        } else if self.request.version == Some(Version::HTTP_10) {
            out.put(b"connection: keep-alive\r\n");
        }
        out.put(b"\r\n");
        Ok(())
    }

    /// Sends a piece of the body: one chunk around the same bytes, where the body is chunked. An
    /// empty piece sends nothing.
    ///
    /// # Errors
    /// `BodyTooLong` for more than was declared, `OutOfTurn` outside a body; nothing was written.
    pub fn send_body(&mut self, piece: Bytes, out: &mut OutBuf) -> Result<(), SendError> {
        self.check_in_body()?;
        self.writer.piece(piece, out)
    }

    /// Sends all of `pieces` as one piece of the body, and leaves it empty.
    ///
    /// # Errors
    /// As [`send_body`](ServerConn::send_body); `pieces` is then as it was.
    pub fn send_body_pieces(
        &mut self,
        pieces: &mut OutBuf,
        out: &mut OutBuf,
    ) -> Result<(), SendError> {
        self.check_in_body()?;
        self.writer.pieces(pieces, out)
    }

    /// Ends the response.
    ///
    /// # Errors
    /// `BodyTooShort` if the declared length was not reached: the connection has to be closed, so
    /// that the client sees it. `OutOfTurn` outside a body.
    pub fn send_end(&mut self, out: &mut OutBuf) -> Result<(), SendError> {
        self.check_in_body()?;
        if let Err(error) = self.writer.end(out) {
            self.abort_response();
            return Err(error);
        }
        self.state.apply(Side::Response, Signal::End)?;
        Ok(())
    }

    /// Leaves the response unfinished for good: a chunked body gets no last chunk and a declared
    /// length is not reached, so that the client can tell a broken answer from a whole one. The
    /// connection is to be closed after what was written.
    pub fn abort_response(&mut self) {
        let _ = self.state.apply(Side::Response, Signal::Fault);
    }

    /// Makes the current exchange the last one; a head sent from now on says so.
    pub fn close_after_response(&mut self) {
        self.state.forbid_reuse(CloseReason::Local);
    }

    /// Ends the exchange. After `KeepAlive` the next request is read; after `Close` nothing is.
    pub fn next_cycle(&mut self) -> Reuse {
        let reuse = self.state.cycle();
        if reuse == Reuse::KeepAlive {
            self.scan = LineScan::default();
            self.reader = BodyReader::Empty;
            self.writer = BodyWriter::Discard;
            self.request = Request::default();
            self.has_skipped_line = false;
        }
        reuse
    }

    /// Whether a further exchange may follow, so far.
    pub fn is_persistent(&self) -> bool {
        self.state.is_persistent()
    }

    /// Whether the current request has been received to its end.
    pub fn is_request_complete(&self) -> bool {
        self.state.request() == Phase::Done
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Event<RequestHead>, ErrorKind> {
        match self.state.request() {
            Phase::Idle => self.read_head(input),
            Phase::Body => self.read_body(input),
            Phase::Done if !input.is_empty() => Ok(Event::Paused),
            Phase::Done if !self.is_eof => Ok(Event::NeedData),
            Phase::Done | Phase::Closed | Phase::Failed => Ok(Event::Closed),
        }
    }

    fn read_head(&mut self, input: &mut BytesMut) -> Result<Event<RequestHead>, ErrorKind> {
        //= RFC 9112 §2.2: a server SHOULD ignore at least one empty line before the request-line.
        if !self.has_skipped_line && input.starts_with(b"\r\n") {
            let _ = input.split_to(2);
            self.has_skipped_line = true;
        }
        match input.first() {
            None if self.is_eof => {
                self.state.apply(Side::Request, Signal::Eof)?;
                return Ok(Event::Closed);
            }
            None => return Ok(Event::NeedData),
            Some(b'\r') if !self.has_skipped_line && input.len() == 1 => {
                return self.need_data();
            }
            Some(b'\n') => return Err(ErrorKind::BareLineFeed),
            // A TLS handshake on a plain port is answered at once, not when a limit is passed.
            Some(byte) if !is_token_byte(*byte) => return Err(ErrorKind::BadRequestLine),
            Some(_) => {}
        }
        let limits = SectionLimits {
            bytes_max: self.limits.head_bytes_max,
            bytes_error: ErrorKind::HeadTooLarge,
            start_line_bytes_max: Some(
                self.limits
                    .target_bytes_max
                    .saturating_add(START_LINE_SLACK),
            ),
            fields_max: self.limits.fields_max,
        };
        let Some(section) = self.scan.section(input, &limits)? else {
            return self.need_data();
        };
        let block = input.split_to(section.len).freeze();
        let head = match parse_request(block.clone(), section.lines, &self.limits) {
            Ok(head) => head,
            Err(kind) => {
                // Back to where it was: the caller may look whose it could have been.
                let rest = input.split();
                input.extend_from_slice(&block);
                input.extend_from_slice(&rest);
                return Err(kind);
            }
        };
        self.begin(&head)?;
        Ok(Event::Head(head))
    }

    fn begin(&mut self, head: &RequestHead) -> Result<(), OutOfTurn> {
        self.state.apply(Side::Request, Signal::Head)?;
        self.reader = head.body.into();
        self.request = Request {
            method: head.method.clone(),
            version: Some(head.version),
            waits_for_continue: head.expect_continue,
        };
        if head.method == Method::CONNECT {
            // Whatever we answer, the client may already send what is not HTTP.
            self.state.forbid_reuse(CloseReason::Tunnel);
        }
        if !head.keep_alive {
            self.state.forbid_reuse(match head.version {
                Version::HTTP_10 => CloseReason::Http10,
                _ => CloseReason::Peer,
            });
        }
        Ok(())
    }

    fn read_body(&mut self, input: &mut BytesMut) -> Result<Event<RequestHead>, ErrorKind> {
        match self.reader.next(input, self.is_eof, &self.limits)? {
            BodyStep::NeedData => Ok(Event::NeedData),
            BodyStep::Data(bytes) => {
                // RFC 9110 §10.1.1: a 100 may be omitted once content has arrived.
                self.request.waits_for_continue = false;
                Ok(Event::Body(bytes))
            }
            BodyStep::Trailers(fields) => Ok(Event::Trailers(*fields)),
            BodyStep::End => {
                self.request.waits_for_continue = false;
                self.state.apply(Side::Request, Signal::End)?;
                Ok(Event::End)
            }
        }
    }

    fn need_data(&self) -> Result<Event<RequestHead>, ErrorKind> {
        if self.is_eof {
            return Err(ErrorKind::Truncated);
        }
        Ok(Event::NeedData)
    }

    /// Decides and writes the framing of the response (RFC 9110 §8.6, RFC 9112 §6.1).
    fn put_framing(&mut self, status: StatusCode, body: BodyLength, out: &mut OutBuf) {
        let is_http11 = self.request.version == Some(Version::HTTP_11);
        if has_no_content(&self.request.method, status) {
            self.writer = BodyWriter::Discard;
            match body {
                // A 204 has neither field; the others tell what a GET would have got.
                _ if status == StatusCode::NO_CONTENT => {}
                BodyLength::Length(length) => put_content_length(length, out),
                BodyLength::Chunked if is_http11 && status != StatusCode::NOT_MODIFIED => {
                    put_chunked(out);
                }
                BodyLength::Chunked | BodyLength::None => {}
            }
            return;
        }
        self.writer = body.into();
        match body {
            BodyLength::None => put_content_length(0, out),
            BodyLength::Length(length) => put_content_length(length, out),
            BodyLength::Chunked if is_http11 => put_chunked(out),
            //= RFC 9112 §6.1: no chunks unless the request indicates HTTP/1.1.
            BodyLength::Chunked => {
                self.writer = BodyWriter::CloseDelimited;
                self.state.forbid_reuse(CloseReason::CloseDelimited);
            }
        }
    }

    fn check_in_body(&self) -> Result<(), SendError> {
        match self.state.response() {
            Phase::Body => Ok(()),
            _ => Err(SendError::OutOfTurn),
        }
    }
}
