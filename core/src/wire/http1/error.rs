//! What can go wrong on an HTTP/1 connection: [`Http1Error`] for what the peer sent,
//! [`SendError`] for what the caller wanted to send.

use core::fmt;

use http::StatusCode;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blame {
    /// The peer that sent the request.
    Client,
    /// The peer that sent the response.
    Upstream,
}

/// The peer broke the protocol or a limit. It latches: the connection yields no further event, and
/// nothing that follows on it may be read as a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Http1Error {
    kind: ErrorKind,
    blame: Blame,
}

impl Http1Error {
    pub(super) const fn new(kind: ErrorKind, blame: Blame) -> Http1Error {
        Http1Error { kind, blame }
    }

    /// What exactly was wrong.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whose fault it is.
    pub const fn blame(&self) -> Blame {
        self.blame
    }

    /// The status to answer the client with: that of the [kind](ErrorKind::request_status) for a
    /// bad request, 502 for a bad response (RFC 9110 §15.6.3).
    pub const fn status(&self) -> StatusCode {
        match self.blame {
            Blame::Client => self.kind.request_status(),
            Blame::Upstream => StatusCode::BAD_GATEWAY,
        }
    }
}

impl fmt::Display for Http1Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = match self.blame {
            Blame::Client => "bad request",
            Blame::Upstream => "bad response",
        };
        write!(f, "{message}: {}", self.kind.message())
    }
}

impl std::error::Error for Http1Error {}

/// The kinds of [`Http1Error`], the same for requests and responses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No CRLF after the data of a chunk (RFC 9112 §7.1).
    BadChunkData,
    /// A control character or a bare CR or LF in a chunk extension (RFC 9112 §7.1.1).
    BadChunkExtension,
    /// A chunk size that is not 1 to 16 hexadecimal digits (RFC 9112 §7.1).
    BadChunkSize,
    /// A Content-Length that is not one decimal number (RFC 9110 §8.6).
    BadContentLength,
    /// A field line with a bad name, blanks before the colon, or a forbidden character.
    BadField,
    /// A Host that is no `uri-host [":" port]` (RFC 9112 §3.2).
    BadHost,
    /// A request line that is not `method SP request-target SP HTTP-version` (RFC 9112 §3).
    BadRequestLine,
    /// A status line that is not `HTTP-version SP status-code SP [reason]` (RFC 9112 §4).
    BadStatusLine,
    /// A request target in none of the forms that the method allows (RFC 9112 §3.2).
    BadTarget,
    /// A Transfer-Encoding in which `chunked` is not the one and last coding (RFC 9112 §6.3).
    BadTransferEncoding,
    /// A line that ends in LF without CR (RFC 9112 §2.2 permits to accept it; we do not).
    BareLineFeed,
    /// Over [`chunk_extension_bytes_max`](crate::base::limits::Http1Limits).
    ChunkExtensionTooLong,
    /// More than one Content-Length, be they equal (RFC 9112 §6.3).
    DuplicateContentLength,
    /// More than one Host (RFC 9112 §3.2).
    DuplicateHost,
    /// Start line and fields over [`head_bytes_max`](crate::base::limits::Http1Limits).
    HeadTooLarge,
    /// Content-Length with Transfer-Encoding: a smuggling attempt (RFC 9112 §6.3).
    LengthWithTransferEncoding,
    /// HTTP/1.1 without Host (RFC 9112 §3.2).
    MissingHost,
    /// A field value folded over lines, or blanks before the first field (RFC 9112 §5.2, §2.2).
    ObsFold,
    /// Bytes at a time when the peer had nothing to send, such as a response to no request.
    OutOfTurn,
    /// 101 without our having asked for an upgrade (RFC 9110 §15.2.2).
    SwitchingProtocols,
    /// Over [`target_bytes_max`](crate::base::limits::Http1Limits) (RFC 9112 §3).
    TargetTooLong,
    /// Over [`fields_max`](crate::base::limits::Http1Limits) in a head or a trailer section, or as
    /// many options in Connection.
    TooManyFields,
    /// Over [`interim_responses_max`](crate::base::limits::Http1Limits).
    TooManyInterimResponses,
    /// Over [`trailer_bytes_max`](crate::base::limits::Http1Limits).
    TrailersTooLarge,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1).
    TransferEncodingOnHttp10,
    /// The peer ended its side within a message (RFC 9112 §8).
    Truncated,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    UnknownExpectation,
    /// A transfer coding other than `chunked` (RFC 9112 §6.1).
    UnknownTransferCoding,
    /// A well-formed version other than HTTP/1.0 and HTTP/1.1 (RFC 9110 §15.6.6).
    UnsupportedVersion,
}

