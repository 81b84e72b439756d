//! The loopback comparison: nginx and tollgate before the same mock upstream, in one run.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use tollgate_benches::loopback::{Measure, Scenario, Server, ServerSpec, stream_memory};
use tollgate_benches::report::{Format, Table, figure, median, spread};
use tollgate_benches::{MockUpstream, Plan, machine};

const USAGE: &str = "\
Usage: loopback [OPTIONS]
Measures nginx and tollgate (smol, monoio-epoll, monoio-uring) as proxies of a mock upstream.

  --tollgate PATH      the program to measure (target/release/tollgate)
  --nginx PATH         the reference to hold it against (nginx)
  --server NAME        measure only this one; may be repeated
  --scenario TEXT      measure only scenarios whose name contains this; may be repeated
  --seconds S          length of one measurement (1)
  --rounds N           rounds over all servers; medians are printed (5)
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
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loopback: {error}");
            ExitCode::FAILURE
        }
    }
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
        servers: ServerSpec::all(&options.nginx, &options.tollgate),
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
    let Options {
        servers,
        scenarios,
        rounds,
        format,
        ..
    } = &bench.options;
    bench
        .servers
        .retain(|spec| servers.is_empty() || servers.iter().any(|name| name == spec.name));
    bench.scenarios.retain(|scenario| {
        let name = scenario.name();
        scenarios.is_empty() || scenarios.iter().any(|text| name.contains(text))
    });
    let (rounds, format) = (*rounds, *format);
    for round in 1..=rounds {
        for server in 0..bench.servers.len() {
            eprintln!("round {round} of {rounds}: {}", bench.servers[server].name);
            bench.round(server);
        }
    }
    bench.print(format);
    Ok(bench.complete)
}

fn options() -> Result<Option<Options>, Box<dyn std::error::Error>> {
    let mut options = Options {
        tollgate: "target/release/tollgate".into(),
        nginx: "nginx".into(),
        servers: Vec::new(),
        scenarios: Vec::new(),
        duration: Duration::from_secs(1),
        rounds: 5,
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
    results: BTreeMap<(String, &'static str), Vec<Measure>>,
    /// KiB per open stream, by server: one figure per round.
    memory: BTreeMap<&'static str, Vec<f64>>,
    complete: bool,
}

impl Bench {
    /// Measures one server once with everything. A failure is told and leaves a gap in the tables.
    fn round(&mut self, server: usize) {
        let spec = self.servers[server].clone();
        if let Err(error) = self.traffic(&spec).and_then(|()| self.open_streams(&spec)) {
            eprintln!("  {}: {error}", spec.name);
            self.complete = false;
        }
    }

    fn traffic(&mut self, spec: &ServerSpec) -> io::Result<()> {
        let server = self.start(spec)?;
        for scenario in &self.scenarios {
            if scenario.translated() && !spec.translates() {
                continue;
            }
            match scenario.measure(&server, &self.upstream, self.options.duration) {
                Ok(measure) => {
                    let key = (scenario.name(), spec.name);
                    self.results.entry(key).or_default().push(measure);
                }
                Err(error) => {
                    eprintln!("  {}: {}: {error}", spec.name, scenario.name());
                    self.complete = false;
                }
            }
        }
        Ok(())
    }

    fn open_streams(&mut self, spec: &ServerSpec) -> io::Result<()> {
        if self.streams > 0 {
            let server = self.start(spec)?;
            let kib = stream_memory(&server, &self.upstream, self.streams)?;
            self.memory.entry(spec.name).or_default().push(kib);
        }
        Ok(())
    }

    fn start(&self, spec: &ServerSpec) -> io::Result<Server> {
        Server::start(spec, self.upstream.address(), self.options.server_cpu)
    }

    fn print(&self, format: Format) {
        let cpu = self.table(
            "Processor time per request, µs (times nginx's)",
            |bench, name, spec| {
                let middle = bench.median(&name.name(), spec, |measure| measure.cpu_us)?;
                let reference = name.untranslated().name();
                let nginx = bench.median(&reference, "nginx", |measure| measure.cpu_us);
                Some(match nginx.filter(|_| spec != "nginx") {
                    Some(nginx) => format!("{} ({:.2}×)", figure(middle), middle / nginx),
                    None => figure(middle),
                })
            },
        );
        let rounds = self.table(
            "Spread of that over the rounds, % of the median",
            |b, name, spec| {
                let share = spread(&b.values(&name.name(), spec, |measure| measure.cpu_us))?;
                Some(format!("{:.0}", share * 100.0))
            },
        );
        let rate = self.table(
            "Requests per second (share of its processor used)",
            |b, name, spec| {
                let rate = b.median(&name.name(), spec, |measure| measure.rate)?;
                let share = b.median(&name.name(), spec, |measure| measure.cpu_share)?;
                Some(format!("{rate:.0} ({:.0} %)", share * 100.0))
            },
        );
        let latency = self.table(
            "Latency in a closed loop, p50 / p99 in µs",
            |b, name, spec| {
                let p50 = b.median(&name.name(), spec, |measure| measure.p50_us)?;
                let p99 = b.median(&name.name(), spec, |measure| measure.p99_us)?;
                Some(format!("{p50:.0} / {p99:.0}"))
            },
        );
        let title = format!(
            "Resident memory per open stream at {} streams, KiB",
            self.streams
        );
        let mut memory = Table::new(&title, ["server", "KiB"]);
        for (server, values) in &self.memory {
            memory.row([*server, &median(values).map(figure).unwrap_or_default()]);
        }
        for table in [cpu, rounds, rate, latency, memory] {
            println!("{}", table.render(format));
        }
    }

    fn table(
        &self,
        title: &str,
        cell: impl Fn(&Bench, &Scenario, &'static str) -> Option<String>,
    ) -> Table {
        let columns = ["scenario"]
            .into_iter()
            .chain(self.servers.iter().map(|spec| spec.name));
        let mut table = Table::new(title, columns);
        for scenario in &self.scenarios {
            let cells = self
                .servers
                .iter()
                .map(|spec| cell(self, scenario, spec.name).unwrap_or_else(|| "–".to_owned()));
            table.row([scenario.name()].into_iter().chain(cells));
        }
        table
    }

    fn values(&self, scenario: &str, server: &'static str, of: fn(&Measure) -> f64) -> Vec<f64> {
        let measures = self.results.get(&(scenario.to_owned(), server));
        measures.into_iter().flatten().map(of).collect()
    }

    fn median(&self, scenario: &str, server: &'static str, of: fn(&Measure) -> f64) -> Option<f64> {
        median(&self.values(scenario, server, of))
    }
}
