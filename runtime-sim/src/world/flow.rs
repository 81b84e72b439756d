//! Bytes on their way: between the operations of machines, the pipes of links, and the peers.

use core::time::Duration;

use tollgate_core::base::Instant;
use tollgate_core::gateway::io::{Completion, IoFailure, Machine, ReadClass};

use super::{Event, World};
use crate::net::{Origin, Parcel, Way};
use crate::peer::{Action, End, LinkId, Peer, PeerIo};

impl<M: Machine> World<M> {
    /// Something has come to one end of a link.
    pub(super) fn arrive(&mut self, id: LinkId, way: Way, parcel: Parcel) {
        if let Parcel::Reset = parcel {
            self.reset(id);
            return;
        }
        let link = &mut self.links[id];
        match way {
            Way::ToShard if link.is_closing => {
                // Bytes for a closed socket: its system answers with a reset.
                if let Parcel::Bytes(_) = parcel {
                    self.signal_peer(id, Parcel::Reset);
                }
            }
            Way::ToShard => {
                link.to_shard.take_in(parcel);
                self.gather(id);
                self.pump_read(id);
            }
            Way::ToPeer if link.is_peer_over => {}
            Way::ToPeer => {
                link.to_peer.take_in(parcel);
                self.feed_peer(id);
            }
        }
    }

    /// What came waits for more, where packets merge.
    fn gather(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        if !link.to_shard.is_merged || core::mem::replace(&mut link.is_gathering, true) {
            return;
        }
        let at = self.now + Duration::from_micros(self.rng.below(50_000));
        self.queue.push(at, Event::Gathered { link: id });
    }

    /// Nothing more is waited for.
    pub(super) fn gathered(&mut self, id: LinkId) {
        self.links[id].is_gathering = false;
        self.pump_read(id);
    }

    /// A link is reset: both ends learn of it.
    fn reset(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        link.to_shard.take_in(Parcel::Reset);
        link.to_peer.take_in(Parcel::Reset);
        link.backlog.clear();
        self.pump_read(id);
        self.pump_write(id);
        self.end_peer(id, End::Reset);
    }

    fn post(&mut self, id: LinkId, way: Way, arrivals: Vec<(Instant, Parcel)>) {
        for (at, parcel) in arrivals {
            self.queue.push(
                at,
                Event::Arrive {
                    link: id,
                    way,
                    parcel,
                },
            );
        }
    }

    pub(super) fn signal_peer(&mut self, id: LinkId, parcel: Parcel) {
        let mut arrivals = Vec::new();
        self.links[id]
            .to_peer
            .signal(self.now, parcel, &mut arrivals);
        self.post(id, Way::ToPeer, arrivals);
    }

    /// Completes the shard's read, if there is one and something for it.
    pub(super) fn pump_read(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        let Some(conn) = link.conn else { return };
        let pipe = &mut link.to_shard;
        if link.is_gathering && !pipe.has_reset {
            return;
        }
        if pipe.arrived.is_empty() && !pipe.has_fin && !pipe.has_reset {
            return;
        }
        let Some((class, mut buf)) = link.read.take() else {
            return;
        };
        let room = match class {
            ReadClass::Quiet { room } => {
                buf.reserve(room as usize);
                room as usize
            }
            ReadClass::Ready => buf.capacity() - buf.len(),
        };
        let count = pipe.arrived.len().min(room);
        let result = if pipe.has_reset {
            Err(IoFailure::Reset)
        } else {
            buf.extend_from_slice(&pipe.arrived.split_to(count));
            Ok(count)
        };
        self.complete_later(id, Completion::Read { conn, buf, result });
        self.pump_backlog(id);
    }

    /// Moves the shard's write on, as far as there is room.
    pub(super) fn pump_write(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        let Some(conn) = link.conn else { return };
        let Some(mut batch) = link.write.take() else {
            return;
        };
        if link.to_shard.has_reset {
            let result = Err(IoFailure::BrokenPipe);
            self.complete_later(
                id,
                Completion::Write {
                    conn,
                    batch,
                    result,
                },
            );
            return;
        }
        let mut arrivals = Vec::new();
        loop {
            let room = link.to_peer.room();
            let Some(slice) = batch.slices().first().filter(|_| room > 0) else {
                break;
            };
            let part = slice.slice(..room.min(slice.len()));
            let count = part.len();
            link.taken += count as u64;
            link.to_peer
                .send(self.now, part, &mut self.rng, &mut arrivals);
            batch.advance(count);
        }
        if batch.is_empty() {
            self.complete_later(
                id,
                Completion::Write {
                    conn,
                    batch,
                    result: Ok(()),
                },
            );
        } else {
            link.write = Some(batch);
        }
        self.post(id, Way::ToPeer, arrivals);
    }

    /// Sends what the peer has queued, as far as there is room.
    fn pump_backlog(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        let mut arrivals = Vec::new();
        while let Some(front) = link.backlog.front_mut() {
            let room = link.to_shard.room();
            if room == 0 {
                break;
            }
            let part = front.split_to(room.min(front.len()));
            if front.is_empty() {
                link.backlog.pop_front();
            }
            link.to_shard
                .send(self.now, part, &mut self.rng, &mut arrivals);
        }
        if link.backlog.is_empty() && core::mem::take(&mut link.wants_fin) {
            link.to_shard.signal(self.now, Parcel::Fin, &mut arrivals);
        }
        self.post(id, Way::ToShard, arrivals);
    }

