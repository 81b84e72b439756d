//! What requests are sent to, and how often: chains, keys and their limits, retries, breakers.

use core::time::Duration;

use super::faults::{one, said};
use super::*;
use crate::policy::balance::Strategy;
use crate::policy::breaker::BreakerLimits;
use crate::policy::keys::KeyLimits;
use crate::policy::retry::RetryLimits;

/// Two providers, and models.
pub(super) fn with_models(models: &str) -> String {
    format!("[providers.groq]\nkey = \"k\"\n[providers.ollama]\n[models]\n{models}")
}

/// The chain that `name` leads to.
pub(super) fn chain_of<'s>(snapshot: &'s Snapshot, name: &str) -> &'s Chain {
    match snapshot.resolve(name) {
        Some(Resolved::Chain(chain)) => chain,
        other => panic!("{name}: {other:?}"),
    }
}

/// The steps of a chain, one a line, with weights.
pub(super) fn steps(snapshot: &Snapshot, name: &str) -> Vec<String> {
    let member = |member: &Member| {
        let (_, model) = snapshot.model_at(&member.upstream, name);
        let provider = snapshot.provider_name(&member.upstream).unwrap();
        format!("{provider}/{model} x{}", member.weight)
    };
    let steps = chain_of(snapshot, name).steps.iter();
    steps
        .map(|step| {
            step.members
                .iter()
                .map(member)
                .collect::<Vec<_>>()
                .join(" | ")
        })
        .collect()
}

#[test]
fn chains_keep_their_order_their_steps_and_their_weights() {
    let text = with_models(
        r#"
        one = "groq/a"
        same = ["groq/a"]
        flat = ["ollama/b", "groq/a", { target = "groq" }]
        deep = [["groq/a", { target = "ollama/b", weight = 100 }], "ollama/c"]
        table = { target = [[{ target = "groq/a", weight = 3 }], ["groq"]] }
        "any-*" = ["groq", "ollama/fixed"]
    "#,
    );
    let loaded = loaded(&text, &[]);
    let snapshot = &loaded.snapshot;
    for (name, expected) in [
        ("one", vec!["groq/a x1"]),
        ("same", vec!["groq/a x1"]),
        ("flat", vec!["ollama/b x1", "groq/a x1", "groq/flat x1"]),
        ("deep", vec!["groq/a x1 | ollama/b x100", "ollama/c x1"]),
        ("table", vec!["groq/a x3", "groq/table x1"]),
        ("any-1", vec!["groq/any-1 x1", "ollama/fixed x1"]),
    ] {
        assert_eq!(steps(snapshot, name), expected, "{name}");
    }
    // What is learnt of a target is kept under its number.
    let numbers = snapshot.upstreams().map(|upstream| upstream.target);
    assert!(numbers.eq(0..snapshot.targets()));
    // A name is listed under the provider that is asked first.
    assert!(listed(snapshot).contains(&"ollama: flat".to_owned()));
}

#[test]
fn a_targets_own_settings_stand_over_those_of_the_name() {
    let text = with_models(
        r#"
        [models.set]
        target = [
            { target = "groq/a", max_tokens = 5, parameters.seed = 2, headers.x-a = "2" },
            "ollama/b",
            { target = "ollama/c", traits = { developer_role = false } },
        ]
        max_tokens = 9
        traits = { developer_role = true }
        parameters = { top_k = 1, seed = 1 }
        headers = { x-a = "1", x-b = "1" }
    "#,
    );
    let loaded = loaded(&text, &[]);
    let told = chain_of(&loaded.snapshot, "set").upstreams().map(|it| {
        let extra = it.extra.iter().map(|(name, value)| {
            let value = value.text();
            format!("{}={}", name.unescape(), String::from_utf8_lossy(value))
        });
        let headers = it.headers.iter();
        let headers = headers.map(|(name, value)| format!("{name}:{value}"));
        let mut set: Vec<String> = extra.chain(headers).collect();
        set.sort();
        let tokens = it.traits.output_tokens_default;
        format!("{tokens} {} {}", it.traits.developer_role, set.join(" "))
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "5 true seed=2 top_k=1 x-a:2 x-b:1",
            "9 true seed=1 top_k=1 x-a:1 x-b:1",
            "9 false seed=1 top_k=1 x-a:1 x-b:1",
        ]
    );
}

