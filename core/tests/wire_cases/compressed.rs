//! Streams that the upstream compresses: decoded on the way, the same however they are cut, within
//! the bounds that others have; one that ends early is an error.

use std::time::Duration;

use super::fixtures::{Live, ending, frame, gzip, piece, stream};
use super::support::pairs;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n";

fn feed(live: &mut Live, bytes: &[u8]) {
    let size = format!("{:x}\r\n", bytes.len());
    let chunk = [size.as_bytes(), bytes, b"\r\n"].concat();
    live.world.send(live.upstream, chunk);
}

#[test]
fn however_it_is_cut_it_is_the_same() {
    for (client, upstream) in pairs() {
        let packed = gzip(stream(upstream, "hello").as_bytes());
        let mut texts = Vec::new();
        for size in [packed.len(), 1, 7] {
            let mut live = Live::new(client, upstream, true);
            live.world.send(live.upstream, HEAD);
            for bytes in packed.chunks(size) {
                feed(&mut live, bytes);
            }
            live.end();
            let (said, answer, _) = live.finish();
            assert_eq!(said.said().text, "hello", "{client:?} {upstream:?} {size}");
            texts.push(answer.body);
        }
        assert!(texts.windows(2).all(|two| two[0] == two[1]));
    }
}

#[test]
fn a_client_that_takes_nothing_stops_the_decoding() {
    for (client, upstream) in pairs() {
        let mut live = Live::new(client, upstream, true);
        live.world.send(live.upstream, HEAD);
        // 1 MiB of text from a few KB.
        let long = piece(upstream, &"x".repeat(16 * 1024));
        let whole = frame(upstream) + &long.repeat(64) + &ending(upstream);
        let packed = gzip(whole.as_bytes());
        assert!(packed.len() < 128 * 1024, "{}", packed.len());
        live.world.stall(live.client, true);
        feed(&mut live, &packed);
        live.end();
        live.world.pass(Duration::from_secs(20));
        let held = live.world.usage().buffered_bytes;
        assert!(held < 640 * 1024, "{client:?} {upstream:?}: {held} bytes");
        live.world.stall(live.client, false);
        live.world.pass(Duration::from_secs(5));
        let (said, ..) = live.finish();
        assert_eq!(
            said.said().text.len(),
            1024 * 1024,
            "{client:?} {upstream:?}"
        );
    }
}
