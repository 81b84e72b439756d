//! What the tests share: event lists as text, and connections fed in pieces.

use bytes::BytesMut;
use tollgate_core::base::OutBuf;
use tollgate_core::base::limits::Http1Limits;
use tollgate_core::wire::http1::{
    BodyLength, ClientConn, ErrorKind, Event, Fields, Http1Error, RequestHead, ResponseHead, Reuse,
    ServerConn,
};

/// One thing that happened, comparable. Pieces of a body are joined, as their borders mean nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    Head(String),
    Body(Vec<u8>),
    Trailers(String),
    End,
    Cycle(Reuse),
    Closed,
    Error(ErrorKind),
}

pub(crate) fn fields_text(fields: &Fields) -> String {
    let lines = fields.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value);
        format!("{}={value};", String::from_utf8_lossy(name))
    });
    lines.collect()
}

pub(crate) fn request_text(head: &RequestHead) -> String {
    format!(
        "{} {} {:?} {:?} keep={} expect={} {}",
        head.method,
        head.target(),
        head.version,
        head.body,
        head.keep_alive,
        head.expect_continue,
        fields_text(&head.fields)
    )
}

pub(crate) fn response_text(head: &ResponseHead) -> String {
    format!(
        "{} {:?} {:?} keep={} {}",
        head.status.as_u16(),
        head.version,
        head.body,
        head.keep_alive,
        fields_text(&head.fields)
    )
}

/// Adds an event to the list; false if there is nothing to add until more input comes.
pub(crate) fn note<H>(
    seen: &mut Vec<Seen>,
    event: Result<Event<H>, Http1Error>,
    text: impl Fn(&H) -> String,
) -> bool {
    match event {
        Ok(Event::Head(head)) => seen.push(Seen::Head(text(&head))),
        Ok(Event::Body(bytes)) => {
            assert!(!bytes.is_empty());
            if let Some(Seen::Body(body)) = seen.last_mut() {
                body.extend_from_slice(&bytes);
            } else {
                seen.push(Seen::Body(bytes.to_vec()));
            }
        }
        Ok(Event::Trailers(fields)) => seen.push(Seen::Trailers(fields_text(&fields))),
        Ok(Event::End) => seen.push(Seen::End),
        Ok(Event::NeedData) => return false,
        Ok(Event::Paused) => unreachable!("the callers end the exchange before"),
        Ok(Event::Closed) => {
            seen.push(Seen::Closed);
            return false;
        }
        Err(error) => {
            seen.push(Seen::Error(error.kind()));
            return false;
        }
    }
    true
}

fn is_over(seen: &[Seen]) -> bool {
    matches!(
        seen.last(),
        Some(Seen::Closed | Seen::Error(_) | Seen::Cycle(Reuse::Close(_)))
    )
}

/// All that a server sees of these pieces; each request is answered when it is complete.
pub(crate) fn serve(pieces: &[&[u8]], limits: &Http1Limits) -> Vec<Seen> {
    let mut conn = ServerConn::new(limits);
    let (mut input, mut seen) = (BytesMut::new(), Vec::new());
    for at in 0..=pieces.len() {
        match pieces.get(at) {
            Some(piece) => input.extend_from_slice(piece),
            None => conn.end_of_input(),
        }
        while !is_over(&seen) && note(&mut seen, conn.next_event(&mut input), request_text) {
            if seen.last() == Some(&Seen::End) {
                let mut out = OutBuf::new();
                let none: [(&str, &str); 0] = [];
                let ok = http::StatusCode::OK;
                conn.send_head(ok, none, BodyLength::None, &mut out)
                    .expect("head");
                conn.send_end(&mut out).expect("end");
                seen.push(Seen::Cycle(conn.next_cycle()));
            }
        }
    }
    seen
}

/// All that a client which sent one request sees of these pieces.
pub(crate) fn receive(method: &http::Method, pieces: &[&[u8]], limits: &Http1Limits) -> Vec<Seen> {
    let mut conn = asked(method, limits);
    let (mut input, mut seen) = (BytesMut::new(), Vec::new());
    for at in 0..=pieces.len() {
        match pieces.get(at) {
            Some(piece) => input.extend_from_slice(piece),
            None => conn.end_of_input(),
        }
        while !is_over(&seen)
            && seen.last() != Some(&Seen::End)
            && note(&mut seen, conn.next_event(&mut input), response_text)
        {}
    }
    seen
}

/// A client connection that has sent its request.
pub(crate) fn asked(method: &http::Method, limits: &Http1Limits) -> ClientConn {
    let mut conn = ClientConn::new(limits);
    let mut out = OutBuf::new();
    let target = if method == http::Method::CONNECT {
        "h:443"
    } else {
        "/"
    };
    conn.send_head(method, target, [("host", "h")], BodyLength::None, &mut out)
        .expect("head");
    conn.send_end(&mut out).expect("end");
    conn
}

/// The error that a server reports for `input`, whole.
pub(crate) fn request_error(input: &[u8]) -> Option<Http1Error> {
    let mut conn = ServerConn::new(&Http1Limits::default());
    let mut input = BytesMut::from(input);
    loop {
        match conn.next_event(&mut input) {
            Err(error) => return Some(error),
            Ok(Event::NeedData | Event::Closed | Event::Paused) => return None,
            Ok(_) => {}
        }
    }
}

/// The error that a client reports for `input`, whole, after a GET.
pub(crate) fn response_error(input: &[u8]) -> Option<Http1Error> {
    let mut conn = asked(&http::Method::GET, &Http1Limits::default());
    let mut input = BytesMut::from(input);
    loop {
        match conn.next_event(&mut input) {
            Err(error) => return Some(error),
            Ok(Event::NeedData | Event::Closed | Event::Paused) => return None,
            Ok(_) => {}
        }
    }
}

/// Small bounds, so that limits are met by short inputs.
pub(crate) fn tight() -> Http1Limits {
    Http1Limits {
        head_bytes_max: 160,
        target_bytes_max: 20,
        fields_max: 4,
        chunk_extension_bytes_max: 8,
        trailer_bytes_max: 32,
        interim_responses_max: 2,
    }
}

/// A seeded source of numbers (splitmix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize % bound
    }
}