#[test]
fn faults_of_chains_say_where_they_are() {
    for (models, expected) in [
        (
            "a = [\"groq/x\", \"demo\"]",
            "5:16 `demo` never fails: it cannot be one of several targets | -",
        ),
        (
            "a = { target = [[\"demo\"]] }",
            "5:18 `demo` never fails: it cannot be one of several targets | -",
        ),
        ("a = []", "5:5 model `a` has no target | -"),
        ("a = { target = [] }", "5:16 model `a` has no target | -"),
        (
            "a = [\"groq/x\", []]",
            "5:16 a step of `a` has no target | -",
        ),
        (
            "a = [\"groq/x\", \"grok/y\"]",
            "5:16 no provider is called `grok` | did you mean `groq/y`?",
        ),
        (
            "a = [[{ target = \"olama/y\", weight = 2 }]]",
            "5:18 no provider is called `olama` | did you mean `ollama/y`?",
        ),
        (
            "a = [\"groq/*\"]",
            "5:6 \"groq/*\" does not name a model | write only \"groq\" to keep the name that the \
             client asked for",
        ),
        (
            "a = [{ weight = 2 }]",
            "5:6 a target of `a` has no `target` | write `target = \"provider/model\"`",
        ),
        (
            "a = [[[\"groq/x\"]]]",
            "5:7 a target of `a` must be a string, not an array | -",
        ),
        (
            "a = [\"groq/x\", 1]",
            "5:16 a target of `a` must be a string, not an integer | -",
        ),
        (
            "a = [{ target = \"groq/x\", wieght = 2 }]",
            "5:27 unknown key `wieght` in a target of `a` | did you mean `weight`?",
        ),
        (
            "a = [{ target = \"groq/x\", parameters = { model = \"y\" } }]",
            "5:42 the parameter `model` is the gateway's own | -",
        ),
    ] {
        one(&with_models(models), expected);
    }
    for weight in ["0", "101", "-1"] {
        one(
            &with_models(&format!(
                "a = [{{ target = \"groq/x\", weight = {weight} }}]"
            )),
            "5:36 `weight` must be a whole number from 1 to 100 | -",
        );
    }
}

#[test]
fn chains_have_a_greatest_length() {
    let of = |count: usize| with_models(&format!("a = [{}]", "\"groq/x\", ".repeat(count)));
    assert_eq!(steps(&loaded(&of(64), &[]).snapshot, "a").len(), 64);
    one(&of(65), "5:5 model `a` has more than 64 targets | -");
}

/// The keys of the provider that `text` describes.
fn keys_of(text: &str) -> Vec<String> {
    let text = format!("[providers.groq]\n{text}");
    let env = [("ONE", "k-1"), ("TWO", "k-2"), ("GROQ_API_KEY", "usual")];
    let loaded = loaded(&text, &env);
    let keys = loaded.snapshot.providers[0].keys().iter();
    keys.map(|key| key.secret.expose().to_owned()).collect()
}

#[test]
fn keys_are_one_or_many() {
    for (text, expected) in [
        ("", vec!["usual"]),
        ("key = \"k\"", vec!["k"]),
        ("key = [\"k\"]", vec!["k"]),
        (
            "key = [\"k-1\", \"k-2\", \"k-3\"]",
            vec!["k-1", "k-2", "k-3"],
        ),
        ("key_env = [\"TWO\", \"ONE\"]", vec!["k-2", "k-1"]),
        ("key_file = [\"key.txt\"]", vec!["sk-from-a-file"]),
    ] {
        assert_eq!(keys_of(text), expected, "{text}");
    }
    let many = "[[callers]]\nname = \"c\"\nkey = [\"0123456789abcdef\", \"fedcba9876543210\"]";
    let loaded = loaded(many, &[]);
    for key in ["0123456789abcdef", "fedcba9876543210"] {
        let caller = loaded.snapshot.caller(key).unwrap();
        assert_eq!(&*caller.name, "c");
    }
}

