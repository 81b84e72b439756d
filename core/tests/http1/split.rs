//! However the bytes of a connection are split, the same is seen.

use http::Method;
use tollgate_core::base::limits::Http1Limits;

use crate::support::{Numbers, Seen, receive, serve, tight};

const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\r\n\
     GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
     5;x=y\r\nhello\r\n00a\r\n0123456789\r\n0\r\nX-T: u\r\nY: z\r\n\r\nGET /2 HTTP/1.0\r\n\r\nrest",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0;123456789\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\n fold\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
    "GET /012345678901234567890123456789 HTTP/1.1\r\nHost: h\r\n\r\n",
    "\r\n\r\nGET / HTTP/1.1\r\n",
    "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\nF: 6\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX: 0123456789012345678901234567890123456789012345678901234567890\
     012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\n",
    "\r",
    "\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

const RESPONSES: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
     5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: u\r\n\r\n",
    "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "HTTP/1.0 200\r\nX: y\r\n\r\n",
    "HTTQ",
];

fn assert_same_under_all_splits(input: &[u8], run: impl Fn(&[&[u8]]) -> Vec<Seen>) {
    let text = String::from_utf8_lossy(input);
    let whole = run(&[input]);
    for at in 0..=input.len() {
        let (first, second) = input.split_at(at);
        assert_eq!(run(&[first, second]), whole, "split at {at}: {text:?}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(&bytes), whole, "byte at a time: {text:?}");
    let mut numbers = Numbers(input.len() as u64);
    for _ in 0..16 {
        let (mut rest, mut pieces) = (input, Vec::new());
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(1 + numbers.below(rest.len().min(40)));
            pieces.push(piece);
            rest = left;
        }
        assert_eq!(run(&pieces), whole, "seeded cuts: {text:?}");
    }
}

#[test]
fn requests_are_the_same_under_all_splits() {
    for limits in [Http1Limits::default(), tight()] {
        for input in REQUESTS {
            assert_same_under_all_splits(input.as_bytes(), |pieces| serve(pieces, &limits));
        }
    }
}

#[test]
fn responses_are_the_same_under_all_splits() {
    for limits in [Http1Limits::default(), tight()] {
        for input in RESPONSES {
            for method in [Method::GET, Method::HEAD] {
                assert_same_under_all_splits(input.as_bytes(), |pieces| {
                    receive(&method, pieces, &limits)
                });
            }
        }
    }
}

/// Mutated messages too: whatever is wrong with them is found at the same byte.
#[test]
fn mutated_messages_are_the_same_under_all_splits() {
    let mut numbers = Numbers(1);
    let limits = tight();
    for _ in 0..300 {
        let mut input = REQUESTS[numbers.below(REQUESTS.len())].as_bytes().to_vec();
        for _ in 0..=numbers.below(3) {
            mutate(&mut input, &mut numbers);
        }
        assert_same_under_all_splits(&input, |pieces| serve(pieces, &limits));
        let mut input = RESPONSES[numbers.below(RESPONSES.len())]
            .as_bytes()
            .to_vec();
        mutate(&mut input, &mut numbers);
        assert_same_under_all_splits(&input, |pieces| receive(&Method::GET, pieces, &limits));
    }
}

fn mutate(input: &mut Vec<u8>, numbers: &mut Numbers) {
    const BYTES: &[u8] = b"\r\n\t :;,0aF\0\x7f\xff";
    let at = numbers.below(input.len());
    let byte = BYTES[numbers.below(BYTES.len())];
    match numbers.below(4) {
        0 => input[at] = byte,
        1 => input.insert(at, byte),
        2 if input.len() > 1 => drop(input.remove(at)),
        _ => {
            let tail = input[at..].to_vec();
            input.extend_from_slice(&tail);
        }
    }
}

/// What our reader takes, httparse takes too, and finds the same in it.
#[test]
fn accepted_heads_agree_with_httparse() {
    let mut numbers = Numbers(2);
    let mut accepted = 0;
    for _ in 0..4000 {
        let mut input = REQUESTS[numbers.below(REQUESTS.len())].as_bytes().to_vec();
        mutate(&mut input, &mut numbers);
        let seen = serve(&[&input], &Http1Limits::default());
        let Some(Seen::Head(ours)) = seen.first() else {
            assert!(matches!(seen.last(), Some(Seen::Error(_) | Seen::Closed)));
            continue;
        };
        accepted += 1;
        let mut table = [httparse::EMPTY_HEADER; 64];
        let mut theirs = httparse::Request::new(&mut table);
        assert!(
            theirs
                .parse(&input)
                .is_ok_and(|status| status.is_complete())
        );
        let start = format!(
            "{} {} ",
            theirs.method.expect("is"),
            theirs.path.expect("is")
        );
        assert!(ours.starts_with(&start), "{ours}");
        for header in theirs.headers {
            let value = String::from_utf8_lossy(header.value);
            assert!(
                ours.contains(&format!("{}={value};", header.name)),
                "{ours}"
            );
        }
    }
    assert!(accepted > 500, "only {accepted} accepted");
}
