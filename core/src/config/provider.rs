//! `[providers.NAME]`: from a table, or from the environment alone, to a [`Provider`].

use std::sync::Arc;

use super::Surroundings;
use super::bounds;
use super::diagnose::{Findings, nearest};
use super::keys::{KeyGiven, key_given};
use super::known::{Known, PROVIDERS, unknown_traits};
use super::pem;
use super::section::{At, Section, section_of, text_of};
use super::snapshot::{Authorization, BaseUrl, Credentials, Key, Provider, Proxy, Snapshot};
use super::timers::TimersSet;
use super::traits::TraitsSet;
use super::url::{self, EnvironmentProxies};
use super::value;
use crate::base::limits::UpstreamTimers;
use crate::dialect::{Dialect, Traits};
use crate::policy::breaker::BreakerLimits;
use crate::policy::retry::RetryLimits;
use crate::wire::tls;

/// A provider and what routes to it need.
#[derive(Debug)]
pub(super) struct Configured {
    pub(super) provider: Provider,
    /// What its models can do, where neither config nor name tells.
    pub(super) habits: Traits,
    /// What the config sets for all its models.
    pub(super) set: TraitsSet,
    /// Patterns of the models it serves.
    pub(super) models: Vec<Arc<str>>,
    /// Models to list.
    pub(super) listed: Vec<Arc<str>>,
    /// How long each phase may take here.
    pub(super) timers: UpstreamTimers,
    pub(super) known: Option<&'static Known>,
}

/// What all providers share while they are read.
pub(super) struct Shared<'s> {
    pub(super) surroundings: &'s Surroundings<'s>,
    pub(super) timers: UpstreamTimers,
    retry: RetryLimits,
    breaker: BreakerLimits,
    proxies: EnvironmentProxies,
    /// Trusts the system's certificates; built once, so that all providers share it.
    trust: Option<tls::ClientConfig>,
}

impl<'s> Shared<'s> {
    pub(super) fn new(
        surroundings: &'s Surroundings<'s>,
        all: &Snapshot,
        warnings: &mut Vec<String>,
    ) -> Shared<'s> {
        Shared {
            surroundings,
            timers: all.limits.timers.upstream.clone(),
            retry: all.retry.clone(),
            breaker: all.breaker.clone(),
            proxies: EnvironmentProxies::read(surroundings.env, warnings),
            trust: None,
        }
    }

    /// TLS with the system's certificates.
    fn default_trust(&mut self, warnings: &mut Vec<String>) -> Option<tls::ClientConfig> {
        if self.trust.is_none() {
            const NONE: &[Vec<u8>] = &[];
            match tls::ClientConfig::new(self.surroundings.roots, NONE) {
                Ok(config) => self.trust = Some(config),
                Err(error) => warnings.push(format!("TLS cannot be used: {error}")),
            }
        }
        self.trust.clone()
    }
}