#[test]
fn each_faulty_key_of_many_is_named() {
    let provider = |rest: &str| format!("[providers.groq]\n{rest}");
    for (rest, expected) in [
        (
            "key = [\"k-1\", \"k-2\", \"k-1\"]",
            "2:22 this key is given twice | -",
        ),
        (
            "key_file = [\"key.txt\", \"key.txt\"]",
            "2:24 this key is given twice | -",
        ),
        (
            "key_file = [\"key.txt\", \"gone\"]",
            "2:24 cannot read `gone`: no such file | -",
        ),
        (
            "key = [\"k\", \"a b\"]",
            "2:13 the key holds blanks or characters that no header can carry | -",
        ),
        (
            "key = [\"k\", 1]",
            "2:13 an item of `key` must be a string, not an integer | -",
        ),
        ("key = []", "2:1 `key` has no key in it | -"),
        ("key_env = []", "2:1 `key_env` has no key in it | -"),
        (
            "key = [\"k\"]\nkey_env = [\"ONE\"]",
            "3:1 `key` and `key_env` are both set | leave one of them out",
        ),
    ] {
        one(&provider(rest), expected);
    }
    assert_eq!(
        said(&provider("key_env = [\"GONE\", \"EMPTY\", \"LOST\"]")),
        [
            "2:12 the environment has no variable `GONE` | -",
            "2:20 the key is empty | -",
            "2:29 the environment has no variable `LOST` | -",
        ]
    );
    // Without any key there would be no caller, and everybody were let in.
    one(
        "[[callers]]\nname = \"c\"\nkey = []",
        "3:1 `key` has no key in it | -",
    );
}

#[test]
fn key_limits_come_from_the_config_then_from_what_is_known() {
    let limits = |text: &str| {
        let loaded = loaded(&format!("[providers.x]\nkey = \"k\"\n{text}"), &[]);
        loaded.snapshot.providers[0].key_limits.clone()
    };
    let nvidia = KeyLimits {
        requests_per_minute: Some(40),
        tokens_per_minute: None,
        concurrent: Some(8),
    };
    assert_eq!(limits("preset = \"groq\""), KeyLimits::default());
    assert_eq!(limits("preset = \"nvidia\""), nvidia);
    assert_eq!(
        limits("preset = \"nvidia\"\nkey_limits = { requests_per_minute = 200 }"),
        KeyLimits {
            requests_per_minute: Some(200),
            ..nvidia.clone()
        }
    );
    let all = "key_limits = { requests_per_minute = 1, tokens_per_minute = 2, concurrent = 3 }";
    assert_eq!(
        limits(&format!("preset = \"openai\"\n{all}")),
        KeyLimits {
            requests_per_minute: Some(1),
            tokens_per_minute: Some(2),
            concurrent: Some(3),
        }
    );
    let found = builtin_with(&[("NVIDIA_API_KEY", "k")]);
    assert_eq!(found.snapshot.providers[0].key_limits, nvidia);
    let x = |rest: &str| format!("[providers.groq]\nkey = \"k\"\nkey_limits = {{ {rest} }}");
    one(
        &x("requests_per_minute = 0"),
        "3:38 `requests_per_minute` must be a whole number from 1 to 4294967295 | -",
    );
    one(
        &x("tokens_per_minute = \"1M\""),
        "3:36 `tokens_per_minute` must be a whole number, not a string | -",
    );
    one(
        &x("concurent = 1"),
        "3:16 unknown key `concurent` in [providers.groq.key_limits] | did you mean `concurrent`?",
    );
}

#[test]
fn retries_and_breakers_are_set_by_name() {
    let text = r#"
        target_headers = false
        [retry]
        attempts_max = 1
        repeats_max = 2
        backoff = "3ms"
        backoff_max = "4s"
        wait_max = "5m"
        budget_percent = 6
        [breaker]
        failures_in_row = 7
        failure_percent = 8
        calls_min = 9
        window = "10s"
        recovery = "11s"
        recovery_max = "12s"
    "#;
    let snapshot = loaded(text, &[]).snapshot;
    assert!(!snapshot.target_headers);
    let retry = RetryLimits {
        attempts_max: 1,
        repeats_max: 2,
        backoff: Duration::from_millis(3),
        backoff_max: Duration::from_secs(4),
        wait_max: Duration::from_secs(300),
        budget_percent: 6,
    };
    assert_eq!(snapshot.retry, retry);
    let breaker = BreakerLimits {
        failures_in_row: 7,
        failure_percent: 8,
        calls_min: 9,
        window: Duration::from_secs(10),
        recovery: Duration::from_secs(11),
        recovery_max: Duration::from_secs(12),
    };
    assert_eq!(snapshot.breaker, breaker);
    let plain = loaded("[retry]\n[breaker]", &[]).snapshot;
    assert!(plain.target_headers);
    assert_eq!(plain.retry, RetryLimits::default());
    assert_eq!(plain.breaker, BreakerLimits::default());
}

