//! Routes and lists of models: `[models]` first, then `provider/model` for every provider, the
//! built-in `demo`, and last the patterns that each provider brings.

use std::sync::Arc;

use toml::de::DeValue;

use super::diagnose::{Findings, nearest};
use super::json::raw_json;
use super::provider::{Configured, read_headers};
use super::section::{At, Section, section_of, text_of};
use super::snapshot::{ListedModel, Pattern, Resolved, Route, RouteTarget, Snapshot, Upstream};
use super::traits::{TOKENS_MAX, TraitsSet};
use super::value;
use crate::base::{JsonStr, RawJson};

/// The name of the built-in model.
pub const DEMO: &str = "demo";

/// Members of a request that say what is asked and how it is answered; the gateway sets them
/// itself.
const OWN_PARAMETERS: &[&str] = &["model", "messages", "stream", "stream_options"];

/// Something of `[models]`: a route, and whether to list it.
struct Alias {
    route: Route,
    listed: bool,
}

/// What an alias sets beside its target.
#[derive(Default)]
struct Settings {
    set: TraitsSet,
    extra: Vec<(JsonStr, RawJson)>,
    headers: Vec<(Arc<str>, Arc<str>)>,
}

/// Fills in the routes and the list of `snapshot`, whose providers are those of `providers`.
pub(super) fn routes(
    models: Option<&Section<'_, '_>>,
    providers: &[Configured],
    snapshot: &mut Snapshot,
    findings: &mut Findings<'_>,
) {
    let mut listed: Vec<Arc<str>> = Vec::new();
    for (name, value) in models.into_iter().flat_map(Section::entries) {
        let Some(alias) = alias(&name, value, providers, findings) else {
            continue;
        };
        warn_if_hidden(name.get_ref(), &snapshot.routes, &mut findings.warnings);
        if alias.listed {
            listed.push((*name.get_ref()).into());
        }
        snapshot.routes.push(alias.route);
    }
    for (index, provider) in providers.iter().enumerate() {
        prefix_routes(index, provider, &mut snapshot.routes);
    }
    snapshot.routes.push(Route {
        pattern: Pattern(DEMO.into()),
        target: RouteTarget::Demo,
    });
    for (index, provider) in providers.iter().enumerate() {
        for pattern in &provider.models {
            snapshot
                .routes
                .push(any_model(index, provider, pattern, false));
        }
    }
    list(listed, providers, snapshot);
}

/// `provider/model`, and before it the names that only look like that.
fn prefix_routes(index: usize, provider: &Configured, routes: &mut Vec<Route>) {
    let name = &provider.provider.name;
    let known = provider.known;
    let whole = known.map_or(&[] as &[_], |known| known.whole_names);
    for pattern in whole {
        routes.push(any_model(index, provider, pattern, true));
    }
    if known.is_some_and(|known| known.vendor_names) {
        let two = format!("{name}/*/*");
        routes.push(any_model(index, provider, &two, false));
        routes.push(any_model(index, provider, &format!("{name}/*"), true));
    } else {
        routes.push(any_model(index, provider, &format!("{name}/*"), false));
    }
}

fn any_model(index: usize, provider: &Configured, pattern: &str, whole_name: bool) -> Route {
    Route {
        pattern: Pattern(pattern.into()),
        target: upstream(index, provider, None, whole_name, Settings::default()),
    }
}

fn upstream(
    index: usize,
    provider: &Configured,
    model: Option<&str>,
    whole_name: bool,
    settings: Settings,
) -> RouteTarget {
    let set = settings.set.over(&provider.set);
    let mut upstream = Upstream {
        provider: index,
        model: model.map(JsonStr::escape),
        traits: set.apply(&provider.habits),
        named: set.named(),
        whole_name,
        extra: settings.extra,
        headers: settings.headers,
    };
    if let Some(model) = model {
        upstream.traits = upstream.traits_of(model);
    }
    RouteTarget::Upstream(Arc::new(upstream))
}

/// Reads one entry of `[models]`.
fn alias(
    name: &At<&str>,
    value: &At<DeValue<'_>>,
    providers: &[Configured],
    findings: &mut Findings<'_>,
) -> Option<Alias> {
    if let Err(fault) = value::pattern(name.get_ref()) {
        findings.add(name.span(), fault.message, fault.help);
    }
    let pattern = Pattern((*name.get_ref()).into());
    let mut listed = pattern.is_literal();
    let (text, settings) = if let DeValue::String(_) = value.get_ref() {
        (text_of(value, "a model", findings)?, Settings::default())
    } else {
        let what = format!("model `{}`", name.get_ref());
        let title = format!("[models.{:?}]", name.get_ref());
        let mut section = section_of(value, title, &what, findings)?;
        section.span = name.span();
        let text = section.text("target", findings);
        if section.take("target").is_none() {
            no_target(name, &section, findings);
            return None;
        }
        let shown = section.flag("listed", findings);
        if shown == Some(true) && !listed {
            let message = format!("`{}` is many models, not one to list", pattern.0);
            findings.problem(section.key_span("listed"), message);
        }
        listed = shown.unwrap_or(listed);
        let settings = settings(name.get_ref(), &mut section, findings);
        section.finish(findings);
        (text?, settings)
    };
    let target = target(&text, providers, settings, findings)?;
    Some(Alias {
        route: Route { pattern, target },
        listed,
    })
}

