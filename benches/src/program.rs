//! What the programs of this package have in common.

use std::error::Error;
use std::process::ExitCode;

/// Runs the program `name`, which is `run`. It ends with status 0 if that finds all as it should
/// be; an error is told.
pub fn main(name: &str, run: impl FnOnce() -> Result<bool, Box<dyn Error>>) -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
