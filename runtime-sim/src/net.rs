//! The network: connections made of two pipes, each with latency, bandwidth and a window, that cut
//! and join bytes as real ones do.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tollgate_core::base::{ConnId, Instant, ListenerId, Rng, WriteBatch};
use tollgate_core::gateway::io::ReadClass;

use crate::faults::{Fault, Faults};
use crate::peer::Peer;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    ToPeer,
    ToShard,
}

/// What arrives at an end of a pipe.
#[derive(Debug)]
pub(crate) enum Parcel {
    Bytes(Bytes),
    Fin,
    Reset,
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    latency: Duration,
    nanos_per_byte: u64,
    piece_bytes_max: usize,
    window: usize,
    /// When the sender's line is free again.
    free_at: Instant,
    last_arrival: Instant,
    /// Sent and not arrived.
    flying: usize,
    /// Arrived and not read.
    pub(crate) arrived: BytesMut,
    pub(crate) has_fin: bool,
    pub(crate) has_reset: bool,
    /// After so many more bytes the connection is reset.
    reset_after: Option<u64>,
    /// Nothing arrives any more.
    is_black_hole: bool,
    /// What arrives is handed over some time later, together with what came meanwhile.
    pub(crate) is_merged: bool,
}

impl Pipe {
    pub(crate) fn draw(faults: &mut Faults, rng: &mut Rng) -> Pipe {
        let mut latency = Duration::from_micros(rng.below(1000));
        if faults.strikes(Fault::Latency, rng) {
            latency += Duration::from_millis(rng.below(500));
        }
        let is_narrow = faults.strikes(Fault::Bandwidth, rng);
        let nanos_per_byte = if is_narrow {
            1000 + rng.below(1_000_000)
        } else {
            1
        };
        let is_split = faults.strikes(Fault::Split, rng);
        let piece_bytes_max = 1 + rng.below(64) as usize;
        let is_small = faults.strikes(Fault::SmallWindow, rng);
        let window = if is_small {
            1 + rng.below(4096) as usize
        } else {
            32 * 1024
        };
        let is_reset = faults.strikes(Fault::Reset, rng);
        // Within the head, within what is usual, within what is long.
        let reset_bytes_max = [64, 2000, 20_000][rng.below(3) as usize];
        let reset_after = rng.below(reset_bytes_max);
        Pipe {
            latency,
            nanos_per_byte,
            piece_bytes_max: if is_split {
                piece_bytes_max
            } else {
                usize::MAX
            },
            window,
            free_at: Instant::ZERO,
            last_arrival: Instant::ZERO,
            flying: 0,
            arrived: BytesMut::new(),
            has_fin: false,
            has_reset: false,
            reset_after: is_reset.then_some(reset_after),
            is_black_hole: faults.strikes(Fault::BlackHole, rng),
            is_merged: faults.strikes(Fault::Merged, rng),
        }
    }

    /// How many bytes the sender may hand over now.
    pub(crate) fn room(&self) -> usize {
        self.window.saturating_sub(self.flying + self.arrived.len())
    }

