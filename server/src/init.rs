//! `tollgate init`: writes the commented starter config.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use tollgate_core::config::STARTER;

use crate::cli::InitArgs;
use crate::fault::Fault;
use crate::say::say;

/// Writes the starter. A file that exists is left alone.
pub(crate) fn run(args: &InitArgs) -> Result<ExitCode, Fault> {
    let path = args.file.as_path();
    if path == Path::new("-") {
        let written = io::stdout().write_all(STARTER.as_bytes());
        written.map_err(|error| format!("cannot write to stdout: {error}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = path.display();
    let mut file = File::create_new(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{name} exists already: move it away, or name another file")
        }
        _ => format!("cannot write {name}: {error}"),
    })?;
    file.write_all(STARTER.as_bytes())
        .map_err(|error| format!("cannot write {name}: {error}"))?;
    say!("wrote {name}; now edit it, then: tollgate --config {name}");
    Ok(ExitCode::SUCCESS)
}
