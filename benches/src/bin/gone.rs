//! What happens when clients go, and when the gateway is told to.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use tollgate_benches::gone::{Drained, PHASES, drain, leave};
use tollgate_benches::loopback::{ServerKind, ServerSpec};
use tollgate_benches::report::{Format, Table, figure};
use tollgate_benches::{Histogram, machine, program};

const USAGE: &str = "\
Usage: gone [OPTIONS]
Measures how soon after its client an upstream call ends, in each phase of a request, and what
becomes of open streams when the gateway is told to end (SIGTERM). On each runtime.

  --tollgate PATH      the program to measure (target/release/tollgate)
  --server NAME        measure only this one; may be repeated
  --rounds N           times fifty clients in each phase (10)
  --streams N          open streams for the end, 0: none (500)
  --workers N          the gateway's threads for the end (2)
  --markdown           print Markdown tables
";
/// What a call may take to end.
const LEAVE_TIME_MAX: Duration = Duration::from_millis(100);

struct Options {
    tollgate: PathBuf,
    servers: Vec<String>,
    rounds: usize,
    streams: usize,
    workers: usize,
    format: Format,
}

fn main() -> ExitCode {
    program::main("gone", run)
}

/// Whether all is as it should be.
fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let Some(options) = options()? else {
        print!("{USAGE}");
        return Ok(true);
    };
    machine::raise_open_files(4 * options.streams as u64 + 1000)?;
    let mut servers = ServerSpec::chosen(Path::new("nginx"), &options.tollgate, &options.servers);
    servers.retain(|spec| matches!(spec.kind, ServerKind::Tollgate { .. }));
    let left = leaving(&servers, &options);
    let ended = options.streams == 0 || ending(&servers, &options);
    Ok(left && ended)
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        tollgate: "target/release/tollgate".into(),
        servers: Vec::new(),
        rounds: 10,
        streams: 500,
        workers: 2,
        format: Format::Text,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("tollgate") => options.tollgate = parser.value()?.into(),
            Long("server") => options.servers.push(parser.value()?.string()?),
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("streams") => options.streams = parser.value()?.parse()?,
            Long("workers") => options.workers = parser.value()?.parse()?,
            Long("markdown") => options.format = Format::Markdown,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}

/// Prints how soon calls end; says whether soon enough.
fn leaving(servers: &[ServerSpec], options: &Options) -> bool {
    let names = servers.iter().map(|spec| spec.name);
    let columns: Vec<&str> = ["phase"].into_iter().chain(names).collect();
    let mut table = Table::new("Client gone to upstream closed, ms: p50, p99", columns);
    let mut is_well = true;
    for phase in PHASES {
        let mut cells = vec![phase.name().to_owned()];
        for spec in servers {
            match leave(spec, phase, options.rounds) {
                Ok(times) => {
                    is_well &= times.quantile(0.99) < LEAVE_TIME_MAX;
                    cells.push(quantiles(&times));
                }
                Err(error) => {
                    eprintln!("  {}, {}: {error}", spec.name, phase.name());
                    is_well = false;
                    cells.push("failed".to_owned());
                }
            }
        }
        table.row(cells);
    }
    println!("{}", table.render(options.format));
    is_well
}

fn quantiles(times: &Histogram) -> String {
    let [p50, p99] = [0.5, 0.99].map(|share| milliseconds(times.quantile(share)));
    format!("{p50}, {p99}")
}

fn milliseconds(time: Duration) -> String {
    figure(time.as_secs_f64() * 1e3)
}

/// Prints what becomes of streams and connections; says whether all is well.
fn ending(servers: &[ServerSpec], options: &Options) -> bool {
    let title = format!("SIGTERM during {} live streams", options.streams);
    let columns = [
        "server",
        "streams that finish",
        "/ready, begun before (after ms)",
        "/ready, new connection",
        "idle closed, ms: p50, p99",
        "ended after, s",
    ];
    let mut table = Table::new(&title, columns);
    let mut is_well = true;
    for spec in servers {
        match drain(spec, options.workers, options.streams) {
            Ok(drained) => {
                is_well &= drained.finished == drained.streams
                    && drained.ready_status == 503
                    && drained.is_success;
                table.row(cells(spec, &drained));
            }
            Err(error) => {
                eprintln!("  {}: {error}", spec.name);
                is_well = false;
            }
        }
    }
    println!("{}", table.render(options.format));
    is_well
}

fn cells(spec: &ServerSpec, drained: &Drained) -> [String; 6] {
    let anew = drained.ready_anew;
    [
        spec.name.to_owned(),
        format!("{} of {}", drained.finished, drained.streams),
        format!(
            "{} ({})",
            drained.ready_status,
            milliseconds(drained.ready_time)
        ),
        anew.map_or("refused".to_owned(), |status| status.to_string()),
        quantiles(&drained.idle_closed),
        figure(drained.end_time.as_secs_f64()),
    ]
}
