//! Signals as events: a thread of their own takes them from the system's handler and sends them on.

use std::sync::mpsc::Sender;
use std::thread;

use rustix::process::Signal;
use signal_hook::iterator::Signals;

use crate::gateway::Event;

/// From now on the `wanted` signals are events instead of what they usually do.
///
/// # Errors
/// The system refuses a handler or a thread.
pub(crate) fn forward(wanted: &[Signal], events: Sender<Event>) -> Result<(), String> {
    let numbers = wanted.iter().map(|signal| signal.as_raw());
    let mut signals =
        Signals::new(numbers).map_err(|error| format!("cannot handle signals: {error}"))?;
    let wanted = wanted.to_vec();
    let run = move || {
        for number in signals.forever() {
            let known = wanted.iter().find(|signal| signal.as_raw() == number);
            if let Some(&signal) = known
                && events.send(Event::Signal(signal)).is_err()
            {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(run);
    thread
        .map(drop)
        .map_err(|error| format!("cannot start a thread: {error}"))
}

/// The exit code that tells of death by `signal`, as shells have it.
pub(crate) fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// Its usual name.
pub(crate) fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::HUP => "SIGHUP",
        Signal::INT => "SIGINT",
        Signal::QUIT => "SIGQUIT",
        Signal::TERM => "SIGTERM",
        _ => "signal",
    }
}
