//! [`Section`]: a table of the config that is read key by key. What is left over at the end is
//! unknown and reported with the key that was probably meant.

use core::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnose::{Findings, nearest};

/// A value and where it stands.
pub(super) type At<T> = Spanned<T>;

/// A table while it is read.
pub(super) struct Section<'a, 'i> {
    /// How messages call it: `[limits]`, or empty for the top of the file.
    pub(super) name: String,
    /// Where it stands.
    pub(super) span: Range<usize>,
    table: &'a DeTable<'i>,
    known: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn new(name: String, span: Range<usize>, table: &'a DeTable<'i>) -> Self {
        Section {
            name,
            span,
            table,
            known: Vec::new(),
        }
    }

    /// The value of `key`, whatever it is. From now on the key is known.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a At<DeValue<'i>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    /// Where the name of `key` stands; else the whole section.
    pub(super) fn key_span(&self, key: &str) -> Range<usize> {
        let found = self.table.get_key_value(key);
        found.map_or(self.span.clone(), |(key, _)| key.span())
    }

    /// The text under `key`.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        findings: &mut Findings<'_>,
    ) -> Option<At<&'a str>> {
        let value = self.take(key)?;
        text_of(value, &format!("`{key}`"), findings)
    }

    /// The truth value under `key`.
    pub(super) fn flag(&mut self, key: &'static str, findings: &mut Findings<'_>) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            wrong_type(value, &format!("`{key}`"), "true or false", findings);
        }
        flag
    }

    /// The whole number under `key`, if it lies in `range`.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        range: core::ops::RangeInclusive<u64>,
        findings: &mut Findings<'_>,
    ) -> Option<u64> {
        let value = self.take(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            wrong_type(value, &format!("`{key}`"), "a whole number", findings);
            return None;
        };
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = (range.start(), range.end());
            let message = format!("`{key}` must be a whole number from {low} to {high}");
            findings.problem(value.span(), message);
        }
        number
    }

    /// The one of `choices` that the text under `key` names.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
        findings: &mut Findings<'_>,
    ) -> Option<T> {
        let text = self.text(key, findings)?;
        let chosen = choices.iter().find(|(name, _)| name == text.get_ref());
        if chosen.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let message = format!("`{key}` cannot be {:?}", text.get_ref());
            let listed: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            let help = match nearest(text.get_ref(), names.iter().copied()) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("it is one of {}", listed.join(", ")),
            };
            findings.problem_help(text.span(), message, help);
        }
        chosen.map(|&(_, value)| value)
    }

    /// The texts in the array under `key`.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        findings: &mut Findings<'_>,
    ) -> Option<Vec<At<&'a str>>> {
        let items = self.array(key, "an array of strings", findings)?;
        let what = format!("an item of `{key}`");
        let texts = items.iter();
        Some(
            texts
                .filter_map(|item| text_of(item, &what, findings))
                .collect(),
        )
    }

    /// The table under `key`, called `name` in messages.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        name: String,
        findings: &mut Findings<'_>,
    ) -> Option<Section<'a, 'i>> {
        let value = self.take(key)?;
        section_of(value, name, &format!("`{key}`"), findings)
    }

    /// The tables of the array under `key` (`[[key]]`).
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        findings: &mut Findings<'_>,
    ) -> Vec<Section<'a, 'i>> {
        let expected = format!("tables that begin with `[[{key}]]`");
        let items = self.array(key, &expected, findings);
        let items = items.into_iter().flat_map(|items| items.iter());
        items
            .filter_map(|item| {
                let what = format!("an item of `{key}`");
                section_of(item, format!("[[{key}]]"), &what, findings)
            })
            .collect()
    }

    /// All keys and values, for tables whose keys are names that people choose.
    pub(super) fn entries(&self) -> impl Iterator<Item = (At<&'a str>, &'a At<DeValue<'i>>)> {
        self.table
            .iter()
            .map(|(key, value)| (At::new(key.span(), key.get_ref().as_ref()), value))
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self, findings: &mut Findings<'_>) {
        for (key, value) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let place = match self.name.as_str() {
                "" => String::new(),
                section => format!(" in {section}"),
            };
            let message = format!("unknown key `{name}`{place}");
            let help = match nearest(name, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => match value.get_ref() {
                    DeValue::Table(_) if self.name.is_empty() => {
                        format!("if it is a provider, write `[providers.{name}]`")
                    }
                    _ => format!("known are: {}", self.known.join(", ")),
                },
            };
            findings.problem_help(key.span(), message, help);
        }
    }

    fn array(
        &mut self,
        key: &'static str,
        expected: &str,
        findings: &mut Findings<'_>,
    ) -> Option<&'a DeArray<'i>> {
        let value = self.take(key)?;
        let array = value.get_ref().as_array();
        if array.is_none() {
            wrong_type(value, &format!("`{key}`"), expected, findings);
        }
        array
    }
}

/// The text that `value` is.
pub(super) fn text_of<'a>(
    value: &'a At<DeValue<'_>>,
    what: &str,
    findings: &mut Findings<'_>,
) -> Option<At<&'a str>> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        wrong_type(value, what, "a string", findings);
    }
    text.map(|text| At::new(value.span(), text))
}

/// The table that `value` is, called `name` in messages.
pub(super) fn section_of<'a, 'i>(
    value: &'a At<DeValue<'i>>,
    name: String,
    what: &str,
    findings: &mut Findings<'_>,
) -> Option<Section<'a, 'i>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        wrong_type(value, what, "a table", findings);
    }
    table.map(|table| Section::new(name, value.span(), table))
}

/// Reports that `value` is not what it should be.
pub(super) fn wrong_type(
    value: &At<DeValue<'_>>,
    what: &str,
    expected: &str,
    findings: &mut Findings<'_>,
) {
    let article = match value.get_ref() {
        DeValue::Integer(_) | DeValue::Array(_) => "an",
        _ => "a",
    };
    let found = value.get_ref().type_str();
    let message = format!("{what} must be {expected}, not {article} {found}");
    findings.problem(value.span(), message);
}
