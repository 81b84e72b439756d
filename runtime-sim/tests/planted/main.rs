//! Do the checkers bite? Shards with planted bugs must be found out, each by the check that is for
//! it.

mod bugs;
mod hoard;

use std::collections::BTreeSet;
use std::time::Duration;

use tollgate_core::config::{Chain, RouteTarget, Snapshot, Upstream};
use tollgate_core::policy::keys::KeyLimits;
use tollgate_sim::faults::{Fault, FaultSet};
use tollgate_sim::scenario::{Options, Report, run_with};
use tollgate_sim::shrink::{replay, shrink};

use bugs::{Bug, Buggy};

/// By then each bug must have been found.
const SEEDS_MAX: u64 = 10_000;
/// An hour is for ever.
const HOUR: Duration = Duration::from_secs(3600);

fn run(options: &Options, bug: Bug) -> Report {
    run_with(options, |shard, config| Buggy::new(bug, shard, config))
}

/// Runs seeds until `check` finds `bug`; says how many.
fn is_found(name: &str, bug: Bug, is_resilient: bool, certain: FaultSet, check: &str) {
    let mut others = BTreeSet::new();
    for seed in 0..SEEDS_MAX {
        let options = Options {
            resilience: Some(is_resilient),
            certain,
            ..Options::new(seed)
        };
        if let Some(violation) = run(&options, bug).violation {
            if violation.check == check {
                println!("{name}: found by {check} in seed {seed}; before it by {others:?}");
                return;
            }
            others.insert(violation.check);
        }
    }
    panic!("{name} is found by {others:?}, not by {check}");
}

#[test]
fn what_a_shard_says_wrongly_is_found() {
    for (bug, check) in [
        (Bug::DropsCompletion, "answer"),
        (Bug::RepeatsChunk, "answer"),
        (Bug::ForgesEnd, "answer"),
        (Bug::RepeatsRecord, "record"),
        (Bug::DropsRecord, "record"),
        (Bug::ForgetsUsage, "usage"),
        (Bug::Miscounts, "record"),
        (Bug::KeepsUpstream, "gone"),
        (Bug::KeepsUpstream, "leak"),
        (Bug::KeepsPermit, "memory"),
        (Bug::ReadsTwice, "contract"),
        (Bug::HoldsBuffers, "contract"),
        (Bug::SpoilsPrompt, "upstream request"),
        (Bug::Oversleeps, "liveness"),
        (Bug::Oversleeps, "silence"),
        (Bug::Oversleeps, "pool"),
    ] {
        is_found(&format!("{bug:?}"), bug, false, FaultSet::NONE, check);
    }
}

#[test]
fn what_a_shard_does_wrongly_with_targets_and_keys_is_found() {
    for (bug, check) in [
        (Bug::OverhearsWait, "key"),
        (Bug::DeafToKeys, "key"),
        (Bug::DropsAttempt, "attempts"),
        (Bug::InventsAttempts, "attempts"),
        (Bug::SwapsKeys, "attempts"),
        (Bug::MistakesRefusal, "attempts"),
        (Bug::DeafToBreakers, "breaker"),
        (Bug::LosesSession, "affinity"),
    ] {
        is_found(&format!("{bug:?}"), bug, true, FaultSet::NONE, check);
    }
}

#[test]
fn a_shard_that_ignores_its_limits_is_found() {
    type Change = fn(&mut Snapshot);
    // Only where limits are small are they met.
    let certain = FaultSet::NONE
        .with(Fault::LongAnswer)
        .with(Fault::SlowReader)
        .with(Fault::SmallLimits);
    let cases: [(&str, Change, &str); 5] = [
        ("clients", |it| it.limits.shard.clients_max = 1000, "memory"),
        (
            "upstreams",
            |it| it.limits.shard.upstreams_max = 1000,
            "memory",
        ),
        (
            "bodies",
            |it| it.limits.shard.bodies_bytes_max = usize::MAX,
            "memory",
        ),
        (
            "back-pressure",
            |it| it.limits.shard.client_queue_bytes_max = usize::MAX,
            "memory",
        ),
        (
            "idle connections",
            |it| it.limits.shard.idle_per_target_max = 1000,
            "pool",
        ),
    ];
    is_found("hoards", Bug::Hoards, false, certain, "memory");
    for (name, change, check) in cases {
        is_found(name, Bug::Misreads(change), false, certain, check);
    }
}

