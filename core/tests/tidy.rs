//! The rules of the house that the compiler does not hold: who may use whom in core, what core may
//! not touch of std, how long lines, functions and files may be, and what must lie beside what.
//!
//! A rule that must give way is changed here, in the open. The table of modules is that of
//! `ARCHITECTURE.md`.

// Clippy's own exemption for tests does not reach the functions that they share.
#![allow(clippy::expect_used)]

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use source::{Source, entries, sources};

const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
/// Of one runtime's `src`, without blank lines, comments and tests. What makes one grow belongs in
/// core.
const RUNTIME_LINES_MAX: usize = 600;

/// Which modules of core each may use, itself apart.
const MODULES: [(&str, &[&str]); 9] = [
    ("base", &[]),
    ("wire", &["base"]),
    ("ir", &["base"]),
    ("dialect", &["base", "ir", "wire::json", "wire::sse"]),
    ("sign", &["base", "wire::http1"]),
    ("policy", &["base", "ir"]),
    ("record", &["base", "ir"]),
    (
        "config",
        &["base", "ir", "dialect", "policy", "sign", "wire::tls"],
    ),
    (
        "gateway",
        &[
            "base", "wire", "ir", "dialect", "sign", "policy", "record", "config",
        ],
    ),
];

/// The modules of `dialect` that know the vendors' folders; those know neither each other nor
/// these.
const DIALECT_DOORS: [&str; 2] = ["dialect", "dialect::door"];

/// What core may not touch of std, its own tests included: it acts on nothing, waits for nothing
/// and shares nothing.
const BANNED: [&str; 23] = [
    "std::collections::hash_map::RandomState",
    "std::env",
    "std::fs",
    "std::hash::RandomState",
    "std::io::Stderr",
    "std::io::Stdin",
    "std::io::Stdout",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::atomic",
    "std::sync::mpsc",
    "std::thread",
    "std::time",
];
/// What of the above only names a value.
const ALLOWED: [&str; 1] = ["std::time::Duration"];
const BANNED_MACROS: [&str; 6] = [
    "dbg",
    "eprint",
    "eprintln",
    "print",
    "println",
    "thread_local",
];

/// Where limits are, the tests that show what they do, and how many there are at least.
const LIMITS: [(&str, &[&str], usize); 4] = [
    (
        "core/src/base/limits.rs",
        &[
            "core/tests/limits/sizes.rs",
            "core/tests/limits/timers.rs",
            "core/tests/resilience/deadlines.rs",
            "server/tests/program/drain.rs",
        ],
        30,
    ),
    ("core/src/policy/retry.rs", &[SETTINGS], 6),
    ("core/src/policy/breaker.rs", &[SETTINGS], 6),
    (
        "core/src/policy/keys.rs",
        &["core/tests/resilience/keys.rs"],
        3,
    ),
];
const SETTINGS: &str = "core/tests/resilience/settings.rs";

#[test]
fn modules_of_core_use_only_those_below_them() {
    let mut faults = Faults::default();
    let vendors = folders(&root().join("core/src/dialect"));
    for source in core_sources() {
        let module = source.module();
        let Some(user) = module.first() else {
            continue;
        };
        let Some((_, used_max)) = MODULES.iter().find(|(name, _)| name == user) else {
            faults.at(
                &source,
                1,
                format!("`{user}` is not in the table of modules"),
            );
            continue;
        };
        for path in source.paths() {
            let Some(("crate", used)) = split(&path.segments) else {
                continue;
            };
            let inner = format!("{}::", used.join("::"));
            let is_below = used.first() == Some(user)
                || used_max
                    .iter()
                    .any(|max| inner.starts_with(&format!("{max}::")));
            if !is_below {
                faults.at(
                    &source,
                    path.line,
                    format!("`{user}` may not use `{}`", used.join("::")),
                );
            }
            let vendor = used.get(1).filter(|_| used[0] == "dialect");
            if let Some(vendor) = vendor.filter(|vendor| vendors.contains(*vendor))
                && user == "dialect"
                && module.get(1) != Some(vendor)
                && !DIALECT_DOORS.contains(&module.join("::").as_str())
            {
                faults.at(&source, path.line, format!("knows the dialect `{vendor}`"));
            }
        }
    }
    faults.none();
}

