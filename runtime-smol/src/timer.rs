//! [`Alarm`]: the one timer of a worker.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use smol::Timer;

/// No timer reaches further: an early tick is harmless.
const REACH: Duration = Duration::from_secs(3600);

/// Rings when the machine wants to be told the time.
#[derive(Debug)]
pub(crate) struct Alarm(RefCell<Timer>);

impl Alarm {
    pub(crate) fn new() -> Alarm {
        Alarm(RefCell::new(Timer::after(REACH)))
    }

    /// Makes it ring after this time, and not when it would have.
    pub(crate) fn set(&self, wait: Duration) {
        self.0.borrow_mut().set_after(wait.min(REACH));
    }

    /// Waits until it rings.
    pub(crate) async fn rung(&self) {
        poll_fn(|context| Pin::new(&mut *self.0.borrow_mut()).poll(context)).await;
        self.set(REACH);
    }
}
