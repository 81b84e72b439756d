//! What providers say of repetitions and breakers for themselves.

use super::faults::one;
use super::*;

#[test]
fn a_provider_may_repeat_and_recover_in_its_own_way() {
    let text = r#"
        [providers.groq]
        key = "k"
        retry = { repeats_max = 5, backoff = "1s", budget_percent = 100 }
        breaker = { recovery = "9s" }
        [providers.ollama]
        [retry]
        attempts_max = 9
        backoff_max = "3s"
        [breaker]
        failures_in_row = 8
    "#;
    let snapshot = loaded(text, &[]).snapshot;
    let [groq, ollama] = [0, 1].map(|at| snapshot.retry_at(at));
    assert_eq!(*ollama, snapshot.retry);
    assert_eq!(
        (groq.repeats_max, groq.backoff),
        (5, Duration::from_secs(1))
    );
    assert_eq!((groq.attempts_max, groq.budget_percent), (9, 100));
    assert_eq!(groq.backoff_max, Duration::from_secs(3));
    let [groq, ollama] = [0, 1].map(|at| snapshot.breaker_at(at));
    assert_eq!(*ollama, snapshot.breaker);
    assert_eq!(
        (groq.failures_in_row, groq.recovery),
        (8, Duration::from_secs(9))
    );
    assert_eq!(*snapshot.retry_at(7), snapshot.retry);
}

#[test]
fn faults_of_a_providers_policies_say_where_they_are() {
    let provider = |rest: &str| format!("[providers.ollama]\n{rest}");
    for (rest, expected) in [
        (
            "retry.attempts_max = 3",
            "2:7 unknown key `attempts_max` in [providers.ollama.retry] | known are: \
             repeats_max, budget_percent, backoff, backoff_max, wait_max",
        ),
        (
            "retry.repeats_max = 32",
            "2:21 `repeats_max` must be a whole number from 0 to 31 | -",
        ),
        (
            "breaker.recovery = 5",
            "2:20 `recovery` needs a unit | write `\"5s\"` for seconds",
        ),
    ] {
        one(&provider(rest), expected);
    }
}
