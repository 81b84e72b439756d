//! The server role: exchanges in order, and what responses look like on the wire.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use tollgate_core::base::OutBuf;
use tollgate_core::base::limits::Http1Limits;
use tollgate_core::wire::http1::{
    BodyLength, CloseReason, ErrorKind, Event, RequestHead, Reuse, SendError, ServerConn,
};

use crate::support::{Seen, serve, tight};

const NONE: [(&str, &str); 0] = [];

fn conn() -> ServerConn {
    ServerConn::new(&Http1Limits::default())
}

fn head(conn: &mut ServerConn, input: &mut BytesMut) -> RequestHead {
    match conn.next_event(input) {
        Ok(Event::Head(head)) => head,
        other => panic!("not a head: {other:?}"),
    }
}

/// What is written in answer to `input` by a chunked body of one piece.
fn answer(input: &str, status: u16, body: BodyLength) -> (String, Reuse) {
    let (mut conn, mut input, mut out) = (conn(), BytesMut::from(input), OutBuf::new());
    while !matches!(
        conn.next_event(&mut input).expect("is good"),
        Event::End | Event::NeedData
    ) {}
    let status = StatusCode::from_u16(status).expect("in range");
    conn.send_head(status, [("X-A", "b")], body, &mut out)
        .expect("head");
    if body != BodyLength::None {
        conn.send_body(Bytes::from_static(b"hello"), &mut out)
            .expect("body");
    }
    conn.send_end(&mut out).expect("end");
    let wire = String::from_utf8(out.take_all().to_vec()).expect("text");
    (wire, conn.next_cycle())
}

#[test]
fn heads_give_their_parts() {
    let mut input = BytesMut::from(
        "POST http://a.b:1/v1/x?y=z HTTP/1.1\r\nHost: other\r\nX-Two: 1\r\nx-two:  2, three \r\n\
         Connection: x-hop, Keep-Alive\r\nX-Hop: 1\r\nTE: trailers\r\nContent-Length: 3\r\n\r\nabc",
    );
    let mut conn = conn();
    let mut head = head(&mut conn, &mut input);
    head.detach();
    assert_eq!(head.method, Method::POST);
    assert_eq!(head.target(), "http://a.b:1/v1/x?y=z");
    assert_eq!(
        (head.path(), head.query(), head.authority()),
        ("/v1/x", Some("y=z"), "a.b:1")
    );
    assert_eq!(head.body, BodyLength::Length(3));
    assert!(head.keep_alive && !head.expect_continue);
    let fields = &head.fields;
    assert_eq!(fields.len(), 7);
    assert_eq!(fields.first("X-TWO"), Some(&b"1"[..]));
    assert_eq!(
        fields.all("x-two").collect::<Vec<_>>(),
        [&b"1"[..], b"2, three"]
    );
    assert!(fields.list_contains("x-two", "THREE") && !fields.list_contains("x-two", "four"));
    let passed: Vec<_> = fields.end_to_end().map(|(name, _)| name).collect();
    assert_eq!(passed, [&b"Host"[..], b"X-Two", b"x-two"]);
    assert!(
        !format!("{head:?}").contains("three"),
        "values are not in debug output"
    );
}

