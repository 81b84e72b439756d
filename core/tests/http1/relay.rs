//! A message that is received and sent on is received as the same message.

use bytes::BytesMut;
use http::Method;
use tollgate_core::base::OutBuf;
use tollgate_core::base::limits::Http1Limits;
use tollgate_core::wire::http1::{BodyLength, ClientConn, Event, ResponseBody, ServerConn};

use crate::support::{Seen, asked, fields_text, note};

/// What a relay must keep: start line, end-to-end fields, body.
#[derive(Debug, Default, Eq, PartialEq)]
struct Message {
    start: String,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

fn relay_request(wire: &[u8]) -> Option<(Message, Vec<u8>)> {
    let (mut server, mut input) = (
        ServerConn::new(&Http1Limits::default()),
        BytesMut::from(wire),
    );
    let (mut client, mut out) = (ClientConn::new(&Http1Limits::default()), OutBuf::new());
    let mut message = Message::default();
    loop {
        match server.next_event(&mut input).ok()? {
            Event::Head(head) => {
                message.start = format!("{} {}", head.method, head.target());
                message.fields = copy(head.fields.end_to_end());
                let fields = head.fields.end_to_end();
                let (method, target) = (&head.method, head.target());
                client
                    .send_head(method, target, fields, head.body, &mut out)
                    .expect("head");
            }
            Event::Body(bytes) => {
                message.body.extend_from_slice(&bytes);
                client.send_body(bytes, &mut out).expect("body");
            }
            Event::Trailers(fields) => assert!(!fields_text(&fields).is_empty()),
            Event::End => {
                client.send_end(&mut out).expect("end");
                return Some((message, out.take_all().to_vec()));
            }
            Event::NeedData | Event::Paused | Event::Closed => return None,
        }
    }
}

fn relay_response(wire: &[u8]) -> Option<(Message, Vec<u8>)> {
    let (mut client, mut input) = (
        asked(&Method::GET, &Http1Limits::default()),
        BytesMut::from(wire),
    );
    client.end_of_input();
    let mut server = ServerConn::new(&Http1Limits::default());
    let mut request = BytesMut::from("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    while !matches!(server.next_event(&mut request), Ok(Event::End)) {}
    let (mut message, mut out) = (Message::default(), OutBuf::new());
    loop {
        match client.next_event(&mut input).ok()? {
            Event::Head(head) => {
                message.start = head.status.to_string();
                message.fields = copy(head.fields.end_to_end());
                let body = match head.body {
                    ResponseBody::None => BodyLength::None,
                    ResponseBody::Length(length) => BodyLength::Length(length),
                    ResponseBody::Chunked | ResponseBody::CloseDelimited => BodyLength::Chunked,
                };
                let fields = head.fields.end_to_end();
                server
                    .send_head(head.status, fields, body, &mut out)
                    .expect("head");
            }
            Event::Body(bytes) => {
                message.body.extend_from_slice(&bytes);
                server.send_body(bytes, &mut out).expect("body");
            }
            Event::Trailers(_) => {}
            Event::End => {
                server.send_end(&mut out).expect("end");
                return Some((message, out.take_all().to_vec()));
            }
            Event::NeedData | Event::Paused | Event::Closed => return None,
        }
    }
}

fn copy<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

const HEADS: &[&str] = &[
    "POST /v1/messages?beta=true HTTP/1.1\r\nHost: h:1\r\nX-Api-Key: k\r\n\
     Connection: x-b\r\nX-B: c\r\nX-A:\r\nx-a: 2\r\n",
    "POST / HTTP/1.0\r\nHost: h\r\nExpect: what HTTP/1.0 does not know\r\nX: y\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n",
    "GET http://a/b HTTP/1.1\r\nhost: a\r\nConnection: close\r\nX: \u{e9}\r\n",
];

const BODIES: &[&str] = &[
    "\r\n",
    "Content-Length: 0\r\n\r\n",
    "Content-Length: 5\r\n\r\nhello",
    "Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n1\r\n!\r\n0\r\nX-T: u\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

#[test]
fn a_relayed_request_is_the_same_request() {
    for head in HEADS {
        for body in BODIES {
            let wire = format!("{head}{body}");
            if wire.contains("HTTP/1.0") && wire.contains("chunked") {
                continue;
            }
            let (message, sent) = relay_request(wire.as_bytes()).expect("is good");
            let (again, sent_again) = relay_request(&sent).expect("what we send is good");
            assert_eq!(again, message);
            assert_eq!(sent_again, sent, "a second relay changes nothing");
        }
    }
}

#[test]
fn a_relayed_response_is_the_same_response() {
    let heads = [
        "HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n",
        "HTTP/1.1 529 \r\nretry-after: 5\r\nKeep-Alive: timeout=5\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nConnection: close\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: x\r\n",
    ];
    for head in heads {
        for body in BODIES {
            let wire = format!("{head}{body}");
            let (message, sent) = relay_response(wire.as_bytes()).expect("is good");
            let (again, sent_again) = relay_response(&sent).expect("what we send is good");
            assert_eq!(again, message);
            assert_eq!(sent_again, sent, "a second relay changes nothing");
        }
    }
}

/// The trailers that a relay drops are not among the fields of the head.
#[test]
fn trailers_are_never_merged() {
    let wire = format!("{}{}", HEADS[0], BODIES[3]);
    let (mut conn, mut input) = (
        ServerConn::new(&Http1Limits::default()),
        BytesMut::from(wire.as_str()),
    );
    let mut seen = Vec::new();
    while note(&mut seen, conn.next_event(&mut input), |head| {
        fields_text(&head.fields)
    }) {}
    assert_eq!(seen[1], Seen::Body(b"hello!".to_vec()));
    assert_eq!(seen[2], Seen::Trailers("X-T=u;".to_owned()));
    assert!(matches!(&seen[0], Seen::Head(fields) if !fields.contains("X-T")));
}
