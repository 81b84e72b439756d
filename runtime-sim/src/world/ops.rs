//! Performing operations: what a runtime does with sockets, on links.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;

use bytes::BytesMut;
use tollgate_core::base::{ConnId, ListenerId, TicketId, WriteBatch};
use tollgate_core::gateway::io::{
    Completion, IoFailure, Machine, Op, PEERS, Peer, ReadClass, ResolveFailure, Work,
};

use super::{Event, Reading, World};
use crate::faults::Fault;
use crate::net::{Link, Origin, Parcel};
use crate::peer::{End, LinkId};
use crate::script::journal::Delivered;

impl<M: Machine> World<M> {
    pub(super) fn perform(&mut self, shard: usize, op: Op) {
        match op {
            Op::Accept { listener, conn } => {
                self.listening.entry((shard, listener)).or_default().accept = Some(conn);
                self.try_accept(shard, listener);
            }
            Op::Unlisten { listener } => self.unlisten(shard, listener),
            Op::HandOff { conn, to } => self.hand_off(shard, conn, usize::from(to.0)),
            Op::Connect { conn, address } => self.connect(shard, conn, address),
            Op::Read { conn, class, buf } => self.read(shard, conn, class, buf),
            Op::Write { conn, batch } => self.write(shard, conn, batch),
            Op::Shutdown { conn } => self.shutdown(shard, conn),
            Op::Close { conn, abort } => self.close(shard, conn, abort),
            Op::Resolve { ticket, host, port } => self.resolve(shard, ticket, &host, port),
            Op::Host { ticket, work } => self.host(shard, ticket, work),
        }
    }

    /// When a completion that is made now reaches its machine.
    fn soon(&mut self) -> tollgate_core::base::Instant {
        let is_slow = self
            .faults
            .borrow_mut()
            .strikes(Fault::SlowCompletions, &mut self.rng);
        let micros = if is_slow { 5000 } else { 20 };
        self.now + Duration::from_micros(self.rng.below(micros))
    }

    /// Sends the completion of an operation on a link.
    pub(super) fn complete_later(&mut self, id: LinkId, completion: Completion) {
        let mut at = self.soon();
        let link = &mut self.links[id];
        if let Completion::Close { .. } = completion {
            at = at.max(link.last_completion);
        }
        link.last_completion = link.last_completion.max(at);
        let shard = link.shard;
        self.queue.push(at, Event::Complete { shard, completion });
    }

    fn complete_soon(&mut self, shard: usize, completion: Completion) {
        let at = self.soon();
        self.queue.push(at, Event::Complete { shard, completion });
    }

    fn refuse_accept(
        &mut self,
        shard: usize,
        listener: ListenerId,
        conn: ConnId,
        failure: IoFailure,
    ) {
        let accept = Completion::Accept {
            listener,
            conn,
            result: Err(failure),
        };
        self.complete_soon(shard, accept);
    }

    pub(super) fn try_accept(&mut self, shard: usize, listener: ListenerId) {
        let Some(listening) = self.listening.get_mut(&(shard, listener)) else {
            return;
        };
        let Some(conn) = listening.accept.filter(|_| !listening.backlog.is_empty()) else {
            return;
        };
        listening.accept = None;
        let fails = self
            .faults
            .borrow_mut()
            .strikes(Fault::AcceptFails, &mut self.rng);
        if fails && self.rng.chance(1, 2) {
            self.refuse_accept(shard, listener, conn, IoFailure::DescriptorsExhausted);
            return;
        }
        let Some(id) = listening.backlog.pop_front() else {
            return;
        };
        if fails {
            self.end_peer(id, End::Reset);
            self.refuse_accept(shard, listener, conn, IoFailure::Reset);
            return;
        }
        self.conns.insert((shard, conn), id);
        self.links[id].conn = Some(conn);
        let port = 10_000 + (id % 50_000) as u16;
        let peer = Peer::Tcp(SocketAddr::from((Ipv4Addr::new(198, 51, 100, 1), port)));
        self.trace.line(
            self.now,
            format_args!("link {id} is {conn:?} of shard {shard}"),
        );
        self.complete_later(
            id,
            Completion::Accept {
                listener,
                conn,
                result: Ok(peer),
            },
        );
    }