/// Reads `[providers]`.
pub(super) fn providers(
    section: &Section<'_, '_>,
    shared: &mut Shared<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Configured> {
    let mut found = Vec::new();
    for (name, value) in section.entries() {
        check_name(&name, findings);
        let title = format!("[providers.{}]", name.get_ref());
        let what = format!("provider `{}`", name.get_ref());
        if let Some(mut section) = section_of(value, title, &what, findings) {
            section.span = name.span();
            found.push(provider(name.get_ref(), section, shared, findings));
        }
    }
    found
}

/// The providers that the environment holds keys for.
pub(super) fn from_environment(
    shared: &mut Shared<'_>,
    but: &[Configured],
    notes: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Vec<Configured> {
    let env = shared.surroundings.env;
    let mut found = Vec::new();
    for known in PROVIDERS {
        let taken = but.iter().any(|other| *other.provider.name == *known.name);
        if taken {
            continue;
        }
        let mut base_url = known.base_url.to_owned();
        let (variable, credentials) = if known.name == "ollama" {
            let Some(host) = env("OLLAMA_HOST") else {
                continue;
            };
            base_url = url::ollama_url(&host);
            ("OLLAMA_HOST", Credentials::None)
        } else {
            let Some((variable, key)) = key_in_environment(known, env) else {
                continue;
            };
            match value::key(&key) {
                Ok(key) => (variable, Credentials::Keys(vec![Key::new(key)])),
                Err(fault) => {
                    warnings.push(format!("{variable} is left aside: {}", fault.message));
                    continue;
                }
            }
        };
        let base = match url::base_url(&base_url, known.dialect) {
            Ok(base) => base,
            Err(fault) => {
                warnings.push(format!("{variable} is left aside: {}", fault.message));
                continue;
            }
        };
        notes.push(format!("provider {}: {variable} is set", known.name));
        let tls = base.https.then(|| shared.default_trust(warnings)).flatten();
        found.push(Configured {
            provider: Provider {
                name: known.name.into(),
                dialect: known.dialect,
                proxy: shared.proxies.for_base(&base),
                tls,
                base,
                credentials,
                key_limits: known.key_limits.clone(),
                concurrent: None,
                retry: None,
                breaker: None,
                authorization: default_authorization(Some(known), known.dialect),
                headers: known_headers(known),
                client_headers: arcs(known.client_headers),
            },
            timers: shared.timers.clone(),
            habits: known.traits(),
            set: TraitsSet::default(),
            models: arcs(known.models),
            listed: arcs(known.listed),
            known: Some(known),
        });
    }
    found
}

fn check_name(name: &At<&str>, findings: &mut Findings<'_>) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.get_ref().is_empty() || !name.get_ref().bytes().all(allowed) {
        findings.problem_help(
            name.span(),
            format!("{:?} cannot be the name of a provider", name.get_ref()),
            "use letters, digits, `-`, `_` and `.`",
        );
    }
}

fn provider(
    name: &str,
    mut section: Section<'_, '_>,
    shared: &mut Shared<'_>,
    findings: &mut Findings<'_>,
) -> Configured {
    let known = known_as(name, &mut section, findings);
    let (dialect, base) = place(name, &mut section, known, shared, findings);
    let credentials = credentials(name, &mut section, known, &base, shared, findings);
    if matches!(credentials, Credentials::Keys(_)) && !base.https && !url::is_loopback(&base.host) {
        findings.warnings.push(format!(
            "the key of provider `{name}` travels without encryption to {}",
            base.authority
        ));
    }
    let authorization = section.text("authorization", findings);
    let authorization = match authorization {
        Some(text) => authorization_of(&text, findings),
        None => default_authorization(known, dialect),
    };
    // What belongs to the API itself holds for whoever speaks it.
    let vendor = known.or_else(|| match dialect {
        Dialect::Anthropic => Known::find("anthropic"),
        Dialect::OpenAiChat => None,
    });
    let mut headers = vendor.map(known_headers).unwrap_or_default();
    read_headers(name, &mut section, &mut headers, findings);
    let client_headers = client_headers(&mut section, vendor, findings);
    let tls = trust(&mut section, &base, shared, findings);
    let proxy = proxy(&mut section, &base, shared, findings);
    let title = format!("[providers.{name}.timers]");
    let timers = TimersSet::read(&mut section, title, findings).apply(&shared.timers);
    let mut key_limits = known.map(|it| it.key_limits.clone()).unwrap_or_default();
    let title = format!("[providers.{name}.key_limits]");
    if let Some(section) = section.table("key_limits", title, findings) {
        bounds::key_limits(section, &mut key_limits, findings);
    }
    let concurrent = bounds::concurrent(&mut section, "concurrent", findings);
    let (retry, breaker) = policies(name, &mut section, shared, findings);
    let title = format!("[providers.{name}.traits]");
    let set = section.table("traits", title, findings);
    let set = set.map(|section| TraitsSet::read(section, findings));
    let models = names(&mut section, "models", findings);
    let listed = names(&mut section, "listed", findings);
    section.finish(findings);
    Configured {
        provider: Provider {
            name: name.into(),
            dialect,
            base,
            credentials,
            key_limits,
            concurrent,
            retry,
            breaker,
            authorization,
            headers,
            client_headers,
            tls,
            proxy,
        },
        habits: known.map_or_else(unknown_traits, Known::traits),
        set: set.unwrap_or_default(),
        models: models.unwrap_or_else(|| arcs(known.map_or(&[], |known| known.models))),
        listed: listed.unwrap_or_else(|| arcs(known.map_or(&[], |known| known.listed))),
        timers,
        known,
    }
}

/// What the provider says of repetitions and breakers.
fn policies(
    name: &str,
    section: &mut Section<'_, '_>,
    shared: &Shared<'_>,
    findings: &mut Findings<'_>,
) -> (Option<RetryLimits>, Option<BreakerLimits>) {
    let title = format!("[providers.{name}.retry]");
    let retry = section.table("retry", title, findings).map(|section| {
        let mut retry = shared.retry.clone();
        bounds::provider_retry(section, &mut retry, findings);
        retry
    });
    let title = format!("[providers.{name}.breaker]");
    let breaker = section.table("breaker", title, findings).map(|section| {
        let mut breaker = shared.breaker.clone();
        bounds::breaker(section, &mut breaker, findings);
        breaker
    });
    (retry, breaker)
}

/// What is known of the provider, by `preset` or by its name.
fn known_as(
    name: &str,
    section: &mut Section<'_, '_>,
    findings: &mut Findings<'_>,
) -> Option<&'static Known> {
    let Some(preset) = section.text("preset", findings) else {
        return Known::find(name);
    };
    let known = Known::find(preset.get_ref());
    if known.is_none() {
        let names = PROVIDERS.iter().map(|known| known.name);
        let help = match nearest(preset.get_ref(), names.clone()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("known are: {}", names.collect::<Vec<_>>().join(", ")),
        };
        let message = format!("no provider called {:?} is known", preset.get_ref());
        findings.problem_help(preset.span(), message, help);
        // Any preset will do to look for further faults; this one wants nothing.
        return Known::find(name).or_else(|| Known::find("ollama"));
    }
    known
}

