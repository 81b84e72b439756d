//! Routes and lists of models: `[models]` first, then `provider/model` for every provider, the
//! built-in `demo`, and last the patterns that each provider brings.

use std::sync::Arc;

use toml::de::DeValue;

use super::chain::{Settings, Targets};
use super::diagnose::Findings;
use super::manner::Manner;
use super::provider::Configured;
use super::section::{At, Section, section_of};
use super::snapshot::{ListedModel, Pattern, Resolved, Route, RouteTarget, Snapshot, Upstream};
use super::value;

/// The name of the built-in model.
pub const DEMO: &str = "demo";

/// Something of `[models]`: a route, and whether to list it.
struct Alias {
    route: Route,
    listed: bool,
}

/// Fills in the routes and the list of `snapshot`, whose providers are those of `providers`.
pub(super) fn routes(
    models: Option<&Section<'_, '_>>,
    providers: &[Configured],
    snapshot: &mut Snapshot,
    findings: &mut Findings<'_>,
) {
    let mut listed: Vec<Arc<str>> = Vec::new();
    let mut targets = Targets::new(providers, snapshot.manner.clone());
    for (name, value) in models.into_iter().flat_map(Section::entries) {
        let Some(alias) = alias(&name, value, &mut targets, findings) else {
            continue;
        };
        warn_if_hidden(name.get_ref(), &snapshot.routes, &mut findings.warnings);
        if alias.listed {
            listed.push((*name.get_ref()).into());
        }
        snapshot.routes.push(alias.route);
    }
    for (index, provider) in providers.iter().enumerate() {
        prefix_routes(index, provider, &mut targets, &mut snapshot.routes);
    }
    snapshot.routes.push(Route {
        pattern: Pattern(DEMO.into()),
        target: RouteTarget::Demo,
    });
    for (index, provider) in providers.iter().enumerate() {
        for pattern in &provider.models {
            snapshot.routes.push(targets.any(index, pattern, false));
        }
    }
    list(listed, providers, snapshot);
}

/// `provider/model`, and before it the names that only look like that.
fn prefix_routes(
    index: usize,
    provider: &Configured,
    targets: &mut Targets<'_>,
    routes: &mut Vec<Route>,
) {
    let name = &provider.provider.name;
    let known = provider.known;
    let whole = known.map_or(&[] as &[_], |known| known.whole_names);
    for pattern in whole {
        routes.push(targets.any(index, pattern, true));
    }
    if known.is_some_and(|known| known.vendor_names) {
        let two = format!("{name}/*/*");
        routes.push(targets.any(index, &two, false));
        routes.push(targets.any(index, &format!("{name}/*"), true));
    } else {
        routes.push(targets.any(index, &format!("{name}/*"), false));
    }
}

/// Reads one entry of `[models]`.
fn alias(
    name: &At<&str>,
    value: &At<DeValue<'_>>,
    targets: &mut Targets<'_>,
    findings: &mut Findings<'_>,
) -> Option<Alias> {
    if let Err(fault) = value::pattern(name.get_ref()) {
        findings.add(name.span(), fault.message, fault.help);
    }
    let pattern = Pattern((*name.get_ref()).into());
    let mut listed = pattern.is_literal();
    let mut manner = targets.manner().clone();
    let (value, settings) = if let DeValue::Table(_) = value.get_ref() {
        let what = format!("model `{}`", name.get_ref());
        let title = format!("[models.{:?}]", name.get_ref());
        let mut section = section_of(value, title, &what, findings)?;
        section.span = name.span();
        let Some(target) = section.take("target") else {
            no_target(name, &section, findings);
            return None;
        };
        let shown = section.flag("listed", findings);
        if shown == Some(true) && !listed {
            let message = format!("`{}` is many models, not one to list", pattern.0);
            findings.problem(section.key_span("listed"), message);
        }
        listed = shown.unwrap_or(listed);
        let settings = Settings::read(name.get_ref(), &mut section, findings);
        Manner::read_of_route(&mut section, &mut manner, findings);
        section.finish(findings);
        (target, settings)
    } else {
        (value, Settings::default())
    };
    let target = targets.read(name.get_ref(), value, &settings, manner, findings)?;
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
            let leads_here = first_of(snapshot, model).is_some_and(|upstream| {
                upstream.provider == index && snapshot.model_at(upstream, model).1.is(model)
            });
            ids.push(match leads_here {
                true => Arc::clone(model),
                false => format!("{}/{model}", provider.provider.name).into(),
            });
        }
    }
    ids.push(DEMO.into());
    for id in ids {
        let owner = match first_of(snapshot, &id) {
            Some(upstream) => snapshot
                .providers
                .get(upstream.provider)
                .map(|provider| Arc::clone(&provider.name)),
            None => Some("tollgate".into()),
        };
        if let Some(owner) = owner
            && !snapshot.listed.iter().any(|other| other.id == id)
        {
            snapshot.listed.push(ListedModel { id, owner });
        }
    }
}

/// The first target of the model called `name`.
fn first_of<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s Arc<Upstream>> {
    match snapshot.resolve(name)? {
        Resolved::Chain(chain) => chain.upstreams().next(),
        Resolved::Demo => None,
    }
}
