//! What `[models]` says of targets: one, or a chain of them, with what is set for each.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::bounds;
use super::diagnose::{Findings, nearest};
use super::json::raw_json;
use super::manner::Manner;
use super::models::DEMO;
use super::provider::{Configured, read_headers};
use super::section::{At, Section, section_of, text_of, wrong_type};
use super::snapshot::{Chain, Member, Pattern, Route, RouteTarget, Step, Upstream, WEIGHT_MAX};
use super::timers::TimersSet;
use super::traits::{TOKENS_MAX, TraitsSet};
use crate::base::{JsonStr, RawJson};
use crate::policy::balance::Strategy;

/// Members of a request that say what is asked and how it is answered; the gateway sets them
/// itself.
const OWN_PARAMETERS: &[&str] = &["model", "messages", "stream", "stream_options"];

/// Longer chains are a mistake.
const TARGETS_MAX: usize = 64;

/// What is set for a target, or for all targets of a name.
#[derive(Clone, Default)]
pub(super) struct Settings {
    set: TraitsSet,
    extra: Vec<(JsonStr, RawJson)>,
    headers: Vec<(Arc<str>, Arc<str>)>,
    concurrent: Option<u32>,
    timers: TimersSet,
}

impl Settings {
    /// Reads what `section` sets; the rest of it stays.
    pub(super) fn read(
        name: &str,
        section: &mut Section<'_, '_>,
        findings: &mut Findings<'_>,
    ) -> Settings {
        let mut settings = Settings::default();
        let max_tokens = section.count("max_tokens", 1..=TOKENS_MAX, findings);
        let title = format!("the traits of `{name}`");
        if let Some(traits) = section.table("traits", title, findings) {
            settings.set = TraitsSet::read(traits, findings);
        }
        settings.set.max_tokens = max_tokens.or(settings.set.max_tokens);
        read_headers(name, section, &mut settings.headers, findings);
        settings.concurrent = bounds::concurrent(section, "concurrent", findings);
        let title = format!("the timers of `{name}`");
        settings.timers = TimersSet::read(section, title, findings);
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

    /// These settings, and where they say nothing those of all targets of the name.
    fn over(mut self, all: &Settings) -> Settings {
        self.set = self.set.over(&all.set);
        self.concurrent = self.concurrent.or(all.concurrent);
        self.timers = self.timers.over(&all.timers);
        for (name, value) in &all.extra {
            if !self.extra.iter().any(|(own, _)| own == name) {
                self.extra.push((name.clone(), value.clone()));
            }
        }
        for (name, value) in &all.headers {
            if !self.headers.iter().any(|(own, _)| own == name) {
                self.headers.push((Arc::clone(name), Arc::clone(value)));
            }
        }
        self
    }
}

/// Makes targets, and numbers them.
pub(super) struct Targets<'p> {
    providers: &'p [Configured],
    /// How requests are answered where a route does not say.
    manner: Manner,
    count: usize,
}

