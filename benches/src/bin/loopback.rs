//! The loopback comparison: nginx and tollgate before the same mock upstream, in one run.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use tollgate_benches::loopback::{Measure, Scenario, Server, ServerSpec, stream_memory};
use tollgate_benches::report::{Format, Table, figure, lowest, median, spread};
use tollgate_benches::{MockUpstream, Plan, machine, program};

const USAGE: &str = "\
Usage: loopback [OPTIONS]
Measures nginx and tollgate (smol, monoio-epoll, monoio-uring) as proxies of a mock upstream.

  --tollgate PATH      the program to measure (target/release/tollgate)
  --nginx PATH         the reference to hold it against (nginx)
  --server NAME        measure only this one; may be repeated
  --scenario TEXT      measure only scenarios whose name contains this; may be repeated
  --seconds S          length of one measurement (0.5)
  --rounds N           rounds over all servers; medians are printed (9)
  --streams N          open streams for the memory figure, 0: none (5000)
  --server-cpu N       the processor of the server (0)
  --load-cpu N         the processor of mock upstream and load generator (1)
  --markdown           print Markdown tables
";

struct Options {
    tollgate: PathBuf,
    nginx: PathBuf,
    servers: Vec<String>,
    scenarios: Vec<String>,
    duration: Duration,
    rounds: usize,
    streams: usize,
    server_cpu: usize,
    load_cpu: usize,
    format: Format,
}

fn main() -> ExitCode {
    program::main("loopback", run)
}

/// Whether everything that was asked for could be measured.
fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let Some(options) = options()? else {
        print!("{USAGE}");
        return Ok(true);
    };
    // Two ends of each stream are in this process, and two in the server's.
    let files = machine::raise_open_files(2 * options.streams as u64 + 1000)?;
    machine::pin_thread(options.load_cpu)?;
    let upstream = MockUpstream::start(
        ([127, 0, 0, 1], 0).into(),
        Plan::default(),
        Some(options.load_cpu),
    )?;
    let mut bench = Bench {
        servers: ServerSpec::chosen(&options.nginx, &options.tollgate, &options.servers),
        scenarios: Scenario::all(),
        streams: options
            .streams
            .min(usize::try_from(files.saturating_sub(200) / 2)?),
        upstream,
        results: BTreeMap::new(),
        memory: BTreeMap::new(),
        complete: true,
        options,
    };
    let scenarios = &bench.options.scenarios;
    bench.scenarios.retain(|scenario| {
        let name = scenario.name();
        scenarios.is_empty() || scenarios.iter().any(|text| name.contains(text))
    });
    for round in 0..bench.options.rounds {
        eprintln!("round {} of {}", round + 1, bench.options.rounds);
        bench.traffic(round);
        bench.open_streams();
    }
    bench.print();
    Ok(bench.complete)
}

