//! [`Pool`]: a few threads that run jobs in the order they came.
//!
//! All threads are started with the pool. A thread that a worker started would inherit the
//! processor that the worker is pinned to, and be in its way there.
//!
//! The queue has no bound of its own: the shards have credits for what they ask of a host
//! (`Limits::shard.host_jobs_max` each), and those bound it.

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs. They end with it, once the queue is empty.
pub(super) struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A job came, or none will come any more.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Pool {
    /// Starts `threads` threads called `name`.
    ///
    /// # Errors
    /// The system refuses one.
    pub(super) fn start(name: &str, threads: usize) -> Result<Pool, String> {
        let pool = Pool(Arc::default());
        for _ in 0..threads {
            let shared = Arc::clone(&pool.0);
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || shared.run())
                .map_err(|error| format!("cannot start a thread: {error}"))?;
        }
        Ok(pool)
    }

    /// Runs `job` on one of the threads.
    pub(super) fn submit(&self, job: Job) {
        self.0.lock().jobs.push_back(job);
        self.0.changed.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jobs = self.0.lock().jobs.len();
        f.debug_struct("Pool")
            .field("jobs", &jobs)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done under the lock can panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.is_closed {
                return None;
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::start("test", threads).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_job_runs_also_when_the_pool_is_given_up() {
        let pool = pool(3);
        let (sender, receiver) = mpsc::channel();
        for number in 0..100 {
            let sender = sender.clone();
            pool.submit(Box::new(move || sender.send(number).unwrap_or_default()));
        }
        drop((pool, sender));
        let mut numbers: Vec<i32> = receiver.iter().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_job_that_blocks_holds_up_no_other() {
        let pool = pool(2);
        let (release, blocked) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        pool.submit(Box::new(move || while blocked.recv().is_ok() {}));
        pool.submit(Box::new(move || sender.send(()).unwrap_or_default()));
        assert!(receiver.recv().is_ok());
        drop(release);
    }
}