/// A table without `target` is most often a name with a dot in it: `gpt-5.5 = "…"` means a table
/// `gpt-5` with a key `5`.
fn no_target(name: &At<&str>, section: &Section<'_, '_>, findings: &mut Findings<'_>) {
    let mut entries = section.entries();
    let help = match (entries.next(), entries.next()) {
        (Some((key, value)), None) if value.get_ref().is_str() => {
            let whole = format!("{}.{}", name.get_ref(), key.get_ref());
            format!("if the model is called `{whole}`, put its name in quotes: \"{whole}\"")
        }
        _ => "write `target = \"provider/model\"`".to_owned(),
    };
    let message = format!("model `{}` has no `target`", name.get_ref());
    findings.problem_help(name.span(), message, help);
}

fn settings(name: &str, section: &mut Section<'_, '_>, findings: &mut Findings<'_>) -> Settings {
    let mut settings = Settings::default();
    let max_tokens = section.count("max_tokens", 1..=TOKENS_MAX, findings);
    let title = format!("the traits of `{name}`");
    if let Some(traits) = section.table("traits", title, findings) {
        settings.set = TraitsSet::read(traits, findings);
    }
    settings.set.max_tokens = max_tokens.or(settings.set.max_tokens);
    read_headers(name, section, &mut settings.headers, findings);
    let title = format!("the parameters of `{name}`");
    let parameters = section.table("parameters", title, findings);
    for (key, value) in parameters.iter().flat_map(Section::entries) {
        if OWN_PARAMETERS.contains(key.get_ref()) {
            let message = format!("the parameter `{}` is the gateway's own", key.get_ref());
            findings.problem(key.span(), message);
        }
        let json = raw_json(value, findings);
        settings.extra.push((JsonStr::escape(key.get_ref()), json));
    }
    settings
}

/// Where `text` leads: `demo`, `provider`, or `provider/model`.
fn target(
    text: &At<&str>,
    providers: &[Configured],
    settings: Settings,
    findings: &mut Findings<'_>,
) -> Option<RouteTarget> {
    let whole = *text.get_ref();
    let (name, model) = match whole.split_once('/') {
        Some((name, model)) => (name, Some(model)),
        None => (whole, None),
    };
    let found = providers
        .iter()
        .enumerate()
        .find(|(_, other)| *other.provider.name == *name);
    let Some((index, provider)) = found else {
        if whole == DEMO {
            return Some(RouteTarget::Demo);
        }
        dangling(text, name, providers, findings);
        return None;
    };
    if model.is_some_and(|model| model.is_empty() || model.contains('*')) {
        findings.problem_help(
            text.span(),
            format!("{whole:?} does not name a model"),
            format!("write only {name:?} to keep the name that the client asked for"),
        );
        return None;
    }
    let whole_name = model.is_some() && is_whole_name(provider, whole);
    let model = if whole_name { Some(whole) } else { model };
    Some(upstream(index, provider, model, false, settings))
}

/// Whether `name`, which begins with the provider's own, is a model's whole name.
fn is_whole_name(provider: &Configured, name: &str) -> bool {
    provider.known.is_some_and(|known| {
        let whole = known.whole_names.iter();
        let mut whole = whole.map(|&pattern| Pattern(pattern.into()));
        whole.any(|pattern| pattern.matches(name))
            || (known.vendor_names && name.matches('/').count() == 1)
    })
}

fn dangling(text: &At<&str>, name: &str, providers: &[Configured], findings: &mut Findings<'_>) {
    let whole = *text.get_ref();
    let names = providers.iter().map(|other| other.provider.name.as_ref());
    let server = providers.iter().find(|other| {
        let mut models = other.models.iter();
        models.any(|pattern| Pattern(Arc::clone(pattern)).matches(whole))
    });
    let help = if let Some(meant) = nearest(name, names.chain([DEMO])) {
        format!("did you mean `{}`?", whole.replacen(name, meant, 1))
    } else if let Some(server) = server {
        format!("write `{}/{whole}`", server.provider.name)
    } else if let Some(known) = super::known::Known::find(name) {
        let variables = known.key_variables.join(" or ");
        let variables = match variables.as_str() {
            "" => String::new(),
            names => format!(", with its key in {names}"),
        };
        format!("add `[providers.{name}]`{variables}")
    } else {
        "a target is `provider/model`, and the provider has a table `[providers.NAME]`".to_owned()
    };
    let message = format!("no provider is called `{name}`");
    findings.problem_help(text.span(), message, help);
}

fn warn_if_hidden(name: &str, routes: &[Route], warnings: &mut Vec<String>) {
    if let Some(earlier) = routes.iter().find(|route| route.pattern.matches(name)) {
        warnings.push(format!(
            "the model `{name}` is never reached: `{}` stands before it and matches first",
            earlier.pattern.0
        ));
    }
}

/// Lists the aliases, what each provider lists, and `demo`. A provider's model is listed by the
/// name that leads to it: its own, or `provider/model` where another route has its own.
fn list(aliases: Vec<Arc<str>>, providers: &[Configured], snapshot: &mut Snapshot) {
    let mut ids = aliases;
    for (index, provider) in providers.iter().enumerate() {
        for model in &provider.listed {
            let leads_here = matches!(
                snapshot.resolve(model),
                Some(Resolved::Upstream(upstream, name))
                    if upstream.provider == index && name.is(model)
            );
            ids.push(match leads_here {
                true => Arc::clone(model),
                false => format!("{}/{model}", provider.provider.name).into(),
            });
        }
    }
    ids.push(DEMO.into());
    for id in ids {
        let owner = match snapshot.resolve(&id) {
            Some(Resolved::Upstream(upstream, _)) => snapshot
                .providers
                .get(upstream.provider)
                .map(|provider| Arc::clone(&provider.name)),
            _ => Some("tollgate".into()),
        };
        if let Some(owner) = owner
            && !snapshot.listed.iter().any(|other| other.id == id)
        {
            snapshot.listed.push(ListedModel { id, owner });
        }
    }
}
