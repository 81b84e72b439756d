//! Keys, wherever the config has them from; and `[[callers]]`.

use std::collections::BTreeSet;

use super::Surroundings;
use super::diagnose::Findings;
use super::section::{At, Section};
use super::snapshot::Caller;
use super::url::hex;
use super::value;

/// Shorter caller keys can be guessed.
const KEY_LENGTH_GOOD: usize = 16;

/// What a section says about its key.
#[derive(Debug)]
pub(super) enum KeyGiven {
    /// Nothing.
    None,
    /// Something that was reported.
    Faulty,
    /// The key.
    Key(String),
    /// The text of the setting that stands in place of a key.
    Other,
}

/// Reads `key`, `key_env` and `key_file`, of which one may be set, or `other` instead.
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
    let key = if let Some(text) = section.text("key", findings) {
        Some((text.span(), Ok((*text.get_ref()).to_owned())))
    } else if let Some(name) = section.text("key_env", findings) {
        let value = (surroundings.env)(name.get_ref());
        let missing = format!("the environment has no variable `{}`", name.get_ref());
        Some((name.span(), value.ok_or(missing)))
    } else {
        let path = section.text("key_file", findings);
        path.map(|path| (path.span(), key_in_file(path.get_ref(), surroundings)))
    };
    let Some((span, key)) = key else {
        return KeyGiven::Faulty;
    };
    let key = key.and_then(|key| match value::key(&key) {
        Ok(key) => Ok(key.to_owned()),
        Err(fault) => Err(fault.message),
    });
    match key {
        Ok(key) => KeyGiven::Key(key),
        Err(message) => {
            findings.problem(span, message);
            KeyGiven::Faulty
        }
    }
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
        let caller = match key {
            KeyGiven::Key(key) => {
                if key.len() < KEY_LENGTH_GOOD {
                    findings.warnings.push(format!(
                        "the key of caller {name:?} is short; `openssl rand -hex 24` makes one"
                    ));
                }
                Some(Caller::new(name, &key))
            }
            KeyGiven::Other => hash.and_then(|hash| hashed(name, &hash, findings)),
            KeyGiven::Faulty => None,
            KeyGiven::None => {
                findings.problem_help(
                    section.span.clone(),
                    format!("caller {name:?} has no key"),
                    "set `key_env`, `key_file`, `key_sha256` or `key`",
                );
                None
            }
        };
        if let Some(caller) = caller {
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
    })
}
