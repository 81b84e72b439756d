//! [`Alarm`]: the one timer of a worker.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use monoio::time::{Instant, Sleep, sleep};

/// No timer reaches further: an early tick is harmless.
const REACH: Duration = Duration::from_secs(3600);

/// Rings when the machine wants to be told the time.
#[derive(Debug)]
pub(crate) struct Alarm(RefCell<Pin<Box<Sleep>>>);

impl Alarm {
    pub(crate) fn new() -> Alarm {
        Alarm(RefCell::new(Box::pin(sleep(REACH))))
    }

    /// Makes it ring after this time, and not when it would have.
    pub(crate) fn set(&self, wait: Duration) {
        let at = Instant::now() + wait.min(REACH);
        self.0.borrow_mut().as_mut().reset(at);
    }

    /// Waits until it rings.
    pub(crate) async fn rung(&self) {
        poll_fn(|context| self.0.borrow_mut().as_mut().poll(context)).await;
        self.set(REACH);
    }
}
