//! [`Mailbox`]: what other threads say to a worker, and the bell (an eventfd) that wakes it.
//!
//! Off the hot path. Letters of one sender arrive in the order in which they were sent.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};
use tollgate_core::gateway::io::{Input, Peer};

/// Letters that may wait. Credits in the machines and the limit of descriptors bound them far
/// below; reaching this is a broken contract.
const LETTERS_MAX: usize = 1 << 20;

/// What another thread says.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A connection handed off by another worker.
    Adopt(OwnedFd, Peer),
    /// Something for the machine.
    Input(Input),
    /// End now; what runs is cut.
    Stop,
}

/// Where letters to one worker are put. When that has ended they are thrown away.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Becomes readable when it rings.
    pub(crate) bell: OwnedFd,
    letters: Sender<Letter>,
    /// How often it was rung since the worker last woke: as many letters or more wait.
    rung: AtomicUsize,
}

impl Mailbox {
    /// A mailbox, and where its letters come out.
    pub(crate) fn new() -> io::Result<(Mailbox, Receiver<Letter>)> {
        let (letters, inside) = channel();
        let mailbox = Mailbox {
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            letters,
            rung: AtomicUsize::new(0),
        };
        Ok((mailbox, inside))
    }

    /// Puts a letter in, and wakes the worker.
    pub(crate) fn push(&self, letter: Letter) {
        if self.letters.send(letter).is_ok() {
            self.ring();
        }
    }

    /// Wakes the worker; many times before it wakes are one time.
    pub(crate) fn ring(&self) {
        let before = self.rung.fetch_add(1, Ordering::AcqRel);
        assert!(before < LETTERS_MAX, "a worker reads no letters");
        if before == 0 {
            // It cannot fail: the counter is 0 or 1, far from where a write would block.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Silences the bell. What is put in from now on rings again.
    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        self.rung.swap(0, Ordering::AcqRel);
    }
}
