//! What the config says of requests that wait: limits at the same time, weights, priorities.

use super::faults::{one, said};
use super::loaded;
use crate::config::{Snapshot, Terms};
use crate::policy::queue::{Priority, QueueLimits};

fn snapshot(text: &str) -> Snapshot {
    loaded(text, &[]).snapshot
}

#[test]
fn callers_have_terms_and_each_key_of_one_has_the_same() {
    let text = r#"
        [[callers]]
        name = "one"
        key = ["0123456789abcdef", "fedcba9876543210"]
        weight = 7
        priority = "low"
        concurrent = 3
        coalesce = true

        [[callers]]
        name = "other"
        key = "0123456789ABCDEF"
    "#;
    let callers = snapshot(text).callers;
    let terms = Terms {
        weight: 7,
        priority: Priority::Low,
        concurrent: Some(3),
        coalesce: true,
    };
    let expected = [terms.clone(), terms, Terms::default()];
    assert_eq!(callers.len(), 3);
    for (caller, expected) in callers.iter().zip(expected) {
        assert_eq!(caller.terms, expected);
    }
}

#[test]
fn limits_at_the_same_time_are_for_providers_and_for_targets() {
    let text = r#"
        [models]
        plain = "ollama/x"
        all = { target = ["ollama/a", { target = "ollama/b", concurrent = 2 }], concurrent = 5 }
        [providers.ollama]
        concurrent = 9
        [queue]
        length_max = 0
        concurrent_per_client = 4
        crowded_wait_max = "3s"
    "#;
    let snapshot = snapshot(text);
    assert_eq!(snapshot.providers[0].concurrent, Some(9));
    let targets: Vec<_> = snapshot.upstreams().map(|it| it.concurrent).collect();
    assert_eq!(targets[..3], [None, Some(5), Some(2)]);
    let queue = QueueLimits {
        length_max: 0,
        concurrent_per_client: Some(4),
        crowded_wait_max: core::time::Duration::from_secs(3),
    };
    assert_eq!(snapshot.queue, queue);
    assert_eq!(self::snapshot("").queue, QueueLimits::default());
}

#[test]
fn faults_of_limits_are_told() {
    let text = "[[callers]]\nname = \"c\"\nkey = \"0123456789abcdef\"\nweight = 0\n\
        priority = \"hihg\"\nconcurrent = 0\ncoalesce = 1\n\
        [queue]\nlength_max = 1000001\nconcurrent_per_client = \"2\"\nlength = 1";
    assert_eq!(
        said(text),
        [
            "4:10 `weight` must be a whole number from 1 to 100 | -",
            "5:12 `priority` cannot be \"hihg\" | did you mean \"high\"?",
            "6:14 `concurrent` must be a whole number from 1 to 4294967295 | -",
            "7:12 `coalesce` must be true or false, not an integer | -",
            "9:14 `length_max` must be a whole number from 0 to 1000000 | -",
            "10:25 `concurrent_per_client` must be a whole number, not a string | -",
            "11:1 unknown key `length` in [queue] | known are: length_max, \
             concurrent_per_client, crowded_wait_max",
        ]
    );
    one(
        "[providers.ollama]\nconcurrent = 0",
        "2:14 `concurrent` must be a whole number from 1 to 4294967295 | -",
    );
    one(
        "queue = 5",
        "1:9 `queue` must be a table, not an integer | -",
    );
}