/// Dialect and address.
fn place(
    name: &str,
    section: &mut Section<'_, '_>,
    known: Option<&'static Known>,
    shared: &Shared<'_>,
    findings: &mut Findings<'_>,
) -> (Dialect, BaseUrl) {
    let dialects = [Dialect::Anthropic, Dialect::OpenAiChat].map(|it| (it.name(), it));
    let dialect = section.choice("dialect", &dialects, findings);
    let given = section.take("dialect").is_some();
    let dialect = dialect.or(known.map(|known| known.dialect));
    if known.is_none() && !given && section.take("base_url").is_none() {
        let message = format!("`{name}` is no known provider: it needs `dialect` and `base_url`");
        findings.add(section.span.clone(), message, meant_provider(name));
        return (Dialect::OpenAiChat, nowhere());
    }
    if dialect.is_none() && !given {
        findings.problem_help(
            section.span.clone(),
            format!("provider `{name}` needs `dialect`: the API it speaks"),
            meant_provider(name)
                .unwrap_or_else(|| "it is \"openai-chat\" or \"anthropic\"".to_owned()),
        );
    }
    let dialect = dialect.unwrap_or(Dialect::OpenAiChat);
    let text = section.text("base_url", findings);
    let read = match (&text, known) {
        (Some(text), _) => url::base_url(text.get_ref(), dialect),
        (None, Some(known)) => {
            let ollama = known.name == "ollama";
            let host = ollama.then(|| (shared.surroundings.env)("OLLAMA_HOST"));
            let host = host.flatten().map(|host| url::ollama_url(&host));
            url::base_url(host.as_deref().unwrap_or(known.base_url), dialect)
        }
        (None, None) if section.take("base_url").is_some() => return (dialect, nowhere()),
        (None, None) => Err(value::Fault {
            message: format!("provider `{name}` needs `base_url`"),
            help: meant_provider(name),
        }),
    };
    let span = text.map_or(section.span.clone(), |text| text.span());
    let base = read.unwrap_or_else(|fault| {
        findings.add(span, fault.message, fault.help);
        nowhere()
    });
    (dialect, base)
}

fn meant_provider(name: &str) -> Option<String> {
    nearest(name, PROVIDERS.iter().map(|known| known.name))
        .map(|meant| format!("did you mean the known provider `{meant}`?"))
}

/// Stands in for an address that was reported as faulty; no snapshot is made then.
fn nowhere() -> BaseUrl {
    BaseUrl {
        https: false,
        host: "localhost".into(),
        port: 80,
        authority: "localhost".into(),
        prefix: "".into(),
    }
}

