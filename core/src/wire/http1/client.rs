//! [`ClientConn`]: the side that sends requests and receives responses.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, Version};

use super::Event;
use super::encode::{
    self, BodyWriter, put_chunked, put_content_length, put_fields, put_request_line,
};
use super::error::{Blame, ErrorKind, Http1Error, SendError};
use super::framing::{BodyLength, BodyReader, BodyStep, ResponseBody};
use super::head::{ResponseHead, parse_response};
use super::scan::{LineScan, SectionLimits};
use super::state::{CloseReason, OutOfTurn, Phase, Reuse, Side, Signal, State};
use super::syntax::parse_target;
use crate::base::OutBuf;
use crate::base::limits::Http1Limits;

/// One connection to an upstream; one request at a time.
///
/// A response may begin, and end, before the request's body is sent: events and sends are
/// independent. [`next_cycle`](ClientConn::next_cycle) says whether the connection may carry a
/// further request.
#[derive(Debug)]
pub struct ClientConn {
    limits: Http1Limits,
    state: State,
    scan: LineScan,
    reader: BodyReader,
    writer: BodyWriter,
    method: Method,
    interim_responses: usize,
    has_received: bool,
    is_eof: bool,
    error: Option<Http1Error>,
}

impl ClientConn {
    /// A connection on which nothing has been sent.
    pub fn new(limits: &Http1Limits) -> ClientConn {
        ClientConn {
            limits: limits.clone(),
            state: State::new(),
            scan: LineScan::default(),
            reader: BodyReader::Empty,
            writer: BodyWriter::Discard,
            method: Method::GET,
            interim_responses: 0,
            has_received: false,
            is_eof: false,
            error: None,
        }
    }

    /// Sends the head of a request. `fields` has the Host; framing fields are added.
    ///
    /// # Errors
    /// Nothing was written then, and another head may be sent: see [`SendError`].
    pub fn send_head<I, N, V>(
        &mut self,
        method: &Method,
        target: &str,
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
        if parse_target(method, target.as_bytes()).is_none() {
            return Err(SendError::BadTarget);
        }
        let checked = encode::check_fields(fields.clone())?;
        checked.check_host()?;
        self.state.apply(Side::Request, Signal::Head)?;
        self.method = method.clone();
        self.writer = body.into();
        checked.reserve(target.len(), body, out);
        put_request_line(method, target, out);
        put_fields(fields, out);
        match body {
            BodyLength::Length(length) => put_content_length(length, out),
            BodyLength::Chunked => put_chunked(out),
            //= RFC 9110 §8.6: a zero length SHOULD be sent where the method anticipates content.
            BodyLength::None => {
                if [Method::POST, Method::PUT, Method::PATCH].contains(method) {
                    put_content_length(0, out);
                }
            }
        }
        if !self.state.is_persistent() {
            out.put(b"connection: close\r\n");
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
    /// As [`send_body`](ClientConn::send_body); `pieces` is then as it was.
    pub fn send_body_pieces(
        &mut self,
        pieces: &mut OutBuf,
        out: &mut OutBuf,
    ) -> Result<(), SendError> {
        self.check_in_body()?;
        self.writer.pieces(pieces, out)
    }

    /// Ends the request.
    ///
    /// # Errors
    /// `BodyTooShort` if the declared length was not reached: the connection has to be closed, so
    /// that the upstream sees it. `OutOfTurn` outside a body.
    pub fn send_end(&mut self, out: &mut OutBuf) -> Result<(), SendError> {
        self.check_in_body()?;
        if let Err(error) = self.writer.end(out) {
            let _ = self.state.apply(Side::Request, Signal::Fault);
            return Err(error);
        }
        self.state.apply(Side::Request, Signal::End)?;
        Ok(())
    }

    /// Takes the next event out of `input`. Body bytes are split off, not copied. Interim responses
    /// are consumed. After the end of the response the event is `NeedData`, or `Paused` if bytes
    /// follow that belong to no response, which makes the connection unfit for reuse.
    ///
    /// # Errors
    /// The upstream broke the protocol or a limit. The same error is returned from then on.
    pub fn next_event(&mut self, input: &mut BytesMut) -> Result<Event<ResponseHead>, Http1Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.has_received |= !input.is_empty();
        self.step(input).map_err(|kind| {
            let error = Http1Error::new(kind, Blame::Upstream);
            self.error = Some(error);
            let _ = self.state.apply(Side::Response, Signal::Fault);
            self.state.forbid_reuse(CloseReason::Failed);
            error
        })
    }

    /// Tells that the upstream has ended its side: no more than `input` holds will come. It
    /// completes a close-delimited body; any other unfinished response is truncated.
    pub fn end_of_input(&mut self) {
        self.is_eof = true;
    }

    /// Whether any byte arrived since the last cycle. If none did on a reused connection, the
    /// upstream may have closed it before it saw the request (RFC 9112 §9.3.1).
    pub fn received_any(&self) -> bool {
        self.has_received
    }

    /// Makes the current exchange the last one; a head sent from now on says so.
    pub fn close_after_response(&mut self) {
        self.state.forbid_reuse(CloseReason::Local);
    }

    /// Ends the exchange. After `KeepAlive` the next request may be sent.
    pub fn next_cycle(&mut self) -> Reuse {
        if self.is_eof {
            self.state.forbid_reuse(CloseReason::Peer);
        }
        let reuse = self.state.cycle();
        if reuse == Reuse::KeepAlive {
            self.scan = LineScan::default();
            self.reader = BodyReader::Empty;
            self.writer = BodyWriter::Discard;
            self.interim_responses = 0;
            self.has_received = false;
        }
        reuse
    }

    /// Whether a further exchange may follow, so far.
    pub fn is_persistent(&self) -> bool {
        self.state.is_persistent() && !self.is_eof
    }

    /// Whether the request has been sent to its end.
    pub fn is_request_complete(&self) -> bool {
        self.state.request() == Phase::Done
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Event<ResponseHead>, ErrorKind> {
        match self.state.response() {
            Phase::Idle if self.state.request() == Phase::Idle => self.read_unasked(input),
            Phase::Idle => self.read_head(input),
            Phase::Body => self.read_body(input),
            Phase::Done => Ok(self.after_response(input)),
            Phase::Closed | Phase::Failed => Ok(Event::Closed),
        }
    }

    /// An idle connection may end, but has nothing to say (RFC 9112 §9.5: what arrives there, such
    /// as a 408, is no response to the next request).
    fn read_unasked(&mut self, input: &BytesMut) -> Result<Event<ResponseHead>, ErrorKind> {
        if !input.is_empty() {
            return Err(ErrorKind::OutOfTurn);
        }
        if self.is_eof {
            self.state.apply(Side::Response, Signal::Eof)?;
            return Ok(Event::Closed);
        }
        Ok(Event::NeedData)
    }

    fn read_head(&mut self, input: &mut BytesMut) -> Result<Event<ResponseHead>, ErrorKind> {
        let limits = SectionLimits {
            bytes_max: self.limits.head_bytes_max,
            bytes_error: ErrorKind::HeadTooLarge,
            start_line_bytes_max: Some(usize::MAX),
            fields_max: self.limits.fields_max,
        };
        loop {
            if input.first().is_some_and(|byte| *byte != b'H') {
                return Err(ErrorKind::BadStatusLine);
            }
            let Some(section) = self.scan.section(input, &limits)? else {
                if self.is_eof {
                    return Err(ErrorKind::Truncated);
                }
                return Ok(Event::NeedData);
            };
            let block = input.split_to(section.len).freeze();
            let head = parse_response(block, section.lines, &self.method, &self.limits)?;
            if head.status.is_informational() {
                self.pass_interim(head.status)?;
                continue;
            }
            self.begin(&head)?;
            return Ok(Event::Head(head));
        }
    }

    //= RFC 9110 §15.2: a client MUST be able to parse 1xx responses before the final one, even if
    // it does not expect one.
    fn pass_interim(&mut self, status: StatusCode) -> Result<(), ErrorKind> {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ErrorKind::SwitchingProtocols);
        }
        self.state.apply(Side::Response, Signal::Interim)?;
        self.interim_responses += 1;
        if self.interim_responses > self.limits.interim_responses_max {
            return Err(ErrorKind::TooManyInterimResponses);
        }
        Ok(())
    }

