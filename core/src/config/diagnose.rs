//! [`Diagnostics`]: all that is wrong with a config, each with its place and a way out, shown as
//! rustc shows errors. Secrets in the lines shown are masked: the text goes to terminals and logs.

use core::fmt;
use core::ops::Range;

use toml::de::{DeTable, DeValue};

/// Problems beyond this many are only counted.
const PROBLEMS_MAX: usize = 50;
/// Characters of a source line that are shown.
const SHOWN_MAX: usize = 100;

/// Every problem found in a config, in the order of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostics {
    /// Name of the file, for messages.
    pub file: String,
    /// The problems; at least one.
    pub problems: Vec<Problem>,
    /// How many more there were than are kept.
    pub further: usize,
}

/// One problem and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The part of the line around the place, secrets masked.
    pub source: String,
    /// Which characters of `source` are meant.
    pub marked: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            let line = problem.line.to_string();
            let margin = line.len();
            writeln!(f, "error: {}", problem.message)?;
            let (file, column) = (&self.file, problem.column);
            writeln!(f, "{:margin$}--> {file}:{line}:{column}", "")?;
            writeln!(f, "{:margin$} |", "")?;
            writeln!(f, "{line} | {}", problem.source)?;
            let (before, marks) = (problem.marked.start, problem.marked.len().max(1));
            writeln!(f, "{:margin$} | {:before$}{:^<marks$}", "", "", "")?;
            if let Some(help) = &problem.help {
                writeln!(f, "{:margin$} = help: {help}", "")?;
            }
            writeln!(f)?;
        }
        match self.problems.len() + self.further {
            1 => write!(f, "1 problem in {}", self.file),
            count if self.further == 0 => write!(f, "{count} problems in {}", self.file),
            count => write!(
                f,
                "{count} problems in {}, the first {} shown",
                self.file,
                self.problems.len()
            ),
        }
    }
}

impl core::error::Error for Diagnostics {}

