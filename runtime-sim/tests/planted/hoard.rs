//! [`Hoard`]: writes to clients that are said to be done at once, and kept until they are.

use std::collections::{BTreeMap, VecDeque};

use tollgate_core::base::{ConnId, Now, WriteBatch};
use tollgate_core::gateway::Shard;
use tollgate_core::gateway::io::{Completion, Input, Op, Output};

use crate::bugs::is_upstream;

/// What clients have not taken.
#[derive(Debug, Default)]
pub(crate) struct Hoard {
    /// Of connections on which a write is in flight: what comes behind it.
    behind: BTreeMap<ConnId, VecDeque<Op>>,
}

impl Hoard {
    /// Takes an operation of the shard's; gives what is to be done now.
    pub(crate) fn take(&mut self, op: Op, shard: &mut Shard, now: Now) -> Option<Output> {
        match op {
            Op::Write { conn, batch } if !is_upstream(conn) => {
                let mut done = WriteBatch::from_bytes(batch.slices().concat().into());
                done.advance(done.len());
                let completion = Completion::Write {
                    conn,
                    batch: done,
                    result: Ok(()),
                };
                shard.handle(now, Input::Complete(completion));
                self.queue(conn, Op::Write { conn, batch })
            }
            Op::Shutdown { conn } if self.behind.contains_key(&conn) => {
                self.queue(conn, Op::Shutdown { conn })
            }
            op => Some(Output::Op(op)),
        }
    }

    fn queue(&mut self, conn: ConnId, op: Op) -> Option<Output> {
        if let Some(behind) = self.behind.get_mut(&conn) {
            behind.push_back(op);
            return None;
        }
        self.behind.insert(conn, VecDeque::new());
        Some(Output::Op(op))
    }

    /// Whether the shard is to hear of a completion.
    pub(crate) fn heard(&mut self, completion: &Completion, extra: &mut Vec<Output>) -> bool {
        let Completion::Write { conn, result, .. } = completion else {
            return true;
        };
        let Some(behind) = self.behind.get_mut(conn) else {
            return true;
        };
        match behind.pop_front().filter(|_| result.is_ok()) {
            Some(op) => {
                if let Op::Shutdown { .. } = op {
                    self.behind.remove(conn);
                }
                extra.push(Output::Op(op));
            }
            None => {
                self.behind.remove(conn);
            }
        }
        false
    }
}
