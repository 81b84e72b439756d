//! The command line: what may be said, and nothing of what is done about it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tollgate_core::config::{AccessLog, ListenAddress, RuntimeChoice};
use tollgate_core::dialect::Dialect;

/// An LLM gateway. Without a command it serves; without a config file too, with the built-in model
/// `demo` and the providers whose keys are in the environment.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a config file: tell all that is wrong with it, or "ok"
    Check(CheckArgs),
    /// Run a command with a gateway of its own, which its API clients find by their variables
    Exec(ExecArgs),
    /// Write a commented config file to start from
    Init(InitArgs),
    /// Translate one request or answer from stdin to stdout
    Translate(TranslateArgs),
}

/// How to serve. What is said here goes before the config file.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// The config file [else the variable TOLLGATE_CONFIG names it]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen instead of the config's listeners: `127.0.0.1:4180`, `[::1]:4180` or
    /// `unix:/path`; may be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = ListenAddress::parse)]
    pub(crate) listen: Vec<ListenAddress>,
    /// The runtime that serves [default: auto]
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<Runtime>,
    /// Number of threads [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Do not start where the kernel refuses io_uring
    #[arg(long)]
    pub(crate) require_io_uring: bool,
    /// How each request is logged on stderr [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log: Option<Log>,
}

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The config file
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
}

/// What to run, and how to serve it.
#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Where to write the starter.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// The file to write, which must not exist; `-` for stdout
    #[arg(default_value = "tollgate.toml", value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// What to translate.
#[derive(Args, Debug)]
pub(crate) struct TranslateArgs {
    /// The API of the input
    #[arg(long, value_name = "API")]
    pub(crate) from: Api,
    /// The API of the output
    #[arg(long, value_name = "API")]
    pub(crate) to: Api,
    /// The input is a request (the default)
    #[arg(long, group = "kind")]
    pub(crate) request: bool,
    /// The input is an answer
    #[arg(long, group = "kind")]
    pub(crate) response: bool,
    /// The input is a streamed answer, an event stream
    #[arg(long, group = "kind")]
    pub(crate) stream: bool,
    /// The model's name in the output [default: that of the input]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
}

/// A runtime, by the name that the config has for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runtime(pub(crate) RuntimeChoice);

impl ValueEnum for Runtime {
    fn value_variants<'a>() -> &'a [Runtime] {
        const ALL: &[Runtime] = &[
            Runtime(RuntimeChoice::Auto),
            Runtime(RuntimeChoice::Monoio),
            Runtime(RuntimeChoice::Smol),
        ];
        ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        name_of(RuntimeChoice::NAMES, self.0).map(PossibleValue::new)
    }
}

/// A format of the access log, by the name that the config has for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log(pub(crate) AccessLog);

impl ValueEnum for Log {
    fn value_variants<'a>() -> &'a [Log] {
        const ALL: &[Log] = &[
            Log(AccessLog::Text),
            Log(AccessLog::Json),
            Log(AccessLog::Off),
        ];
        ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        name_of(AccessLog::NAMES, self.0).map(PossibleValue::new)
    }
}

/// An API, by its name in the config.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Api(pub(crate) Dialect);

impl ValueEnum for Api {
    fn value_variants<'a>() -> &'a [Api] {
        const ALL: &[Api] = &[Api(Dialect::Anthropic), Api(Dialect::OpenAiChat)];
        ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

fn name_of<T: Copy + PartialEq>(names: &[(&'static str, T)], wanted: T) -> Option<&'static str> {
    let found = names.iter().find(|(_, value)| *value == wanted);
    found.map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_choice_has_its_name() {
        assert_eq!(Runtime::value_variants().len(), RuntimeChoice::NAMES.len());
        assert_eq!(Log::value_variants().len(), AccessLog::NAMES.len());
        for runtime in Runtime::value_variants() {
            assert!(runtime.to_possible_value().is_some());
        }
        for log in Log::value_variants() {
            assert!(log.to_possible_value().is_some());
        }
    }

    #[test]
    fn a_command_takes_no_option_for_serving() {
        assert!(Cli::try_parse_from(["tollgate", "--workers", "1"]).is_ok());
        assert!(Cli::try_parse_from(["tollgate", "exec", "--workers", "1", "--", "true"]).is_ok());
        assert!(Cli::try_parse_from(["tollgate", "--workers", "1", "check", "x"]).is_err());
        assert!(Cli::try_parse_from(["tollgate", "exec", "true"]).is_err());
    }
}