fn credentials(
    name: &str,
    section: &mut Section<'_, '_>,
    known: Option<&'static Known>,
    base: &BaseUrl,
    shared: &Shared<'_>,
    findings: &mut Findings<'_>,
) -> Credentials {
    match key_given(section, "credentials", shared.surroundings, findings) {
        KeyGiven::Keys(keys) => {
            return Credentials::Keys(keys.iter().map(|key| Key::new(key)).collect());
        }
        KeyGiven::Faulty => return Credentials::None,
        KeyGiven::Other => {
            let choices = [("client", true), ("none", false)];
            return match section.choice("credentials", &choices, findings) {
                Some(true) => Credentials::Client,
                _ => Credentials::None,
            };
        }
        KeyGiven::None => {}
    }
    // The usual variable's key goes to the usual host, or where somebody moved the provider itself;
    // a mere look-alike elsewhere must be given its key.
    let usual = known.filter(|known| {
        let home = url::base_url(known.base_url, known.dialect);
        known.name == name || home.is_ok_and(|home| home.host == base.host)
    });
    let variables = usual.map_or(&[] as &[_], |known| known.key_variables);
    if let Some(known) = usual
        && let Some((variable, key)) = key_in_environment(known, shared.surroundings.env)
    {
        match value::key(&key) {
            Ok(key) => return Credentials::Keys(vec![Key::new(key)]),
            Err(fault) => {
                let message = format!("{variable}: {}", fault.message);
                findings.problem(section.span.clone(), message);
                return Credentials::None;
            }
        }
    }
    if url::is_loopback(&base.host) || known.is_some_and(|known| known.key_variables.is_empty()) {
        return Credentials::None;
    }
    let message = match variables {
        [] => format!("provider `{name}` has no key"),
        _ => format!(
            "provider `{name}` has no key: {} is not set",
            variables.join(" or ")
        ),
    };
    findings.problem_help(
        section.span.clone(),
        message,
        "set `key_env`, `key_file`, or `credentials` to \"client\" (the clients' own) or \"none\"",
    );
    Credentials::None
}