    /// Gives the peer what has arrived, at its pace.
    fn feed_peer(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        if link.is_peer_over {
            return;
        }
        if link.is_peer_closed && !link.to_peer.arrived.is_empty() {
            link.to_peer.arrived.clear();
            let mut arrivals = Vec::new();
            link.to_shard.signal(self.now, Parcel::Reset, &mut arrivals);
            self.post(id, Way::ToShard, arrivals);
            self.end_peer(id, End::Reset);
            return;
        }
        if let Some((_, pause)) = link.read_rate
            && !link.to_peer.arrived.is_empty()
        {
            if !core::mem::replace(&mut link.is_read_timed, true) {
                self.queue
                    .push(self.now + pause, Event::PeerRead { link: id });
            }
            return;
        }
        let bytes = link.to_peer.arrived.split();
        self.deliver(id, &bytes);
    }

    /// The time of a slow reader's next read has come.
    pub(super) fn peer_read(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        link.is_read_timed = false;
        let Some((count, _)) = link.read_rate else {
            self.feed_peer(id);
            return;
        };
        let count = count.min(link.to_peer.arrived.len());
        let bytes = link.to_peer.arrived.split_to(count);
        self.deliver(id, &bytes);
        if !self.links[id].to_peer.arrived.is_empty() {
            self.feed_peer(id);
        }
    }

    fn deliver(&mut self, id: LinkId, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.call_peer(id, |peer, io| peer.received(io, bytes));
            self.pump_write(id);
        }
        let link = &self.links[id];
        if link.to_peer.has_fin && link.to_peer.arrived.is_empty() {
            self.end_peer(id, End::Fin);
        }
    }

    /// Tells the peer once that nothing more comes.
    pub(super) fn end_peer(&mut self, id: LinkId, end: End) {
        let link = &mut self.links[id];
        if link.is_peer_over {
            return;
        }
        if end == End::Fin {
            // It may still send; it is told of the end once.
            link.to_peer.has_fin = false;
        } else {
            self.peer_over(id);
        }
        self.call_peer(id, |peer, io| peer.ended(io, end));
    }

    fn peer_over(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        let was_over = core::mem::replace(&mut link.is_peer_over, true);
        // One that had closed was counted then.
        if !was_over && !link.is_peer_closed && matches!(link.origin, Origin::Client(_)) {
            self.peers_open -= 1;
        }
    }

    /// Lets the peer act, and does what it wants.
    pub(super) fn call_peer(&mut self, id: LinkId, call: impl FnOnce(&mut dyn Peer, &mut PeerIo)) {
        let link = &mut self.links[id];
        let Some(mut peer) = link.peer.take() else {
            return;
        };
        let mut io = PeerIo {
            now: self.now,
            link: id,
            sent: link.sent,
            actions: Vec::new(),
        };
        call(peer.as_mut(), &mut io);
        let link = &mut self.links[id];
        link.peer = Some(peer);
        link.sent = io.sent;
        for action in io.actions {
            self.act(id, action);
        }
        self.pump_backlog(id);
    }

    /// The peer says what the link works for.
    fn tag(&mut self, id: LinkId, tag: Option<String>) {
        let link = &mut self.links[id];
        match (&tag, link.origin) {
            (Some(name), Origin::Client(_)) => {
                self.clients.insert(name.clone(), id);
            }
            (Some(tag), Origin::Shard) => {
                let client = tag.split('-').next().unwrap_or_default();
                let client = self.clients.get(client).copied();
                let taken = client.map_or(0, |client| self.links[client].taken);
                let read = self.delivered.borrow()[id].bytes;
                self.links[id].tagged_at = (read, taken);
            }
            (None, _) => {}
        }
        self.links[id].tag = tag;
    }

    fn act(&mut self, id: LinkId, action: Action) {
        let link = &mut self.links[id];
        match action {
            Action::Wake(at, token) => self.queue.push(at, Event::PeerWake { link: id, token }),
            Action::Tag(tag) => self.tag(id, tag),
            _ if link.is_peer_over => {}
            Action::Send(bytes) => {
                if !bytes.is_empty() {
                    link.backlog.push_back(bytes.into());
                }
            }
            Action::Finish => link.wants_fin = true,
            Action::Close => {
                link.wants_fin = true;
                if !core::mem::replace(&mut link.is_peer_closed, true)
                    && matches!(link.origin, Origin::Client(_))
                {
                    self.peers_open -= 1;
                }
                self.feed_peer(id);
            }
            Action::Reset => {
                link.backlog.clear();
                self.peer_over(id);
                let mut arrivals = Vec::new();
                self.links[id]
                    .to_shard
                    .signal(self.now, Parcel::Reset, &mut arrivals);
                self.post(id, Way::ToShard, arrivals);
            }
            Action::ReadRate(rate) => {
                link.read_rate = rate;
                self.feed_peer(id);
            }
        }
    }
}