#[test]
fn faults_of_retries_and_breakers_are_all_told() {
    let text = "[retry]\nattempts_max = 0\nrepeats_max = 32\nbackoff = 50\n\
        backoff_max = \"0ms\"\nwait_max = \"8d\"\nbudget_percent = 101\nretries = 1\n\
        [breaker]\nfailures_in_row = 0\nfailure_percent = 101\ncalls_min = 1.5\n\
        window = \"soon\"\nrecovery = true\nrecovery_max = \"\"\nrecover = 1";
    let time = "write a number and its unit, ms, s, m, h or d: \"500ms\", \"10s\", \"1m30s\"";
    assert_eq!(
        said(text),
        [
            "2:16 `attempts_max` must be a whole number from 1 to 32 | -",
            "3:15 `repeats_max` must be a whole number from 0 to 31 | -",
            "4:11 `backoff` needs a unit | write `\"50s\"` for seconds",
            "5:15 \"0ms\" is out of range: from 1ms to 7d | -",
            "6:12 \"8d\" is out of range: from 1ms to 7d | -",
            "7:18 `budget_percent` must be a whole number from 0 to 100 | -",
            "8:1 unknown key `retries` in [retry] | known are: attempts_max, repeats_max, \
             budget_percent, backoff, backoff_max, wait_max, hold_events, hedge_percent, \
             resume",
            "10:19 `failures_in_row` must be a whole number from 1 to 1000 | -",
            "11:19 `failure_percent` must be a whole number from 1 to 100 | -",
            "12:13 `calls_min` must be a whole number, not a float | -",
            &format!("13:10 \"soon\" is not a length of time | {time}"),
            "14:12 `recovery` must be a string, not a boolean | -",
            &format!("15:16 \"\" is not a length of time | {time}"),
            "16:1 unknown key `recover` in [breaker] | did you mean `recovery`?",
        ]
    );
    one(
        "retry = 1",
        "1:9 `retry` must be a table, not an integer | -",
    );
    one(
        "[brekaer]\ncalls_min = 1",
        "1:2 unknown key `brekaer` | did you mean `breaker`?",
    );
    one(
        "target_headers = \"off\"",
        "1:18 `target_headers` must be true or false, not a string | -",
    );
}

#[test]
fn routes_say_how_they_are_answered_over_what_holds_for_all() {
    let text = with_models(
        r#"
        plain = "groq/a"
        own = { target = ["groq/a"], hold_events = 64, resume = false, message = "Out." }
        [retry]
        hold_events = 8
        hedge_percent = 5
        resume = true
    "#,
    );
    let loaded = loaded(&text, &[]);
    let snapshot = &loaded.snapshot;
    let all = Manner {
        hold_events: 8,
        hedge_percent: 5,
        resume: true,
        message: None,
        balance: Strategy::Sessions,
    };
    assert_eq!(chain_of(snapshot, "plain").manner, all);
    assert_eq!(chain_of(snapshot, "groq/x").manner, all);
    let own = Manner {
        hold_events: 64,
        resume: false,
        message: Some("Out.".into()),
        ..all
    };
    assert_eq!(chain_of(snapshot, "own").manner, own);
    for (settings, expected) in [
        (
            "hold_events = 0",
            "5:40 `hold_events` must be a whole number from 1 to 1000000 | -",
        ),
        (
            "hedge_percent = 101",
            "5:42 `hedge_percent` must be a whole number from 0 to 100 | -",
        ),
        ("message = \"\"", "5:36 `message` must not be empty | -"),
        (
            "resume = 1",
            "5:35 `resume` must be true or false, not an integer | -",
        ),
    ] {
        one(
            &with_models(&format!("a = {{ target = \"groq/x\", {settings} }}")),
            expected,
        );
    }
}
