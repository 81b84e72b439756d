//! Configs of one provider, made by hand, and any that is given as text.

use std::sync::Arc;

use tollgate_core::base::{JsonStr, Limits};
use tollgate_core::config::{
    Authorization, BaseUrl, Chain, Credentials, Key, Manner, Named, Pattern, Provider, Route,
    RouteTarget, Snapshot, Surroundings, Upstream, load,
};
use tollgate_core::dialect::{Dialect, ReasoningField, Traits};
use tollgate_core::policy::breaker::BreakerLimits;
use tollgate_core::policy::keys::KeyLimits;
use tollgate_core::policy::retry::RetryLimits;

/// The model's name at the provider.
pub(crate) const MODEL: &str = "upstream-model";

/// The config in `text`, which must be right.
pub(crate) fn loaded(text: &str) -> Snapshot {
    let surroundings = Surroundings {
        env: &|_| None,
        read_file: &|_| Err("no such file".to_owned()),
        roots: &[],
    };
    let loaded = load("t.toml", text, &surroundings);
    loaded.unwrap_or_else(|faults| panic!("{faults}")).snapshot
}

/// One provider that speaks `dialect`, at an address that needs no lookup, with a key of its own.
/// Every model leads to its [`MODEL`], which is asked once.
pub(crate) fn one(dialect: Dialect) -> Snapshot {
    with(dialect, Limits::default())
}

/// The same, under other limits.
pub(crate) fn with(dialect: Dialect, limits: Limits) -> Snapshot {
    let timers = limits.timers.upstream.clone();
    let authorization = match dialect {
        Dialect::Anthropic => Authorization::Field("x-api-key".into()),
        Dialect::OpenAiChat => Authorization::Bearer,
    };
    let prefix = match dialect {
        Dialect::Anthropic => "",
        Dialect::OpenAiChat => "/v1",
    };
    let headers: Vec<(Arc<str>, Arc<str>)> = match dialect {
        Dialect::Anthropic => vec![("anthropic-version".into(), "2023-06-01".into())],
        Dialect::OpenAiChat => Vec::new(),
    };
    let provider = Provider {
        name: "provider".into(),
        dialect,
        base: BaseUrl {
            https: false,
            host: "127.0.0.1".into(),
            port: 9000,
            authority: "127.0.0.1:9000".into(),
            prefix: prefix.into(),
        },
        credentials: Credentials::Keys(vec![Key::new("sk-of-the-provider")]),
        key_limits: KeyLimits::default(),
        concurrent: None,
        retry: None,
        breaker: None,
        authorization,
        headers,
        client_headers: ["anthropic-*", "x-claude-code-*"].map(Arc::from).to_vec(),
        tls: None,
        proxy: None,
    };
    let upstream = Upstream {
        target: 0,
        provider: 0,
        model: Some(JsonStr::from_static(MODEL)),
        traits: traits(),
        named: Named::default(),
        whole_name: false,
        extra: Vec::new(),
        headers: Vec::new(),
        concurrent: None,
        timers,
    };
    let route = Route {
        pattern: Pattern("*".into()),
        target: RouteTarget::Chain(Arc::new(Chain::of(upstream, Manner::default()))),
    };
    Snapshot {
        providers: vec![provider],
        routes: vec![route],
        limits,
        retry: RetryLimits {
            attempts_max: 1,
            ..RetryLimits::default()
        },
        breaker: BreakerLimits {
            failures_in_row: u32::MAX,
            calls_min: u32::MAX,
            ..BreakerLimits::default()
        },
        ..Snapshot::default()
    }
}

/// The target of the only route, to be changed.
pub(crate) fn target(snapshot: &mut Snapshot) -> &mut Upstream {
    let RouteTarget::Chain(chain) = &mut snapshot.routes[0].target else {
        panic!("a chain")
    };
    let chain = Arc::get_mut(chain).unwrap();
    Arc::get_mut(&mut chain.steps[0].members[0].upstream).unwrap()
}

/// A target that takes all that its API has.
pub(crate) fn traits() -> Traits {
    Traits {
        cache_control: true,
        reasoning_field: ReasoningField::ReasoningDetails,
        ..Traits::default()
    }
}