#[test]
fn core_acts_on_nothing() {
    let mut faults = Faults::default();
    for source in &core_sources() {
        for path in source.paths() {
            let is_std = path.segments.first().is_some_and(|first| first == "core");
            let mut name = path.segments.join("::");
            if is_std {
                name.replace_range(..4, "std");
            }
            let is_in = |list: &[&str]| list.iter().any(|banned| is_at_or_below(&name, banned));
            // Everything of it, or all of std under another name.
            let is_opaque = path.brings.as_deref() == Some("*") || path.segments.len() == 1;
            let may_hide = is_opaque && BANNED.iter().any(|banned| is_at_or_below(banned, &name));
            if (is_in(&BANNED) && !is_in(&ALLOWED)) || may_hide {
                faults.at(source, path.line, format!("core may not use `{name}`"));
            }
        }
        for (line, name) in source.macros() {
            if BANNED_MACROS.contains(&name) {
                faults.at(source, line, format!("core may not use `{name}!`"));
            }
        }
        for line in source.lines_of("unsafe") {
            faults.at(source, line, "core has no `unsafe`");
        }
        // Their default hasher is random.
        let tables = ["HashMap", "HashSet"].map(|name| source.lines_of(name).next());
        if let Some(line) = tables.into_iter().flatten().next()
            && source.path != "core/src/base/hash.rs"
        {
            faults.at(source, line, "core uses the tables of `base::hash`");
        }
    }
    faults.none();
}

#[test]
fn lines_functions_and_files_are_short() {
    let mut faults = Faults::default();
    for source in all_sources() {
        for (line, text) in (1..).zip(source.text.lines()) {
            let columns = text.chars().count();
            if columns > COLUMNS_MAX {
                faults.at(&source, line, format!("{columns} columns"));
            }
        }
        for function in source.functions() {
            if function.lines > FUNCTION_LINES_MAX {
                let what = format!("`{}` has {} lines", function.name, function.lines);
                faults.at(&source, function.line, what);
            }
        }
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.at(&source, lines, "the end of a file that is too long");
        }
    }
    faults.none();
}

#[test]
fn nothing_is_left_for_later_and_every_module_says_what_it_is() {
    let mut faults = Faults::default();
    for source in all_sources() {
        if !source.text.starts_with("//!") {
            faults.at(&source, 1, "does not begin with `//!`");
        }
        for (line, name) in source.macros() {
            if ["todo", "unimplemented", "dbg"].contains(&name) {
                faults.at(&source, line, format!("`{name}!`"));
            }
        }
        let marks = [
            concat!("TO", "DO"),
            concat!("FIX", "ME"),
            concat!("XX", "X:"),
        ];
        for (line, text) in &source.comments {
            if marks.iter().any(|mark| text.contains(mark)) {
                faults.at(&source, *line, "a comment that puts something off");
            }
        }
    }
    faults.none();
}

#[test]
fn every_fuzz_target_is_built_and_has_a_corpus() {
    let fuzz = root().join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("its manifest");
    let mut faults = Faults::default();
    let targets = entries(&fuzz.join("fuzz_targets"));
    assert!(!targets.is_empty());
    for target in targets {
        let name = target.file_stem().unwrap_or_default().to_string_lossy();
        if !manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")) {
            faults.note(format!("{name}: not in fuzz/Cargo.toml"));
        }
        if entries(&fuzz.join("corpus").join(&*name)).is_empty() {
            faults.note(format!("{name}: nothing in fuzz/corpus/{name}"));
        }
    }
    faults.none();
}

/// The config's docs send the reader to the structs of limits; so each of these is named there, and
/// each field is documented where it stands, read by its name, and set in a test of what it does.
#[test]
fn every_limit_is_documented_and_can_be_configured() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a source");
    let (docs, bounds) = (
        read("core/src/config/mod.rs"),
        ["bounds.rs", "timers.rs"]
            .map(|name| read(&format!("core/src/config/{name}")))
            .concat(),
    );
    let mut faults = Faults::default();
    for (path, tests, count_min) in LIMITS {
        let tests: String = tests.iter().map(|path| read(path)).collect();
        let module = path.rsplit(['/', '.']).nth(1).unwrap_or_default();
        let fields = limits_of(&read(path));
        assert!(fields.len() >= count_min, "{path}: {} limits", fields.len());
        for Limit {
            of,
            name,
            is_documented,
        } in fields
        {
            if !docs.contains(&format!("{module}::{of})")) {
                faults.note(format!("`{of}` is not named in the docs of the config"));
            }
            if !is_documented {
                faults.note(format!("`{of}::{name}` is not documented"));
            }
            if !bounds.contains(&format!("\"{name}\"")) {
                faults.note(format!("`{of}::{name}` cannot be configured"));
            }
            let ways = ["\\n", "."].map(|before| format!("{before}{name} = "));
            if !ways.iter().any(|way| tests.contains(way))
                && !tests.contains(&format!("(\"{name}\", "))
            {
                faults.note(format!("no test sets `{of}::{name}`"));
            }
        }
    }
    faults.none();
}

/// A field of a struct of limits.
struct Limit {
    of: String,
    name: String,
    is_documented: bool,
}