    fn begin(&mut self, head: &ResponseHead) -> Result<(), OutOfTurn> {
        self.state.apply(Side::Response, Signal::Head)?;
        self.reader = head.body.into();
        if self.is_tunnel(head.status) {
            self.state.forbid_reuse(CloseReason::Tunnel);
        }
        if head.body == ResponseBody::CloseDelimited {
            self.state.forbid_reuse(CloseReason::CloseDelimited);
        }
        if !head.keep_alive {
            self.state.forbid_reuse(match head.version {
                Version::HTTP_10 => CloseReason::Http10,
                _ => CloseReason::Peer,
            });
        }
        Ok(())
    }

    fn is_tunnel(&self, status: StatusCode) -> bool {
        self.method == Method::CONNECT && status.is_success()
    }

    fn read_body(&mut self, input: &mut BytesMut) -> Result<Event<ResponseHead>, ErrorKind> {
        match self.reader.next(input, self.is_eof, &self.limits)? {
            BodyStep::NeedData => Ok(Event::NeedData),
            BodyStep::Data(bytes) => Ok(Event::Body(bytes)),
            BodyStep::Trailers(fields) => Ok(Event::Trailers(*fields)),
            BodyStep::End => {
                self.state.apply(Side::Response, Signal::End)?;
                self.after_response(input);
                Ok(Event::End)
            }
        }
    }

    /// RFC 9112 §9.5: what follows a response belongs to no request, and must not be taken for
    /// the response to the next one. (After a 2xx to CONNECT it belongs to the tunnel.)
    fn after_response(&mut self, input: &BytesMut) -> Event<ResponseHead> {
        if !input.is_empty() {
            self.state.forbid_reuse(CloseReason::ExtraBytes);
            return Event::Paused;
        }
        if self.is_eof {
            return Event::Closed;
        }
        Event::NeedData
    }

    fn check_in_body(&self) -> Result<(), SendError> {
        match self.state.request() {
            Phase::Body => Ok(()),
            _ => Err(SendError::OutOfTurn),
        }
    }
}