    /// Takes bytes on their way; says what arrives when.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        mut bytes: Bytes,
        rng: &mut Rng,
        arrivals: &mut Vec<(Instant, Parcel)>,
    ) {
        while !bytes.is_empty() {
            let most = bytes.len().min(self.piece_bytes_max);
            let count = match self.piece_bytes_max {
                usize::MAX => most,
                _ => 1 + rng.below(most as u64) as usize,
            };
            let piece = bytes.split_to(count);
            self.flying += count;
            if self.is_black_hole {
                continue;
            }
            if let Some(left) = self.reset_after {
                if left <= count as u64 {
                    let rest = piece.slice(..left as usize);
                    self.arrive(now, Parcel::Bytes(rest), arrivals);
                    self.arrive(now, Parcel::Reset, arrivals);
                    self.is_black_hole = true;
                    continue;
                }
                self.reset_after = Some(left - count as u64);
            }
            self.arrive(now, Parcel::Bytes(piece), arrivals);
        }
    }

    /// Sends FIN or RST behind the bytes.
    pub(crate) fn signal(
        &mut self,
        now: Instant,
        parcel: Parcel,
        arrivals: &mut Vec<(Instant, Parcel)>,
    ) {
        if !self.is_black_hole {
            self.arrive(now, parcel, arrivals);
        }
    }

    fn arrive(&mut self, now: Instant, parcel: Parcel, arrivals: &mut Vec<(Instant, Parcel)>) {
        let count = match &parcel {
            Parcel::Bytes(bytes) => bytes.len() as u64,
            Parcel::Fin | Parcel::Reset => 0,
        };
        let begin = self.free_at.max(now);
        self.free_at = begin + Duration::from_nanos(count * self.nanos_per_byte);
        let at = (self.free_at + self.latency).max(self.last_arrival);
        self.last_arrival = at;
        arrivals.push((at, parcel));
    }

    /// A parcel has come to the end of the pipe.
    pub(crate) fn take_in(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Bytes(bytes) => {
                self.flying = self.flying.saturating_sub(bytes.len());
                self.arrived.extend_from_slice(&bytes);
            }
            Parcel::Fin => self.has_fin = true,
            Parcel::Reset => {
                // What was not read is lost, as in a kernel.
                self.arrived.clear();
                self.has_reset = true;
            }
        }
    }
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// A client, towards this listener.
    Client(ListenerId),
    /// A shard, towards an upstream.
    Shard,
}

/// A connection between a shard and a peer.
pub(crate) struct Link {
    pub(crate) origin: Origin,
    pub(crate) shard: usize,
    /// The shard's name for it, once it has one.
    pub(crate) conn: Option<ConnId>,
    pub(crate) to_shard: Pipe,
    pub(crate) to_peer: Pipe,
    /// The shard's read in flight, whose completion is not yet on its way.
    pub(crate) read: Option<(ReadClass, BytesMut)>,
    pub(crate) write: Option<WriteBatch>,
    /// The completion of `Connect` is awaited.
    pub(crate) is_connecting: bool,
    /// `Shutdown` or `Close` was issued.
    pub(crate) is_shut: bool,
    pub(crate) is_closing: bool,
    /// Completions of this connection that are on their way come before this.
    pub(crate) last_completion: Instant,
    pub(crate) peer: Option<Box<dyn Peer>>,
    /// Sent by the peer, waiting for room.
    pub(crate) backlog: VecDeque<Bytes>,
    pub(crate) sent: u64,
    pub(crate) wants_fin: bool,
    /// The peer answers what comes with RST.
    pub(crate) is_peer_closed: bool,
    /// The peer is told nothing more.
    pub(crate) is_peer_over: bool,
    pub(crate) read_rate: Option<(usize, Duration)>,
    pub(crate) is_read_timed: bool,
    /// What arrives for the shard waits for more.
    pub(crate) is_gathering: bool,
    pub(crate) tag: Option<String>,
    /// What had been read from the link when it was tagged, and what its client had been sent.
    pub(crate) tagged_at: (u64, u64),
    /// Where a shard's connection leads.
    pub(crate) address: Option<SocketAddr>,
    /// Bytes that the system has taken from the shard.
    pub(crate) taken: u64,
}

impl Link {
    pub(crate) fn new(
        origin: Origin,
        shard: usize,
        peer: Option<Box<dyn Peer>>,
        faults: &mut Faults,
        rng: &mut Rng,
    ) -> Link {
        Link {
            origin,
            shard,
            conn: None,
            to_shard: Pipe::draw(faults, rng),
            to_peer: Pipe::draw(faults, rng),
            read: None,
            write: None,
            is_connecting: false,
            is_shut: false,
            is_closing: false,
            last_completion: Instant::ZERO,
            peer,
            backlog: VecDeque::new(),
            sent: 0,
            wants_fin: false,
            is_peer_closed: false,
            is_peer_over: false,
            read_rate: None,
            is_read_timed: false,
            is_gathering: false,
            tag: None,
            tagged_at: (0, 0),
            address: None,
            taken: 0,
        }
    }
}
