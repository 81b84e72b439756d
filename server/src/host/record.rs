//! [`Recorder`]: the access log. Shards put records into a bounded queue and never wait for it; a
//! thread writes them to stderr. What finds the queue full is dropped, and the log says how much
//! that was. What is told to people while the gateway serves goes the same way, so that nobody else
//! waits for a stderr that takes nothing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use tollgate_core::base::ShardId;
use tollgate_core::config::AccessLog;
use tollgate_core::record::Record;

use super::line;

/// Records that wait to be written. At less than a KiB each, a few MiB.
const QUEUE_MAX: usize = 8192;
/// Text that is gathered before it is written.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// How long the writer rests after it has emptied the queue. Meanwhile records gather, and a shard
/// that adds one need not wake anybody, which would cost it more than the record itself.
const REST: Duration = Duration::from_millis(5);
/// How long the end of the process waits for a stderr that takes nothing.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Writes the access log.
#[derive(Debug)]
pub(super) struct Recorder {
    queue: SyncSender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dropped: AtomicU64,
    /// Index into [`AccessLog::NAMES`].
    format: AtomicU8,
}

#[derive(Debug)]
enum Entry {
    Record(ShardId, Box<Record>),
    /// A line or more for people.
    Said(String),
    /// Answer when all before is written.
    Flush(SyncSender<()>),
}

impl Recorder {
    /// Starts the writer.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(format: AccessLog) -> Result<Recorder, String> {
        let (queue, entries) = mpsc::sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            dropped: AtomicU64::new(0),
            format: AtomicU8::new(0),
        });
        shared.set_format(format);
        let writer = Writer {
            entries,
            shared: Arc::clone(&shared),
            text: Vec::new(),
        };
        let thread = thread::Builder::new().name("log".to_owned());
        thread
            .spawn(move || writer.run(&mut io::stderr()))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Recorder { queue, shared })
    }

    /// From now on, records are written so.
    pub(super) fn log_as(&self, format: AccessLog) {
        self.shared.set_format(format);
    }

    /// Adds a record, or drops it if the queue is full.
    pub(super) fn record(&self, shard: ShardId, record: Box<Record>) {
        let is_off = self.shared.format() == AccessLog::Off;
        if !is_off && self.queue.try_send(Entry::Record(shard, record)).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds what is told to people, or drops it if the queue is full: then nobody reads.
    pub(super) fn say(&self, text: String) {
        let _ = self.queue.try_send(Entry::Said(text));
    }

    /// Waits until all that was added is written, if stderr takes it.
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let (done, is_done) = mpsc::sync_channel(1);
        let mut entry = Entry::Flush(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(entry) {
            if Instant::now() >= deadline {
                return;
            }
            entry = back;
            thread::sleep(REST);
        }
        let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Shared {
    fn format(&self) -> AccessLog {
        let index = usize::from(self.format.load(Ordering::Relaxed));
        AccessLog::NAMES
            .get(index)
            .map_or(AccessLog::Text, |(_, format)| *format)
    }

    fn set_format(&self, format: AccessLog) {
        let index = AccessLog::NAMES
            .iter()
            .position(|(_, other)| *other == format);
        let index = index.and_then(|index| u8::try_from(index).ok());
        self.format.store(index.unwrap_or(0), Ordering::Relaxed);
    }
}

/// The thread's side.
struct Writer {
    entries: Receiver<Entry>,
    shared: Arc<Shared>,
    text: Vec<u8>,
}

impl Writer {
    /// Writes until the recorder is gone.
    fn run(mut self, out: &mut dyn Write) {
        while let Ok(first) = self.entries.recv() {
            self.take(first, out);
            while let Ok(entry) = self.entries.try_recv() {
                self.take(entry, out);
            }
            self.write(out);
            thread::sleep(REST);
        }
    }

    fn take(&mut self, entry: Entry, out: &mut dyn Write) {
        match entry {
            Entry::Record(shard, record) => {
                let Record::Access(access) = *record;
                line::access(&access, shard, self.shared.format(), &mut self.text);
                if self.text.len() >= WRITE_BYTES_MAX {
                    self.write(out);
                }
            }
            Entry::Said(text) => {
                self.text.extend_from_slice(text.as_bytes());
                self.text.push(b'\n');
            }
            Entry::Flush(done) => {
                self.write(out);
                let _ = done.try_send(());
            }
        }
    }

    fn write(&mut self, out: &mut dyn Write) {
        let dropped = self.shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            line::dropped(dropped, self.shared.format(), &mut self.text);
        }
        // Where stderr is closed there is nobody to tell.
        let _ = out.write_all(&self.text);
        self.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::line::tests::access;

    fn record() -> Box<Record> {
        Box::new(Record::Access(access()))
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told() {
        let (queue, entries) = mpsc::sync_channel(2);
        let shared = Arc::new(Shared {
            dropped: AtomicU64::new(0),
            format: AtomicU8::new(0),
        });
        let recorder = Recorder {
            queue,
            shared: Arc::clone(&shared),
        };
        for _ in 0..5 {
            recorder.record(ShardId(0), record());
        }
        drop(recorder);
        let mut out = Vec::new();
        Writer {
            entries,
            shared,
            text: Vec::new(),
        }
        .run(&mut out);
        let text = String::from_utf8_lossy(&out);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("3 access lines were dropped"), "{text}");
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_logged() {
        let (queue, entries) = mpsc::sync_channel(2);
        let shared = Arc::new(Shared {
            dropped: AtomicU64::new(0),
            format: AtomicU8::new(0),
        });
        let recorder = Recorder { queue, shared };
        recorder.log_as(AccessLog::Off);
        for _ in 0..5 {
            recorder.record(ShardId(0), record());
        }
        assert!(entries.try_recv().is_err());
        assert_eq!(recorder.shared.dropped.load(Ordering::Relaxed), 0);
    }
}
