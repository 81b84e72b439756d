//! The config as a whole: what loads, where names lead, and every kind of fault as it is shown.

use super::*;
use crate::base::Rng;
use crate::dialect::{Dialect, ReasoningField, ThinkingStyle, TokenLimitField};
use core::time::Duration;
use std::sync::Arc;

mod admission;
mod balance;
mod faults;
mod policies;
mod targets;

/// A self-signed certificate made for these tests with a throwaway key.
pub(super) const CERTIFICATE: &str = include_str!("tests/fixture-ca.pem");

fn no_file(_: &str) -> Result<Vec<u8>, String> {
    Err("no such file".to_owned())
}

/// Loads `text` with the variables `env`.
pub(super) fn load_with(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
    let env = |name: &str| {
        let found = env.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let read_file = |path: &str| match path {
        "ca.pem" => Ok(CERTIFICATE.as_bytes().to_vec()),
        "bad.pem" => Ok(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".to_vec()),
        "key.txt" => Ok(b"sk-from-a-file\n".to_vec()),
        "binary" => Ok(vec![0xFF, 0xFE]),
        _ => no_file(path),
    };
    load(
        "t.toml",
        text,
        &Surroundings {
            env: &env,
            read_file: &read_file,
            roots: &[],
        },
    )
}

fn loaded(text: &str, env: &[(&str, &str)]) -> Loaded {
    load_with(text, env).unwrap_or_else(|faults| panic!("{faults}"))
}

fn builtin_with(env: &[(&str, &str)]) -> Loaded {
    let env = |name: &str| {
        let found = env.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    builtin(&Surroundings {
        env: &env,
        read_file: &no_file,
        roots: &[],
    })
}

/// Where `name` leads: `provider model`, `demo` or nothing.
fn leads(snapshot: &Snapshot, name: &str) -> String {
    match snapshot.resolve(name) {
        None => "nowhere".to_owned(),
        Some(Resolved::Demo) => "demo".to_owned(),
        Some(Resolved::Chain(chain)) => {
            let leads = chain.upstreams().map(|upstream| {
                let provider = &snapshot.providers[upstream.provider];
                let (_, model) = snapshot.model_at(upstream, name);
                format!("{} {model}", provider.name)
            });
            leads.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The first target of `name`.
fn upstream(snapshot: &Snapshot, name: &str) -> Arc<Upstream> {
    match snapshot.resolve(name) {
        Some(Resolved::Chain(chain)) => {
            let upstream = chain.upstreams().next().unwrap();
            snapshot.model_at(upstream, name).0
        }
        other => panic!("{name}: {other:?}"),
    }
}

fn traits(snapshot: &Snapshot, name: &str) -> crate::dialect::Traits {
    upstream(snapshot, name).traits.clone()
}

fn timers(snapshot: &Snapshot, name: &str) -> crate::base::limits::UpstreamTimers {
    upstream(snapshot, name).timers.clone()
}

fn listed(snapshot: &Snapshot) -> Vec<String> {
    let models = snapshot.listed.iter();
    models
        .map(|model| format!("{}: {}", model.owner, model.id))
        .collect()
}

#[test]
fn the_starter_loads() {
    let starter = loaded(STARTER, &[]);
    assert_eq!(starter.listeners, [ListenerConfig::default()]);
    assert_eq!(starter.access_log, AccessLog::Text);
    assert!(starter.warnings.is_empty(), "{:?}", starter.warnings);
    assert!(starter.snapshot.providers.is_empty());
    assert_eq!(leads(&starter.snapshot, "demo"), "demo");
    assert_eq!(listed(&starter.snapshot), ["tollgate: demo"]);
    let keyed = loaded(STARTER, &[("OPENAI_API_KEY", "sk-1")]);
    assert_eq!(leads(&keyed.snapshot, "gpt-5.5"), "openai gpt-5.5");
}

#[test]
fn the_starters_examples_load_too() {
    // Lines such as `# name = …` and `# [table]` are examples; prose begins otherwise.
    let example = |line: &&str| {
        let text = line.trim_start_matches("# ");
        let key = text.split(" = ").next().unwrap_or_default();
        let key_like = key.starts_with('"') || !key.contains(' ');
        text.starts_with('[') || (text.contains(" = ") && key_like)
    };
    let prelude = "providers_from_environment = true";
    let lines = STARTER
        .lines()
        .filter(|line| example(line) && !line.contains(prelude));
    let text: Vec<&str> = lines.map(|line| line.trim_start_matches("# ")).collect();
    assert!(text.len() > 55, "{text:#?}");
    let text = text.join("\n").replace("private-ca.pem", "ca.pem");
    let env = [
        ("ANTHROPIC_API_KEY", "a"),
        ("GROQ_API_KEY", "g"),
        ("TOLLGATE_KEY_CI", "c"),
    ];
    let text = format!("{prelude}\n{text}");
    let starter = loaded(&text, &env);
    assert_eq!(starter.runtime, Some(RuntimeChoice::Auto));
    assert_eq!(starter.workers, Some(2));
    let snapshot = &starter.snapshot;
    assert_eq!(
        leads(snapshot, "claude-haiku-4-5"),
        "groq llama-3.3-70b-versatile"
    );
    assert_eq!(
        leads(snapshot, "claude-opus-4-8"),
        "anthropic claude-opus-4-8"
    );
    assert_eq!(leads(snapshot, "fast"), "local llama-3.3-70b");
    assert_eq!(snapshot.callers.len(), 1);
    assert_eq!(snapshot.limits.timers.upstream.total_stream, None);
    assert_eq!(
        leads(snapshot, "safe"),
        "anthropic claude-opus-4-8, pool anthropic/claude-opus-4.8"
    );
    assert_eq!(
        leads(snapshot, "wide"),
        "local qwen3, groq groq/compound, pool qwen/qwen3"
    );
    let pool = snapshot.providers.iter().find(|it| &*it.name == "pool");
    assert_eq!(pool.unwrap().keys().len(), 2);
    // What stands there as a default is one.
    let plain = loaded(STARTER, &[]).snapshot;
    assert_eq!(snapshot.retry, plain.retry);
    assert_eq!(snapshot.breaker, plain.breaker);
    assert_eq!(snapshot.target_headers, plain.target_headers);
    let limits = |snapshot: &Snapshot| format!("{:?}", snapshot.limits);
    assert_eq!(limits(snapshot), limits(&plain));
}

#[test]
fn an_empty_config_and_a_byte_order_mark_load() {
    for text in ["", "\u{feff}", "\u{feff}# nothing\r\n"] {
        let loaded = loaded(text, &[]);
        assert_eq!(loaded.listeners.len(), 1);
        assert_eq!(leads(&loaded.snapshot, "demo"), "demo");
        assert_eq!(leads(&loaded.snapshot, "gpt-5"), "nowhere");
    }
}

#[test]
fn the_environment_configures_known_providers() {
    let bare = builtin_with(&[("ANTHROPIC_API_KEY", " ")]);
    assert!(bare.snapshot.providers.is_empty() && bare.notes.is_empty());
    assert_eq!(listed(&bare.snapshot), ["tollgate: demo"]);

    let one = builtin_with(&[("ANTHROPIC_API_KEY", "sk-ant\n")]);
    let provider = &one.snapshot.providers[0];
    assert_eq!(provider.dialect, Dialect::Anthropic);
    assert_eq!(provider.base.authority.as_ref(), "api.anthropic.com");
    assert_eq!(
        provider.authorization,
        Authorization::Field("x-api-key".into())
    );
    assert_eq!(provider.keys()[0].secret.expose(), "sk-ant");
    assert!(provider.tls.is_some() && provider.proxy.is_none());
    assert_eq!(one.notes, ["provider anthropic: ANTHROPIC_API_KEY is set"]);
    assert_eq!(
        leads(&one.snapshot, "claude-sonnet-5"),
        "anthropic claude-sonnet-5"
    );
    assert_eq!(leads(&one.snapshot, "anthropic/other"), "anthropic other");
    assert_eq!(leads(&one.snapshot, "gpt-5"), "nowhere");
    assert!(provider.passes_client_field(b"anthropic-beta"));
    assert!(provider.passes_client_field(b"x-claude-code-session-id"));
    assert!(!provider.passes_client_field(b"authorization"));
    assert!(!provider.passes_client_field(b"x-claude"));

    let broken = builtin_with(&[("OPENAI_API_KEY", "two words"), ("OLLAMA_HOST", "a b")]);
    assert!(broken.snapshot.providers.is_empty());
    assert_eq!(broken.warnings.len(), 2, "{:?}", broken.warnings);
}

#[test]
fn every_usual_variable_configures_its_provider() {
    let variables = [
        ("ANTHROPIC_API_KEY", "anthropic", "claude-x"),
        ("OPENAI_API_KEY", "openai", "gpt-x"),
        ("NVIDIA_API_KEY", "nvidia", "meta/x"),
        ("NVIDIA_NIM_API_KEY", "nvidia", "meta/x"),
        ("OPENROUTER_API_KEY", "openrouter", "anyone/x"),
        ("GROQ_API_KEY", "groq", "llama-3-x"),
    ];
    for (variable, name, model) in variables {
        let alone = builtin_with(&[(variable, "k")]);
        let providers = &alone.snapshot.providers;
        assert_eq!(providers.len(), 1, "{variable}");
        assert_eq!(providers[0].name.as_ref(), name);
        assert_eq!(providers[0].keys()[0].secret.expose(), "k");
        let expected = format!("{name} {model}");
        assert_eq!(leads(&alone.snapshot, model), expected, "{variable}");
        let whole = format!("{name}/anyone/x");
        let expected = format!("{name} anyone/x");
        assert_eq!(leads(&alone.snapshot, &whole), expected, "{variable}");
    }
}

#[test]
fn where_two_providers_match_the_first_in_the_config_wins() {
    let provider = |name: &str| {
        format!(
            "[providers.{name}]\ndialect = \"anthropic\"\nbase_url = \"http://127.0.0.1:1\"\n\
             models = [\"m-*\"]\n"
        )
    };
    for (one, other) in [("z", "a"), ("a", "z")] {
        let text = provider(one) + &provider(other);
        let snapshot = loaded(&text, &[]).snapshot;
        assert_eq!(leads(&snapshot, "m-1"), format!("{one} m-1"));
        assert_eq!(
            leads(&snapshot, &format!("{other}/m-1")),
            format!("{other} m-1")
        );
    }
}

#[test]
fn many_keys_in_the_environment_live_side_by_side() {
    let many = builtin_with(&[
        ("OPENROUTER_API_KEY", "r"),
        ("NVIDIA_NIM_API_KEY", "n"),
        ("GROQ_API_KEY", "g"),
        ("OPENAI_API_KEY", "o"),
        ("OLLAMA_HOST", "0.0.0.0"),
        ("HTTPS_PROXY", "http://u:p@proxy:8080"),
        ("NO_PROXY", "openrouter.ai"),
    ]);
    let snapshot = &many.snapshot;
    let names: Vec<&str> = snapshot.providers.iter().map(|p| p.name.as_ref()).collect();
    assert_eq!(names, ["openai", "groq", "nvidia", "openrouter", "ollama"]);
    for (name, expected) in [
        ("gpt-5.5", "openai gpt-5.5"),
        ("o3-mini", "openai o3-mini"),
        ("openai/o9", "openai o9"),
        ("openrouter/openai/gpt-5", "openrouter openai/gpt-5"),
        ("openrouter/auto", "openrouter openrouter/auto"),
        (
            "nvidia/nemotron-3-ultra-550b-a55b",
            "nvidia nvidia/nemotron-3-ultra-550b-a55b",
        ),
        ("nvidia/meta/llama-4", "nvidia meta/llama-4"),
        ("nvidia/nvidia/x", "nvidia nvidia/x"),
        ("meta/llama-4", "nvidia meta/llama-4"),
        (
            "anthropic/claude-sonnet-4.5",
            "openrouter anthropic/claude-sonnet-4.5",
        ),
        ("groq/compound", "groq groq/compound"),
        (
            "groq/llama-3.3-70b-versatile",
            "groq llama-3.3-70b-versatile",
        ),
        ("ollama/llama3.2:3b", "ollama llama3.2:3b"),
        ("demo", "demo"),
        ("claude-opus-4-8", "nowhere"),
        ("", "nowhere"),
        ("/", "openrouter /"),
    ] {
        assert_eq!(leads(snapshot, name), expected, "{name}");
    }
    let proxied = |at: usize| snapshot.providers[at].proxy.is_some();
    assert!(proxied(0) && !proxied(3) && !proxied(4));
    let openrouter = traits(snapshot, "openrouter/anthropic/claude-sonnet-4.5");
    assert!(openrouter.cache_control);
    assert_eq!(openrouter.reasoning_field, ReasoningField::ReasoningDetails);
    assert_eq!(openrouter.output_tokens_default, 64_000);
    let openai = traits(snapshot, "gpt-5.5");
    assert_eq!(
        openai.token_limit_field,
        TokenLimitField::MaxCompletionTokens
    );
    assert!(openai.developer_role);
    assert!(listed(snapshot).contains(&"groq: groq/openai/gpt-oss-120b".to_owned()));
    for model in &snapshot.listed {
        assert_ne!(leads(snapshot, &model.id), "nowhere", "{}", model.id);
    }
}

#[test]
fn models_lead_where_the_first_match_says() {
    let text = r#"
        [providers.first]
        dialect = "anthropic"
        base_url = "https://first.example/v1"
        key_file = "key.txt"
        models = ["claude-*", "*"]
        listed = ["claude-opus-4-8", "fast"]
        [providers.groq]
        key = "sk-groq"
        [models]
        "claude-haiku-*" = "groq/llama-3.3-70b"
        "claude-sonnet-*" = "groq"
        "fast" = { target = "first/claude-opus-4-1", max_tokens = 99, listed = true }
        "gpt-5.5" = "demo"
        "hidden" = { target = "groq/a/b", listed = false }
        "compound" = "groq/compound"
    "#;
    let loaded = loaded(text, &[]);
    let snapshot = &loaded.snapshot;
    for (name, expected) in [
        ("claude-haiku-4-5", "groq llama-3.3-70b"),
        ("claude-sonnet-5", "groq claude-sonnet-5"),
        ("claude-opus-5", "first claude-opus-5"),
        ("fast", "first claude-opus-4-1"),
        ("gpt-5.5", "demo"),
        ("hidden", "groq a/b"),
        ("compound", "groq groq/compound"),
        ("llama-3.1", "first llama-3.1"),
        ("first/x", "first x"),
        ("groq/x", "groq x"),
        ("demo", "demo"),
        ("any thing", "first any thing"),
    ] {
        assert_eq!(leads(snapshot, name), expected, "{name}");
    }
    assert_eq!(
        listed(snapshot),
        [
            "first: fast",
            "tollgate: gpt-5.5",
            "groq: compound",
            "first: claude-opus-4-8",
            "first: first/fast",
            "groq: groq/llama-3.3-70b-versatile",
            "groq: groq/openai/gpt-oss-120b",
            "tollgate: demo",
        ]
    );
}

#[test]
fn traits_come_from_config_then_name_then_provider() {
    let text = r#"
        [providers.a]
        preset = "anthropic"
        key = "sk"
        [providers.b]
        preset = "anthropic"
        key = "sk"
        traits = { thinking = "none" }
        [models]
        "old" = "a/claude-3-opus-20240229"
        able.target = "a/gpt-4"
        able.traits = { images = true, context_window = 9, tools = false }
        "unable" = "a/gpt-4"
        "set" = { target = "a/claude-3-opus", traits = { max_tokens = 7, thinking = "budget" } }
        "short" = { target = "b/claude-opus-4-8", max_tokens = 5, traits = { max_tokens = 7 } }
    "#;
    let loaded = loaded(text, &[]);
    for (name, thinking, tokens) in [
        ("a/claude-opus-4-8", ThinkingStyle::Adaptive, 64_000),
        ("a/claude-sonnet-4-5", ThinkingStyle::Budget, 64_000),
        ("a/something", ThinkingStyle::Budget, 8192),
        ("old", ThinkingStyle::None, 4096),
        ("set", ThinkingStyle::Budget, 7),
        ("b/claude-opus-4-8", ThinkingStyle::None, 64_000),
        ("short", ThinkingStyle::None, 5),
    ] {
        let traits = traits(&loaded.snapshot, name);
        assert_eq!(traits.thinking, thinking, "{name}");
        assert_eq!(traits.output_tokens_default, tokens, "{name}");
    }
    for (name, window, images, tools) in [
        ("able", Some(9), true, false),
        ("unable", Some(8192), false, true),
        ("a/gpt-4", Some(8192), false, true),
        ("a/something", None, true, true),
    ] {
        let traits = traits(&loaded.snapshot, name);
        let able = (traits.context_window, traits.images, traits.tools);
        assert_eq!(able, (window, images, tools), "{name}");
    }
}

#[test]
fn a_provider_takes_all_its_settings() {
    let text = r#"
        [providers.box]
        dialect = "openai-chat"
        base_url = "https://box.internal:8443/api/v1/"
        key_env = "BOX"
        authorization = "Api-Key"
        headers = { X-Team = "search", "x-empty" = "" }
        client_headers = ["X-Request-*", "traceparent"]
        ca_file = "ca.pem"
        proxy = "http://proxy:3128"
        [providers.box.timers]
        connect = "1s"
        total_stream = "1h"
        [providers.box.traits]
        token_limit_field = "max_completion_tokens"
        stream_options = false
        [providers.claude]
        preset = "anthropic"
        credentials = "client"
        proxy = "none"
        headers = { anthropic-version = "" }
        [providers.ollama]
        [models]
        m = { target = "box/x", parameters = { a = [1, { b = 1.50 }] }, headers = { x-m = "1" } }
        [timers]
        connect = "3s"
        first_content = "7m"
    "#;
    let loaded = loaded(
        text,
        &[("BOX", "s3cr3t"), ("HTTPS_PROXY", "http://other:1")],
    );
    let [boxed, claude, ollama] = loaded.snapshot.providers.as_slice() else {
        panic!("{:?}", loaded.snapshot.providers)
    };
    assert_eq!(boxed.base.authority.as_ref(), "box.internal:8443");
    assert_eq!(boxed.base.prefix.as_ref(), "/api/v1");
    assert_eq!(boxed.authorization, Authorization::Field("api-key".into()));
    assert_eq!(boxed.headers, [("x-team".into(), "search".into())]);
    let passed = ["x-request-*".into(), "traceparent".into()];
    assert_eq!(boxed.client_headers, passed);
    assert!(boxed.tls.is_some());
    assert_eq!(boxed.proxy.as_ref().unwrap().host.as_ref(), "proxy");
    let boxes = timers(&loaded.snapshot, "box/x");
    let seconds = [boxes.connect, boxes.first_content].map(|it| it.as_secs());
    assert_eq!(seconds, [1, 420]);
    assert_eq!(boxes.total_stream, Some(Duration::from_secs(3600)));
    let traits = traits(&loaded.snapshot, "box/x");
    assert_eq!(
        traits.token_limit_field,
        TokenLimitField::MaxCompletionTokens
    );
    assert!(!traits.stream_options);
    assert!(matches!(claude.credentials, Credentials::Client));
    assert!(claude.proxy.is_none() && claude.headers.is_empty());
    assert_eq!(
        timers(&loaded.snapshot, "claude/x").connect,
        Duration::from_secs(3)
    );
    assert!(matches!(ollama.credentials, Credentials::None));
    assert!(ollama.tls.is_none() && !ollama.base.https);
    assert!(!format!("{:?}", loaded.snapshot).contains("s3cr3t"));
    let Some(Resolved::Chain(chain)) = loaded.snapshot.resolve("m") else {
        panic!("m leads nowhere")
    };
    let upstream = chain.upstreams().next().unwrap();
    assert_eq!(upstream.extra[0].1.text().as_ref(), br#"[1,{"b":1.50}]"#);
    assert_eq!(upstream.headers, [("x-m".into(), "1".into())]);
}

#[test]
fn the_usual_key_goes_to_the_usual_host_only() {
    let key = |rest: &str| {
        let text = format!("[providers.x]\npreset = \"openai\"\n{rest}");
        let loaded = loaded(&text, &[("OPENAI_API_KEY", "sk-usual")]);
        let credentials = loaded.snapshot.providers[0].credentials.clone();
        (credentials, loaded.warnings.len())
    };
    assert!(matches!(key(""), (Credentials::Keys(_), 0)));
    let local = key("base_url = \"http://127.0.0.1:1/v1\"");
    assert!(matches!(local, (Credentials::None, 0)), "{local:?}");
    let other = "base_url = \"http://h\"";
    let clear = key(&format!("{other}\nkey = \"k\""));
    assert!(matches!(clear, (Credentials::Keys(_), 1)), "{clear:?}");
    let text = format!("[providers.x]\npreset = \"openai\"\n{other}");
    let faults = load_with(&text, &[("OPENAI_API_KEY", "sk-usual")]).expect_err("no key");
    assert_eq!(faults.problems[0].message, "provider `x` has no key");
}

#[test]
fn callers_are_known_by_hash() {
    let text = r#"
        listeners = [{ address = "0.0.0.0:80" }, { address = "unix:/x" }]
        [[callers]]
        name = "plain"
        key = "abc"
        [[callers]]
        name = "env"
        key_env = "CI_KEY"
        [[callers]]
        name = "file"
        key_file = "key.txt"
        [[callers]]
        name = "hash"
        key_sha256 = "CB8379AC2098AA165029E3938A51DA0BCECFC008FD6795F401178647F96C5B34"
        [providers.claude]
        preset = "anthropic"
        credentials = "client"
    "#;
    let loaded = loaded(text, &[("CI_KEY", "0123456789abcdef")]);
    let name = |key: &str| {
        let caller = loaded.snapshot.caller(key);
        caller.map(|caller| caller.name.to_string())
    };
    assert_eq!(name("abc").as_deref(), Some("plain"));
    assert_eq!(name("0123456789abcdef").as_deref(), Some("env"));
    assert_eq!(name("sk-from-a-file").as_deref(), Some("file"));
    assert_eq!(name("def").as_deref(), Some("hash"));
    assert_eq!(name(""), None);
    assert_eq!(name("ABC"), None);
    assert_eq!(loaded.listeners.len(), 2);
    let warnings = loaded.warnings.join("\n");
    assert!(warnings.contains("\"plain\" is short"), "{warnings}");
    assert!(
        warnings.contains("provider `claude` gets the clients' own"),
        "{warnings}"
    );
}

#[test]
fn limits_and_timers_are_set_by_name() {
    let text = r#"
        [limits]
        request_bytes_max = "1.5MiB"
        head_bytes_max = 4096
        depth_max = 64
        clients_max = 5
        broken_events_max = 0x10
        [timers]
        idle = "1m30s"
        total_stream = "2h"
        linger = "250ms"
    "#;
    let limits = loaded(text, &[]).snapshot.limits;
    assert_eq!(limits.shard.request_bytes_max, 1_572_864);
    assert_eq!(limits.http1.head_bytes_max, 4096);
    assert_eq!(limits.json.depth_max, 64);
    assert_eq!(limits.shard.clients_max, 5);
    assert_eq!(limits.shard.broken_events_max, 16);
    assert_eq!(limits.timers.upstream.idle, Duration::from_secs(90));
    assert_eq!(
        limits.timers.upstream.total_stream,
        Some(Duration::from_secs(7200))
    );
    assert_eq!(limits.timers.linger, Duration::from_millis(250));
}

#[test]
fn the_defaults_lie_within_their_own_ranges() {
    // Every limit that a fault message lists, set to its default, is accepted.
    let faults = load_with("[limits]\n_ = 1\n[timers]\n_ = 1", &[]).unwrap_err();
    let known = |at: usize| {
        let help = faults.problems[at].help.clone().unwrap();
        let names = help.strip_prefix("known are: ").unwrap().to_owned();
        names.split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    let defaults = format!("{:?}", Limits::default());
    let value = |name: &str| {
        let from = defaults.find(&format!(" {name}: ")).expect(name) + name.len() + 3;
        let rest = &defaults[from..];
        rest[..rest.find([',', ' ']).unwrap()].to_owned()
    };
    let mut text = "[limits]\n".to_owned();
    known(0)
        .iter()
        .for_each(|name| text += &format!("{name} = {}\n", value(name)));
    text += "[timers]\n";
    for name in known(1) {
        let time = value(&name).replace("None", "off");
        text += &format!("{name} = \"{time}\"\n");
    }
    assert!(text.lines().count() > 35, "{text}");
    let limits = loaded(&text, &[]).snapshot.limits;
    assert_eq!(format!("{limits:?}"), defaults);
}

#[test]
fn a_model_behind_a_wider_one_is_warned_about() {
    let text = "[models]\n\"*\" = \"demo\"\n\"gpt-5\" = \"demo\"";
    assert_eq!(
        loaded(text, &[]).warnings,
        ["the model `gpt-5` is never reached: `*` stands before it and matches first"]
    );
}

#[test]
fn deep_nesting_is_refused_or_survived() {
    let dotted = vec!["a"; 300].join(".");
    for text in [
        format!("x = {}", "[".repeat(300)),
        format!("x = {}1{}", "[".repeat(300), "]".repeat(300)),
        format!("x = {}", "{a=".repeat(300)),
        format!("{dotted} = 1"),
        format!("[{dotted}]"),
        format!("[models]\nx = {{ target = \"demo\", parameters = {{ {dotted} = 1 }} }}"),
        // A long line in which each `=` may have a secret behind it.
        format!("x = {}", "{a=".repeat(20_000)),
        format!("x = {}", "[{key=".repeat(20_000)),
        format!("x = {}", "{key=''".repeat(20_000)),
    ] {
        let faults = load_with(&text, &[]).unwrap_err();
        assert_eq!(faults.problems[0].line, 1);
    }
}

#[test]
fn no_text_makes_it_panic() {
    let seeds = [
        STARTER.replace("# ", ""),
        STARTER.to_owned(),
        faults::EVERYTHING.to_owned(),
    ];
    let bits = [
        "[", "]", "\"", "'", "=", "\n", "{", "}", ".", "#", "é", "\0", "*", "/", "-1", "[[",
    ];
    let mut rng = Rng::new(crate::base::Seed(7));
    for round in 0..600 {
        let mut text: Vec<char> = seeds[round % seeds.len()].chars().collect();
        for _ in 0..=rng.below(6) {
            let at = rng.below(text.len() as u64) as usize;
            match rng.below(3) {
                0 => drop(text.remove(at)),
                1 => {
                    let bit = bits[rng.below(bits.len() as u64) as usize];
                    text.splice(at..at, bit.chars());
                }
                _ => {
                    let to = (at + rng.below(200) as usize).min(text.len());
                    text.drain(at..to);
                }
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(faults) = load_with(&text, &[("OPENAI_API_KEY", "k")]) {
            assert!(!faults.to_string().is_empty() && !faults.problems.is_empty());
        }
    }
}
