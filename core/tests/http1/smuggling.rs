//! Messages that two readers could understand in two ways, each by name.

use http::StatusCode;
use tollgate_core::wire::http1::{Blame, ErrorKind};

use crate::support::{request_error, response_error};

type Case = (&'static str, &'static str, ErrorKind);

const HEAD: &str = "POST / HTTP/1.1\r\nHost: h\r\n";

/// Field lines after a good request line and Host.
const FIELDS: &[Case] = &[
    (
        "CL.TE",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        ErrorKind::LengthWithTransferEncoding,
    ),
    (
        "TE.CL",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        ErrorKind::LengthWithTransferEncoding,
    ),
    (
        "CL with unknown TE",
        "Transfer-Encoding: x\r\nContent-Length: 6\r\n",
        ErrorKind::LengthWithTransferEncoding,
    ),
    (
        "two lengths",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        ErrorKind::DuplicateContentLength,
    ),
    (
        "two equal lengths",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        ErrorKind::DuplicateContentLength,
    ),
    (
        "length list",
        "Content-Length: 5, 5\r\n",
        ErrorKind::BadContentLength,
    ),
    (
        "plus length",
        "Content-Length: +5\r\n",
        ErrorKind::BadContentLength,
    ),
    (
        "minus length",
        "Content-Length: -5\r\n",
        ErrorKind::BadContentLength,
    ),
    (
        "blank length",
        "Content-Length: \r\n",
        ErrorKind::BadContentLength,
    ),
    (
        "length with a blank",
        "Content-Length: 5 5\r\n",
        ErrorKind::BadContentLength,
    ),
    (
        "hexadecimal length",
        "Content-Length: 0x5\r\n",
        ErrorKind::BadContentLength,
    ),
    (
        "length over 64 bits",
        "Content-Length: 18446744073709551616\r\n",
        ErrorKind::BadContentLength,
    ),
    (
        "fraction",
        "Content-Length: 5.0\r\n",
        ErrorKind::BadContentLength,
    ),
    (
        "xchunked",
        "Transfer-Encoding: xchunked\r\n",
        ErrorKind::UnknownTransferCoding,
    ),
    (
        "identity",
        "Transfer-Encoding: identity\r\n",
        ErrorKind::UnknownTransferCoding,
    ),
    (
        "gzip, chunked",
        "Transfer-Encoding: gzip, chunked\r\n",
        ErrorKind::UnknownTransferCoding,
    ),
    (
        "chunked, identity",
        "Transfer-Encoding: chunked, identity\r\n",
        ErrorKind::BadTransferEncoding,
    ),
    (
        "chunked twice",
        "Transfer-Encoding: chunked, chunked\r\n",
        ErrorKind::BadTransferEncoding,
    ),
    (
        "two TE lines",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ErrorKind::BadTransferEncoding,
    ),
    (
        "empty TE",
        "Transfer-Encoding:\r\n",
        ErrorKind::BadTransferEncoding,
    ),
    (
        "comma TE",
        "Transfer-Encoding: chunked,\r\n",
        ErrorKind::BadTransferEncoding,
    ),
    (
        "quoted TE",
        "Transfer-Encoding: \"chunked\"\r\n",
        ErrorKind::BadTransferEncoding,
    ),
    (
        "TE with parameter",
        "Transfer-Encoding: chunked;x=1\r\n",
        ErrorKind::BadTransferEncoding,
    ),
    (
        "vertical tab in TE",
        "Transfer-Encoding: \x0bchunked\r\n",
        ErrorKind::BadField,
    ),
    (
        "blank before colon",
        "Transfer-Encoding : chunked\r\n",
        ErrorKind::BadField,
    ),
    (
        "tab before colon",
        "Content-Length\t: 5\r\n",
        ErrorKind::BadField,
    ),
    (
        "obs-fold",
        "Transfer-Encoding:\r\n chunked\r\n",
        ErrorKind::ObsFold,
    ),
    ("obs-fold by tab", "X: a\r\n\tb\r\n", ErrorKind::ObsFold),
    (
        "bare LF after a field",
        "X: a\nContent-Length: 5\r\n",
        ErrorKind::BareLineFeed,
    ),
    (
        "bare CR in a value",
        "X: a\rContent-Length: 5\r\n",
        ErrorKind::BadField,
    ),
    ("NUL in a value", "X: a\0b\r\n", ErrorKind::BadField),
    ("NUL in a name", "X\0: a\r\n", ErrorKind::BadField),
    ("no colon", "Content-Length 5\r\n", ErrorKind::BadField),
    ("no name", ": 5\r\n", ErrorKind::BadField),
    (
        "bracket in a name",
        "Content-Length[]: 5\r\n",
        ErrorKind::BadField,
    ),
    ("two hosts", "Host: g\r\n", ErrorKind::DuplicateHost),
    (
        "unknown expectation",
        "Expect: 200-ok\r\n",
        ErrorKind::UnknownExpectation,
    ),
];