/// Collects problems and warnings while a config is read.
pub(super) struct Findings<'a> {
    text: &'a str,
    /// Where secrets are, in bytes of `text`.
    secrets: Vec<Range<usize>>,
    found: Vec<(Range<usize>, String, Option<String>)>,
    further: usize,
    /// What is no fault but may surprise.
    pub(super) warnings: Vec<String>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(text: &'a str) -> Findings<'a> {
        Findings {
            text,
            secrets: Vec::new(),
            found: Vec::new(),
            further: 0,
            warnings: Vec::new(),
        }
    }

    /// Remembers what of the text must not be shown: the values of `table` that hold secrets, and
    /// what looks like many keys, one a line, where the text was not understood.
    pub(super) fn hide_secrets(&mut self, table: &DeTable<'_>) {
        self.hide_values(table);
        self.secrets.extend(lists_by_looks(self.text));
    }

    fn hide_values(&mut self, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::String(_) | DeValue::Array(_) if is_secret_name(name) => {
                    self.secrets.push(value.span());
                }
                DeValue::Table(headers) if name == "headers" => {
                    let values = headers.iter().map(|(_, value)| value.span());
                    self.secrets.extend(values);
                }
                DeValue::Table(table) => self.hide_values(table),
                DeValue::Array(items) => {
                    for item in items.iter() {
                        if let DeValue::Table(table) = item.get_ref() {
                            self.hide_values(table);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Adds a problem at `span`.
    pub(super) fn problem(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.add(span, message.into(), None);
    }

    /// Adds a problem at `span` and what to do about it.
    pub(super) fn problem_help(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(span, message.into(), Some(help.into()));
    }

    /// Adds a problem whose help may be missing.
    pub(super) fn add(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push((span, message, help));
        } else {
            self.further += 1;
        }
    }

    /// Whether there is no problem.
    pub(super) fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found, for people.
    pub(super) fn into_diagnostics(mut self, file: &str) -> Diagnostics {
        self.found.sort_by_key(|(span, ..)| span.start);
        let found = core::mem::take(&mut self.found);
        // Many problems may lie on one line, and lines may be long.
        let mut masked = (0..0, Vec::new());
        Diagnostics {
            file: file.to_owned(),
            problems: found
                .into_iter()
                .map(|(span, message, help)| self.locate(&span, message, help, &mut masked))
                .collect(),
            further: self.further,
        }
    }

    /// The problem as it is shown; `masked` is the line that was shown last, and its characters.
    fn locate(
        &self,
        span: &Range<usize>,
        message: String,
        help: Option<String>,
        masked: &mut (Range<usize>, Vec<char>),
    ) -> Problem {
        let text = self.text;
        let at = floor(text, span.start);
        let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[at..].find('\n').map_or(text.len(), |end| at + end);
        let line = line_start..line_end;
        if masked.0 != line {
            *masked = (line.clone(), self.masked_line(line));
        }
        let source = &masked.1;
        let column = text[line_start..at].chars().count();
        let end = floor(text, span.end).clamp(at, line_end);
        let length = text[at..end].chars().count().max(1);
        // A long line is shown from a little before the place.
        let from = if column > SHOWN_MAX - 20 {
            column - 20
        } else {
            0
        };
        let shown = source.iter().skip(from).take(SHOWN_MAX);
        let marked_end = (column - from + length).min(SHOWN_MAX);
        Problem {
            line: text[..line_start].matches('\n').count() + 1,
            column: column + 1,
            source: shown.collect::<String>().trim_end().to_owned(),
            marked: column - from..marked_end,
            message,
            help,
        }
    }

    /// The characters of a line: secrets as stars, control characters as blanks.
    fn masked_line(&self, line: Range<usize>) -> Vec<char> {
        let text = &self.text[line.clone()];
        let known = self.secrets.iter().map(|secret| {
            let [start, end] = [secret.start, secret.end].map(|at| at.clamp(line.start, line.end));
            start - line.start..end - line.start
        });
        let mut is_hidden = vec![false; text.len()];
        for secret in known.chain(secrets_by_looks(text)) {
            is_hidden[secret].fill(true);
        }
        text.char_indices()
            .map(|(at, character)| match character {
                ' ' | '"' | '\'' => character,
                _ if is_hidden[at] => '*',
                _ if character.is_control() => ' ',
                _ => character,
            })
            .collect()
    }
}

/// Where a line seems to hold secrets, parsed or not: what is behind `key =`, `api_key =`, `proxy
/// =`. A line may be megabytes long, so no part of it is searched twice.
fn secrets_by_looks(line: &str) -> Vec<Range<usize>> {
    let mut secrets: Vec<Range<usize>> = Vec::new();
    let last_scheme = line.rfind("Bearer ").max(line.rfind("Basic "));
    let last_backslash = line.rfind('\\');
    for (equals, _) in line.match_indices('=') {
        if secrets.last().is_some_and(|secret| equals < secret.end) {
            continue;
        }
        let name = line[..equals].trim_end().trim_end_matches(['"', '\'']);
        let word = name
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next();
        let is_before = |at: Option<usize>| at.is_some_and(|at| equals < at);
        if is_before(last_scheme) || word.is_some_and(is_secret_name) {
            let end = match is_before(last_backslash) {
                true => line.len(),
                false => secret_end(line, equals + 1),
            };
            secrets.push(equals + 1..end);
        }
    }
    secrets
}

/// The rest of each array that looks like many keys, after its first line: up to a line that begins
/// like none of them.
fn lists_by_looks(text: &str) -> Vec<Range<usize>> {
    let mut lists = Vec::new();
    let mut from: Option<usize> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let begun = line.trim_start();
        let is_item = begun.is_empty() || begun.starts_with(['"', '\'', '#']);
        if let Some(start) = from.filter(|_| !is_item) {
            lists.push(start..at);
            from = None;
        }
        at += line.len();
        if let Some((name, value)) = line.split_once('=')
            && from.is_none()
            && value.trim_start().starts_with('[')
            && is_secret_name(name.trim().trim_matches(['"', '\'']))
        {
            from = Some(at);
        }
    }
    lists.extend(from.map(|start| start..at));
    lists
}

/// Whether a key of this name holds a secret, or is probably meant to.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let harmless = [
        "key_env",
        "key_file",
        "key_limits",
        "key_sha256",
        "max_tokens",
        "token_limit_field",
        "tokens_per_minute",
    ];
    let words = ["key", "token", "secret", "password", "credential", "proxy"];
    let harmless = harmless.contains(&name.as_str()) || name == "credentials";
    !harmless && words.iter().any(|word| name.contains(word))
}

