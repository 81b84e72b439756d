//! [`UpstreamTimers`]: how long each phase may take at a target. `[timers]` says it for all, a
//! provider for its models, a route for its targets, a target for itself.

use core::time::Duration;

use super::bounds::{optional_time, time_of};
use super::diagnose::Findings;
use super::section::Section;
use crate::base::limits::TimerLimits;

/// How long each phase may take at a target; see [`TimerLimits`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamTimers {
    /// Resolving and connecting.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From the request's last byte to the first real content of the answer.
    pub first_content: Duration,
    /// The least that is waited for the first content of a stream, however fast the target is as a
    /// rule.
    pub first_content_min: Duration,
    /// Between two data events of a stream.
    pub idle: Duration,
    /// A whole answer that is not streamed.
    pub total: Duration,
    /// A whole streamed answer.
    pub total_stream: Option<Duration>,
}

impl UpstreamTimers {
    /// What `[timers]` says of upstreams.
    pub fn of(timers: &TimerLimits) -> UpstreamTimers {
        UpstreamTimers {
            connect: timers.connect,
            tls: timers.tls,
            first_content: timers.first_content,
            first_content_min: timers.first_content_min,
            idle: timers.idle,
            total: timers.total,
            total_stream: timers.total_stream,
        }
    }
}

/// Timers as far as somebody set them.
#[derive(Clone, Debug, Default)]
pub(super) struct TimersSet {
    connect: Option<Duration>,
    tls: Option<Duration>,
    first_content: Option<Duration>,
    first_content_min: Option<Duration>,
    idle: Option<Duration>,
    total: Option<Duration>,
    /// `Some(None)` where it was switched off.
    total_stream: Option<Option<Duration>>,
}

impl TimersSet {
    /// Reads the table `timers` of `section`, if it has one.
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        title: String,
        findings: &mut Findings<'_>,
    ) -> TimersSet {
        let Some(mut table) = section.table("timers", title, findings) else {
            return TimersSet::default();
        };
        let set = TimersSet {
            connect: time_of(&mut table, "connect", findings),
            tls: time_of(&mut table, "tls", findings),
            first_content: time_of(&mut table, "first_content", findings),
            first_content_min: time_of(&mut table, "first_content_min", findings),
            idle: time_of(&mut table, "idle", findings),
            total: time_of(&mut table, "total", findings),
            total_stream: optional_time(&mut table, "total_stream", findings),
        };
        table.finish(findings);
        set
    }

    /// These, and `below` where nothing is set.
    pub(super) fn over(&self, below: &TimersSet) -> TimersSet {
        TimersSet {
            connect: self.connect.or(below.connect),
            tls: self.tls.or(below.tls),
            first_content: self.first_content.or(below.first_content),
            first_content_min: self.first_content_min.or(below.first_content_min),
            idle: self.idle.or(below.idle),
            total: self.total.or(below.total),
            total_stream: self.total_stream.or(below.total_stream),
        }
    }

    /// `base` with what is set here.
    pub(super) fn apply(&self, base: &UpstreamTimers) -> UpstreamTimers {
        UpstreamTimers {
            connect: self.connect.unwrap_or(base.connect),
            tls: self.tls.unwrap_or(base.tls),
            first_content: self.first_content.unwrap_or(base.first_content),
            first_content_min: self.first_content_min.unwrap_or(base.first_content_min),
            idle: self.idle.unwrap_or(base.idle),
            total: self.total.unwrap_or(base.total),
            total_stream: self.total_stream.unwrap_or(base.total_stream),
        }
    }
}
