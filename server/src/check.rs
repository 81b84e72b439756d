//! `tollgate check`: tells all that is wrong with a config file, and serves nothing.

use std::io::{self, Write};
use std::process::ExitCode;

use tollgate_core::config::Loaded;

use crate::cli::CheckArgs;
use crate::environment;
use crate::fault::Fault;
use crate::say::say;

/// Checks the config; what it amounts to goes to stdout, warnings to stderr.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Fault> {
    let loaded = environment::load(Some(&args.config))?;
    for warning in &loaded.warnings {
        say!("warning: {warning}");
    }
    // Whoever closed the pipe reads the exit code.
    let _ = writeln!(io::stdout(), "ok: {}", summary(&loaded));
    Ok(ExitCode::SUCCESS)
}

fn summary(loaded: &Loaded) -> String {
    let snapshot = &loaded.snapshot;
    let listeners: Vec<String> = loaded
        .listeners
        .iter()
        .map(|listener| listener.address.to_string())
        .collect();
    let providers: Vec<&str> = snapshot
        .providers
        .iter()
        .map(|provider| provider.name.as_ref())
        .collect();
    let providers = match providers.as_slice() {
        [] => "no providers".to_owned(),
        names => format!(
            "{} ({})",
            counted(names.len(), "provider"),
            names.join(", ")
        ),
    };
    let callers = match snapshot.callers.len() {
        0 => "callers need no key".to_owned(),
        count => counted(count, "caller"),
    };
    format!(
        "{providers}, {}, {callers}, listens on {}",
        counted(snapshot.listed.len(), "listed model"),
        listeners.join(", ")
    )
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}