#[test]
fn a_shard_that_ignores_its_timers_is_found() {
    type Change = fn(&mut Snapshot);
    let cases: [(&str, Change, &str); 2] = [
        (
            "idle time",
            |it| it.limits.timers.upstream_idle = HOUR,
            "pool",
        ),
        (
            "keep-alive",
            |it| it.limits.timers.keep_alive = HOUR,
            "silence",
        ),
    ];
    for (name, change, check) in cases {
        is_found(name, Bug::Misreads(change), false, FaultSet::NONE, check);
    }
}

#[test]
fn a_shard_that_ignores_its_policies_is_found() {
    type Change = fn(&mut Snapshot);
    let cases: [(&str, Change, &str); 7] = [
        ("attempts", |it| it.retry.attempts_max = 100, "attempts"),
        (
            "breaker",
            |it| it.breaker.failures_in_row = u32::MAX,
            "breaker",
        ),
        (
            "recovery",
            |it| it.breaker.recovery = Duration::from_millis(1),
            "breaker",
        ),
        ("key limits", lift_key_limits, "key"),
        ("other targets", forget_targets, "rescue"),
        ("first content", wait_for_content, "liveness"),
        ("hold", |it| it.limits.timers.commit_hold = HOUR, "silence"),
    ];
    for (name, change, check) in cases {
        is_found(name, Bug::Misreads(change), true, FaultSet::NONE, check);
    }
}

#[test]
fn a_shard_that_ignores_what_may_go_on_at_once_is_found() {
    type Change = fn(&mut Snapshot);
    let certain = FaultSet::NONE.with(Fault::Callers).with(Fault::Concurrent);
    let cases: [(&str, Change, &str); 4] = [
        (
            "a provider's limit",
            |it| it.providers.iter_mut().for_each(|it| it.concurrent = None),
            "limits",
        ),
        ("a target's limit", lift_target_limits, "limits"),
        (
            "a caller's limit",
            |it| {
                it.callers
                    .iter_mut()
                    .for_each(|it| it.terms.concurrent = None);
            },
            "limits",
        ),
        ("waits", |it| it.retry.wait_max = HOUR, "fairness"),
    ];
    for (name, change, check) in cases {
        is_found(name, Bug::Misreads(change), true, certain, check);
    }
    let tokens = FaultSet::NONE.with(Fault::TokenLimits);
    let bug = Bug::Misreads(lift_key_limits);
    is_found("tokens of keys", bug, true, tokens, "tokens");
    let deadlines = FaultSet::NONE.with(Fault::Deadlines);
    for bug in [Bug::OverhearsPatience, Bug::BlamesForHurry] {
        is_found(&format!("{bug:?}"), bug, true, deadlines, "deadline");
    }
    is_found("MixesCallers", Bug::MixesCallers, true, certain, "record");
}

#[test]
fn a_shard_that_shares_answers_wrongly_is_found() {
    type Change = fn(&mut Snapshot);
    let certain = FaultSet::NONE.with(Fault::Coalesce);
    let cases: [(&str, Change, &str); 2] = [
        ("shares nothing", |it| share(it, false), "share"),
        ("shares all", |it| share(it, true), "share"),
    ];
    for (name, change, check) in cases {
        is_found(name, Bug::Misreads(change), true, certain, check);
    }
    for (bug, check) in [(Bug::ForgetsLeader, "share"), (Bug::MixesCallers, "record")] {
        is_found(&format!("{bug:?}"), bug, true, certain, check);
    }
}

#[test]
fn a_shard_that_tells_its_message_wrongly_is_found() {
    type Change = fn(&mut Snapshot);
    let certain = FaultSet::NONE.with(Fault::Message);
    let cases: [(&str, Change, &str); 4] = [
        ("no message", |it| tell(it, None), "message"),
        (
            "any message",
            |it| tell(it, Some("Nobody is here.")),
            "answer",
        ),
        (
            "half a message",
            |it| tell(it, Some("No model can")),
            "answer",
        ),
        ("a message for an answer", forget_targets, "rescue"),
    ];
    for (name, change, check) in cases {
        is_found(name, Bug::Misreads(change), true, certain, check);
    }
    is_found(
        "ForgetsMessage",
        Bug::ForgetsMessage,
        true,
        certain,
        "message",
    );
}

