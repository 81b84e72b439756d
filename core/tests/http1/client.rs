//! The client role: what ends a response, and when a connection may be used again.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use tollgate_core::base::OutBuf;
use tollgate_core::base::limits::Http1Limits;
use tollgate_core::wire::http1::{
    BodyLength, ClientConn, CloseReason, ErrorKind, Event, ResponseBody, ResponseHead, Reuse,
    SendError,
};

use crate::support::{Seen, asked, receive, tight};

fn get() -> ClientConn {
    asked(&Method::GET, &Http1Limits::default())
}

fn head(conn: &mut ClientConn, input: &mut BytesMut) -> ResponseHead {
    match conn.next_event(input) {
        Ok(Event::Head(head)) => head,
        other => panic!("not a head: {other:?}"),
    }
}

/// What comes of a response that is followed by the end of the connection, and of the connection
/// had it not ended.
fn outcome(method: &Method, input: &str) -> (Option<Seen>, Reuse) {
    let limits = Http1Limits::default();
    let seen = receive(method, &[input.as_bytes()], &limits);
    let (mut conn, mut input) = (asked(method, &limits), BytesMut::from(input));
    while !matches!(
        conn.next_event(&mut input),
        Err(_) | Ok(Event::NeedData | Event::Paused | Event::Closed)
    ) {}
    (seen.last().cloned(), conn.next_cycle())
}

#[test]
fn requests_are_framed() {
    let wire = |method: Method, body: BodyLength, pieces: &[&'static str]| {
        let (mut conn, mut out) = (ClientConn::new(&Http1Limits::default()), OutBuf::new());
        let fields = [("Host", "h"), ("X-A", "b")];
        conn.send_head(&method, "/p?q", fields, body, &mut out)
            .expect("head");
        for piece in pieces {
            conn.send_body(Bytes::from_static(piece.as_bytes()), &mut out)
                .expect("body");
        }
        conn.send_end(&mut out).expect("end");
        assert!(conn.is_request_complete());
        String::from_utf8(out.take_all().to_vec()).expect("text")
    };
    let none = BodyLength::None;
    assert_eq!(
        wire(Method::GET, none, &[]),
        "GET /p?q HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n"
    );
    assert!(wire(Method::POST, none, &[]).ends_with("\r\ncontent-length: 0\r\n\r\n"));
    let sized = wire(Method::POST, BodyLength::Length(4), &["ab", "", "cd"]);
    assert!(sized.ends_with("\r\ncontent-length: 4\r\n\r\nabcd"));
    let chunked = wire(
        Method::POST,
        BodyLength::Chunked,
        &["ab", "", "0123456789abcdef"],
    );
    let body = "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    assert!(chunked.ends_with(body), "{chunked}");
}

#[test]
fn bad_requests_are_not_written() {
    let (mut conn, mut out) = (ClientConn::new(&Http1Limits::default()), OutBuf::new());
    let (get, none) = (Method::GET, BodyLength::None);
    for target in ["", "/a b", "/\r\nX: y", "*", "h", "/\u{e4}"] {
        let sent = conn.send_head(&get, target, [("host", "h")], none, &mut out);
        assert_eq!(sent, Err(SendError::BadTarget), "{target}");
    }
    for fields in [&[][..], &[("host", "a b")], &[("host", "h"), ("Host", "h")]] {
        let sent = conn.send_head(&get, "/", fields.iter().copied(), none, &mut out);
        assert_eq!(sent, Err(SendError::BadHost), "{fields:?}");
    }
    assert_eq!(conn.send_end(&mut out), Err(SendError::OutOfTurn));
    assert!(out.is_empty());
    conn.send_head(&get, "/", [("host", "h")], none, &mut out)
        .expect("head");
    let again = conn.send_head(&get, "/", [("host", "h")], none, &mut out);
    assert_eq!(again, Err(SendError::OutOfTurn));
}

const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const SIZED10: &str = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n";
const KEPT10: &str = "HTTP/1.0 200\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n";
const CLOSING: &str = "HTTP/1.1 200 OK\r\nconnection: Close\r\nContent-Length: 2\r\n\r\n";
const LINKED: &str = "HTTP/1.1 103 E\r\nLink: x\r\n\r\n\
                      HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
const NOT_MODIFIED: &str = "HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n";

const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const CONNECT: Method = Method::CONNECT;

/// What is received to a method, in two parts, and why the connection is closed: complete at its
/// end or truncated by it.
const ENDINGS: &[(Method, &str, &str, Option<CloseReason>)] = &[
    (GET, SIZED, "ab", None),
    (GET, SIZED, "abc", Some(CloseReason::ExtraBytes)),
    (GET, CHUNKED, "2\r\nab\r\n0\r\n\r\n", None),
    (GET, CHUNKED, "2\r\nab\r\n0\r\nX: y\r\n\r\n", None),
    (GET, CHUNKED, "0\r\n\r\nx", Some(CloseReason::ExtraBytes)),
    (
        GET,
        "HTTP/1.1 200 OK\r\n\r\n",
        "ab",
        Some(CloseReason::CloseDelimited),
    ),
    (GET, LINKED, "ab", None),
    (GET, "HTTP/1.1 204 N\r\n\r\n", "", None),
    (GET, NOT_MODIFIED, "", None),
    (GET, SIZED10, "ab", Some(CloseReason::Http10)),
    (GET, KEPT10, "ab", None),
    (GET, CLOSING, "ab", Some(CloseReason::Peer)),
    (HEAD, SIZED, "", None),
    (HEAD, CHUNKED, "", None),
    (HEAD, SIZED, "ab", Some(CloseReason::ExtraBytes)),
    (CONNECT, SIZED, "", Some(CloseReason::Tunnel)),
    (CONNECT, SIZED, "tls", Some(CloseReason::Tunnel)),
];

