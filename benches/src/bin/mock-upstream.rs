//! The mock upstream as a program, for measuring by hand.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use tollgate_benches::{Ending, MockUpstream, Pace, Plan, machine, program};

const USAGE: &str = "\
Usage: mock-upstream [OPTIONS]
Serves POST /v1/messages and POST /v1/chat/completions on loopback.

  --listen ADDRESS   where to listen (127.0.0.1:4190)
  --events N         pieces of text in a stream (100)
  --each             write each event by itself
  --delay MS         write each event by itself, with this pause between them
  --hold N           send N events, then leave the stream open
  --cut N            send N events, then close the connection
  --status CODE      answer every request with this status
  --cpu N            run on this processor only
";

fn main() -> ExitCode {
    program::main("mock-upstream", run)
}

/// Whether all is as it should be.
fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let mut listen: SocketAddr = ([127, 0, 0, 1], 4190).into();
    let mut plan = Plan::default();
    let mut cpu = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => listen = parser.value()?.parse()?,
            Long("events") => plan.content_events = parser.value()?.parse()?,
            Long("each") => plan.pace = Pace::EachEvent,
            Long("delay") => {
                plan.pace = Pace::Spaced(Duration::from_millis(parser.value()?.parse()?));
            }
            Long("hold") => plan.ending = Ending::HoldAfter(parser.value()?.parse()?),
            Long("cut") => plan.ending = Ending::CutAfter(parser.value()?.parse()?),
            Long("status") => plan.status = parser.value()?.parse()?,
            Long("cpu") => cpu = Some(parser.value()?.parse()?),
            Short('h') | Long("help") => {
                print!("{USAGE}");
                return Ok(true);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    machine::raise_open_files(65_536)?;
    let upstream = MockUpstream::start(listen, plan, cpu)?;
    println!("listening on http://{}", upstream.address());
    upstream.join()?;
    Ok(true)
}
