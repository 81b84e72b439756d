//! What the targets share: an HTTP/1 connection as a list of what was seen on it, and in
//! [`dialects`] the rules that streams and requests of the vendors' APIs keep.

#![forbid(unsafe_code)]

pub mod dialects;

use bytes::BytesMut;
use tollgate_core::base::OutBuf;
use tollgate_core::base::limits::Http1Limits;
use tollgate_core::wire::http1::{
    BodyLength, ClientConn, ErrorKind, Event, Fields, Http1Error, Reuse, ServerConn,
};

/// One thing that happened; pieces of a body are joined.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// Start line and fields.
    Head(String, Lines),
    /// Content.
    Body(Vec<u8>),
    /// The trailer section.
    Trailers(Lines),
    /// The end of a message.
    End,
    /// What became of the connection.
    Cycle(Reuse),
    /// The peer is done.
    Closed,
    /// The message was refused.
    Error(ErrorKind),
}

/// Field lines, copied.
pub type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// Copies field lines.
pub fn lines<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Lines {
    fields
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// Bounds that short inputs can reach.
pub fn limits() -> Http1Limits {
    Http1Limits {
        head_bytes_max: 512,
        target_bytes_max: 64,
        fields_max: 8,
        chunk_extension_bytes_max: 16,
        trailer_bytes_max: 64,
        interim_responses_max: 2,
    }
}

/// Everything a server sees of `pieces`; each request is answered when it is complete.
pub fn serve<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut conn = ServerConn::new(&limits());
    run(pieces, |input, seen, is_eof| {
        if is_eof {
            conn.end_of_input();
        }
        let start = |event: Event<tollgate_core::wire::http1::RequestHead>| match event {
            Event::Head(head) => {
                let start = format!("{} {} {:?}", head.method, head.target(), head.body);
                Some(Seen::Head(start, lines(head.fields.iter())))
            }
            other => note(other),
        };
        if !step(seen, conn.next_event(input).map(start)) {
            return false;
        }
        if seen.last() == Some(&Seen::End) {
            let (ok, none) = (http::StatusCode::OK, [("x", "y"); 0]);
            let mut out = OutBuf::new();
            conn.send_head(ok, none, BodyLength::None, &mut out)
                .or_else(|_| {
                    conn.send_head(
                        http::StatusCode::NOT_FOUND,
                        none,
                        BodyLength::None,
                        &mut out,
                    )
                })
                .expect("a complete request can be answered");
            conn.send_end(&mut out).expect("an empty body can end");
            seen.push(Seen::Cycle(conn.next_cycle()));
        }
        true
    })
}

/// Everything a client sees of `pieces` after a GET.
pub fn receive<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut conn = asked();
    run(pieces, |input, seen, is_eof| {
        if is_eof {
            conn.end_of_input();
        }
        let start = |event: Event<tollgate_core::wire::http1::ResponseHead>| match event {
            Event::Head(head) => {
                let start = format!("{} {:?}", head.status, head.body);
                Some(Seen::Head(start, lines(head.fields.iter())))
            }
            other => note(other),
        };
        seen.last() != Some(&Seen::End) && step(seen, conn.next_event(input).map(start))
    })
}

/// A client that has sent a GET.
pub fn asked() -> ClientConn {
    let mut conn = ClientConn::new(&limits());
    let mut out = OutBuf::new();
    let none = BodyLength::None;
    conn.send_head(&http::Method::GET, "/", [("host", "h")], none, &mut out)
        .expect("a good request");
    conn.send_end(&mut out).expect("an empty body can end");
    conn
}

/// Cuts `data` where the bytes of `cuts` say.
pub fn cut<'a>(mut data: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut cuts = cuts.iter().cycle();
    core::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let len = cuts.next().map_or(data.len(), |len| usize::from(*len) + 1);
        let (piece, rest) = data.split_at(len.min(data.len()));
        data = rest;
        Some(piece)
    })
}

fn run<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    mut step: impl FnMut(&mut BytesMut, &mut Vec<Seen>, bool) -> bool,
) -> Vec<Seen> {
    let (mut input, mut seen) = (BytesMut::new(), Vec::new());
    for piece in pieces.map(Some).chain([None]) {
        input.extend_from_slice(piece.unwrap_or_default());
        while !is_over(&seen) && step(&mut input, &mut seen, piece.is_none()) {}
    }
    assert!(is_over(&seen) || seen.last() == Some(&Seen::End));
    seen
}

fn is_over(seen: &[Seen]) -> bool {
    matches!(
        seen.last(),
        Some(Seen::Closed | Seen::Error(_) | Seen::Cycle(Reuse::Close(_)))
    )
}

fn note<H>(event: Event<H>) -> Option<Seen> {
    match event {
        Event::Head(_) | Event::NeedData => None,
        Event::Body(bytes) => Some(Seen::Body(bytes.to_vec())),
        Event::Trailers(fields) => Some(Seen::Trailers(trailer_lines(&fields))),
        Event::End => Some(Seen::End),
        Event::Paused => panic!("paused although the exchange was ended"),
        Event::Closed => Some(Seen::Closed),
    }
}

fn trailer_lines(fields: &Fields) -> Lines {
    assert!(!fields.is_empty());
    lines(fields.iter())
}

fn step(seen: &mut Vec<Seen>, event: Result<Option<Seen>, Http1Error>) -> bool {
    match event {
        Ok(None) => return false,
        Ok(Some(Seen::Body(more))) => {
            assert!(!more.is_empty());
            match seen.last_mut() {
                Some(Seen::Body(body)) => body.extend_from_slice(&more),
                _ => seen.push(Seen::Body(more)),
            }
        }
        Ok(Some(what)) => seen.push(what),
        Err(error) => {
            assert!(error.status().as_u16() >= 400);
            seen.push(Seen::Error(error.kind()));
        }
    }
    true
}
