//! [`Alarm`]: the one timer of a worker, set to the machine's `poll_timeout`.
//!
//! It is set again only when the deadline came nearer: a deadline that moved away costs nothing,
//! and the early tick that follows is harmless.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use smol::Timer;
use tollgate_core::base::Instant;
use tollgate_core::gateway::io::{Input, Machine};

use crate::worker::Worker;

/// A tick comes at least this often while anything is timed; no timer reaches further.
const REACH: Duration = Duration::from_secs(3600);

/// When the machine wants to be told the time.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// What the timer is set to.
    due: Cell<Option<Instant>>,
    /// `due` came nearer, and the timer does not know yet.
    moved: Cell<bool>,
    stopped: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Alarm {
    /// Makes sure that a tick comes at `at` or before.
    pub(crate) fn set(&self, at: Instant) {
        if self.due.get().is_none_or(|due| at < due) {
            self.due.set(Some(at));
            self.moved.set(true);
            self.wake();
        }
    }

    /// Ends [`run`].
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Rings until the alarm is stopped.
pub(crate) async fn run<M: Machine>(worker: Rc<Worker<M>>) {
    let alarm = &worker.alarm;
    let mut timer = Timer::never();
    while !alarm.stopped.get() {
        let rang = poll_fn(|context| {
            if alarm.stopped.get() {
                return Poll::Ready(false);
            }
            if alarm.moved.take() {
                let now = worker.now().mono;
                let wait = alarm.due.get().map_or(REACH, |due| due.since(now));
                timer.set_after(wait.min(REACH));
            }
            if alarm.due.get().is_some() && Pin::new(&mut timer).poll(context).is_ready() {
                return Poll::Ready(true);
            }
            alarm.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        if rang {
            alarm.waker.take();
            alarm.due.set(None);
            worker.turn(Input::Tick);
        }
    }
}
