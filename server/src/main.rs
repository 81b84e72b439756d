//! `tollgate`, the program: command line, config file, signals, and the services that a gateway
//! needs from its host. Every decision about a request is made in `tollgate-core`, and its sockets
//! are served by `tollgate-monoio` or `tollgate-smol`; here is only what these two are given.
//!
//! stdout is for data (what `translate` and `init -` print), all else goes to stderr.

#![warn(clippy::print_stderr, clippy::print_stdout)]

mod banner;
mod check;
mod cli;
mod environment;
mod exec;
mod fault;
mod gateway;
mod host;
mod init;
mod listeners;
mod roots;
mod runtime;
mod say;
mod seed;
mod serve;
mod settings;
mod signals;
mod translate;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::say::say;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Exec(args)) => exec::run(&args),
        Some(Command::Init(args)) => init::run(&args),
        Some(Command::Translate(args)) => translate::run(&args),
    };
    result.unwrap_or_else(|fault| {
        say!("{fault}");
        ExitCode::FAILURE
    })
}
