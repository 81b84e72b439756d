//! [`Deadlines`]: how long each phase of an exchange may take, and which time is up.

use crate::base::Instant;

/// What a deadline is about, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::gateway) enum Phase {
    /// The whole answer.
    Total,
    /// A target is asked again; or a request that stands in line looks by itself, or has waited
    /// for as long as it may.
    Backoff,
    /// Resolving and connecting.
    Connect,
    /// The TLS handshake, or before it the wait for its turn.
    Tls,
    /// Another target is asked as well.
    Hedge,
    /// The first content of the answer.
    FirstContent,
    /// The next data event.
    Idle,
    /// The model has finished; usage and end are waited for no longer than this.
    Ending,
    /// The answer's head is held back for its first content no longer than this.
    Hold,
    /// The client has heard nothing for so long that it needs a sign of life.
    KeepAlive,
    /// The next token of the built-in model.
    Token,
    /// The next step of decoding what came compressed.
    Decode,
}

const PHASES: [Phase; 12] = [
    Phase::Total,
    Phase::Backoff,
    Phase::Connect,
    Phase::Tls,
    Phase::Hedge,
    Phase::FirstContent,
    Phase::Idle,
    Phase::Ending,
    Phase::Hold,
    Phase::KeepAlive,
    Phase::Token,
    Phase::Decode,
];

/// The deadlines of one exchange.
#[derive(Debug)]
pub(in crate::gateway) struct Deadlines([Instant; PHASES.len()]);

impl Deadlines {
    /// None is set.
    pub(in crate::gateway) const fn new() -> Deadlines {
        Deadlines([Instant::FAR; PHASES.len()])
    }

    pub(in crate::gateway) const fn set(&mut self, phase: Phase, deadline: Instant) {
        self.0[phase as usize] = deadline;
    }

    /// No later than `deadline`.
    pub(in crate::gateway) fn set_earlier(&mut self, phase: Phase, deadline: Instant) {
        let set = &mut self.0[phase as usize];
        *set = deadline.min(*set);
    }

    pub(in crate::gateway) const fn clear(&mut self, phase: Phase) {
        self.0[phase as usize] = Instant::FAR;
    }

    /// As it is with `other`.
    pub(in crate::gateway) const fn copy(&mut self, phase: Phase, other: &Deadlines) {
        self.0[phase as usize] = other.0[phase as usize];
    }

    pub(in crate::gateway) fn is_set(&self, phase: Phase) -> bool {
        self.0[phase as usize] < Instant::FAR
    }

    /// The earliest, if any is set.
    pub(in crate::gateway) fn earliest(&self) -> Option<Instant> {
        self.0
            .iter()
            .min()
            .copied()
            .filter(|&deadline| deadline < Instant::FAR)
    }

    /// Takes out one whose time is up.
    pub(in crate::gateway) fn take_due(&mut self, now: Instant) -> Option<Phase> {
        let due = PHASES
            .into_iter()
            .find(|&phase| self.0[phase as usize] <= now)?;
        self.clear(due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_counts_and_each_is_due_once() {
        let mut deadlines = Deadlines::new();
        assert_eq!(deadlines.earliest(), None);
        deadlines.set(Phase::Idle, Instant::from_nanos(20));
        deadlines.set(Phase::Connect, Instant::from_nanos(10));
        assert_eq!(deadlines.earliest(), Some(Instant::from_nanos(10)));
        assert_eq!(deadlines.take_due(Instant::from_nanos(9)), None);
        assert_eq!(
            deadlines.take_due(Instant::from_nanos(20)),
            Some(Phase::Connect)
        );
        assert_eq!(
            deadlines.take_due(Instant::from_nanos(20)),
            Some(Phase::Idle)
        );
        assert_eq!(deadlines.take_due(Instant::from_nanos(20)), None);
    }
}
