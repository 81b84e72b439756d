//! A panic in a worker is reported. In a process of its own: what the worker had is lost with it.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crate::runtime::{Options, start};
use tollgate_core::base::{ConnId, Id, Instant, ListenerId, Now, ShardId};
use tollgate_core::gateway::io::{Host, Input, Machine, Op, Output, ResolveReply, Work, WorkReply};
use tollgate_core::record::Record;

/// Asks for one connection, and panics when it comes.
struct Fragile(Option<Output>);

impl Machine for Fragile {
    fn handle(&mut self, _: Now, _: Input) {
        panic!("on purpose");
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.0.take()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

struct Nobody;

impl Host for Nobody {
    fn resolve(&self, _: Arc<str>, _: u16, _: ResolveReply) {}
    fn perform(&self, _: Work, _: WorkReply) {}
    fn record(&self, _: ShardId, _: Box<Record>) {}
}

#[test]
fn wait_reports_a_worker_that_panicked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let conn = ConnId(Id {
        index: 0,
        generation: 0,
    });
    let accept = Op::Accept {
        listener: ListenerId(0),
        conn,
    };
    let machines = vec![
        (
            Fragile(Some(Output::Op(accept))),
            vec![Some(listener.into())],
        ),
        (Fragile(None), vec![None]),
    ];
    let running = start(Options::default(), machines, Arc::new(Nobody)).unwrap();
    let client = TcpStream::connect(address).unwrap();
    let error = running.wait().unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    drop(client);
}