/// The fields of the structs in `text` whose names end in `Limits` or `Timers`, but for those that
/// hold others of them.
fn limits_of(text: &str) -> Vec<Limit> {
    let (mut of, mut before) = (None, "");
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("pub struct ") {
            let name = rest.trim_end_matches(" {");
            of = is_of_limits(name).then_some(name);
        } else if line == "}" {
            of = None;
        }
        let field = line.strip_prefix("    pub ");
        if let (Some(of), Some((name, kind))) = (of, field.and_then(|it| it.split_once(": ")))
            && !is_of_limits(kind.trim_end_matches(','))
        {
            found.push(Limit {
                of: of.to_owned(),
                name: name.to_owned(),
                is_documented: before.trim_start().starts_with("///"),
            });
        }
        before = line;
    }
    found
}

fn is_of_limits(name: &str) -> bool {
    name.ends_with("Limits") || name.ends_with("Timers")
}

/// What differs between the two is what differs between readiness and completion.
#[test]
fn the_two_runtimes_can_be_laid_side_by_side() {
    let mut faults = Faults::default();
    let mut names = Vec::new();
    for runtime in ["runtime-smol", "runtime-monoio"] {
        let files = entries(&root().join(runtime).join("src"));
        let file_names = files.iter().filter_map(|path| path.file_name());
        names.push(file_names.map(ToOwned::to_owned).collect::<Vec<_>>());
        let lines: usize = files.iter().map(|path| code_lines(path)).sum();
        if lines > RUNTIME_LINES_MAX {
            faults.note(format!("{runtime}: {lines} lines of code"));
        }
    }
    assert_eq!(names[0], names[1], "their files");
    faults.none();
}

#[test]
fn the_reader_of_sources_sees_what_there_is() {
    let text = r##"
use crate::{base::{Arena, time::*}, wire::json as j};
use super::sibling::Thing;
use std::{io::{self, Write as _}, net as n};
/* a /* nested */ comment, fn not_one() {} */
fn one<'a>(s: &'a str) -> char {
    let _ = (r#"fn no() { std::fs::read"#, "\"{", '{', '\'', b'\\');
    std::process::exit(core::time::Duration::ZERO); // std::env::var
    'x'
}
trait T { fn declared(&self) -> [u8; 2]; }
#[cfg(test)]
mod tests {
    use super::*;
    fn two() { super::super::up::call(io::stdin(), n::TcpStream::connect) }
}
"##;
    let source = Source::new("core/src/wire/sse/decode.rs".to_owned(), text.to_owned());
    let functions = source.functions();
    let found: Vec<_> = functions
        .iter()
        .map(|f| (f.name.as_str(), f.line, f.lines))
        .collect();
    assert_eq!(found, [("one", 6, 5), ("two", 15, 1)]);
    let paths = source.paths();
    let found: Vec<_> = paths
        .iter()
        .map(|p| (p.segments.join("::"), p.brings.as_deref()))
        .collect();
    let expected = [
        ("crate::base::Arena", Some("Arena")),
        ("crate::base::time", Some("*")),
        ("crate::wire::json", Some("j")),
        ("crate::wire::sse::sibling::Thing", Some("Thing")),
        ("std::io", Some("io")),
        ("std::io::Write", Some("_")),
        ("std::net", Some("n")),
        ("std::process::exit", None),
        ("core::time::Duration::ZERO", None),
        ("crate::wire::sse::decode", Some("*")),
        ("crate::wire::sse::up::call", None),
        ("std::io::stdin", None),
        ("std::net::TcpStream::connect", None),
    ];
    assert_eq!(
        found,
        expected.map(|(path, brings)| (path.to_owned(), brings))
    );
}

/// What was found, told all at once.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn at(&mut self, source: &Source, line: usize, what: impl Display) {
        self.note(format!("{}:{line}: {what}", source.path));
    }

    fn note(&mut self, what: String) {
        self.0.push(what);
    }

    fn none(self) {
        assert!(self.0.is_empty(), "\n{}\n", self.0.join("\n"));
    }
}

fn root() -> PathBuf {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    core.parent()
        .expect("core lies in the workspace")
        .to_owned()
}

fn all_sources() -> Vec<Source> {
    let found = sources(&root());
    assert!(found.len() > 100, "only {} sources were found", found.len());
    found
}

fn core_sources() -> Vec<Source> {
    let mut found = all_sources();
    found.retain(|source| source.path.starts_with("core/src/"));
    found
}

fn split(segments: &[String]) -> Option<(&str, &[String])> {
    let (first, rest) = segments.split_first()?;
    Some((first, rest))
}

fn is_at_or_below(name: &str, of: &str) -> bool {
    let rest = name.strip_prefix(of);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn folders(folder: &Path) -> BTreeSet<String> {
    let folders = entries(folder).into_iter().filter(|path| path.is_dir());
    let names = folders.filter_map(|path| path.file_name().map(|name| name.to_owned()));
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

fn code_lines(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).expect("a source is text");
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}
