//! How the steps of a chain say by which strategy they place sessions.

use super::faults::one;
use super::targets::{chain_of, steps, with_models};
use super::*;
use crate::policy::balance::Strategy::{Latency, LeastInFlight, Sessions};

#[test]
fn steps_say_how_they_are_balanced() {
    let text = with_models(
        r#"
        plain = [["groq/a", "ollama/b"]]
        own = [
            { targets = ["groq/a", { target = "ollama/b", weight = 2 }], balance = "latency" },
            "groq/c",
        ]
        all.target = [["groq/a", "ollama/b"], { targets = ["groq/c"] }]
        all.balance = "least-in-flight"
        both.target = [["groq/a"], { targets = ["groq/c"], balance = "sessions" }]
        both.balance = "latency"
    "#,
    );
    let loaded = loaded(&text, &[]);
    let snapshot = &loaded.snapshot;
    for (name, expected) in [
        ("plain", vec![Sessions]),
        ("own", vec![Latency, Sessions]),
        ("all", vec![LeastInFlight, LeastInFlight]),
        ("both", vec![Latency, Sessions]),
        ("groq/x", vec![Sessions]),
    ] {
        let steps = chain_of(snapshot, name).steps.iter();
        let told: Vec<_> = steps.map(|step| step.strategy).collect();
        assert_eq!(told, expected, "{name}");
    }
    let own = ["groq/a x1 | ollama/b x2", "groq/c x1"];
    assert_eq!(steps(snapshot, "own"), own);
}

#[test]
fn faults_of_balanced_steps_say_where_they_are() {
    let known = "it is one of \"sessions\", \"least-in-flight\", \"latency\"";
    for (step, expected) in [
        (
            "targets = [], balance = \"latency\"",
            "5:18 a step of `a` has no target | -",
        ),
        (
            "targets = \"groq/x\"",
            "5:8 `targets` must be an array of targets | -",
        ),
        (
            "targets = [\"groq/x\"], balanced = \"latency\"",
            "5:30 unknown key `balanced` in a step of `a` | did you mean `balance`?",
        ),
        (
            "targets = [\"groq/x\"], balance = \"fastest\"",
            &format!("5:40 `balance` cannot be \"fastest\" | {known}"),
        ),
    ] {
        one(&with_models(&format!("a = [{{ {step} }}]")), expected);
    }
}
