//! The mock upstream and the load generator against each other.
#![allow(clippy::unwrap_used)] // a failed unwrap fails the test, which is what it is for

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tollgate_benches::{
    Api, Ending, Expect, Load, LoadReport, MockUpstream, OpenStreams, Pace, Plan, Size, Until,
    requests,
};

fn upstream(plan: Plan) -> MockUpstream {
    MockUpstream::start(([127, 0, 0, 1], 0).into(), plan, None).unwrap()
}

fn request(upstream: &MockUpstream, api: Api, size: Size, stream: bool) -> Vec<u8> {
    let body = requests::body(api, size, "claude-mock", stream);
    requests::http(api, upstream.address(), &body)
}

fn run(upstream: &MockUpstream, request: Vec<u8>, expect: Expect, until: Until) -> LoadReport {
    Load::connect(upstream.address(), request, 3, expect)
        .unwrap()
        .run(until)
        .unwrap()
}

#[test]
fn every_request_is_answered_and_counted() {
    let upstream = upstream(Plan {
        content_events: 20,
        ..Plan::default()
    });
    let mut requests = 0;
    for api in Api::ALL {
        for size in [Size::Small, Size::Agent] {
            for (stream, tail) in [(false, None), (true, Some(api.stream_end()))] {
                let expect = Expect {
                    tail,
                    ..Expect::default()
                };
                let request = request(&upstream, api, size, stream);
                let report = run(&upstream, request, expect, Until::Requests(30));
                assert_eq!(report.first_failure, None);
                assert_eq!(
                    (report.completed, report.failed, report.reconnects),
                    (30, 0, 0)
                );
                let around = match (api, stream) {
                    (_, false) => -20,
                    (Api::Messages, true) => 6,
                    (Api::Chat, true) => 4,
                };
                assert_eq!(report.events as i64, 30 * (20 + around));
                assert_eq!(report.latency.count(), 30);
                assert!(report.first_byte.max() <= report.latency.max());
                requests += 30;
                assert_eq!(upstream.requests(), requests);
            }
        }
    }
}

#[test]
fn paces_change_nothing_but_time() {
    for pace in [
        Pace::Burst,
        Pace::EachEvent,
        Pace::Spaced(Duration::from_micros(50)),
    ] {
        let upstream = upstream(Plan {
            content_events: 10,
            pace,
            ..Plan::default()
        });
        let expect = Expect {
            tail: Some("message_stop"),
            ..Expect::default()
        };
        let request = request(&upstream, Api::Messages, Size::Small, true);
        let report = run(&upstream, request, expect, Until::Requests(12));
        assert_eq!(
            (report.completed, report.events, report.failed),
            (12, 12 * 16, 0)
        );
    }
}

#[test]
fn a_duration_ends_a_run_and_connections_stay() {
    let upstream = upstream(Plan::default());
    let request = request(&upstream, Api::Chat, Size::Small, false);
    let mut load = Load::connect(upstream.address(), request, 2, Expect::default()).unwrap();
    let first = load.run(Until::Elapsed(Duration::from_millis(20))).unwrap();
    let second = load.run(Until::Requests(5)).unwrap();
    assert!(first.completed > 0 && first.elapsed >= Duration::from_millis(20));
    assert!(first.rate() > 0.0);
    assert_eq!((second.completed, second.reconnects), (5, 0));
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn errors_and_cut_streams_are_failures() {
    let upstream = upstream(Plan {
        status: 529,
        ..Plan::default()
    });
    let stream = request(&upstream, Api::Messages, Size::Small, true);
    let report = run(
        &upstream,
        stream.clone(),
        Expect::default(),
        Until::Requests(4),
    );
    assert_eq!((report.completed, report.failed), (0, 4));
    assert!(
        report
            .first_failure
            .unwrap()
            .starts_with("status 529 and not 200")
    );

    upstream.set_plan(Plan {
        ending: Ending::CutAfter(3),
        ..Plan::default()
    });
    let report = run(&upstream, stream, Expect::default(), Until::Requests(4));
    assert_eq!(
        (report.completed, report.failed, report.reconnects),
        (0, 4, 4)
    );
    assert_eq!(
        report.first_failure.unwrap(),
        "the connection ended inside a message"
    );

    upstream.set_plan(Plan {
        ending: Ending::CutAfter(0),
        ..Plan::default()
    });
    let plain = request(&upstream, Api::Messages, Size::Small, false);
    let report = run(
        &upstream,
        plain.clone(),
        Expect::default(),
        Until::Requests(4),
    );
    assert_eq!(
        report.first_failure.unwrap(),
        "the server closed without an answer"
    );

    upstream.set_plan(Plan::default());
    let expect = Expect {
        tail: Some("[DONE]"),
        ..Expect::default()
    };
    assert_eq!(run(&upstream, plain, expect, Until::Requests(4)).failed, 4);
}

#[test]
fn an_unknown_path_is_not_found() {
    let upstream = upstream(Plan::default());
    let request = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
    let expect = Expect {
        status: 404,
        tail: None,
    };
    assert_eq!(
        run(&upstream, request, expect, Until::Requests(4)).completed,
        4
    );
}

#[test]
fn open_streams_are_held_until_dropped() {
    let upstream = upstream(Plan {
        ending: Ending::HoldAfter(1),
        ..Plan::default()
    });
    let request = request(&upstream, Api::Chat, Size::Small, true);
    let streams = OpenStreams::open(upstream.address(), &request, 50).unwrap();
    assert_eq!((streams.count(), upstream.connections()), (50, 50));
    drop(streams);
    while upstream.connections() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn requests_may_be_chunked_pipelined_and_split() {
    let upstream = upstream(Plan {
        content_events: 1,
        ..Plan::default()
    });
    let mut wire = Vec::new();
    for stream in ["true", "false"] {
        wire.extend_from_slice(
            b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        for piece in [r#"{"model":"m","#, r#""str"#, r#"eam" : "#, stream, "}"] {
            wire.extend_from_slice(format!("{:X}\r\n{piece}\r\n", piece.len()).as_bytes());
        }
        wire.extend_from_slice(b"0\r\n\r\n");
    }
    wire.extend_from_slice(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"); // ends the connection
    for size in [1, 7, wire.len()] {
        let mut socket = TcpStream::connect(upstream.address()).unwrap();
        socket.set_nodelay(true).unwrap();
        for piece in wire.chunks(size) {
            socket.write_all(piece).unwrap();
        }
        let mut answers = String::new();
        socket.read_to_string(&mut answers).unwrap();
        let order = ["event: message_stop", "\r\n\r\n{\"model\"", "404 Not Found"];
        let places = order.map(|text| answers.find(text).unwrap());
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
    }
}
