//! A pump between a machine that says what the test says, and sockets that only take notes.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::BytesMut;
use tollgate_core::base::{
    ConnId, Id, Instant, ListenerId, Now, Peer, ShardId, TicketId, UnixMillis, WriteBatch,
};
use tollgate_core::gateway::io::{
    Completion, Host, Input, IoFailure, Machine, Message, Op, Output, PEERS, ReadClass,
    ResolveReply, Work, WorkReply,
};
use tollgate_core::gateway::pump::{Post, Pump, Rest, Socket};
use tollgate_core::record::Record;

/// The most inputs of one turn.
const INPUTS_MAX: usize = 64;

const FIRST: ListenerId = ListenerId(0);
const CONN: ConnId = ConnId(Id {
    index: 3,
    generation: 1,
});
const PEER: Peer = Peer::Unix;

/// Asks for what the test says, and tells it what it hears.
struct Puppet {
    outputs: Receiver<Output>,
    heard: Sender<Input>,
    due: Option<Instant>,
}

impl Machine for Puppet {
    fn handle(&mut self, now: Now, input: Input) {
        self.due = self.due.filter(|due| *due > now.mono);
        self.heard.send(input).unwrap();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.try_recv().ok()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

struct Nobody;

impl Host for Nobody {
    fn resolve(&self, _: Arc<str>, _: u16, reply: ResolveReply) {
        reply(Ok(Vec::new()));
    }

    fn perform(&self, _: Work, _: WorkReply) {}

    fn record(&self, _: ShardId, _: Box<Record>) {}
}

/// Notes what is asked of it, and never ends it.
struct Fake(Rc<Notes>);

type Notes = RefCell<Vec<&'static str>>;

impl Socket for Fake {
    type Worker = Notes;

    fn accept(self: Rc<Self>, _: ListenerId, _: ConnId) {
        self.0.borrow_mut().push("accept");
    }

    fn connect(notes: &Rc<Notes>, _: ConnId, _: SocketAddr) -> Rc<Fake> {
        notes.borrow_mut().push("connect");
        Rc::new(Fake(notes.clone()))
    }

    fn read(self: Rc<Self>, _: ConnId, _: ReadClass, _: BytesMut) {
        self.0.borrow_mut().push("read");
    }

    fn write(self: Rc<Self>, _: ConnId, _: WriteBatch) {
        self.0.borrow_mut().push("write");
    }

    fn shutdown(self: Rc<Self>, _: ConnId) {
        self.0.borrow_mut().push("shutdown");
    }

    fn hand_off(self: Rc<Self>, _: ShardId) {
        self.0.borrow_mut().push("hand off");
    }

    fn close(self: Rc<Self>, _: Completion, _: bool) {
        self.0.borrow_mut().push("close");
    }
}

/// A pump between a test and a fake.
struct Rig {
    pump: Pump<Fake>,
    notes: Rc<Notes>,
    asks: Sender<Output>,
    hears: Receiver<Input>,
    posted: Receiver<(ShardId, Input)>,
}

fn rig(due: Option<Instant>) -> Rig {
    let ((asks, outputs), (heard, hears)) = (channel(), channel());
    let (sender, posted) = channel();
    let puppet = Box::new(Puppet {
        outputs,
        heard,
        due,
    });
    let post: Post = Arc::new(move |to, input| sender.send((to, input)).unwrap());
    Rig {
        pump: Pump::new(ShardId(0), puppet, Arc::new(Nobody), post),
        notes: Rc::default(),
        asks,
        hears,
        posted,
    }
}

impl Rig {
    fn turn_at(&self, seconds: u64) -> Rest {
        let mono = Instant::ZERO + Duration::from_secs(seconds);
        let wall = UnixMillis(0);
        self.pump.turn(&self.notes, Now { mono, wall })
    }

    /// The machine asks for this, in a turn of its own; what is noted of it.
    fn ask(&self, op: Op) -> Vec<&'static str> {
        self.asks.send(Output::Op(op)).unwrap();
        self.turn_at(0);
        self.notes.take()
    }

    /// How the last `Accept` ended.
    fn accepted(&self) -> Option<Result<Peer, IoFailure>> {
        match self.hears.try_recv() {
            Ok(Input::Complete(Completion::Accept { result, .. })) => Some(result),
            _ => None,
        }
    }

    fn socket(&self) -> Rc<Fake> {
        Rc::new(Fake(self.notes.clone()))
    }

    fn connect(&self) {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let conn = CONN;
        assert_eq!(self.ask(Op::Connect { conn, address }), ["connect"]);
    }
}

fn read() -> Op {
    Op::Read {
        conn: CONN,
        class: ReadClass::Ready,
        buf: BytesMut::new(),
    }
}

fn accept(listener: ListenerId) -> Op {
    let conn = CONN;
    Op::Accept { listener, conn }
}

#[test]
fn connections_handed_off_and_accepts_wait_for_each_other() {
    let rig = rig(None);
    rig.pump.arrive(rig.socket(), PEER);
    rig.turn_at(0);
    assert_eq!(rig.accepted(), None);
    rig.ask(accept(PEERS));
    assert_eq!(rig.accepted(), Some(Ok(PEER)));
    assert_eq!(rig.ask(read()), ["read"]);
    let (conn, to) = (CONN, ShardId(1));
    assert_eq!(rig.ask(Op::HandOff { conn, to }), ["hand off"]);
    assert!(rig.hears.try_recv().is_ok());
    rig.ask(accept(PEERS));
    assert_eq!(rig.accepted(), None);
    rig.pump.arrive(rig.socket(), PEER);
    rig.turn_at(0);
    assert_eq!(rig.accepted(), Some(Ok(PEER)));
}

#[test]
fn unlisten_ends_the_accept_with_a_socket_or_without() {
    let rig = rig(None);
    rig.pump.listen(Some(rig.socket()));
    rig.pump.listen(None);
    assert_eq!(rig.ask(accept(FIRST)), ["accept"]);
    let listener = FIRST;
    assert_eq!(rig.ask(Op::Unlisten { listener }), ["close"]);
    assert_eq!(rig.accepted(), None);
    for listener in [ListenerId(1), PEERS] {
        assert!(rig.ask(accept(listener)).is_empty());
        assert_eq!(rig.accepted(), None);
        rig.ask(Op::Unlisten { listener });
        assert_eq!(rig.accepted(), Some(Err(IoFailure::Canceled)));
        let last = rig.hears.try_recv();
        assert!(matches!(
            last,
            Ok(Input::Complete(Completion::Unlisten { .. }))
        ));
    }
    rig.pump.arrive(rig.socket(), PEER);
    rig.ask(accept(PEERS));
    assert_eq!(rig.accepted(), Some(Err(IoFailure::Canceled)));
}

#[test]
fn the_end_of_a_read_makes_way_for_the_next() {
    let rig = rig(None);
    rig.connect();
    assert_eq!(rig.ask(read()), ["read"]);
    let (conn, buf, result) = (CONN, BytesMut::new(), Ok(0));
    rig.pump.completed(Completion::Read { conn, buf, result });
    assert_eq!(rig.ask(read()), ["read"]);
    let abort = false;
    assert_eq!(rig.ask(Op::Close { conn, abort }), ["close"]);
    // The name is free for another, whom the last completion of the old one does not concern.
    rig.connect();
}

#[test]
#[should_panic(expected = "is busy")]
fn a_second_read_is_refused() {
    let rig = rig(None);
    rig.connect();
    rig.ask(read());
    rig.ask(read());
}

#[test]
#[should_panic(expected = "is busy")]
fn no_fin_during_a_write() {
    let rig = rig(None);
    rig.connect();
    let (conn, batch) = (CONN, WriteBatch::default());
    rig.ask(Op::Write { conn, batch });
    rig.ask(Op::Shutdown { conn });
}

#[test]
#[should_panic(expected = "does not exist")]
fn an_old_name_is_refused() {
    let rig = rig(None);
    rig.connect();
    let conn = CONN;
    rig.ask(Op::Close { conn, abort: false });
    rig.ask(read());
}

#[test]
fn turns_are_short() {
    let rig = rig(None);
    (0..INPUTS_MAX + 1).for_each(|_| rig.pump.push(Input::Tick));
    assert_eq!(rig.turn_at(0), Rest::Again);
    assert_eq!(rig.hears.try_iter().count(), INPUTS_MAX);
    assert_eq!(rig.turn_at(0), Rest::Wait);
    assert_eq!(rig.hears.try_iter().count(), 1);
}

#[test]
fn the_timer_is_set_only_for_what_is_nearer() {
    let rig = rig(Some(Instant::ZERO + Duration::from_secs(10)));
    assert_eq!(rig.turn_at(1), Rest::Until(Duration::from_secs(9)));
    assert_eq!(rig.turn_at(2), Rest::Wait);
    rig.pump.tick();
    assert_eq!(rig.turn_at(9), Rest::Until(Duration::from_secs(1)));
    // Too late for the timer: the machine is told in a turn that follows at once.
    assert_eq!(rig.turn_at(11), Rest::Again);
}

#[test]
fn what_is_for_others_is_given_to_them() {
    let rig = rig(None);
    let (to, message) = (ShardId(1), Message::Load { clients: 2 });
    rig.asks.send(Output::Send { to, message }).unwrap();
    let (ticket, host) = (TicketId(CONN.0), "name".into());
    let port = 1;
    assert!(rig.ask(Op::Resolve { ticket, host, port }).is_empty());
    let posted: Vec<_> = rig.posted.try_iter().collect();
    assert!(matches!(
        posted[..],
        [
            (ShardId(1), Input::Message { .. }),
            (ShardId(0), Input::Complete(Completion::Resolve { .. }))
        ]
    ));
}

#[test]
fn a_drained_machine_hears_nothing_and_its_sockets_are_closed() {
    let rig = rig(None);
    rig.pump.listen(Some(rig.socket()));
    rig.connect();
    rig.asks.send(Output::Drained).unwrap();
    rig.asks.send(Output::Op(read())).unwrap();
    assert_eq!(rig.turn_at(0), Rest::Over);
    assert!(rig.pump.is_over());
    assert_eq!(rig.notes.take(), ["close", "close"]);
    rig.pump.push(Input::Tick);
    rig.pump.arrive(rig.socket(), PEER);
    assert_eq!(rig.turn_at(0), Rest::Over);
    assert!(rig.hears.try_recv().is_err() && rig.notes.borrow().is_empty());
}
