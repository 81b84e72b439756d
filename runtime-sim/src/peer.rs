//! [`Peer`]: a script at the other end of one connection, a client or an upstream server.

use core::time::Duration;

use tollgate_core::base::Instant;

/// A connection of the world.
pub type LinkId = usize;

/// How a connection ended, as its peer sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The other side sent FIN. More may still be sent to it.
    Fin,
    /// The other side, or the network, sent RST.
    Reset,
    /// Nobody listened.
    Refused,
}

/// A script at the other end of one connection. What it wants done it says to [`PeerIo`].
pub trait Peer {
    /// The connection stands.
    fn connected(&mut self, io: &mut PeerIo);
    /// Bytes came.
    fn received(&mut self, io: &mut PeerIo, bytes: &[u8]);
    /// No more bytes come.
    fn ended(&mut self, io: &mut PeerIo, end: End);
    /// A time asked for by [`PeerIo::wake`] has come.
    fn woke(&mut self, io: &mut PeerIo, token: u64);
}

/// What a peer wants done.
#[derive(Debug)]
pub(crate) enum Action {
    Send(Vec<u8>),
    Finish,
    Close,
    Reset,
    Wake(Instant, u64),
    ReadRate(Option<(usize, Duration)>),
    Tag(Option<String>),
}

/// A peer's hands: what it does is noted here and done when it returns.
#[derive(Debug)]
pub struct PeerIo {
    /// The time.
    pub now: Instant,
    /// Its connection.
    pub link: LinkId,
    /// Bytes sent on it before.
    pub sent: u64,
    pub(crate) actions: Vec<Action>,
}

impl PeerIo {
    /// Sends bytes, behind those sent before.
    pub fn send(&mut self, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.sent += bytes.len() as u64;
        self.actions.push(Action::Send(bytes));
    }

    /// Sends FIN behind what was sent, and still reads.
    pub fn finish(&mut self) {
        self.actions.push(Action::Finish);
    }

    /// Sends FIN behind what was sent, and answers what comes later with RST.
    pub fn close(&mut self) {
        self.actions.push(Action::Close);
    }

    /// Sends RST at once.
    pub fn reset(&mut self) {
        self.actions.push(Action::Reset);
    }

    /// Asks for [`Peer::woke`] after some time.
    pub fn wake(&mut self, after: Duration, token: u64) {
        self.actions.push(Action::Wake(self.now + after, token));
    }

    /// From now on reads so many bytes once in so long a time; `None` reads what there is at once.
    pub fn read_slowly(&mut self, rate: Option<(usize, Duration)>) {
        self.actions.push(Action::ReadRate(rate));
    }

    /// Names what the connection works for, for the checkers.
    pub fn tag(&mut self, tag: Option<String>) {
        self.actions.push(Action::Tag(tag));
    }
}
