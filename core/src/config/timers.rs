//! How long each phase may take at a target: `[timers]` says it for all, a provider for its models,
//! a route for its targets, a target for itself.

use core::time::Duration;

use super::bounds::{optional_time, time_of};
use super::diagnose::Findings;
use super::section::Section;
use crate::base::limits::UpstreamTimers;

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
        let set = TimersSet::read_here(&mut table, findings);
        table.finish(findings);
        set
    }

    /// Reads what of `table` is about upstreams.
    pub(super) fn read_here(table: &mut Section<'_, '_>, findings: &mut Findings<'_>) -> TimersSet {
        TimersSet {
            connect: time_of(table, "connect", findings),
            tls: time_of(table, "tls", findings),
            first_content: time_of(table, "first_content", findings),
            first_content_min: time_of(table, "first_content_min", findings),
            idle: time_of(table, "idle", findings),
            total: time_of(table, "total", findings),
            total_stream: optional_time(table, "total_stream", findings),
        }
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
