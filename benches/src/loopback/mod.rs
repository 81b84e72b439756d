//! The loopback comparison: what one request costs each server, measured the same way.
//!
//! The server has one processor to itself; the mock upstream and the load generator share another.
//! The figure that counts is the processor time of the server's processes per answered request:
//! other than requests per second it does not depend on how fast the rest of the set-up is.

use std::io;
use std::time::Duration;

use crate::load::{Expect, Load, OpenStreams, Until};
use crate::machine::{self, ProcessTree};
use crate::requests::{self, Api, Size};
use crate::upstream::{Ending, MockUpstream, Pace, Plan};

mod process;
mod server;

pub(crate) use process::Process;
pub use server::{Server, ServerKind, ServerSpec, model, nginx_config, tollgate_config};

/// One kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What is sent and answered, without the APIs.
    pub kind: &'static str,
    /// The API of the client.
    pub from: Api,
    /// The API of the upstream.
    pub to: Api,
    /// The size of the request.
    pub size: Size,
    /// The pace of the streamed answer; `None`: the answer is not streamed.
    pub stream: Option<Pace>,
    /// Connections of the load generator.
    pub connections: usize,
}

impl Scenario {
    /// All of them, in the order of tables.
    pub fn all() -> Vec<Scenario> {
        let kinds = [
            ("small", Size::Small, None, 64),
            ("100 events", Size::Small, Some(Pace::Burst), 64),
            (
                "100 events, a write each",
                Size::Small,
                Some(Pace::EachEvent),
                64,
            ),
            ("100 events, 2 ms apart", Size::Small, Some(SPACED), 32),
            ("200 KB request", Size::Agent, None, 16),
        ];
        let ways = [
            (Api::Messages, Api::Messages),
            (Api::Chat, Api::Chat),
            (Api::Chat, Api::Messages),
            (Api::Messages, Api::Chat),
        ];
        let scenario = |(kind, size, stream, connections), (from, to)| Scenario {
            kind,
            from,
            to,
            size,
            stream,
            connections,
        };
        kinds
            .iter()
            .flat_map(|kind| ways.iter().map(|way| scenario(*kind, *way)))
            .collect()
    }

    /// The name in tables.
    pub fn name(&self) -> String {
        match self.translated() {
            false => format!("{}, {}", self.kind, self.from.name()),
            true => format!("{}, {} → {}", self.kind, self.from.name(), self.to.name()),
        }
    }

    /// Client and upstream speak different APIs.
    pub fn translated(&self) -> bool {
        self.from != self.to
    }

    /// The traffic that a proxy which only passes bytes can be given in place of this one: the same
    /// client before an upstream of its own API.
    pub fn untranslated(&self) -> Scenario {
        Scenario {
            to: self.from,
            ..*self
        }
    }

    /// Measures `server` with this traffic for about `duration`, after a fifth of that to warm up.
    ///
    /// # Errors
    /// When the server fails a single request, hangs or ends.
    pub fn measure(
        &self,
        server: &Server,
        upstream: &MockUpstream,
        duration: Duration,
    ) -> io::Result<Measure> {
        upstream.set_plan(Plan {
            pace: self.stream.unwrap_or(Pace::Burst),
            ..Plan::default()
        });
        let tail = self.stream.map(|_| self.from.stream_end());
        let expect = Expect {
            tail,
            ..Expect::default()
        };
        let request = request(server, self.from, self.to, self.size, self.stream.is_some());
        let mut load = Load::connect(server.address(), request, self.connections, expect)?;
        load.run(Until::Elapsed(duration / 5))?;
        let (busy, ours) = (machine::busy_time()?, own_time()?);
        let before = server.processes().cpu_time()?;
        let report = load.run(Until::Elapsed(duration))?;
        let spent = server.processes().cpu_time()?.saturating_sub(before);
        let busy = machine::busy_time()?.saturating_sub(busy);
        let foreign = busy.saturating_sub(own_time()?.saturating_sub(ours));
        if let Some(failure) = report.first_failure {
            let total = report.failed + report.completed;
            let message = format!("{} of {total} requests failed: {failure}", report.failed);
            return Err(io::Error::other(message));
        }
        Ok(Measure {
            cpu_us: micros(spent) / report.completed.max(1) as f64,
            cpu_share: spent.as_secs_f64() / report.elapsed.as_secs_f64(),
            foreign_share: foreign.as_secs_f64() / report.elapsed.as_secs_f64(),
            rate: report.rate(),
            p50_us: micros(report.latency.quantile(0.5)),
            p99_us: micros(report.latency.quantile(0.99)),
        })
    }
}

/// What one run of a [`Scenario`] measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measure {
    /// Processor time of the server per request, in microseconds.
    pub cpu_us: f64,
    /// Share of its processor that the server used; near 1 it was what limited the rate.
    pub cpu_share: f64,
    /// Processors that processes outside of the measurement used meanwhile: 0.5 is half of one.
    /// They take cache and time slices, which makes every figure worse.
    pub foreign_share: f64,
    /// Requests per second.
    pub rate: f64,
    /// Half of all requests took at most this long, in microseconds, in a closed loop.
    pub p50_us: f64,
    /// 99 of 100 requests took at most this long, in microseconds, in a closed loop.
    pub p99_us: f64,
}

/// Resident memory of `server` for each of `count` streams that are open and silent after their
/// first event, in KiB. The server should be fresh: memory kept from earlier traffic would hide
/// some.
///
/// # Errors
/// When a stream cannot be opened.
pub fn stream_memory(server: &Server, upstream: &MockUpstream, count: usize) -> io::Result<f64> {
    upstream.set_plan(Plan {
        ending: Ending::HoldAfter(6),
        ..Plan::default()
    });
    let request = request(server, Api::Messages, Api::Messages, Size::Small, true);
    drop(OpenStreams::open(server.address(), &request, 10)?);
    let before = server.processes().memory()?.rss;
    let streams = OpenStreams::open(server.address(), &request, count)?;
    let after = server.processes().memory()?.rss;
    Ok(after.saturating_sub(before) as f64 / 1024.0 / streams.count().max(1) as f64)
}

/// Models produce an event every 5 to 50 ms; 32 streams with this pause leave the server idle at
/// times, so that each event is read, passed on and written by itself.
const SPACED: Pace = Pace::Spaced(Duration::from_millis(2));

fn request(server: &Server, from: Api, to: Api, size: Size, stream: bool) -> Vec<u8> {
    requests::http(
        from,
        server.address(),
        &requests::body(from, size, model(to), stream),
    )
}

/// Of this process and the servers that it started.
fn own_time() -> io::Result<Duration> {
    ProcessTree::new(std::process::id()).cpu_time()
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_each_translation_has_its_plain_way() {
        let all = Scenario::all();
        let mut names: Vec<String> = all.iter().map(Scenario::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len());
        for scenario in &all {
            assert!(all.contains(&scenario.untranslated()));
            assert!(!scenario.untranslated().translated());
        }
    }

    #[test]
    fn configurations_name_both_ports() {
        let nginx = nginx_config("/tmp/x".as_ref(), 1234, 5678);
        let tollgate = tollgate_config(1234, 5678);
        for text in [&nginx, &tollgate] {
            assert!(
                text.contains("127.0.0.1:1234") && text.contains("127.0.0.1:5678"),
                "{text}"
            );
        }
        assert_eq!(nginx.matches('{').count(), nginx.matches('}').count());
    }
}
