//! [`Pool`]: a bounded number of threads that run jobs in the order they came. A thread is started
//! when a job would wait and the bound allows it, and stays.
//!
//! The queue has no bound of its own: the shards have credits for what they ask of a host
//! (`Limits::shard.host_jobs_max` each), and those bound it.

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs.
pub(super) struct Pool {
    name: &'static str,
    threads_max: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A job came.
    came: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job.
    idle: usize,
    threads: usize,
}

impl Pool {
    /// A pool without threads; they will be called `name`.
    pub(super) fn new(name: &'static str, threads_max: usize) -> Pool {
        Pool {
            name,
            threads_max: threads_max.max(1),
            shared: Arc::default(),
        }
    }

    /// Runs `job`, some time later and on another thread; on this one only if the system has no
    /// thread to give at all.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(job);
        if queue.idle >= queue.jobs.len() {
            self.shared.came.notify_one();
            return;
        }
        if queue.threads >= self.threads_max {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let run = move || shared.run();
        if thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(run)
            .is_ok()
        {
            queue.threads += 1;
        } else if queue.threads == 0 {
            let job = queue.jobs.pop_back();
            drop(queue);
            if let Some(job) = job {
                job();
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.shared.lock();
        f.debug_struct("Pool")
            .field("name", &self.name)
            .field("threads", &queue.threads)
            .field("jobs", &queue.jobs.len())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that is done under the lock can panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let job = self.next();
            job();
        }
    }

    fn next(&self) -> Job {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return job;
            }
            queue.idle += 1;
            queue = self
                .came
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_job_runs_and_threads_are_bounded() {
        let pool = Pool::new("test", 3);
        let (sender, receiver) = mpsc::channel();
        for number in 0..100 {
            let sender = sender.clone();
            pool.submit(Box::new(move || sender.send(number).unwrap_or_default()));
        }
        let mut numbers: Vec<i32> = receiver.iter().take(100).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        assert!(pool.shared.lock().threads <= 3);
    }

    #[test]
    fn a_job_that_blocks_holds_up_no_other() {
        let pool = Pool::new("test", 2);
        let (release, blocked) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        pool.submit(Box::new(move || while blocked.recv().is_ok() {}));
        pool.submit(Box::new(move || sender.send(()).unwrap_or_default()));
        assert!(receiver.recv().is_ok());
        drop(release);
    }
}