impl ErrorKind {
    /// The status for a request that failed so.
    pub const fn request_status(self) -> StatusCode {
        match self {
            ErrorKind::TargetTooLong => StatusCode::URI_TOO_LONG,
            ErrorKind::HeadTooLarge | ErrorKind::TooManyFields | ErrorKind::TrailersTooLarge => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            ErrorKind::UnknownExpectation => StatusCode::EXPECTATION_FAILED,
            ErrorKind::UnknownTransferCoding => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::UnsupportedVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A clause that explains the kind to the one who sent it.
    pub const fn message(self) -> &'static str {
        match self {
            ErrorKind::BadChunkData => "the data of a chunk is not followed by CRLF",
            ErrorKind::BadChunkExtension => "invalid character in a chunk extension",
            ErrorKind::BadChunkSize => "a chunk size must be 1 to 16 hexadecimal digits",
            ErrorKind::BadContentLength => "Content-Length must be one decimal number",
            ErrorKind::BadField => "invalid field line",
            ErrorKind::BadHost => "invalid Host",
            ErrorKind::BadRequestLine => "invalid request line",
            ErrorKind::BadStatusLine => "invalid status line",
            ErrorKind::BadTarget => "invalid request target",
            ErrorKind::BadTransferEncoding => "Transfer-Encoding must be exactly `chunked`",
            ErrorKind::BareLineFeed => "a line ends in LF without CR",
            ErrorKind::ChunkExtensionTooLong => "a chunk extension is too long",
            ErrorKind::DuplicateContentLength => "Content-Length is given more than once",
            ErrorKind::DuplicateHost => "Host is given more than once",
            ErrorKind::HeadTooLarge => "the header section is too large",
            ErrorKind::LengthWithTransferEncoding => {
                "both Content-Length and Transfer-Encoding are given"
            }
            ErrorKind::MissingHost => "Host is missing",
            ErrorKind::ObsFold => "a field line begins with a blank",
            ErrorKind::OutOfTurn => "bytes where no message was due",
            ErrorKind::SwitchingProtocols => "switched protocols without being asked to",
            ErrorKind::TargetTooLong => "the request target is too long",
            ErrorKind::TooManyFields => "too many field lines",
            ErrorKind::TooManyInterimResponses => "too many interim responses",
            ErrorKind::TrailersTooLarge => "the trailer section is too large",
            ErrorKind::TransferEncodingOnHttp10 => "Transfer-Encoding in an HTTP/1.0 message",
            ErrorKind::Truncated => "the connection ended within a message",
            ErrorKind::UnknownExpectation => "only the expectation `100-continue` is supported",
            ErrorKind::UnknownTransferCoding => "only the transfer coding `chunked` is supported",
            ErrorKind::UnsupportedVersion => "only HTTP/1.0 and HTTP/1.1 are supported",
        }
    }
}

/// The caller asked for something that would have broken the protocol. Nothing was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SendError {
    /// A field name that is no token, or a value with a control character (RFC 9110 §5.5): writing
    /// it would let its author split the message.
    BadField,
    /// A request needs exactly one valid Host (RFC 9112 §3.2).
    BadHost,
    /// A status that cannot be the final one of this exchange: 1xx, or 2xx to CONNECT.
    BadStatus,
    /// A request target in none of the forms that the method allows (RFC 9112 §3.2).
    BadTarget,
    /// More body than the declared length.
    BodyTooLong,
    /// The body ended before its declared length. The message can no longer be completed, and the
    /// peer learns so by the connection's end.
    BodyTooShort,
    /// Content-Length, Transfer-Encoding, Connection and Expect are decided by the connection, not
    /// given.
    FramingField,
    /// It is not the time for this part of the message.
    OutOfTurn,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::BadField => "invalid field name or value to send",
            SendError::BadHost => "a request needs exactly one valid Host",
            SendError::BadStatus => "not a final status for this exchange",
            SendError::BadTarget => "invalid request target to send",
            SendError::BodyTooLong => "more body to send than was declared",
            SendError::BodyTooShort => "the body to send ended before its declared length",
            SendError::FramingField => "framing fields are decided by the connection",
            SendError::OutOfTurn => "not the time to send this part of the message",
        })
    }
}

impl std::error::Error for SendError {}