fn key_in_environment(
    known: &Known,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<(&'static str, String)> {
    known.key_variables.iter().find_map(|&variable| {
        let key = env(variable).filter(|key| !key.trim().is_empty())?;
        Some((variable, key))
    })
}

fn authorization_of(text: &At<&str>, findings: &mut Findings<'_>) -> Authorization {
    if text.get_ref().eq_ignore_ascii_case("bearer") {
        return Authorization::Bearer;
    }
    match value::field_name(text.get_ref()) {
        Ok(name) if !value::is_framing_field(&name) => Authorization::Field(name.into()),
        Ok(name) => {
            let message = format!("the key cannot be sent in `{name}`");
            findings.problem(text.span(), message);
            Authorization::Bearer
        }
        Err(_) => {
            findings.problem_help(
                text.span(),
                format!("`authorization` cannot be {:?}", text.get_ref()),
                "it is \"bearer\", or the name of the header that carries the key: \"x-api-key\"",
            );
            Authorization::Bearer
        }
    }
}

fn default_authorization(known: Option<&Known>, dialect: Dialect) -> Authorization {
    let field = match known {
        Some(known) => known.key_field,
        None if dialect == Dialect::Anthropic => Some("x-api-key"),
        None => None,
    };
    field.map_or(Authorization::Bearer, |name| {
        Authorization::Field(name.into())
    })
}

fn known_headers(known: &Known) -> Vec<(Arc<str>, Arc<str>)> {
    let fields = known.headers.iter();
    fields
        .map(|&(name, value)| (name.into(), value.into()))
        .collect()
}

/// Reads a table `headers` into `fields`, where an empty text removes what is there by default.
pub(super) fn read_headers(
    owner: &str,
    section: &mut Section<'_, '_>,
    fields: &mut Vec<(Arc<str>, Arc<str>)>,
    findings: &mut Findings<'_>,
) {
    let title = format!("the headers of `{owner}`");
    let Some(table) = section.table("headers", title, findings) else {
        return;
    };
    let mut seen: Vec<String> = Vec::new();
    for (key, item) in table.entries() {
        let name = match value::field_name(key.get_ref()) {
            Ok(name) => name,
            Err(fault) => {
                findings.add(key.span(), fault.message, fault.help);
                continue;
            }
        };
        if value::is_framing_field(&name) {
            let message = format!("the header `{name}` is written by the gateway itself");
            findings.problem(key.span(), message);
        }
        if seen.contains(&name) {
            findings.problem(key.span(), format!("the header `{name}` is set twice"));
        }
        let Some(text) = text_of(item, &format!("the header `{name}`"), findings) else {
            continue;
        };
        if let Err(fault) = value::field_value(text.get_ref()) {
            findings.add(text.span(), fault.message, fault.help);
        }
        fields.retain(|(field, _)| **field != *name);
        if !text.get_ref().is_empty() {
            fields.push((name.as_str().into(), (*text.get_ref()).into()));
        }
        seen.push(name);
    }
}

fn client_headers(
    section: &mut Section<'_, '_>,
    known: Option<&'static Known>,
    findings: &mut Findings<'_>,
) -> Vec<Arc<str>> {
    let Some(given) = section.texts("client_headers", findings) else {
        return arcs(known.map_or(&[], |known| known.client_headers));
    };
    let mut names = Vec::new();
    for text in given {
        match value::field_pattern(text.get_ref()) {
            Ok(name) if value::is_credential_field(&name) => findings.problem_help(
                text.span(),
                format!("`{name}` holds credentials"),
                "`credentials = \"client\"` passes on the clients' own",
            ),
            Ok(name) if value::is_framing_field(&name) => {
                let message = format!("the header `{name}` is written by the gateway itself");
                findings.problem(text.span(), message);
            }
            Ok(name) => names.push(name.into()),
            Err(fault) => findings.add(text.span(), fault.message, fault.help),
        }
    }
    names
}

/// The TLS settings, with the authorities of `ca_file` besides the system's.
fn trust(
    section: &mut Section<'_, '_>,
    base: &BaseUrl,
    shared: &mut Shared<'_>,
    findings: &mut Findings<'_>,
) -> Option<tls::ClientConfig> {
    let Some(path) = section.text("ca_file", findings) else {
        return base
            .https
            .then(|| shared.default_trust(&mut findings.warnings))
            .flatten();
    };
    let read = (shared.surroundings.read_file)(path.get_ref());
    let trust = read
        .map_err(|reason| format!("cannot read `{}`: {reason}", path.get_ref()))
        .and_then(|text| {
            pem::certificates(&text).map_err(|reason| format!("`{}`: {reason}", path.get_ref()))
        })
        .and_then(|authorities| {
            tls::ClientConfig::new(shared.surroundings.roots, &authorities)
                .map_err(|error| format!("`{}`: {error}", path.get_ref()))
        });
    match trust {
        Ok(trust) => base.https.then_some(trust),
        Err(message) => {
            findings.problem(path.span(), message);
            None
        }
    }
}

fn proxy(
    section: &mut Section<'_, '_>,
    base: &BaseUrl,
    shared: &Shared<'_>,
    findings: &mut Findings<'_>,
) -> Option<Proxy> {
    let Some(text) = section.text("proxy", findings) else {
        return shared.proxies.for_base(base);
    };
    if matches!(*text.get_ref(), "" | "none" | "direct") {
        return None;
    }
    url::proxy(text.get_ref())
        .map_err(|fault| findings.add(text.span(), fault.message, fault.help))
        .ok()
}

fn names(
    section: &mut Section<'_, '_>,
    key: &'static str,
    findings: &mut Findings<'_>,
) -> Option<Vec<Arc<str>>> {
    let texts = section.texts(key, findings)?;
    let mut names = Vec::new();
    for text in texts {
        match value::pattern(text.get_ref()) {
            Ok(name) if key == "listed" && name.contains('*') => {
                findings.problem(
                    text.span(),
                    format!("{name:?} is many models, not one to list"),
                );
            }
            Ok(name) => names.push(name.into()),
            Err(fault) => findings.add(text.span(), fault.message, fault.help),
        }
    }
    Some(names)
}

fn arcs(texts: &[&str]) -> Vec<Arc<str>> {
    texts.iter().map(|&text| text.into()).collect()
}
