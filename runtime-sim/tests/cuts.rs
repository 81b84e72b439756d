//! Answers that end at every border of an event, or fall silent there, or end at seeded bytes:
//! none is shown as whole that is not, none is lost that is.

use tollgate_core::base::{Rng, Seed};
use tollgate_sim::faults::{Fault, FaultSet};
use tollgate_sim::scenario::{Cut, Options, Report, run};

/// More borders than most answers have.
const EVENTS: usize = 24;
const BYTES: usize = 64;

fn run_cut(cut: Cut, seed: u64) -> Report {
    let options = Options {
        faults: FaultSet::NONE,
        // No run is held to be calm.
        certain: FaultSet::NONE.with(Fault::TruncatedAnywhere),
        clients: 0b1_1111,
        cut: Some(cut),
        ..Options::new(seed)
    };
    let report = run(&options);
    assert_eq!(report.violation, None, "seed {seed}, {cut:?}");
    report
}

#[test]
fn at_every_border_of_an_event() {
    for cut in [Cut::Events, Cut::Silence] {
        let complete = |events| {
            let seeds = [7, 8].into_iter();
            let reports = seeds.map(|seed| run_cut(cut(events), seed));
            reports.map(|report| report.complete).sum::<u64>()
        };
        let completes: Vec<u64> = (0..EVENTS).map(complete).collect();
        assert!(completes.first() < completes.last(), "{completes:?}");
    }
}

#[test]
fn at_seeded_bytes() {
    let mut rng = Rng::new(Seed(64));
    for _ in 0..BYTES {
        let bytes = rng.below(4000) as usize;
        run_cut(Cut::Bytes(bytes), rng.below(1000));
    }
}
