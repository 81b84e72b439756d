//! A request that is accepted and sent on is accepted as the same request, and a second relay
//! changes no byte.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tollgate_core::base::OutBuf;
use tollgate_core::base::limits::Http1Limits;
use tollgate_core::wire::http1::{ClientConn, Event, SendError, ServerConn};
use tollgate_fuzz::{Lines, lines};

#[derive(Debug, Default, Eq, PartialEq)]
struct Message {
    start: String,
    fields: Lines,
    body: Vec<u8>,
}

fuzz_target!(|data: &[u8]| {
    let Some((message, sent)) = relay(data) else {
        return;
    };
    let (again, sent_again) = relay(&sent).expect("what we send is good");
    assert_eq!(again, message);
    assert_eq!(sent_again, sent);
});

fn relay(wire: &[u8]) -> Option<(Message, Vec<u8>)> {
    let (mut server, mut input) = (
        ServerConn::new(&Http1Limits::default()),
        BytesMut::from(wire),
    );
    let (mut client, mut out) = (ClientConn::new(&Http1Limits::default()), OutBuf::new());
    let mut message = Message::default();
    let mut pieces = OutBuf::new();
    loop {
        match server.next_event(&mut input).ok()? {
            Event::Head(head) => {
                message.start = format!("{} {}", head.method, head.target());
                message.fields = lines(head.fields.end_to_end());
                let (method, target) = (&head.method, head.target());
                let fields = head.fields.end_to_end();
                match client.send_head(method, target, fields, head.body, &mut out) {
                    Ok(()) => {}
                    // HTTP/1.0 has no Host, and Connection may name it.
                    Err(SendError::BadHost) => return None,
                    Err(error) => panic!("{error}"),
                }
            }
            Event::Body(bytes) => {
                message.body.extend_from_slice(&bytes);
                pieces.push(bytes);
            }
            Event::Trailers(_) => {}
            Event::End => {
                client
                    .send_body_pieces(&mut pieces, &mut out)
                    .expect("body");
                client.send_end(&mut out).expect("end");
                return Some((message, out.take_all().to_vec()));
            }
            Event::NeedData | Event::Paused | Event::Closed => return None,
        }
    }
}