#[test]
fn ambiguous_field_lines_of_requests_are_refused() {
    for (name, lines, kind) in FIELDS {
        let error = request_error(format!("{HEAD}{lines}\r\n").as_bytes());
        assert_eq!(error.map(|error| error.kind()), Some(*kind), "{name}");
    }
}

#[test]
fn ambiguous_field_lines_of_responses_are_refused() {
    for (name, lines, kind) in FIELDS {
        if matches!(
            kind,
            ErrorKind::DuplicateHost | ErrorKind::UnknownExpectation
        ) {
            continue;
        }
        let error = response_error(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes());
        let error = error.unwrap_or_else(|| panic!("{name} is accepted"));
        assert_eq!(error.kind(), *kind, "{name}");
        assert_eq!(
            (error.blame(), error.status()),
            (Blame::Upstream, StatusCode::BAD_GATEWAY)
        );
    }
}

/// Whole request heads.
const REQUEST_HEADS: &[Case] = &[
    ("no host", "GET / HTTP/1.1\r\n\r\n", ErrorKind::MissingHost),
    (
        "empty host",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        ErrorKind::BadHost,
    ),
    (
        "userinfo in host",
        "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n",
        ErrorKind::BadHost,
    ),
    (
        "path in host",
        "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n",
        ErrorKind::BadHost,
    ),
    (
        "bad host on 1.0",
        "GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
        ErrorKind::BadHost,
    ),
    (
        "two hosts with an absolute target",
        "GET http://h/ HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        ErrorKind::DuplicateHost,
    ),
    (
        "TE on HTTP/1.0",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ErrorKind::TransferEncodingOnHttp10,
    ),
    (
        "blanks before fields",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        ErrorKind::ObsFold,
    ),
    (
        "LF head",
        "GET / HTTP/1.1\nHost: h\n\n",
        ErrorKind::BareLineFeed,
    ),
    (
        "LF at the end",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        ErrorKind::BareLineFeed,
    ),
    (
        "LF first",
        "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ErrorKind::BareLineFeed,
    ),
    (
        "two empty lines",
        "\r\n\r\nGET / HTTP/1.1\r\n",
        ErrorKind::BadRequestLine,
    ),
    (
        "bare CR first",
        "\rGET / HTTP/1.1\r\n",
        ErrorKind::BadRequestLine,
    ),
    (
        "two blanks",
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        ErrorKind::BadRequestLine,
    ),
    (
        "tab",
        "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
        ErrorKind::BadRequestLine,
    ),
    (
        "blank in target",
        "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
        ErrorKind::BadRequestLine,
    ),
    (
        "blank at the end",
        "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        ErrorKind::BadRequestLine,
    ),
    ("HTTP/0.9", "GET /\r\n\r\n", ErrorKind::BadRequestLine),
    (
        "lower-case version",
        "GET / http/1.1\r\n\r\n",
        ErrorKind::BadRequestLine,
    ),
    (
        "bad version",
        "GET / HTTP/1.10\r\nHost: h\r\n\r\n",
        ErrorKind::BadRequestLine,
    ),
    (
        "HTTP/1.2",
        "GET / HTTP/1.2\r\nHost: h\r\n\r\n",
        ErrorKind::UnsupportedVersion,
    ),
    (
        "HTTP/2 preface",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ErrorKind::UnsupportedVersion,
    ),
    ("TLS handshake", "\x16\x03\x01", ErrorKind::BadRequestLine),
    (
        "asterisk",
        "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
        ErrorKind::BadTarget,
    ),
    (
        "authority form",
        "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        ErrorKind::BadTarget,
    ),
    (
        "fragment",
        "GET /#x HTTP/1.1\r\nHost: h\r\n\r\n",
        ErrorKind::BadTarget,
    ),
    (
        "other scheme",
        "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        ErrorKind::BadTarget,
    ),
    (
        "origin CONNECT",
        "CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n",
        ErrorKind::BadTarget,
    ),
];

#[test]
fn bad_request_heads_are_refused() {
    for (name, input, kind) in REQUEST_HEADS {
        let error = request_error(input.as_bytes());
        assert_eq!(error.map(|error| error.kind()), Some(*kind), "{name}");
    }
}

/// Whole response heads.
const RESPONSE_HEADS: &[Case] = &[
    (
        "HTTP/2",
        "HTTP/2.0 200 OK\r\n\r\n",
        ErrorKind::UnsupportedVersion,
    ),
    (
        "HTTP/1.2",
        "HTTP/1.2 200 OK\r\n\r\n",
        ErrorKind::UnsupportedVersion,
    ),
    ("not HTTP", "SSH-2.0-OpenSSH\r\n", ErrorKind::BadStatusLine),
    (
        "empty line first",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        ErrorKind::BadStatusLine,
    ),
    (
        "two digits",
        "HTTP/1.1 20 OK\r\n\r\n",
        ErrorKind::BadStatusLine,
    ),
    (
        "status 099",
        "HTTP/1.1 099 X\r\n\r\n",
        ErrorKind::BadStatusLine,
    ),
    (
        "four digits",
        "HTTP/1.1 2000 OK\r\n\r\n",
        ErrorKind::BadStatusLine,
    ),
    (
        "bare CR in the reason",
        "HTTP/1.1 200 a\rb\r\n\r\n",
        ErrorKind::BadStatusLine,
    ),
    ("LF head", "HTTP/1.1 200 OK\n\n", ErrorKind::BareLineFeed),
    (
        "101",
        "HTTP/1.1 101 X\r\n\r\n",
        ErrorKind::SwitchingProtocols,
    ),
    (
        "TE on HTTP/1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ErrorKind::TransferEncodingOnHttp10,
    ),
];

