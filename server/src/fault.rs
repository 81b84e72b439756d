//! [`Fault`]: why a command failed, as the person who typed it is told.

use core::fmt;

use tollgate_core::config::Diagnostics;

/// Why a command failed. Shown, it is whole lines that begin with `error:`.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The config has faults; each is shown with its place.
    Config(Diagnostics),
    /// Anything else, in words.
    Other(String),
}

impl From<String> for Fault {
    fn from(message: String) -> Fault {
        Fault::Other(message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Config(diagnostics) => diagnostics.fmt(f),
            Fault::Other(message) => write!(f, "error: {message}"),
        }
    }
}
