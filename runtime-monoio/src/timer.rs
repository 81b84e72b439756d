//! [`Alarm`]: the one timer of a worker, set to the machine's `poll_timeout`.
//!
//! It is set again only when the deadline came nearer: a deadline that moved away costs nothing,
//! and the early tick that follows is harmless.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use monoio::time::{Instant as Deadline, Sleep, sleep};
use tollgate_core::base::Instant;

/// No timer reaches further: a later deadline is looked at again then.
const REACH: Duration = Duration::from_secs(3600);

/// When the machine wants to be told the time.
#[derive(Debug)]
pub(crate) struct Alarm {
    due: Cell<Instant>,
    timer: RefCell<Pin<Box<Sleep>>>,
}

impl Alarm {
    pub(crate) fn new() -> Alarm {
        Alarm {
            due: Cell::new(Instant::FAR),
            timer: RefCell::new(Box::pin(sleep(REACH))),
        }
    }

    /// Makes sure that it rings at `at` or before.
    pub(crate) fn set(&self, now: Instant, at: Instant) {
        if at < self.due.get() {
            self.due.set(at);
            self.arm(at.since(now).min(REACH));
        }
    }

    /// Waits until it rings.
    pub(crate) async fn rung(&self) {
        poll_fn(|context| self.timer.borrow_mut().as_mut().poll(context)).await;
        self.due.set(Instant::FAR);
        self.arm(REACH);
    }

    fn arm(&self, wait: Duration) {
        let mut timer = self.timer.borrow_mut();
        timer.as_mut().reset(Deadline::now() + wait);
    }
}
