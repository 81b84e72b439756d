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
fn outcome(method: Method, input: &str) -> (Option<Seen>, Reuse) {
    let limits = Http1Limits::default();
    let seen = receive(&method, &[input.as_bytes()], &limits);
    let (mut conn, mut input) = (asked(&method, &limits), BytesMut::from(input));
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

#[test]
fn responses_end_where_they_should() {
    let keep = Reuse::KeepAlive;
    let close = Reuse::Close;
    let end = Some(Seen::End);
    let truncated = Some(Seen::Error(ErrorKind::Truncated));
    let unfinished = close(CloseReason::ResponseUnfinished);
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nab";
    let (get, head, connect) = (Method::GET, Method::HEAD, Method::CONNECT);
    let cases = [
        (&get, format!("{sized}ab"), end.clone(), keep),
        (&get, format!("{sized}a"), truncated.clone(), unfinished),
        (&get, sized.to_owned(), truncated.clone(), unfinished),
        (
            &get,
            format!("{sized}abc"),
            end.clone(),
            close(CloseReason::ExtraBytes),
        ),
        (
            &get,
            format!("{chunked}2\r\nab\r\n0\r\n\r\n"),
            end.clone(),
            keep,
        ),
        (
            &get,
            format!("{chunked}2\r\nab\r\n0\r\nX: y\r\n\r\n"),
            end.clone(),
            keep,
        ),
        (
            &get,
            format!("{chunked}2\r\nab\r\n0\r\n"),
            truncated.clone(),
            unfinished,
        ),
        (
            &get,
            format!("{chunked}2\r\nab\r\n"),
            truncated.clone(),
            unfinished,
        ),
        (
            &get,
            format!("{chunked}0\r\n\r\nx"),
            end.clone(),
            close(CloseReason::ExtraBytes),
        ),
        (
            &get,
            until_close.to_owned(),
            end.clone(),
            close(CloseReason::CloseDelimited),
        ),
        (&get, String::new(), truncated.clone(), unfinished),
        (
            &get,
            "HTTP/1.1 200".to_owned(),
            truncated.clone(),
            unfinished,
        ),
        (
            &get,
            "HTTP/1.1 100 C\r\n\r\n".to_owned(),
            truncated,
            unfinished,
        ),
        (
            &get,
            format!("HTTP/1.1 103 E\r\nLink: x\r\n\r\n{sized}ab"),
            end.clone(),
            keep,
        ),
        (&get, "HTTP/1.1 204 N\r\n\r\n".to_owned(), end.clone(), keep),
        (
            &get,
            "HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n".to_owned(),
            end.clone(),
            keep,
        ),
        (&head, sized.to_owned(), end.clone(), keep),
        (&head, chunked.to_owned(), end.clone(), keep),
        (
            &head,
            format!("{sized}ab"),
            end.clone(),
            close(CloseReason::ExtraBytes),
        ),
        (
            &connect,
            sized.to_owned(),
            end.clone(),
            close(CloseReason::Tunnel),
        ),
        (
            &connect,
            format!("{sized}tls"),
            end.clone(),
            close(CloseReason::Tunnel),
        ),
        (
            &get,
            sized.replace("1.1", "1.0") + "ab",
            end.clone(),
            close(CloseReason::Http10),
        ),
        (
            &get,
            sized.replace("HTTP/1.1 200 OK", "HTTP/1.0 200\r\nConnection: keep-alive") + "ab",
            end.clone(),
            keep,
        ),
        (
            &get,
            sized.replace("OK", "OK\r\nconnection: Close") + "ab",
            end,
            close(CloseReason::Peer),
        ),
    ];
    for (method, input, seen, reuse) in cases {
        assert_eq!(
            outcome(method.clone(), &input),
            (seen, reuse),
            "{method} {input:?}"
        );
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