#[test]
fn responses_end_where_they_should() {
    for (method, head, rest, close) in ENDINGS {
        let reuse = close.map_or(Reuse::KeepAlive, Reuse::Close);
        let found = outcome(method, &format!("{head}{rest}"));
        assert_eq!(found, (Some(Seen::End), reuse), "{method} {head}{rest}");
    }
}

#[test]
fn what_a_closed_connection_leaves_unfinished_is_truncated() {
    let error = Seen::Error(ErrorKind::Truncated);
    for (head, rest) in [
        ("", ""),
        ("HTTP/1.1 200", ""),
        ("HTTP/1.1 100 C\r\n\r\n", ""),
        (SIZED, ""),
        (SIZED, "a"),
        (CHUNKED, ""),
        (CHUNKED, "2\r\na"),
        (CHUNKED, "2\r\nab\r\n"),
        (CHUNKED, "2\r\nab\r\n0\r\n"),
    ] {
        let found = outcome(&GET, &format!("{head}{rest}"));
        let reuse = Reuse::Close(CloseReason::ResponseUnfinished);
        assert_eq!(found, (Some(error.clone()), reuse), "{head}{rest}");
    }
}

#[test]
fn interim_responses_are_bounded() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n";
    let last = "HTTP/1.1 204 No Content\r\n\r\n";
    let two = format!("{interim}{interim}{last}");
    let seen = receive(&Method::GET, &[two.as_bytes()], &tight());
    assert_eq!(seen.last(), Some(&Seen::End));
    let three = format!("{interim}{two}");
    let seen = receive(&Method::GET, &[three.as_bytes()], &tight());
    assert_eq!(seen, [Seen::Error(ErrorKind::TooManyInterimResponses)]);
}

#[test]
fn a_stale_connection_can_be_told_from_a_broken_answer() {
    let (mut conn, mut input) = (get(), BytesMut::new());
    conn.end_of_input();
    let error = conn.next_event(&mut input).expect_err("no response");
    assert_eq!(error.kind(), ErrorKind::Truncated);
    assert!(!conn.received_any());

    let (mut conn, mut input) = (get(), BytesMut::from("H"));
    assert!(matches!(conn.next_event(&mut input), Ok(Event::NeedData)));
    conn.end_of_input();
    assert!(conn.next_event(&mut input).is_err());
    assert!(conn.received_any());
}

#[test]
fn what_arrives_on_an_idle_connection_is_no_response() {
    let mut conn = ClientConn::new(&Http1Limits::default());
    let mut input = BytesMut::new();
    assert!(matches!(conn.next_event(&mut input), Ok(Event::NeedData)));
    input.extend_from_slice(b"HTTP/1.1 408 Request Timeout\r\n\r\n");
    let error = conn.next_event(&mut input).expect_err("unasked");
    assert_eq!(error.kind(), ErrorKind::OutOfTurn);

    let mut conn = ClientConn::new(&Http1Limits::default());
    conn.end_of_input();
    assert!(matches!(
        conn.next_event(&mut BytesMut::new()),
        Ok(Event::Closed)
    ));
}

#[test]
fn a_connection_serves_one_exchange_after_the_other() {
    let (mut conn, mut out) = (get(), OutBuf::new());
    for _ in 0..3 {
        let mut input = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(head(&mut conn, &mut input).body, ResponseBody::Length(1));
        assert!(matches!(conn.next_event(&mut input), Ok(Event::Body(_))));
        assert!(matches!(conn.next_event(&mut input), Ok(Event::End)));
        assert!(matches!(conn.next_event(&mut input), Ok(Event::NeedData)));
        assert_eq!(conn.next_cycle(), Reuse::KeepAlive);
        assert!(!conn.received_any());
        let fields = [("host", "h")];
        conn.send_head(&Method::GET, "/", fields, BodyLength::None, &mut out)
            .expect("head");
        conn.send_end(&mut out).expect("end");
    }
    conn.end_of_input();
    assert!(!conn.is_persistent());
}

#[test]
fn a_response_may_come_before_the_request_is_sent() {
    for is_finished in [false, true] {
        let (mut conn, mut out) = (ClientConn::new(&Http1Limits::default()), OutBuf::new());
        let (post, fields) = (Method::POST, [("host", "h")]);
        conn.send_head(&post, "/", fields, BodyLength::Chunked, &mut out)
            .expect("head");
        let mut input =
            BytesMut::from("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(
            head(&mut conn, &mut input).status,
            StatusCode::PAYLOAD_TOO_LARGE
        );
        assert!(matches!(conn.next_event(&mut input), Ok(Event::End)));
        conn.send_body(Bytes::from_static(b"still"), &mut out)
            .expect("body");
        let reuse = if is_finished {
            conn.send_end(&mut out).expect("end");
            Reuse::KeepAlive
        } else {
            Reuse::Close(CloseReason::RequestUnfinished)
        };
        assert_eq!(conn.next_cycle(), reuse);
    }
}

#[test]
fn errors_of_an_upstream_latch() {
    let (mut conn, mut input) = (get(), BytesMut::from("HTTP/1.1 200 OK\nX: y\n\n"));
    let error = conn.next_event(&mut input).expect_err("bare LF");
    assert_eq!(conn.next_event(&mut input).expect_err("latches"), error);
    assert_eq!(
        error.to_string(),
        "bad response: a line ends in LF without CR"
    );
    assert_eq!(conn.next_cycle(), Reuse::Close(CloseReason::Failed));
}
