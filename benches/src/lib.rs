//! What tollgate is measured with: a mock upstream, a load generator, and the table of their
//! figures.
//!
//! Both are single-threaded readiness loops that cost a few microseconds a request, so that on a
//! small machine the measured server is what saturates. Nothing here belongs to the gateway: the
//! HTTP reader is separate from core's on purpose, and no async runtime is used.
//!
//! ```
//! use std::time::Duration;
//! use tollgate_benches::{Api, Expect, Load, MockUpstream, Plan, Size, Until, requests};
//!
//! let upstream = MockUpstream::start(([127, 0, 0, 1], 0).into(), Plan::default(), None)?;
//! let body = requests::body(Api::Messages, Size::Small, "claude-mock", true);
//! let request = requests::http(Api::Messages, upstream.address(), &body);
//! let expect = Expect { tail: Some(Api::Messages.stream_end()), ..Expect::default() };
//! let mut load = Load::connect(upstream.address(), request, 4, expect)?;
//! let report = load.run(Until::Requests(20))?;
//! assert_eq!((report.completed, report.failed), (20, 0));
//! assert!(report.latency.quantile(0.5) > Duration::ZERO);
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod answer;
mod event_count;
pub mod gone;
pub mod histogram;
pub mod http;
mod load;
pub mod loopback;
pub mod machine;
pub mod program;
pub mod report;
pub mod requests;
mod upstream;

pub use event_count::EventCount;
pub use histogram::Histogram;
pub use load::{Expect, Load, LoadReport, OpenStreams, Until};
pub use requests::{Api, Size};
pub use upstream::{Ending, MockUpstream, Pace, Plan};
