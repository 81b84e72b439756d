//! [`Mailbox`]: what other threads say to a worker, and the bell (an eventfd) that wakes it.
//!
//! Off the hot path. Letters of one sender arrive in the order in which they were sent.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// The letters of one worker. `None`: the worker has ended, and letters are thrown away.
#[derive(Debug)]
pub(crate) struct Mailbox {
    bell: OwnedFd,
    letters: Mutex<Option<VecDeque<Letter>>>,
    rung: AtomicBool,
}

impl Mailbox {
    pub(crate) fn new() -> io::Result<Mailbox> {
        Ok(Mailbox {
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            letters: Mutex::new(Some(VecDeque::new())),
            rung: AtomicBool::new(false),
        })
    }

    /// A descriptor that becomes readable when the bell rings.
    pub(crate) fn bell(&self) -> io::Result<OwnedFd> {
        self.bell.try_clone()
    }

    /// Puts a letter in, and wakes the worker.
    pub(crate) fn push(&self, letter: Letter) {
        if let Some(letters) = self.letters().as_mut() {
            assert!(letters.len() < LETTERS_MAX, "a worker reads no letters");
            letters.push_back(letter);
        }
        self.ring();
    }

    /// Wakes the worker; many times before it wakes are one time.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // It cannot fail: the counter is 0 or 1, far from where a write would block.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Silences the bell and takes all letters. A letter pushed from now on rings again.
    pub(crate) fn take(&self) -> VecDeque<Letter> {
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        self.rung.swap(false, Ordering::AcqRel);
        let mut letters = self.letters();
        letters.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The worker ends.
    pub(crate) fn close(&self) {
        *self.letters() = None;
    }

    fn letters(&self) -> MutexGuard<'_, Option<VecDeque<Letter>>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