fn options() -> Result<Option<Options>, Box<dyn std::error::Error>> {
    let mut options = Options {
        tollgate: "target/release/tollgate".into(),
        nginx: "nginx".into(),
        servers: Vec::new(),
        scenarios: Vec::new(),
        duration: Duration::from_millis(500),
        rounds: 9,
        streams: 5000,
        server_cpu: 0,
        load_cpu: 1,
        format: Format::Text,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("tollgate") => options.tollgate = parser.value()?.into(),
            Long("nginx") => options.nginx = parser.value()?.into(),
            Long("server") => options.servers.push(parser.value()?.string()?),
            Long("scenario") => options.scenarios.push(parser.value()?.string()?),
            Long("seconds") => {
                options.duration = Duration::try_from_secs_f64(parser.value()?.parse()?)?;
            }
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("streams") => options.streams = parser.value()?.parse()?,
            Long("server-cpu") => options.server_cpu = parser.value()?.parse()?,
            Long("load-cpu") => options.load_cpu = parser.value()?.parse()?,
            Long("markdown") => options.format = Format::Markdown,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(Some(options))
}

struct Bench {
    options: Options,
    servers: Vec<ServerSpec>,
    scenarios: Vec<Scenario>,
    streams: usize,
    upstream: MockUpstream,
    /// By scenario and server: one measure per round.
    results: BTreeMap<(String, &'static str), BTreeMap<usize, Measure>>,
    /// KiB per open stream, by server: one figure per round.
    memory: BTreeMap<&'static str, Vec<f64>>,
    complete: bool,
}

/// What the other servers are held against.
const REFERENCE: &str = "nginx";

impl Bench {
    /// Measures all servers once with all traffic. They run side by side, idle but for the one that
    /// is measured, so that figures to be compared are taken within seconds: the speed of a shared
    /// machine drifts. A failure is told and leaves a gap in the tables.
    fn traffic(&mut self, round: usize) {
        let specs = self.servers.clone();
        let mut servers = Vec::new();
        for spec in &specs {
            servers.extend(self.start(spec).map(|server| (spec, server)));
        }
        for scenario in self.scenarios.clone() {
            for (spec, server) in &servers {
                if scenario.translated() && !spec.translates() {
                    continue;
                }
                let measured = scenario.measure(server, &self.upstream, self.options.duration);
                let name = scenario.name();
                if let Some(measure) = self.told(&format!("{}, {name}", spec.name), measured) {
                    let rounds = self.results.entry((name, spec.name)).or_default();
                    rounds.insert(round, measure);
                }
            }
        }
    }

    /// Each server is started anew: memory kept from earlier traffic would hide what a stream
    /// needs.
    fn open_streams(&mut self) {
        for spec in self.servers.clone() {
            if self.streams > 0
                && let Some(server) = self.start(&spec)
            {
                let measured = stream_memory(&server, &self.upstream, self.streams);
                if let Some(kib) = self.told(spec.name, measured) {
                    self.memory.entry(spec.name).or_default().push(kib);
                }
            }
        }
    }

    fn start(&mut self, spec: &ServerSpec) -> Option<Server> {
        let server = Server::start(spec, &self.upstream, self.options.server_cpu);
        self.told(spec.name, server)
    }

    fn told<T>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                eprintln!("  {what}: {error}");
                self.complete = false;
                None
            }
        }
    }

    fn print(&self) {
        let cpu = self.table(
            "CPU time per request, µs (times nginx's)",
            |scenario, server| {
                let cpu = figure(median(
                    &self.values(&scenario.name(), server, |m| m.cpu_us),
                )?);
                Some(match self.times_reference(scenario, server) {
                    Some(times) => format!("{cpu} ({times:.2}×)"),
                    None => cpu,
                })
            },
        );
        let noise = self.table(
            "Of that the lowest round, µs (spread)",
            |scenario, server| {
                let values = self.values(&scenario.name(), server, |m| m.cpu_us);
                let spread = spread(&values)? * 100.0;
                Some(format!("{} ({spread:.0} %)", figure(lowest(&values)?)))
            },
        );
        let rate = self.table("Requests per second (CPU in use)", |scenario, server| {
            let rate = median(&self.values(&scenario.name(), server, |m| m.rate))?;
            let share = median(&self.values(&scenario.name(), server, |m| m.cpu_share))?;
            Some(format!("{rate:.0} ({:.0} %)", share * 100.0))
        });
        let latency = self.table(
            "Latency, closed loop, p50 / p99 in µs",
            |scenario, server| {
                let p50 = median(&self.values(&scenario.name(), server, |m| m.p50_us))?;
                let p99 = median(&self.values(&scenario.name(), server, |m| m.p99_us))?;
                Some(format!("{p50:.0} / {p99:.0}"))
            },
        );
        let title = format!(
            "Resident memory per open stream at {} streams, KiB",
            self.streams
        );
        let mut memory = Table::new(&title, ["server", "KiB"]);
        for spec in &self.servers {
            let kib = self.memory.get(spec.name).and_then(|values| median(values));
            memory.row([spec.name, &kib.map_or_else(gap, figure)]);
        }
        for table in [cpu, noise, rate, latency, memory] {
            println!("{}", table.render(self.options.format));
        }
        let all = self.results.values().flat_map(BTreeMap::values);
        let foreign = median(
            &all.map(|measure| measure.foreign_share)
                .collect::<Vec<f64>>(),
        );
        if let Some(share) = foreign {
            let share = share * 100.0;
            println!("Other programs used {share:.0} % of one CPU meanwhile (median of all runs).");
        }
    }

    fn table(
        &self,
        title: &str,
        cell: impl Fn(&Scenario, &'static str) -> Option<String>,
    ) -> Table {
        let names = self.servers.iter().map(|spec| spec.name);
        let mut table = Table::new(title, ["scenario"].into_iter().chain(names.clone()));
        for scenario in &self.scenarios {
            let cells = names
                .clone()
                .map(|name| cell(scenario, name).unwrap_or_else(gap));
            table.row([scenario.name()].into_iter().chain(cells));
        }
        table
    }

    fn values(&self, scenario: &str, server: &'static str, of: fn(&Measure) -> f64) -> Vec<f64> {
        let measures = self.results.get(&(scenario.to_owned(), server));
        measures
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(of)
            .collect()
    }

    /// The median of the ratios within each round, which drift of the machine touches least.
    fn times_reference(&self, scenario: &Scenario, server: &'static str) -> Option<f64> {
        let own = self.results.get(&(scenario.name(), server))?;
        let reference = self
            .results
            .get(&(scenario.untranslated().name(), REFERENCE))?;
        let ratios = own.iter().filter_map(|(round, measure)| {
            let reference = reference.get(round)?;
            Some(measure.cpu_us / reference.cpu_us)
        });
        median(&ratios.collect::<Vec<f64>>()).filter(|_| server != REFERENCE)
    }
}

/// What stands in a table where nothing was measured.
fn gap() -> String {
    "–".to_owned()
}
