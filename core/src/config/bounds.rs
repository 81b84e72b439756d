//! `[limits]`, `[timers]` and other tables of bounds, read into [`Limits`]: every field by its
//! name, each within a range that the machinery behind it can keep.

use core::ops::RangeInclusive;
use core::time::Duration;

use toml::de::DeValue;

use super::diagnose::Findings;
use super::manner::Manner;
use super::section::{Section, text_of, wrong_type};
use super::timers::TimersSet;
use super::value::{duration, size};
use crate::base::Limits;
use crate::base::limits::{Http1Limits, JsonLimits, ShardLimits, SseLimits, TimerLimits};
use crate::policy::breaker::BreakerLimits;
use crate::policy::keys::KeyLimits;
use crate::policy::queue::QueueLimits;
use crate::policy::retry::RetryLimits;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Reads `[limits]`. The patterns name every field, so that a new one cannot be forgotten here.
pub(super) fn limits(mut s: Section<'_, '_>, limits: &mut Limits, f: &mut Findings<'_>) {
    let Limits {
        http1,
        sse: SseLimits { event_bytes_max },
        json,
        shard,
        timers: _,
    } = limits;
    http1_limits(&mut s, http1, f);
    bytes(&mut s, "event_bytes_max", KIB..=GIB, event_bytes_max, f);
    let JsonLimits {
        depth_max,
        values_max,
    } = json;
    number(&mut s, "depth_max", 8..=1024, depth_max, f);
    number(&mut s, "values_max", 1024..=256 * MIB, values_max, f);
    shard_limits(&mut s, shard, f);
    if limits.shard.request_bytes_max > limits.shard.bodies_bytes_max {
        f.problem_help(
            s.key_span("request_bytes_max"),
            "`request_bytes_max` is more than `bodies_bytes_max`: no such request could be taken",
            "raise `bodies_bytes_max`, which is for all requests at once",
        );
    }
    s.finish(f);
}

fn http1_limits(s: &mut Section<'_, '_>, limits: &mut Http1Limits, f: &mut Findings<'_>) {
    let Http1Limits {
        head_bytes_max,
        target_bytes_max,
        fields_max,
        chunk_extension_bytes_max,
        trailer_bytes_max,
        interim_responses_max,
    } = limits;
    bytes(s, "head_bytes_max", KIB..=MIB, head_bytes_max, f);
    bytes(s, "target_bytes_max", 256..=MIB, target_bytes_max, f);
    number(s, "fields_max", 16..=4096, fields_max, f);
    let extension = chunk_extension_bytes_max;
    bytes(s, "chunk_extension_bytes_max", 0..=MIB, extension, f);
    bytes(s, "trailer_bytes_max", 0..=MIB, trailer_bytes_max, f);
    number(
        s,
        "interim_responses_max",
        1..=1024,
        interim_responses_max,
        f,
    );
}

fn shard_limits(s: &mut Section<'_, '_>, limits: &mut ShardLimits, f: &mut Findings<'_>) {
    let ShardLimits {
        clients_max,
        exchanges_max,
        upstreams_max,
        idle_per_target_max,
        request_bytes_max,
        response_bytes_max,
        bodies_bytes_max,
        client_queue_bytes_max,
        pipelined_bytes_max,
        turn_bytes_max,
        host_jobs_max,
        handshakes_max,
        lingering_bytes_max,
        write_bytes_max,
        write_slices_max,
        broken_events_max,
        held_delta_bytes_max,
        models_max,
    } = limits;
    number(s, "clients_max", 1..=MIB, clients_max, f);
    number(s, "exchanges_max", 1..=MIB, exchanges_max, f);
    number(s, "upstreams_max", 1..=MIB, upstreams_max, f);
    number(s, "idle_per_target_max", 0..=MIB, idle_per_target_max, f);
    bytes(s, "request_bytes_max", KIB..=2 * GIB, request_bytes_max, f);
    bytes(
        s,
        "response_bytes_max",
        KIB..=2 * GIB,
        response_bytes_max,
        f,
    );
    bytes(s, "bodies_bytes_max", KIB..=1024 * GIB, bodies_bytes_max, f);
    let queue = client_queue_bytes_max;
    bytes(s, "client_queue_bytes_max", KIB..=GIB, queue, f);
    bytes(s, "pipelined_bytes_max", 0..=GIB, pipelined_bytes_max, f);
    bytes(s, "turn_bytes_max", 4 * KIB..=GIB, turn_bytes_max, f);
    number(s, "host_jobs_max", 1..=MIB, host_jobs_max, f);
    number(s, "handshakes_max", 1..=MIB, handshakes_max, f);
    bytes(s, "lingering_bytes_max", 0..=GIB, lingering_bytes_max, f);
    bytes(s, "write_bytes_max", KIB..=MIB, write_bytes_max, f);
    // IOV_MAX of Linux and macOS.
    number(s, "write_slices_max", 2..=1024, write_slices_max, f);
    number(s, "broken_events_max", 1..=1024, broken_events_max, f);
    bytes(
        s,
        "held_delta_bytes_max",
        KIB..=GIB,
        held_delta_bytes_max,
        f,
    );
    // All are looked at when one of them must be forgotten.
    number(s, "models_max", 0..=16 * KIB, models_max, f);
}