    fn unlisten(&mut self, shard: usize, listener: ListenerId) {
        let listening = self.listening.entry((shard, listener)).or_default();
        listening.is_closed = true;
        let accept = listening.accept.take();
        for id in core::mem::take(&mut listening.backlog) {
            self.end_peer(id, End::Reset);
        }
        if let Some(conn) = accept {
            self.refuse_accept(shard, listener, conn, IoFailure::Canceled);
        }
        self.complete_soon(shard, Completion::Unlisten { listener });
    }

    fn hand_off(&mut self, shard: usize, conn: ConnId, to: usize) {
        let Some(id) = self.conns.remove(&(shard, conn)) else {
            return;
        };
        self.complete_later(id, Completion::HandOff { conn });
        let link = &mut self.links[id];
        link.shard = to;
        self.delivered.borrow_mut()[id].shard = to;
        link.conn = None;
        self.listening
            .entry((to, PEERS))
            .or_default()
            .backlog
            .push_back(id);
        self.try_accept(to, PEERS);
    }

    fn connect(&mut self, shard: usize, conn: ConnId, address: SocketAddr) {
        let id = self.links.len();
        let server = self.servers.get_mut(&address);
        let peer = server.and_then(|server| server(self.now));
        let is_there = peer.is_some();
        let is_spared = self.spared.contains(&address);
        let mut faults = self.faults.borrow_mut();
        let mut harmless = is_spared.then(|| faults.harmless());
        let faults = harmless.as_mut().unwrap_or(&mut faults);
        let mut link = Link::new(Origin::Shard, shard, peer, faults, &mut self.rng);
        link.conn = Some(conn);
        link.is_connecting = true;
        link.address = Some(address);
        let hangs = faults.strikes(Fault::ConnectHangs, &mut self.rng);
        let is_refused = faults.strikes(Fault::ConnectRefused, &mut self.rng);
        self.links.push(link);
        self.delivered.borrow_mut().push(Delivered::new(shard));
        self.conns.insert((shard, conn), id);
        self.trace.line(
            self.now,
            format_args!("link {id} is {conn:?} of shard {shard}"),
        );
        let micros = 100 + self.rng.below(30_000);
        let failures = [
            IoFailure::Refused,
            IoFailure::Unreachable,
            IoFailure::TimedOut,
        ];
        let failure = failures[self.rng.below(3) as usize];
        if hangs {
            return;
        }
        let result = if is_there && !is_refused {
            Ok(())
        } else {
            Err(failure)
        };
        let at = self.now + Duration::from_micros(micros);
        self.queue.push(at, Event::Connected { link: id, result });
    }

    fn read(&mut self, shard: usize, conn: ConnId, class: ReadClass, buf: BytesMut) {
        let Some(&id) = self.conns.get(&(shard, conn)) else {
            return;
        };
        if self.links[id].origin == Origin::Shard {
            self.reading(id, class);
        }
        self.links[id].read = Some((class, buf));
        self.pump_read(id);
    }

    /// A machine reads on from an upstream: how much has it of the answer that its client has not?
    fn reading(&mut self, id: LinkId, class: ReadClass) {
        let link = &self.links[id];
        if matches!(class, ReadClass::Quiet { .. }) {
            self.slots[link.shard].has_rested = true;
        }
        let Some(tag) = &link.tag else { return };
        let client = tag.split('-').next().unwrap_or_default();
        let Some(&client) = self.clients.get(client) else {
            return;
        };
        let (read_before, taken_before) = link.tagged_at;
        let reading = Reading {
            tag,
            read: self.delivered.borrow()[id].bytes - read_before,
            taken: self.links[client].taken - taken_before,
        };
        let mut observer = self.observer.take();
        let checked = observer.as_mut().map(|it| it.reading(&reading));
        self.observer = observer;
        if let Some(Err(violation)) = checked {
            self.fail(violation);
        }
    }

