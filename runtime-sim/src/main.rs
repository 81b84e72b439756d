//! Runs seeds in parallel, reports what was simulated, and shrinks what fails:
//! `cargo run -p tollgate-sim --release -- --seeds 100000`.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tollgate_sim::faults::{Fault, FaultSet};
use tollgate_sim::scenario::{Options, Report, run};
use tollgate_sim::shrink::{replay, shrink};

const USAGE: &str = "\
usage: tollgate-sim [--seeds COUNT] [--start SEED] [--threads COUNT] [--failures COUNT] [PART]
       tollgate-sim --seed SEED [--trace] [--shrink] [PART]
PART:  [--clients BITS] [--requests COUNT] [--only FAULT,… | --without FAULT,…]
       [--certain FAULT,…]
The faults include the settings that a seed switches on.";

/// The end of a shrunk trace that is shown, and the start of each line.
const TRACE_LINES_MAX: usize = 80;
const TRACE_CHARS_MAX: usize = 160;
/// What the median of so many seeds or more holds at least: exchanges, kinds of fault, shards. Less
/// would prove little.
const MEDIANS_MIN: [u64; 3] = [30, 3, 2];
const MEDIANS_SEEDS_MIN: u64 = 1000;
/// How often a log is told how far the runs are.
const LOG_PAUSE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
struct Arguments {
    start: u64,
    seeds: u64,
    threads: usize,
    failures_max: usize,
    /// Of every run; its seed is that of a single one.
    options: Options,
    is_single: bool,
    shrinks: bool,
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A failed assertion of core ends the process: which seed it was must be seen before.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        eprintln!(
            "\nseed {} panicked; replay: {}",
            SEED.get(),
            replay(&Options::new(SEED.get()))
        );
    }));
    if arguments.is_single {
        one(&arguments.options, arguments.shrinks)
    } else {
        many(&arguments)
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let mut arguments = Arguments {
        start: 0,
        seeds: 1000,
        threads,
        failures_max: 5,
        options: Options::new(0),
        is_single: false,
        shrinks: false,
    };
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().unwrap_or_default();
            value
                .parse::<u64>()
                .map_err(|_| format!("{word} needs a number"))
        };
        match word.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--start" => arguments.start = number()?,
            "--threads" => arguments.threads = number()?.clamp(1, 256) as usize,
            "--failures" => arguments.failures_max = number()?.max(1) as usize,
            "--seed" => {
                arguments.options.seed = number()?;
                arguments.is_single = true;
            }
            "--clients" => arguments.options.clients = number()?,
            "--requests" => arguments.options.asks_max = number()?.max(1),
            "--trace" => arguments.options.keeps_trace = true,
            "--shrink" => arguments.shrinks = true,
            "--only" => arguments.options.faults = set(&words.next().unwrap_or_default())?,
            "--certain" => {
                arguments.options.certain = set(&words.next().unwrap_or_default())?;
            }
            "--without" => {
                let without = set(&words.next().unwrap_or_default())?;
                let left = Fault::ALL.iter().filter(|&&fault| !without.contains(fault));
                arguments.options.faults = left.fold(FaultSet::NONE, |all, &fault| all.with(fault));
            }
            _ => return Err(format!("what is {word:?}?")),
        }
    }
    Ok(arguments)
}

/// Faults by their names.
fn set(names: &str) -> Result<FaultSet, String> {
    let mut set = FaultSet::NONE;
    for name in names.split(',').filter(|name| !name.is_empty()) {
        let fault = Fault::ALL.iter().find(|fault| fault.name() == name);
        set = set.with(*fault.ok_or_else(|| format!("there is no fault {name:?}"))?);
    }
    Ok(set)
}

fn one(options: &Options, shrinks: bool) -> ExitCode {
    SEED.set(options.seed);
    let report = run(options);
    for line in &report.trace {
        println!("{line}");
    }
    println!(
        "seed {}: {} events, {:?} of virtual time, {} exchanges ({} complete), trace {:016x}",
        options.seed,
        report.events,
        report.time,
        report.exchanges,
        report.complete,
        report.trace_hash
    );
    println!("faults: {}", report.enabled.names().join(" "));
    let Some(violation) = &report.violation else {
        return ExitCode::SUCCESS;
    };
    println!("VIOLATION {}: {}", violation.check, violation.message);
    if shrinks {
        shrunk(options, &report);
    }
    ExitCode::FAILURE
}

/// Tells the least of a run that still fails, and how it goes.
fn shrunk(options: &Options, report: &Report) {
    let least = shrink(options, report, run);
    println!("  shrunk: {}", replay(&least));
    let report = run(&Options {
        keeps_trace: true,
        ..least
    });
    let skipped = report.trace.len().saturating_sub(TRACE_LINES_MAX);
    if skipped > 0 {
        println!("    … {skipped} lines before");
    }
    for line in report.trace.iter().skip(skipped) {
        let end = line.char_indices().nth(TRACE_CHARS_MAX);
        println!("    {}", end.map_or(line.as_str(), |(end, _)| &line[..end]));
    }
}

/// What all runs came to.
#[derive(Default)]
struct Totals {
    seeds: u64,
    exchanges: u64,
    complete: u64,
    events: u64,
    time: Duration,
    injected: Vec<u64>,
    /// Of each run: its exchanges, the kinds of fault that struck, its shards.
    sizes: [Vec<u64>; 3],
    failed: Vec<(Options, Report)>,
}

