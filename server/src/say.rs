//! [`say`]: what is told to people, on stderr. `eprintln` would end the process where stderr is
//! gone: a closed pipe, or a terminal that was hung up. A gateway goes on serving then.

use core::fmt;
use std::io::{self, Write};

/// Writes one line or more.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    // Where nobody reads there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// `eprintln`, and no matter whether anybody reads it.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::say::line(format_args!($($text)*))
    };
}

pub(crate) use say;