/// Reads `[timers]`.
pub(super) fn timers(mut s: Section<'_, '_>, timers: &mut TimerLimits, f: &mut Findings<'_>) {
    let TimerLimits {
        request_head,
        request_body_idle,
        request_body,
        client_idle,
        client_write,
        upstream,
        keep_alive,
        commit_hold,
        upstream_idle,
        linger,
        drain,
    } = timers;
    for (key, time) in [
        ("request_head", request_head),
        ("request_body_idle", request_body_idle),
        ("request_body", request_body),
        ("client_idle", client_idle),
        ("client_write", client_write),
        ("keep_alive", keep_alive),
        ("commit_hold", commit_hold),
        ("upstream_idle", upstream_idle),
        ("linger", linger),
        ("drain", drain),
    ] {
        *time = time_of(&mut s, key, f).unwrap_or(*time);
    }
    *upstream = TimersSet::read_here(&mut s, f).apply(upstream);
    s.finish(f);
}

/// Reads the `key_limits` of a provider.
pub(super) fn key_limits(mut s: Section<'_, '_>, limits: &mut KeyLimits, f: &mut Findings<'_>) {
    let KeyLimits {
        requests_per_minute,
        tokens_per_minute,
        concurrent,
    } = limits;
    for (key, limit) in [
        ("requests_per_minute", requests_per_minute),
        ("concurrent", concurrent),
    ] {
        let count = s.count(key, 1..=u64::from(u32::MAX), f);
        *limit = count.and_then(|it| u32::try_from(it).ok()).or(*limit);
    }
    let tokens = s.count("tokens_per_minute", 1..=u64::MAX >> 1, f);
    *tokens_per_minute = tokens.or(*tokens_per_minute);
    s.finish(f);
}

/// Reads `[retry]`.
pub(super) fn retry(
    mut s: Section<'_, '_>,
    limits: &mut RetryLimits,
    manner: &mut Manner,
    f: &mut Findings<'_>,
) {
    count(&mut s, "attempts_max", 1..=32, &mut limits.attempts_max, f);
    repetitions(&mut s, limits, f);
    Manner::read(&mut s, manner, f);
    s.finish(f);
}

/// Reads the `retry` of a provider.
pub(super) fn provider_retry(
    mut s: Section<'_, '_>,
    limits: &mut RetryLimits,
    f: &mut Findings<'_>,
) {
    repetitions(&mut s, limits, f);
    s.finish(f);
}

/// What can differ between providers.
fn repetitions(s: &mut Section<'_, '_>, limits: &mut RetryLimits, f: &mut Findings<'_>) {
    let RetryLimits {
        attempts_max: _,
        repeats_max,
        backoff,
        backoff_max,
        wait_max,
        budget_percent,
    } = limits;
    count(s, "repeats_max", 0..=31, repeats_max, f);
    count(s, "budget_percent", 0..=100, budget_percent, f);
    for (key, time) in [
        ("backoff", backoff),
        ("backoff_max", backoff_max),
        ("wait_max", wait_max),
    ] {
        *time = time_of(s, key, f).unwrap_or(*time);
    }
}