impl Totals {
    fn add(&mut self, options: Options, report: Report) {
        self.seeds += 1;
        self.exchanges += report.exchanges;
        self.complete += report.complete;
        self.events += report.events;
        self.time += report.time;
        self.injected.resize(Fault::ALL.len(), 0);
        for (total, count) in self.injected.iter_mut().zip(&report.injected) {
            *total += count;
        }
        // Settings are no faults, though they are drawn like them.
        let kinds = Fault::ALL.iter().zip(&report.injected);
        let kinds = kinds.filter(|(fault, count)| **count > 0 && !fault.is_setting());
        let kinds = kinds.count() as u64;
        let sizes = [report.exchanges, kinds, report.shards as u64];
        for (all, size) in self.sizes.iter_mut().zip(sizes) {
            all.push(size);
        }
        if report.violation.is_some() {
            self.failed.push((options, report));
        }
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(arguments.start);
    let end = arguments.start.saturating_add(arguments.seeds);
    let stops = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    let (over, is_over) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            let over = over.clone();
            let (next, stops, totals) = (&next, &stops, &totals);
            scope.spawn(move || {
                while !stops.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    SEED.set(seed);
                    let options = Options {
                        seed,
                        ..arguments.options
                    };
                    let report = run(&options);
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    totals.add(options, report);
                    if totals.failed.len() >= arguments.failures_max {
                        stops.store(true, Ordering::Relaxed);
                    }
                }
                drop(over);
            });
        }
        drop(over);
        let is_seen = std::io::stderr().is_terminal();
        let pause = if is_seen {
            Duration::from_millis(200)
        } else {
            LOG_PAUSE
        };
        while is_over.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
            let totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            progress(&totals, arguments.seeds, started, is_seen);
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(&totals, started, arguments.threads)
}

/// A bar where somebody looks, a line in a log.
fn progress(totals: &Totals, seeds: u64, started: Instant, is_seen: bool) {
    let rate = totals.seeds as f64 / started.elapsed().as_secs_f64();
    let failed = totals.failed.len();
    let line = format!(
        "{} of {seeds} seeds, {rate:.0}/s, {failed} failed",
        totals.seeds
    );
    if !is_seen {
        eprintln!("{line}");
        return;
    }
    let done = totals.seeds as f64 / seeds.max(1) as f64;
    let filled = ((done * 30.0) as usize).min(30);
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(30 - filled));
    eprint!("\r{bar} {line} ");
    // A progress line that cannot be shown is not missed.
    let _ = std::io::stderr().flush();
}

/// Tells what was injected, and what was switched on.
fn list(totals: &Totals) {
    let all = || Fault::ALL.iter().zip(&totals.injected);
    let faults = all().filter(|(fault, _)| !fault.is_setting());
    let injected = faults.clone().map(|(_, count)| *count).sum::<u64>();
    println!("{injected} faults injected:");
    for (fault, count) in faults {
        println!("  {:<20} {count:>10}", fault.name());
    }
    println!("settings, and seeds that had them:");
    for (setting, count) in all().filter(|(fault, _)| fault.is_setting()) {
        println!("  {:<20} {count:>10}", setting.name());
    }
}

/// Whether runs whose medians these are prove too little.
fn is_too_small(medians: [u64; 3]) -> bool {
    medians
        .iter()
        .zip(MEDIANS_MIN)
        .any(|(&median, least)| median < least)
}

/// The middle one.
fn median(sizes: &[u64]) -> u64 {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn report(totals: &Totals, started: Instant, threads: usize) -> ExitCode {
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "\n{} seeds in {seconds:.1} s ({:.0}/s): {} exchanges, {} of them complete, {} events, \
         {:.1} days of virtual time",
        totals.seeds,
        totals.seeds as f64 / seconds,
        totals.exchanges,
        totals.complete,
        totals.events,
        totals.time.as_secs_f64() / 86_400.0
    );
    let medians = totals.sizes.each_ref().map(|sizes| median(sizes));
    let [exchanges, kinds, shards] = medians;
    println!(
        "the median seed: {exchanges} exchanges, {kinds} kinds of fault, {shards} shards; \
         {:.0} exchanges/s on each of {threads} threads",
        totals.exchanges as f64 / seconds / threads as f64
    );
    list(totals);
    for (options, report) in &totals.failed {
        let Some(violation) = &report.violation else {
            continue;
        };
        println!(
            "\nFAILED seed {}: {}: {}",
            options.seed, violation.check, violation.message
        );
        println!("  replay: {}", replay(options));
        shrunk(options, report);
    }
    let is_small = totals.seeds >= MEDIANS_SEEDS_MIN && is_too_small(medians);
    if is_small {
        println!(
            "\nFAILED: the median seed holds too little: {exchanges} exchanges, {kinds} kinds of \
             fault, {shards} shards; at least {MEDIANS_MIN:?} must it hold"
        );
    }
    if totals.failed.is_empty() && is_small {
        return ExitCode::FAILURE;
    }
    if totals.failed.is_empty() {
        println!(
            "checks: affinity, answers, attempts, breakers, continuations, contract, deadlines, \
             fairness, gone, keys, leaks, limits, liveness, memory, messages, pool, records, \
             rescues, sharing, silence, tokens, upstream requests, usage: all held"
        );
        return ExitCode::SUCCESS;
    }
    println!("\n{} of {} seeds failed", totals.failed.len(), totals.seeds);
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_must_hold_enough_in_the_middle() {
        assert_eq!(median(&[9, 1, 5]), 5);
        assert!(!is_too_small([30, 3, 2]));
        for medians in [[29, 9, 9], [99, 2, 9], [99, 9, 1]] {
            assert!(is_too_small(medians), "{medians:?}");
        }
    }
}