#[test]
fn bad_response_heads_are_refused() {
    for (name, input, kind) in RESPONSE_HEADS {
        let error = response_error(input.as_bytes());
        assert_eq!(error.map(|error| error.kind()), Some(*kind), "{name}");
    }
}

/// Chunked bodies.
const CHUNKS: &[Case] = &[
    ("plus", "+5\r\n", ErrorKind::BadChunkSize),
    ("minus", "-5\r\n", ErrorKind::BadChunkSize),
    ("0x", "0x5\r\n", ErrorKind::BadChunkSize),
    ("blank before", " 5\r\n", ErrorKind::BadChunkSize),
    ("blank after", "5 \r\n", ErrorKind::BadChunkSize),
    ("tab after", "5\t;x\r\n", ErrorKind::BadChunkSize),
    ("empty", "\r\n", ErrorKind::BadChunkSize),
    ("only extension", ";x\r\n", ErrorKind::BadChunkSize),
    ("underscore", "1_0\r\n", ErrorKind::BadChunkSize),
    (
        "17 digits",
        "00000000000000005\r\n",
        ErrorKind::BadChunkSize,
    ),
    ("overflow", "10000000000000005\r\n", ErrorKind::BadChunkSize),
    ("bare LF", "5\nhello\r\n", ErrorKind::BadChunkSize),
    ("bare CR", "5\rhello\r\n", ErrorKind::BadChunkSize),
    (
        "bare LF in extension",
        "5;a\nhello\r\n",
        ErrorKind::BadChunkExtension,
    ),
    (
        "bare CR in extension",
        "5;a\rhello\r\n",
        ErrorKind::BadChunkSize,
    ),
    ("NUL in extension", "5;\0\r\n", ErrorKind::BadChunkExtension),
    (
        "no CRLF after data",
        "5\r\nhello0\r\n\r\n",
        ErrorKind::BadChunkData,
    ),
    (
        "LF after data",
        "5\r\nhello\n0\r\n\r\n",
        ErrorKind::BadChunkData,
    ),
    (
        "CR alone after data",
        "5\r\nhello\r0\r\n\r\n",
        ErrorKind::BadChunkData,
    ),
    ("LF after the last chunk", "0\n\n", ErrorKind::BadChunkSize),
    ("LF for the last line", "0\r\n\n", ErrorKind::BareLineFeed),
    ("folded trailer", "0\r\n x: y\r\n\r\n", ErrorKind::ObsFold),
    ("bad trailer", "0\r\nx : y\r\n\r\n", ErrorKind::BadField),
    (
        "trailer without colon",
        "0\r\nGET / HTTP/1.1\r\n\r\n",
        ErrorKind::BadField,
    ),
];

#[test]
fn bad_chunks_are_refused_in_both_directions() {
    for (name, body, kind) in CHUNKS {
        let request = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{body}");
        let error = request_error(request.as_bytes());
        assert_eq!(
            error.map(|error| error.kind()),
            Some(*kind),
            "request: {name}"
        );
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let error = response_error(response.as_bytes());
        assert_eq!(
            error.map(|error| error.kind()),
            Some(*kind),
            "response: {name}"
        );
    }
}

#[test]
fn each_error_has_its_status() {
    let cases = [
        (HEAD.replace("1.1", "1.3") + "\r\n", 505),
        (format!("{HEAD}Transfer-Encoding: gzip\r\n\r\n"), 501),
        (format!("{HEAD}Expect: x\r\n\r\n"), 417),
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000)), 414),
        (format!("{HEAD}X: {}", "x".repeat(66_000)), 431),
        (format!("{HEAD}{}", "X: y\r\n".repeat(200)), 431),
        (format!("{HEAD}Content-Length: x\r\n\r\n"), 400),
    ];
    for (input, status) in cases {
        let error = request_error(input.as_bytes()).expect("is refused");
        assert_eq!(error.status().as_u16(), status, "{error}");
        assert_eq!(error.blame(), Blame::Client);
        assert!(error.to_string().starts_with("bad request: "));
    }
}

/// What looks odd but has one meaning is accepted.
#[test]
fn unambiguous_oddities_are_accepted() {
    let cases = [
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nhOsT:h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \t h:80 \t\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\nX:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0005\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: CHUNKED\r\n\r\n\
         0005;a=\"b;c\" ;d\r\nhello\r\n000\r\n\r\n",
        "BREW /pot HTTP/1.1\r\nHost: h\r\nX: \u{fc}\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET HTTP://other/x HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    for input in cases {
        assert_eq!(request_error(input.as_bytes()), None, "{input:?}");
    }
}