#[test]
fn a_shard_that_continues_wrongly_is_found() {
    type Change = fn(&mut Snapshot);
    let certain = FaultSet::NONE.with(Fault::Resume).with(Fault::ErrorEvent);
    let cases: [(&str, Change, &str); 3] = [
        ("continues nothing", |it| resume(it, false), "resume"),
        ("continues all", |it| resume(it, true), "resume"),
        ("continues anywhere", prefill_anywhere, "resume"),
    ];
    for (name, change, check) in cases {
        is_found(name, Bug::Misreads(change), true, certain, check);
    }
    for (bug, check) in [(Bug::SpoilsPrefill, "resume"), (Bug::SpoilsJoint, "answer")] {
        is_found(&format!("{bug:?}"), bug, true, certain, check);
    }
}

#[test]
fn a_failing_seed_is_shrunk_and_replayed() {
    let bug = Bug::RepeatsRecord;
    let whole = Options::new(0);
    let report = run(&whole, bug);
    let found = report.violation.as_ref().map(|violation| violation.check);
    assert_eq!(found, Some("record"));
    let least = shrink(&whole, &report, |options| run(options, bug));
    assert_eq!(least.clients.count_ones(), 1);
    assert_eq!(least.asks_max, 1);
    assert_eq!(least.faults, FaultSet::NONE);
    let command = replay(&least);
    assert!(command.contains(&format!("--seed 0 --trace --clients {}", least.clients)));
    let again = run(&least, bug);
    let found_again = again.violation.as_ref().map(|violation| violation.check);
    assert_eq!(found_again, found);
    assert_eq!(again.trace_hash, run(&least, bug).trace_hash);
}

fn lift_key_limits(snapshot: &mut Snapshot) {
    for provider in &mut snapshot.providers {
        provider.key_limits = KeyLimits::default();
    }
}

/// Each chain has its first target only.
fn forget_targets(snapshot: &mut Snapshot) {
    change_chains(snapshot, |chain| chain.steps.truncate(1));
}

fn resume(snapshot: &mut Snapshot, resumes: bool) {
    change_chains(snapshot, |chain| chain.manner.resume = resumes);
}

fn tell(snapshot: &mut Snapshot, message: Option<&str>) {
    change_chains(snapshot, |chain| {
        chain.manner.message = message.map(Into::into);
    });
}

fn share(snapshot: &mut Snapshot, shares: bool) {
    let callers = snapshot.callers.iter_mut();
    callers.for_each(|caller| caller.terms.coalesce = shares);
}

fn prefill_anywhere(snapshot: &mut Snapshot) {
    change_targets(snapshot, |upstream| upstream.traits.prefill = true);
}

fn lift_target_limits(snapshot: &mut Snapshot) {
    change_targets(snapshot, |upstream| upstream.concurrent = None);
}

/// Whatever comes first may come as late as it likes.
fn wait_for_content(snapshot: &mut Snapshot) {
    change_targets(snapshot, |upstream| {
        upstream.timers.first_content = 2 * HOUR;
        upstream.timers.first_content_min = 2 * HOUR;
        upstream.timers.idle = 2 * HOUR;
        upstream.timers.total = 2 * HOUR;
    });
}

fn change_targets(snapshot: &mut Snapshot, change: impl Fn(&mut Upstream)) {
    change_chains(snapshot, |chain| {
        let steps = chain.steps.iter_mut();
        for member in steps.flat_map(|step| &mut step.members) {
            let mut upstream = (*member.upstream).clone();
            change(&mut upstream);
            member.upstream = upstream.into();
        }
    });
}

fn change_chains(snapshot: &mut Snapshot, change: impl Fn(&mut Chain)) {
    for route in &mut snapshot.routes {
        if let RouteTarget::Chain(chain) = &mut route.target {
            let mut own = (**chain).clone();
            change(&mut own);
            *chain = own.into();
        }
    }
}