/// Reads `[breaker]`.
pub(super) fn breaker(mut s: Section<'_, '_>, limits: &mut BreakerLimits, f: &mut Findings<'_>) {
    let BreakerLimits {
        failures_in_row,
        failure_percent,
        calls_min,
        window,
        recovery,
        recovery_max,
    } = limits;
    count(&mut s, "failures_in_row", 1..=1000, failures_in_row, f);
    count(&mut s, "failure_percent", 1..=100, failure_percent, f);
    count(&mut s, "calls_min", 1..=1_000_000, calls_min, f);
    for (key, time) in [
        ("window", window),
        ("recovery", recovery),
        ("recovery_max", recovery_max),
    ] {
        *time = time_of(&mut s, key, f).unwrap_or(*time);
    }
    s.finish(f);
}

/// Reads `[queue]`.
pub(super) fn queue(mut s: Section<'_, '_>, limits: &mut QueueLimits, f: &mut Findings<'_>) {
    let QueueLimits {
        length_max,
        concurrent_per_client,
        crowded_wait_max,
    } = limits;
    count(&mut s, "length_max", 0..=1_000_000, length_max, f);
    let given = concurrent(&mut s, "concurrent_per_client", f);
    *concurrent_per_client = given.or(*concurrent_per_client);
    let time = time_of(&mut s, "crowded_wait_max", f);
    *crowded_wait_max = time.unwrap_or(*crowded_wait_max);
    s.finish(f);
}

/// Reads a number of requests at the same time.
pub(super) fn concurrent(
    s: &mut Section<'_, '_>,
    key: &'static str,
    f: &mut Findings<'_>,
) -> Option<u32> {
    let count = s.count(key, 1..=u64::from(u32::MAX), f);
    count.and_then(|it| u32::try_from(it).ok())
}

fn count(
    s: &mut Section<'_, '_>,
    key: &'static str,
    range: RangeInclusive<u64>,
    limit: &mut u32,
    f: &mut Findings<'_>,
) {
    let count = s.count(key, range, f);
    *limit = count
        .and_then(|it| u32::try_from(it).ok())
        .unwrap_or(*limit);
}

pub(super) fn time_of(
    s: &mut Section<'_, '_>,
    key: &'static str,
    f: &mut Findings<'_>,
) -> Option<Duration> {
    let value = s.take(key)?;
    if let DeValue::Integer(number) = value.get_ref() {
        let message = format!("`{key}` needs a unit");
        f.problem_help(
            value.span(),
            message,
            format!("write `\"{number}s\"` for seconds"),
        );
        return None;
    }
    let text = text_of(value, &format!("`{key}`"), f)?;
    duration(text.get_ref())
        .map_err(|fault| f.add(text.span(), fault.message, fault.help))
        .ok()
}

/// A time that `"off"` switches off.
pub(super) fn optional_time(
    s: &mut Section<'_, '_>,
    key: &'static str,
    f: &mut Findings<'_>,
) -> Option<Option<Duration>> {
    match s.take(key).and_then(|value| value.get_ref().as_str()) {
        Some("off") => Some(None),
        _ => time_of(s, key, f).map(Some),
    }
}

fn number(
    s: &mut Section<'_, '_>,
    key: &'static str,
    range: RangeInclusive<u64>,
    limit: &mut usize,
    f: &mut Findings<'_>,
) {
    let count = s.count(key, range, f);
    if let Some(count) = count.and_then(|count| usize::try_from(count).ok()) {
        *limit = count;
    }
}

/// A size: text with a unit, or a number of bytes.
fn bytes(
    s: &mut Section<'_, '_>,
    key: &'static str,
    range: RangeInclusive<u64>,
    limit: &mut usize,
    f: &mut Findings<'_>,
) {
    let Some(value) = s.take(key) else { return };
    let given = match value.get_ref() {
        DeValue::String(text) => match size(text) {
            Ok(bytes) => Some(bytes),
            Err(fault) => return f.add(value.span(), fault.message, fault.help),
        },
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => return wrong_type(value, &format!("`{key}`"), "a size such as \"64KiB\"", f),
    };
    let given = given.filter(|bytes| range.contains(bytes));
    match given.and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(bytes) => *limit = bytes,
        None => {
            let (low, high) = (shown(*range.start()), shown(*range.end()));
            let message = format!("`{key}` must be a size from {low} to {high}");
            f.problem(value.span(), message);
        }
    }
}

/// A size for people.
fn shown(bytes: u64) -> String {
    let units = [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    let unit = units
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}
