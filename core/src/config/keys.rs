//! Keys, wherever the config has them from; and `[[callers]]`.

use std::collections::BTreeSet;

use toml::de::DeValue;

use super::Surroundings;
use super::bounds;
use super::diagnose::Findings;
use super::section::{At, Section};
use super::snapshot::{Caller, Terms, WEIGHT_MAX};
use super::url::hex;
use super::value;
use crate::policy::queue::Priority;

/// Shorter caller keys can be guessed.
const KEY_LENGTH_GOOD: usize = 16;

/// What a section says about its key.
#[derive(Debug)]
pub(super) enum KeyGiven {
    /// Nothing.
    None,
    /// Something that was reported.
    Faulty,
    /// The keys, at least one.
    Keys(Vec<String>),
    /// The text of the setting that stands in place of a key.
    Other,
}

/// Reads `key`, `key_env` and `key_file`, of which one may be set, or `other` instead. Each is a
/// text, or an array of them for many keys.
pub(super) fn key_given(
    section: &mut Section<'_, '_>,
    other: &'static str,
    surroundings: &Surroundings<'_>,
    findings: &mut Findings<'_>,
) -> KeyGiven {
    let names = ["key", "key_env", "key_file", other];
    let set: Vec<&str> = names
        .into_iter()
        .filter(|name| section.take(name).is_some())
        .collect();
    match set.as_slice() {
        [] => return KeyGiven::None,
        [one] if *one == other => return KeyGiven::Other,
        [_] => {}
        [first, second, ..] => {
            let message = format!("`{first}` and `{second}` are both set");
            findings.problem_help(section.key_span(second), message, "leave one of them out");
            return KeyGiven::Faulty;
        }
    }
    let (key, read): (_, ReadKey) = match set.as_slice() {
        ["key"] => ("key", |text, _| Ok(text.to_owned())),
        ["key_env"] => ("key_env", key_in_environment),
        _ => ("key_file", key_in_file),
    };
    let given = match section.take(key).map(|value| value.get_ref()) {
        Some(DeValue::Array(items)) => {
            if items.is_empty() {
                // No key at all would let everybody in, or send none.
                findings.problem(section.key_span(key), format!("`{key}` has no key in it"));
            }
            section.texts(key, findings).unwrap_or_default()
        }
        _ => section.text(key, findings).into_iter().collect(),
    };
    let mut keys: Vec<String> = Vec::new();
    for text in &given {
        let read = read(text.get_ref(), surroundings);
        let read = read.and_then(|read| match value::key(&read) {
            Ok(read) => Ok(read.to_owned()),
            Err(fault) => Err(fault.message),
        });
        match read {
            Ok(read) if keys.contains(&read) => {
                findings.problem(text.span(), "this key is given twice");
            }
            Ok(read) => keys.push(read),
            Err(message) => findings.problem(text.span(), message),
        }
    }
    if keys.is_empty() || keys.len() < given.len() {
        return KeyGiven::Faulty;
    }
    KeyGiven::Keys(keys)
}

/// Finds the key that a text stands for.
type ReadKey = fn(&str, &Surroundings<'_>) -> Result<String, String>;

fn key_in_environment(name: &str, surroundings: &Surroundings<'_>) -> Result<String, String> {
    (surroundings.env)(name).ok_or_else(|| format!("the environment has no variable `{name}`"))
}

fn key_in_file(path: &str, surroundings: &Surroundings<'_>) -> Result<String, String> {
    let bytes = (surroundings.read_file)(path)
        .map_err(|reason| format!("cannot read `{path}`: {reason}"))?;
    String::from_utf8(bytes).map_err(|_| format!("`{path}` is not text"))
}

/// Reads `[[callers]]`.
pub(super) fn callers(
    top: &mut Section<'_, '_>,
    surroundings: &Surroundings<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Caller> {
    let mut callers = Vec::new();
    let mut names = BTreeSet::new();
    let mut hashes = BTreeSet::new();
    for mut section in top.tables("callers", findings) {
        let name = section.text("name", findings);
        let key = key_given(&mut section, "key_sha256", surroundings, findings);
        let hash = section.text("key_sha256", findings);
        let terms = terms(&mut section, findings);
        let name = match name {
            Some(name) if !names.insert((*name.get_ref()).to_owned()) => {
                let message = format!("a second caller is named {:?}", name.get_ref());
                findings.problem(name.span(), message);
                continue;
            }
            Some(name) => *name.get_ref(),
            None => {
                if section.take("name").is_none() {
                    let message = "a caller needs a `name`, which logs show";
                    findings.problem(section.span.clone(), message);
                }
                ""
            }
        };
        let found: Vec<Caller> = match key {
            KeyGiven::Keys(keys) => {
                if keys.iter().any(|key| key.len() < KEY_LENGTH_GOOD) {
                    findings.warnings.push(format!(
                        "the key of caller {name:?} is short; `openssl rand -hex 24` makes one"
                    ));
                }
                keys.iter().map(|key| Caller::new(name, key)).collect()
            }
            KeyGiven::Other => {
                let hash = hash.and_then(|hash| hashed(name, &hash, findings));
                hash.into_iter().collect()
            }
            KeyGiven::Faulty => Vec::new(),
            KeyGiven::None => {
                findings.problem_help(
                    section.span.clone(),
                    format!("caller {name:?} has no key"),
                    "set `key_env`, `key_file`, `key_sha256` or `key`",
                );
                Vec::new()
            }
        };
        for mut caller in found {
            caller.terms = terms.clone();
            if !hashes.insert(caller.key_sha256) {
                let message = format!("caller {name:?} has the key of another caller");
                findings.problem(section.span.clone(), message);
            }
            callers.push(caller);
        }
        section.finish(findings);
    }
    callers
}

fn terms(section: &mut Section<'_, '_>, findings: &mut Findings<'_>) -> Terms {
    let usual = Terms::default();
    let weight = section.count("weight", 1..=u64::from(WEIGHT_MAX), findings);
    let weight = weight.and_then(|it| u32::try_from(it).ok());
    let priority = section.choice("priority", Priority::NAMES, findings);
    Terms {
        weight: weight.unwrap_or(usual.weight),
        priority: priority.unwrap_or(usual.priority),
        concurrent: bounds::concurrent(section, "concurrent", findings),
        coalesce: section.flag("coalesce", findings).unwrap_or(usual.coalesce),
    }
}

fn hashed(name: &str, text: &At<&str>, findings: &mut Findings<'_>) -> Option<Caller> {
    let digits = text.get_ref().as_bytes();
    let mut hash = [0; 32];
    let mut good = digits.len() == 64;
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        match pair {
            [high, low] => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => *byte = high << 4 | low,
                None => good = false,
            },
            _ => good = false,
        }
    }
    if !good {
        findings.problem_help(
            text.span(),
            "`key_sha256` must be 64 hexadecimal digits",
            "`printf %s KEY | sha256sum` prints them",
        );
        return None;
    }
    Some(Caller {
        name: name.into(),
        key_sha256: hash,
        terms: Terms::default(),
    })
}