impl<'p> Targets<'p> {
    pub(super) const fn new(providers: &'p [Configured], manner: Manner) -> Targets<'p> {
        Targets {
            providers,
            manner,
            count: 0,
        }
    }

    /// How requests are answered where a route does not say.
    pub(super) const fn manner(&self) -> &Manner {
        &self.manner
    }

    /// The route from the names of `pattern` to a provider's models of the same names.
    pub(super) fn any(&mut self, index: usize, pattern: &str, whole_name: bool) -> Route {
        let upstream = self.upstream(index, None, whole_name, Settings::default());
        Route {
            pattern: Pattern(pattern.into()),
            target: RouteTarget::Chain(Arc::new(Chain::of(upstream, self.manner.clone()))),
        }
    }

    /// Reads where `name` leads: a target; or an array of steps, each a target or an array of
    /// targets that share its requests.
    pub(super) fn read(
        &mut self,
        name: &str,
        value: &At<DeValue<'_>>,
        settings: &Settings,
        manner: Manner,
        findings: &mut Findings<'_>,
    ) -> Option<RouteTarget> {
        if value.get_ref().as_str() == Some(DEMO) && self.named(DEMO).is_none() {
            return Some(RouteTarget::Demo);
        }
        let before = self.count;
        let mut steps: Vec<Step> = Vec::new();
        let all = (settings, &manner);
        match value.get_ref() {
            DeValue::String(_) => steps.extend(self.step(name, value, all, findings)),
            DeValue::Array(items) => {
                for item in items {
                    steps.extend(self.step(name, item, all, findings));
                }
            }
            _ => {
                let expected = "a target, an array of targets or a table";
                wrong_type(value, &format!("model `{name}`"), expected, findings);
                return None;
            }
        }
        if self.count - before > TARGETS_MAX {
            let message = format!("model `{name}` has more than {TARGETS_MAX} targets");
            findings.problem(value.span(), message);
        } else if steps.is_empty() && value.get_ref().as_array().is_some_and(|it| it.is_empty()) {
            findings.problem(value.span(), format!("model `{name}` has no target"));
        }
        let chain = Arc::new(Chain { steps, manner });
        (!chain.steps.is_empty()).then_some(RouteTarget::Chain(chain))
    }

    /// Reads a step: a target; an array of them; or a table that says how they are balanced.
    fn step(
        &mut self,
        name: &str,
        value: &At<DeValue<'_>>,
        all: (&Settings, &Manner),
        findings: &mut Findings<'_>,
    ) -> Option<Step> {
        let (settings, manner) = all;
        let mut strategy = manner.balance;
        let mut members = Vec::new();
        let is_balanced = |table: &DeTable<'_>| table.contains_key("targets");
        let value = match value.get_ref() {
            DeValue::Table(table) if is_balanced(table) => {
                let what = format!("a step of `{name}`");
                let mut section = section_of(value, what.clone(), &what, findings)?;
                let balance = section.choice("balance", &Strategy::NAMES, findings);
                strategy = balance.unwrap_or(strategy);
                let targets = section.take("targets").filter(|it| it.get_ref().is_array());
                if targets.is_none() {
                    let message = "`targets` must be an array of targets";
                    findings.problem(section.key_span("targets"), message);
                }
                section.finish(findings);
                targets?
            }
            _ => value,
        };
        if let DeValue::Array(items) = value.get_ref() {
            if items.is_empty() {
                findings.problem(value.span(), format!("a step of `{name}` has no target"));
            }
            for item in items {
                members.extend(self.member(name, item, settings, findings));
            }
        } else {
            members.extend(self.member(name, value, settings, findings));
        }
        (!members.is_empty()).then_some(Step { members, strategy })
    }

    /// Reads one target: text, or a table.
    fn member(
        &mut self,
        name: &str,
        value: &At<DeValue<'_>>,
        all: &Settings,
        findings: &mut Findings<'_>,
    ) -> Option<Member> {
        let what = format!("a target of `{name}`");
        let mut weight = 1;
        let (text, settings) = if let DeValue::Table(_) = value.get_ref() {
            let mut section = section_of(value, what.clone(), &what, findings)?;
            let text = section.text("target", findings);
            if section.take("target").is_none() {
                let help = "write `target = \"provider/model\"`";
                findings.problem_help(value.span(), format!("{what} has no `target`"), help);
            }
            let given = section.count("weight", 1..=u64::from(WEIGHT_MAX), findings);
            weight = given.and_then(|it| u32::try_from(it).ok()).unwrap_or(1);
            let own = Settings::read(name, &mut section, findings);
            section.finish(findings);
            (text?, own.over(all))
        } else {
            (text_of(value, &what, findings)?, all.clone())
        };
        let upstream = Arc::new(self.target(&text, settings, findings)?);
        Some(Member { upstream, weight })
    }

    /// Where `text` leads: `provider`, or `provider/model`.
    fn target(
        &mut self,
        text: &At<&str>,
        settings: Settings,
        findings: &mut Findings<'_>,
    ) -> Option<Upstream> {
        let whole = *text.get_ref();
        let (name, model) = match whole.split_once('/') {
            Some((name, model)) => (name, Some(model)),
            None => (whole, None),
        };
        let Some((index, provider)) = self.named(name) else {
            if whole == DEMO {
                let message = "`demo` never fails: it cannot be one of several targets";
                findings.problem(text.span(), message);
            } else {
                dangling(text, name, self.providers, findings);
            }
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
        Some(self.upstream(index, model, false, settings))
    }

    fn named(&self, name: &str) -> Option<(usize, &'p Configured)> {
        let mut all = self.providers.iter().enumerate();
        all.find(|(_, other)| *other.provider.name == *name)
    }

    fn upstream(
        &mut self,
        index: usize,
        model: Option<&str>,
        whole_name: bool,
        settings: Settings,
    ) -> Upstream {
        // The index is that of one of these.
        let provider = &self.providers[index];
        let set = settings.set.over(&provider.set);
        let mut upstream = Upstream {
            target: self.count,
            provider: index,
            model: model.map(JsonStr::escape),
            traits: set.apply(&provider.habits),
            named: set.named(),
            whole_name,
            extra: settings.extra,
            headers: settings.headers,
            concurrent: settings.concurrent,
            timers: settings.timers.apply(&provider.timers),
        };
        if let Some(model) = model {
            upstream.traits = upstream.traits_of(model);
        }
        self.count += 1;
        upstream
    }
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
