//! Takes away what a failure does not need: clients, their later requests, faults.

use crate::faults::{Fault, FaultSet};
use crate::scenario::{Options, Report};

/// The least of a run that `run` still finds broken by the same check, as `report` tells of it.
pub fn shrink(options: &Options, report: &Report, run: impl Fn(&Options) -> Report) -> Options {
    let check = report.violation.as_ref().map(|violation| violation.check);
    let fails =
        |options: &Options| run(options).violation.map(|violation| violation.check) == check;
    let mut best = Options {
        keeps_trace: false,
        faults: report.enabled,
        // What is certain is among those, and may turn out not to be needed.
        certain: FaultSet::NONE,
        ..*options
    };
    best.clients &= u64::MAX
        .checked_shr(64 - report.clients as u32)
        .unwrap_or(0);
    loop {
        let before = (best.clients, best.faults, best.asks_max);
        // Halves of the clients first, for most of them have nothing to do with it.
        for width in [32, 16, 8, 4, 2, 1] {
            for at in (0..64).step_by(width) {
                let some = (u64::MAX >> (64 - width)) << at;
                let fewer = Options {
                    clients: best.clients & !some,
                    ..best
                };
                if fewer.clients != best.clients && fails(&fewer) {
                    best = fewer;
                }
            }
        }
        for &fault in Fault::ALL {
            let fewer = Options {
                faults: best.faults.without(fault),
                ..best
            };
            if best.faults.contains(fault) && fails(&fewer) {
                best = fewer;
            }
        }
        for asks_max in 1..best.asks_max.min(6) {
            let fewer = Options { asks_max, ..best };
            if fails(&fewer) {
                best = fewer;
                break;
            }
        }
        if (best.clients, best.faults, best.asks_max) == before {
            return best;
        }
    }
}

/// The command that runs this again.
pub fn replay(options: &Options) -> String {
    let mut command = format!(
        "cargo run -p tollgate-sim --release -- --seed {} --trace",
        options.seed
    );
    if options.clients != u64::MAX {
        command += &format!(" --clients {}", options.clients);
    }
    if options.asks_max != u64::MAX {
        command += &format!(" --requests {}", options.asks_max);
    }
    let names = options.faults.names().join(",");
    if Fault::ALL.iter().any(|&it| !options.faults.contains(it)) {
        command += &format!(" --only '{names}'");
    }
    if options.certain != FaultSet::NONE {
        command += &format!(" --certain '{}'", options.certain.names().join(","));
    }
    command
}
