//! What is going to happen: events in the order of their time, and of their making where times are
//! equal, so that a run has one order only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tollgate_core::base::Instant;

/// Events that wait for their time.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    made: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Instant,
    number: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(crate) const fn new() -> Queue<E> {
        Queue {
            heap: BinaryHeap::new(),
            made: 0,
        }
    }

    pub(crate) fn push(&mut self, at: Instant, event: E) {
        self.made += 1;
        self.heap.push(Reverse(Entry {
            at,
            number: self.made,
            event,
        }));
    }

    pub(crate) fn pop(&mut self) -> Option<(Instant, E)> {
        self.heap
            .pop()
            .map(|Reverse(entry)| (entry.at, entry.event))
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Entry<E>) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Entry<E>) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Entry<E>) -> core::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
