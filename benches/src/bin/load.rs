//! The load generator as a program, for measuring by hand.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use tollgate_benches::report::{Format, Table, figure};
use tollgate_benches::{Api, Expect, Load, LoadReport, Size, Until, machine, program, requests};

const USAGE: &str = "\
Usage: load [OPTIONS] ADDRESS
Sends a standard request again and again, and checks every answer.

  --api messages|chat   which API to speak (messages)
  --model NAME          the model to ask for (claude-mock)
  --stream              ask for a stream
  --agent               the 200 KB request of an agent, in place of the 1 KB one
  --connections N       how many at once (64)
  --requests N          stop after this many
  --seconds S           stop after this time (5)
  --cpu N               run on this processor only
  --markdown            print a Markdown table
";

struct Options {
    address: Option<SocketAddr>,
    api: Api,
    model: String,
    stream: bool,
    size: Size,
    connections: usize,
    until: Until,
    format: Format,
}

fn main() -> ExitCode {
    program::main("load", run)
}

/// Whether every request was answered.
fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let Some(options) = options()? else {
        print!("{USAGE}");
        return Ok(true);
    };
    let address = options.address.ok_or("no address given; see --help")?;
    machine::raise_open_files(65_536)?;
    let body = requests::body(options.api, options.size, &options.model, options.stream);
    let request = requests::http(options.api, address, &body);
    let tail = options.stream.then(|| options.api.stream_end());
    let expect = Expect {
        tail,
        ..Expect::default()
    };
    let mut load = Load::connect(address, request, options.connections, expect)?;
    let report = load.run(options.until)?;
    print!("{}", table(&report).render(options.format));
    if let Some(failure) = &report.first_failure {
        eprintln!("load: first failure: {failure}");
    }
    Ok(report.failed == 0)
}

fn options() -> Result<Option<Options>, Box<dyn std::error::Error>> {
    let mut options = Options {
        address: None,
        api: Api::Messages,
        model: "claude-mock".into(),
        stream: false,
        size: Size::Small,
        connections: 64,
        until: Until::Elapsed(Duration::from_secs(5)),
        format: Format::Text,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(address) => options.address = Some(address.parse()?),
            Long("api") => {
                let name = parser.value()?.string()?;
                let known = Api::ALL.into_iter().find(|api| api.name() == name);
                options.api = known.ok_or_else(|| format!("unknown API {name:?}"))?;
            }
            Long("model") => options.model = parser.value()?.string()?,
            Long("stream") => options.stream = true,
            Long("agent") => options.size = Size::Agent,
            Long("connections") => options.connections = parser.value()?.parse()?,
            Long("requests") => options.until = Until::Requests(parser.value()?.parse()?),
            Long("seconds") => {
                let seconds = Duration::try_from_secs_f64(parser.value()?.parse()?)?;
                options.until = Until::Elapsed(seconds);
            }
            Long("cpu") => machine::pin_thread(parser.value()?.parse()?)?,
            Long("markdown") => options.format = Format::Markdown,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn table(report: &LoadReport) -> Table {
    let mut table = Table::new("Load", ["figure", "value", "unit"]);
    let micros = |duration: Duration| figure(duration.as_secs_f64() * 1e6);
    table.row(["completed", &report.completed.to_string(), "requests"]);
    table.row(["failed", &report.failed.to_string(), "requests"]);
    table.row(["reconnects", &report.reconnects.to_string(), "connections"]);
    table.row(["rate", &figure(report.rate()), "requests/s"]);
    let megabytes = report.bytes as f64 / 1e6 / report.elapsed.as_secs_f64();
    table.row(["received", &figure(megabytes), "MB/s"]);
    table.row(["events", &report.events.to_string(), "events"]);
    table.row([
        "first byte p50",
        &micros(report.first_byte.quantile(0.5)),
        "µs",
    ]);
    table.row([
        "first byte p99",
        &micros(report.first_byte.quantile(0.99)),
        "µs",
    ]);
    table.row(["latency p50", &micros(report.latency.quantile(0.5)), "µs"]);
    table.row(["latency p99", &micros(report.latency.quantile(0.99)), "µs"]);
    table.row(["latency max", &micros(report.latency.max()), "µs"]);
    table
}