/// The end of the quoted text without escapes that begins after `from`, else the end of the line:
/// also for many texts.
fn secret_end(line: &str, from: usize) -> usize {
    let rest = &line[from..];
    if rest.trim_start().starts_with('[') {
        return line.len();
    }
    let Some(open) = rest.find(['"', '\'']) else {
        return line.len();
    };
    let quote = &rest[open..=open];
    rest[open + 1..]
        .find(quote)
        .map_or(line.len(), |close| from + open + 1 + close)
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The one of `names` that `given` was probably meant to be.
pub(super) fn nearest<'n>(
    given: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let given = given.to_ascii_lowercase();
    let names: Vec<&str> = names.into_iter().collect();
    let allowed = (given.chars().count() / 3).clamp(1, 3);
    let close = names
        .iter()
        .map(|&name| (distance(&given, &name.to_ascii_lowercase()), name))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance);
    // `api_key` for `key`.
    let part = |name: &str| {
        given
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with(['_', '-']))
    };
    close
        .map(|(_, name)| name)
        .or_else(|| names.into_iter().find(|name| part(name)))
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to get
/// from one text to the other (optimal string alignment). Very long texts count as far apart.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = core::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["base_url", "dialect", "models", "proxy"];
        for (given, expected) in [
            ("base_ur", Some("base_url")),
            ("bsae_url", Some("base_url")),
            ("baseurl", Some("base_url")),
            ("Models", Some("models")),
            ("dialekt", Some("dialect")),
            ("prox", Some("proxy")),
            ("http_proxy", Some("proxy")),
            ("x", None),
            ("temperature", None),
        ] {
            assert_eq!(nearest(given, names), expected, "{given}");
        }
    }

    #[test]
    fn places_are_lines_and_columns_of_characters() {
        let text = "a = 1\nübel = 2\r\n\tkey = 'geheim' # x";
        let mut findings = Findings::new(text);
        let at = text.find("übel").unwrap();
        findings.problem(at..at + 5, "first");
        let at = text.find("key").unwrap();
        findings.problem_help(at..at + 3, "second", "leave it out");
        findings.problem(text.len() + 9..text.len() + 12, "at the end");
        let shown = findings.into_diagnostics("f.toml").to_string();
        let expected = "error: first\n --> f.toml:2:1\n  |\n2 | übel = 2\n  | ^^^^\n\n\
            error: second\n --> f.toml:3:2\n  |\n3 |  key = '******' # x\n  |  ^^^\n  \
            = help: leave it out\n\n\
            error: at the end\n --> f.toml:3:20\n  |\n3 |  key = '******' # x\n  |\
            \x20                   ^\n\n3 problems in f.toml";
        assert_eq!(shown, expected);
    }

    #[test]
    fn long_lines_and_long_lists_are_cut() {
        let text = format!("{}oops{}", "x".repeat(500), "y".repeat(500));
        let mut findings = Findings::new(&text);
        for _ in 0..60 {
            findings.problem(500..504, "long");
        }
        let diagnostics = findings.into_diagnostics("f");
        assert_eq!(diagnostics.problems.len(), 50);
        assert_eq!(diagnostics.problems[0].source.len(), 100);
        assert_eq!(&diagnostics.problems[0].source[20..24], "oops");
        let shown = diagnostics.to_string();
        assert!(shown.ends_with("60 problems in f, the first 50 shown"));
    }
}
