//! [`Outbox`]: what a shard wants done and has not said yet.

use std::collections::VecDeque;

use super::io::Output;

/// Outputs in the order they came up.
#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Output>);

impl Outbox {
    pub(super) fn push(&mut self, output: Output) {
        self.0.push_back(output);
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        self.0.pop_front()
    }
}