    fn write(&mut self, shard: usize, conn: ConnId, batch: WriteBatch) {
        let Some(&id) = self.conns.get(&(shard, conn)) else {
            return;
        };
        self.delivered.borrow_mut()[id].write(self.now);
        self.links[id].write = Some(batch);
        self.pump_write(id);
    }

    fn shutdown(&mut self, shard: usize, conn: ConnId) {
        let Some(&id) = self.conns.get(&(shard, conn)) else {
            return;
        };
        let link = &mut self.links[id];
        link.is_shut = true;
        let is_reset = link.to_shard.has_reset;
        let result = if is_reset {
            Err(IoFailure::Other(107))
        } else {
            Ok(())
        };
        if !is_reset {
            self.signal_peer(id, Parcel::Fin);
        }
        self.complete_later(id, Completion::Shutdown { conn, result });
    }

    fn close(&mut self, shard: usize, conn: ConnId, abort: bool) {
        let Some(&id) = self.conns.get(&(shard, conn)) else {
            return;
        };
        self.delivered.borrow_mut()[id].closed_at = Some(self.now);
        let link = &mut self.links[id];
        link.is_closing = true;
        let was_connecting = core::mem::take(&mut link.is_connecting);
        let read = link.read.take();
        let write = link.write.take();
        // A kernel that still holds bytes for the closer tells the other side by a reset.
        let resets = abort || !link.to_shard.arrived.is_empty();
        let is_shut = core::mem::replace(&mut link.is_shut, true);
        link.to_shard.arrived.clear();
        if was_connecting {
            let result = Err(IoFailure::Canceled);
            self.complete_later(id, Completion::Connect { conn, result });
        }
        if let Some((_, buf)) = read {
            let result = Err(IoFailure::Canceled);
            self.complete_later(id, Completion::Read { conn, buf, result });
        }
        if let Some(batch) = write {
            let result = Err(IoFailure::Canceled);
            self.complete_later(
                id,
                Completion::Write {
                    conn,
                    batch,
                    result,
                },
            );
        }
        if resets {
            self.signal_peer(id, Parcel::Reset);
        } else if !is_shut {
            self.signal_peer(id, Parcel::Fin);
        }
        self.complete_later(id, Completion::Close { conn });
    }

    fn resolve(&mut self, shard: usize, ticket: TicketId, host: &Arc<str>, port: u16) {
        let mut faults = self.faults.borrow_mut();
        let fails = faults.strikes(Fault::DnsFails, &mut self.rng);
        let is_slow = faults.strikes(Fault::DnsSlow, &mut self.rng);
        drop(faults);
        let addresses = self.names.get(host.as_ref());
        let is_spared = addresses.is_some_and(|it| it.iter().any(|it| self.spared.contains(it)));
        let is_slow = is_slow && !is_spared;
        let millis = self.rng.below(if is_slow { 20_000 } else { 20 });
        let result = match addresses {
            _ if fails && !is_spared => Err(ResolveFailure::Unavailable),
            None => Err(ResolveFailure::NotFound),
            Some(addresses) => Ok(addresses
                .iter()
                .map(|it| SocketAddr::new(it.ip(), port))
                .collect()),
        };
        let at = self.now + Duration::from_millis(millis);
        let completion = Completion::Resolve { ticket, result };
        self.queue.push(at, Event::Complete { shard, completion });
    }

    fn host(&mut self, shard: usize, ticket: TicketId, work: Work) {
        let is_slow = self
            .faults
            .borrow_mut()
            .strikes(Fault::HostSlow, &mut self.rng);
        let micros = self.rng.below(if is_slow { 5_000_000 } else { 500 });
        let completion = Completion::Host {
            ticket,
            done: work.run(),
        };
        let at = self.now + Duration::from_micros(micros);
        self.queue.push(at, Event::Complete { shard, completion });
    }
}