#[test]
fn body_bytes_are_slices_of_the_input() {
    let mut input = BytesMut::from("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    let address = input.as_ptr() as usize + input.len() - 3;
    let mut conn = conn();
    head(&mut conn, &mut input);
    let Ok(Event::Body(body)) = conn.next_event(&mut input) else {
        panic!("no body");
    };
    assert_eq!(body.as_ptr() as usize, address);
}

#[test]
fn pipelined_requests_wait_for_their_turn() {
    let mut input = BytesMut::from(
        "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab\
         GET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    let (mut conn, mut out) = (conn(), OutBuf::new());
    assert_eq!(head(&mut conn, &mut input).path(), "/1");
    assert!(matches!(conn.next_event(&mut input), Ok(Event::Body(_))));
    assert!(matches!(conn.next_event(&mut input), Ok(Event::End)));
    let left = input.len();
    assert!(matches!(conn.next_event(&mut input), Ok(Event::Paused)));
    assert_eq!(input.len(), left);
    conn.send_head(StatusCode::OK, NONE, BodyLength::None, &mut out)
        .expect("head");
    assert!(matches!(conn.next_event(&mut input), Ok(Event::Paused)));
    conn.send_end(&mut out).expect("end");
    assert_eq!(conn.next_cycle(), Reuse::KeepAlive);
    assert_eq!(head(&mut conn, &mut input).path(), "/2");
    assert!(matches!(conn.next_event(&mut input), Ok(Event::End)));
    assert!(matches!(conn.next_event(&mut input), Ok(Event::NeedData)));
    conn.end_of_input();
    assert!(matches!(conn.next_event(&mut input), Ok(Event::Closed)));
}

const GET11: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const HEAD11: &str = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
const GET10: &str = "GET / HTTP/1.0\r\n\r\n";
const KEPT10: &str = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
const CLOSE: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\n\r\n";

const EMPTY: BodyLength = BodyLength::None;
const FIVE: BodyLength = BodyLength::Length(5);
const CHUNKED: BodyLength = BodyLength::Chunked;

/// Request, status, and the body given; then our fields, what follows the head, and why the
/// connection is closed.
type Framing = (
    &'static str,
    u16,
    BodyLength,
    &'static str,
    &'static str,
    Option<CloseReason>,
);

const FRAMINGS: &[Framing] = &[
    (GET11, 200, EMPTY, "content-length: 0\r\n", "", None),
    (GET11, 200, FIVE, "content-length: 5\r\n", "hello", None),
    (
        GET11,
        200,
        CHUNKED,
        "transfer-encoding: chunked\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        None,
    ),
    (GET11, 529, EMPTY, "content-length: 0\r\n", "", None),
    (GET11, 204, FIVE, "", "", None),
    (GET11, 304, FIVE, "content-length: 5\r\n", "", None),
    (GET11, 304, CHUNKED, "", "", None),
    (HEAD11, 200, FIVE, "content-length: 5\r\n", "", None),
    (
        HEAD11,
        200,
        CHUNKED,
        "transfer-encoding: chunked\r\n",
        "",
        None,
    ),
    (HEAD11, 200, EMPTY, "", "", None),
    (
        GET10,
        200,
        FIVE,
        "content-length: 5\r\nconnection: close\r\n",
        "hello",
        Some(CloseReason::Http10),
    ),
    (
        GET10,
        200,
        CHUNKED,
        "connection: close\r\n",
        "hello",
        Some(CloseReason::Http10),
    ),
    (
        KEPT10,
        200,
        FIVE,
        "content-length: 5\r\nconnection: keep-alive\r\n",
        "hello",
        None,
    ),
    (
        KEPT10,
        200,
        CHUNKED,
        "connection: close\r\n",
        "hello",
        Some(CloseReason::CloseDelimited),
    ),
    (
        CLOSE,
        200,
        FIVE,
        "content-length: 5\r\nconnection: close\r\n",
        "hello",
        Some(CloseReason::Peer),
    ),
];

#[test]
fn responses_are_framed_for_their_client() {
    for (request, code, body, fields, content, close) in FRAMINGS {
        let status = StatusCode::from_u16(*code).expect("in range");
        let reason = status.canonical_reason().unwrap_or("");
        let wire = format!("HTTP/1.1 {code} {reason}\r\nX-A: b\r\n{fields}\r\n{content}");
        let reuse = close.map_or(Reuse::KeepAlive, Reuse::Close);
        assert_eq!(
            answer(request, *code, *body),
            (wire, reuse),
            "{request} {code} {body:?}"
        );
    }
}

#[test]
fn continue_is_sent_once_and_only_when_waited_for() {
    const EXPECT: &str =
        "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    let (mut conn, mut input, mut out) = (conn(), BytesMut::from(EXPECT), OutBuf::new());
    assert!(head(&mut conn, &mut input).expect_continue);
    assert!(conn.waits_for_continue());
    conn.send_continue(&mut out).expect("is waited for");
    assert_eq!(out.take_all(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(conn.send_continue(&mut out), Err(SendError::OutOfTurn));
    input.extend_from_slice(b"ab");
    assert!(matches!(conn.next_event(&mut input), Ok(Event::Body(_))));
    assert!(matches!(conn.next_event(&mut input), Ok(Event::End)));

    // Content that arrives makes the 100 needless.
    let (mut second, mut input) = (self::conn(), BytesMut::from(EXPECT));
    input.extend_from_slice(b"a");
    head(&mut second, &mut input);
    assert!(matches!(second.next_event(&mut input), Ok(Event::Body(_))));
    assert!(!second.waits_for_continue());

    // A final response instead leaves open whether the body comes.
    let (wire, reuse) = answer(EXPECT, 413, BodyLength::None);
    assert!(wire.contains("connection: close\r\n"), "{wire}");
    assert_eq!(reuse, Reuse::Close(CloseReason::UnmetExpectation));

    for input in [
        EXPECT.replace("HTTP/1.1", "HTTP/1.0"),
        EXPECT.replace("Content-Length: 2\r\n", ""),
        EXPECT.replace("Length: 2", "Length: 0"),
    ] {
        let mut input = BytesMut::from(input.as_str());
        assert!(!head(&mut self::conn(), &mut input).expect_continue);
    }
}

#[test]
fn a_refused_request_is_answered_and_the_connection_closed() {
    let (mut conn, mut out) = (conn(), OutBuf::new());
    let mut input = BytesMut::from("GET / HTTP/1.1\r\nContent-Length: x\r\nHost: h\r\n\r\nGET ");
    let error = conn.next_event(&mut input).expect_err("is refused");
    assert_eq!(conn.next_event(&mut input).expect_err("latches"), error);
    conn.send_head(error.status(), NONE, BodyLength::Chunked, &mut out)
        .expect("head");
    conn.send_body(Bytes::from_static(b"why"), &mut out)
        .expect("body");
    conn.send_end(&mut out).expect("end");
    // The version is unknown, and so the body is not chunked.
    assert_eq!(
        out.take_all(),
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nwhy"
    );
    assert_eq!(conn.next_cycle(), Reuse::Close(CloseReason::Failed));
    assert!(conn.next_event(&mut input).is_err());
}

#[test]
fn the_caller_may_refuse_a_request_that_is_not_complete() {
    let (mut conn, mut out) = (conn(), OutBuf::new());
    let mut input = BytesMut::from("GET / HT");
    assert!(matches!(conn.next_event(&mut input), Ok(Event::NeedData)));
    conn.refuse_request();
    let timeout = StatusCode::REQUEST_TIMEOUT;
    conn.send_head(timeout, NONE, BodyLength::None, &mut out)
        .expect("head");
    conn.send_end(&mut out).expect("end");
    assert!(matches!(conn.next_event(&mut input), Ok(Event::Closed)));
    assert_eq!(conn.next_cycle(), Reuse::Close(CloseReason::Local));
}

#[test]
fn an_early_answer_needs_the_rest_of_the_request_for_reuse() {
    for (rest, reuse) in [
        ("", Reuse::Close(CloseReason::RequestUnfinished)),
        ("ab", Reuse::KeepAlive),
    ] {
        let (mut conn, mut out) = (conn(), OutBuf::new());
        let mut input = BytesMut::from("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
        head(&mut conn, &mut input);
        conn.send_head(StatusCode::OK, NONE, BodyLength::None, &mut out)
            .expect("head");
        conn.send_end(&mut out).expect("end");
        input.extend_from_slice(rest.as_bytes());
        while !matches!(conn.next_event(&mut input), Ok(Event::NeedData)) {}
        assert_eq!(conn.is_request_complete(), !rest.is_empty());
        assert_eq!(conn.next_cycle(), reuse);
    }
}

#[test]
fn what_would_split_a_response_is_not_written() {
    let (mut conn, mut out) = (conn(), OutBuf::new());
    let mut input = BytesMut::from("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let (ok, none) = (StatusCode::OK, BodyLength::None);
    assert_eq!(
        conn.send_head(ok, NONE, none, &mut out),
        Err(SendError::OutOfTurn)
    );
    head(&mut conn, &mut input);
    for (field, error) in [
        (("x", "a\r\nset-cookie: b"), SendError::BadField),
        (("x", "a\nb"), SendError::BadField),
        (("x", "a\0"), SendError::BadField),
        (("x y", "a"), SendError::BadField),
        (("x\r\ny", "a"), SendError::BadField),
        (("", "a"), SendError::BadField),
        (("Content-Length", "1"), SendError::FramingField),
        (("transfer-encoding", "chunked"), SendError::FramingField),
        (("connection", "close"), SendError::FramingField),
        (("expect", "100-continue"), SendError::FramingField),
    ] {
        assert_eq!(
            conn.send_head(ok, [field], none, &mut out),
            Err(error),
            "{field:?}"
        );
    }
    let status = StatusCode::CONTINUE;
    assert_eq!(
        conn.send_head(status, NONE, none, &mut out),
        Err(SendError::BadStatus)
    );
    assert!(out.is_empty());
    conn.send_head(ok, NONE, BodyLength::Length(3), &mut out)
        .expect("may still be sent");
    assert_eq!(
        conn.send_head(ok, NONE, none, &mut out),
        Err(SendError::OutOfTurn)
    );
    out.clear();
    let long = Bytes::from_static(b"four");
    assert_eq!(conn.send_body(long, &mut out), Err(SendError::BodyTooLong));
    assert!(out.is_empty());
    assert_eq!(conn.send_end(&mut out), Err(SendError::BodyTooShort));
    assert_eq!(conn.next_cycle(), Reuse::Close(CloseReason::Failed));
}

#[test]
fn connect_ends_the_connection() {
    let (mut conn, mut out) = (conn(), OutBuf::new());
    let mut input = BytesMut::from("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(head(&mut conn, &mut input).authority(), "h:443");
    let none = BodyLength::None;
    assert_eq!(
        conn.send_head(StatusCode::OK, NONE, none, &mut out),
        Err(SendError::BadStatus)
    );
    let refused = StatusCode::METHOD_NOT_ALLOWED;
    conn.send_head(refused, NONE, none, &mut out).expect("head");
    conn.send_end(&mut out).expect("end");
    assert_eq!(conn.next_cycle(), Reuse::Close(CloseReason::Tunnel));
}

#[test]
fn limits_are_met_at_the_byte_that_passes_them() {
    let head = "GET / HTTP/1.1\r\nHost: h\r\n";
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        (format!("GET /{}", "x".repeat(80)), ErrorKind::TargetTooLong),
        (
            format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(20)),
            ErrorKind::TargetTooLong,
        ),
        (
            format!("{head}X: {}", "x".repeat(133)),
            ErrorKind::HeadTooLarge,
        ),
        (
            format!("{head}a:\r\nb:\r\nc:\r\nd:\r\n"),
            ErrorKind::TooManyFields,
        ),
        (
            format!("{head}Connection: a,b,c,d,\r\n\r\n"),
            ErrorKind::TooManyFields,
        ),
        (
            format!("{chunked}0;{}", "x".repeat(9)),
            ErrorKind::ChunkExtensionTooLong,
        ),
        (
            format!("{chunked}0\r\na: {}", "x".repeat(30)),
            ErrorKind::TrailersTooLarge,
        ),
        (
            format!("{chunked}0\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\n"),
            ErrorKind::TooManyFields,
        ),
    ];
    for (input, kind) in cases {
        let input = input.as_bytes();
        assert!(
            serve(&[input], &tight()).contains(&Seen::Error(kind)),
            "{kind:?}"
        );
        // One byte less is still good, and its end is what is then missing.
        let shorter = serve(&[&input[..input.len() - 1]], &tight());
        assert_eq!(
            shorter.last(),
            Some(&Seen::Error(ErrorKind::Truncated)),
            "{kind:?}"
        );
    }
}
