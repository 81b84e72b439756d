//! Seeds of the real shards: every check holds, and a seed reproduces its run to the byte.

use tollgate_sim::faults::{Fault, FaultSet};
use tollgate_sim::scenario::{Options, run};

/// Enough to meet every kind of fault many times, and few enough for every `cargo test`.
const SEEDS: u64 = 300;

#[test]
fn every_check_holds_in_every_seed() {
    let mut exchanges = 0;
    let mut complete = 0;
    let mut injected = vec![0u64; Fault::ALL.len()];
    let mut failed = Vec::new();
    for seed in 0..SEEDS {
        let report = run(&Options::new(seed));
        exchanges += report.exchanges;
        complete += report.complete;
        for (total, count) in injected.iter_mut().zip(&report.injected) {
            *total += count;
        }
        if let Some(violation) = report.violation {
            failed.push(format!(
                "{}: {}\n  replay: cargo run -p tollgate-sim -- --seed {seed} --trace",
                violation.check, violation.message
            ));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {SEEDS} seeds failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert!(
        complete > SEEDS && exchanges > complete,
        "{complete} of {exchanges}"
    );
    for (fault, count) in Fault::ALL.iter().zip(&injected) {
        assert!(*count > 0, "{} never struck", fault.name());
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let mut hashes = Vec::new();
    for seed in 1000..1030 {
        let options = Options::new(seed);
        let (one, other) = (run(&options), run(&options));
        assert_eq!(one.trace_hash, other.trace_hash, "seed {seed}");
        assert_eq!(
            (one.events, one.exchanges),
            (other.events, other.exchanges),
            "seed {seed}"
        );
        // Keeping the lines of the trace changes nothing.
        let kept = run(&Options {
            keeps_trace: true,
            ..options
        });
        assert_eq!(one.trace_hash, kept.trace_hash, "seed {seed}");
        assert!(!kept.trace.is_empty());
        hashes.push(one.trace_hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert!(hashes.len() > 25, "seeds do not differ");
}

#[test]
fn without_faults_every_request_is_answered() {
    for seed in 2000..2050 {
        let report = run(&Options {
            faults: FaultSet::NONE,
            ..Options::new(seed)
        });
        assert_eq!(report.violation, None, "seed {seed}");
        assert_eq!(report.exchanges, report.complete, "seed {seed}");
    }
}
