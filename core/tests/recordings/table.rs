//! The table: recordings by way, what passed, what was refused and why, what failed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Way;
use super::corpus::Recording;

/// What came of one recording on one way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    /// Passed, though by a request that was made by rule.
    PassedMade,
    /// The target cannot express what is asked.
    Refused(String),
    Failed(String),
}

/// Refusals that are right, by words that are in them: what the other API has no place for, and
/// what would change the answer if it were left out.
const RIGHT: [&str; 13] = [
    "is one that the target does not have",
    "a Messages model has no tool of the type openrouter:",
    "Messages has no place for it",
    "the target takes no documents by address",
    "the target takes pictures and video by address or as data only",
    "the target would answer without the web search asked for",
    "a Messages model gives one answer",
    "the file was uploaded to another provider",
    "the target cannot cite documents",
    "only Anthropic calls the tools of MCP servers by itself",
    "a Chat endpoint has no place for a block of the type container_upload",
    // A recording of the vendor's own 400.
    "at least one message with content is required",
    "a Messages model reads PDF and text",
];

#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(&'static str, Vec<(String, Outcome)>)>,
}

impl Table {
    /// Sends every recording on its way, on as many threads as there are cores.
    pub(crate) fn run(&mut self, name: &'static str, all: &[Recording], way: Way) {
        catch_quietly();
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut own = Vec::new();
            while let Some(recording) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                own.push((recording.id.clone(), guarded(way, recording)));
            }
            own
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut outcomes = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            let done = workers.into_iter().map(|it| it.join().unwrap());
            done.flatten().collect::<Vec<_>>()
        });
        outcomes.sort_by(|one, other| one.0.cmp(&other.0));
        self.rows.push((name, outcomes));
    }

    /// Shows the table, also where the test passes: libtest keeps back only what is printed by
    /// macros.
    pub(crate) fn print(&self) {
        let mut out = String::from("\n");
        for (name, outcomes) in &self.rows {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for (_, outcome) in outcomes {
                *counts.entry(outcome.name()).or_default() += 1;
            }
            let count = outcomes.len();
            let _ = writeln!(out, "| {name} | {count} recordings | {counts:?} |");
        }
        for (name, outcomes) in &self.rows {
            for (id, outcome) in outcomes {
                match outcome {
                    Outcome::Passed | Outcome::PassedMade => {}
                    Outcome::Refused(why) => {
                        let _ = writeln!(out, "{name}: {id}: refused: {why}");
                    }
                    Outcome::Failed(what) => {
                        let _ = writeln!(out, "{name}: {id}: FAILED: {what}");
                    }
                }
            }
        }
        // Nobody may be reading.
        let _ = std::io::stderr().lock().write_all(out.as_bytes());
    }

    /// Fails if a recording did, if one was refused for no good reason, or if one is missing.
    pub(crate) fn judge(&self, count: usize) {
        let mut bad = Vec::new();
        for (name, outcomes) in &self.rows {
            assert_eq!(outcomes.len(), count, "{name}");
            for (id, outcome) in outcomes {
                let is_bad = match outcome {
                    Outcome::Failed(_) => true,
                    Outcome::Refused(why) => !RIGHT.iter().any(|right| why.contains(right)),
                    Outcome::Passed | Outcome::PassedMade => false,
                };
                if is_bad {
                    bad.push(format!("{name}: {id}"));
                }
            }
        }
        assert!(bad.is_empty(), "{} failed: {bad:#?}", bad.len());
    }
}

impl Outcome {
    const fn name(&self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::PassedMade => "passed, request made by rule",
            Outcome::Refused(_) => "refused",
            Outcome::Failed(_) => "failed",
        }
    }
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static IS_GUARDED: RefCell<bool> = const { RefCell::new(false) };
}

/// A panic within a guarded check is noted, not printed.
fn catch_quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.with(|it| *it.borrow()) {
                before(info);
                return;
            }
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let message = text
                .or_else(|| payload.downcast_ref().copied())
                .unwrap_or("a panic");
            let at = info.location().map(ToString::to_string).unwrap_or_default();
            PANIC.with(|it| *it.borrow_mut() = format!("{message} (at {at})"));
        }));
    });
}

fn guarded(way: Way, recording: &Recording) -> Outcome {
    IS_GUARDED.with(|it| *it.borrow_mut() = true);
    let outcome = catch_unwind(AssertUnwindSafe(|| way(recording)));
    IS_GUARDED.with(|it| *it.borrow_mut() = false);
    outcome.unwrap_or_else(|_| {
        let mut what = PANIC.with(|it| it.take());
        if let Some((at, _)) = what.char_indices().nth(1200) {
            what.truncate(at);
        }
        Outcome::Failed(what)
    })
}
