//! The faults there are: one table. A seed enables some of them, each at its own rate (swarm
//! testing: a run with few kinds of faults reaches states that a run with all of them never does).

use tollgate_core::base::Rng;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One kind of fault.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// Every kind, in the order of the table.
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];

            /// What it is called in reports and on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Fault::$name => $text,)*
                }
            }
        }
    };
}

faults! {
    // The network and the system.
    /// An `Accept` fails: no descriptors are left, or the client is gone already.
    AcceptFails = "accept-fails",
    /// A connection carries few bytes a second.
    Bandwidth = "bandwidth",
    /// A connection is established, and then nothing arrives any more.
    BlackHole = "black-hole",
    /// Several inputs are handed to a machine before its outputs are taken.
    BatchedInputs = "batched-inputs",
    /// A `Connect` is never answered.
    ConnectHangs = "connect-hangs",
    /// A `Connect` fails.
    ConnectRefused = "connect-refused",
    /// A name cannot be resolved.
    DnsFails = "dns-fails",
    /// A name takes seconds to resolve.
    DnsSlow = "dns-slow",
    /// A host thread takes long over its work.
    HostSlow = "host-slow",
    /// One side sends FIN and still reads.
    HalfClose = "half-close",
    /// Bytes take up to half a second on their way.
    Latency = "latency",
    /// Connections come to one shard rather than to all.
    Lopsided = "lopsided",
    /// Bytes that were sent apart arrive together.
    Merged = "merged",
    /// A connection is reset at some byte.
    Reset = "reset",
    /// Bytes arrive in small pieces.
    Split = "split",
    /// Completions come late and out of order.
    SlowCompletions = "slow-completions",
    /// What shards say to each other takes seconds, and comes in another order from each.
    SlowMessages = "slow-messages",
    /// The system takes few bytes at a time to be sent.
    SmallWindow = "small-window",
    /// A `Tick` comes before its time.
    TickEarly = "tick-early",
    /// A `Tick` comes late.
    TickLate = "tick-late",
    /// The wall clock jumps, in either direction.
    WallJump = "wall-jump",
    // Upstreams.
    /// Bytes follow a complete answer.
    AnswerJunk = "answer-junk",
    /// The chunked framing is broken.
    BrokenChunk = "broken-chunk",
    /// An event is not JSON.
    BrokenEvent = "broken-event",
    /// The request is refused for what it says: as wrong, as too long, as not allowed.
    ClientsFault = "clients-fault",
    /// The connection ends after the answer, without a word before.
    CloseAfter = "close-after",
    /// The connection ends when it was idle for a moment.
    CloseIdle = "close-idle",
    /// The answer comes before the request has.
    EarlyAnswer = "early-answer",
    /// An error comes as the body of an answer that says 200.
    ErrorBody = "error-body",
    /// An error comes inside a stream that began well.
    ErrorEvent = "error-event",
    /// An error is told by status.
    ErrorStatus = "error-status",
    /// An answer is HTML.
    Html = "html",
    /// Interim responses come before the final one.
    Interim = "interim",
    /// All keys of a provider meet their limits for some time.
    KeysExhausted = "keys-exhausted",
    /// An answer is many times longer than what may be held of it.
    LongAnswer = "long-answer",
    /// The stream lacks its last event.
    MissingEnd = "missing-end",
    /// From some point on nothing comes but pings and comments.
    OnlyPings = "only-pings",
    /// A provider fails for some time, whatever it is asked.
    Outage = "outage",
    /// The upstream falls silent, at any phase.
    Silence = "silence",
    /// The upstream falls silent at the border of an event.
    SilenceAtEvent = "silence-at-event",
    /// A long time passes between two events.
    SlowTokens = "slow-tokens",
    /// The upstream takes its request slowly.
    SlowUpstream = "slow-upstream",
    /// The answer ends at the border of an event.
    TruncatedAtEvent = "truncated-at-event",
    /// The answer ends at any byte.
    TruncatedAnywhere = "truncated-anywhere",
    /// A stream was asked for and a whole answer comes, or the reverse.
    WrongShape = "wrong-shape",
    // Clients.
    /// A request that is wrong.
    BadRequest = "bad-request",
    /// A request body beyond what fits in one turn.
    LargeBody = "large-body",
    /// Requests are sent without waiting for answers.
    Pipelining = "pipelining",
    /// The client takes its answer slowly.
    SlowReader = "slow-reader",
    /// A request comes a few bytes at a time.
    SlowSender = "slow-sender",
    /// The client goes away, at any byte.
    Vanish = "vanish",
    // The world.
    /// The config says that keys bear little.
    KeyLimits = "key-limits",
    /// The limits of the shards are small.
    SmallLimits = "small-limits",
    /// The config is loaded anew.
    Reload = "reload",
    /// The shards are told to drain while they work.
    EarlyDrain = "early-drain",
    // Settings: what the config says, or clients do, that is no fault. They are drawn apart.
    /// Clients are known by keys, and have priorities and weights.
    Callers = "callers",
    /// Some callers share the answers to what they ask at the same time.
    Coalesce = "coalesce",
    /// Providers, targets and callers may have so many requests at once.
    Concurrent = "concurrent",
    /// Clients say in what time they want their answer.
    Deadlines = "deadlines",
    /// Routes have a message for when no target can answer.
    Message = "message",
    /// Answers that broke are continued by other targets.
    Resume = "resume",
    /// Keys bear so many tokens a minute.
    TokenLimits = "token-limits",
}

/// Those that are no faults.
const SETTINGS: FaultSet = FaultSet::NONE
    .with(Fault::Callers)
    .with(Fault::Coalesce)
    .with(Fault::Concurrent)
    .with(Fault::Deadlines)
    .with(Fault::Message)
    .with(Fault::Resume)
    .with(Fault::TokenLimits);
/// One run in so many has a setting.
const SETTING_RARITY: u64 = 4;

/// Those in spite of which every request gets its whole answer.
const HARMLESS: FaultSet = FaultSet::NONE
    .with(Fault::BatchedInputs)
    .with(Fault::HostSlow)
    .with(Fault::Latency)
    .with(Fault::Lopsided)
    .with(Fault::LongAnswer)
    .with(Fault::Merged)
    .with(Fault::Split)
    .with(Fault::SlowCompletions)
    .with(Fault::SlowMessages)
    .with(Fault::SlowUpstream)
    .with(Fault::TickEarly)
    .with(Fault::TickLate)
    .with(Fault::WallJump)
    .with(Fault::CloseAfter)
    .with(Fault::CloseIdle)
    .with(Fault::BadRequest)
    .with(Fault::LargeBody)
    .with(Fault::Pipelining)
    .with(Fault::Reload)
    .with(Fault::Callers)
    .with(Fault::Coalesce)
    .with(Fault::Message)
    .with(Fault::Resume);

impl Fault {
    /// Whether every request gets its whole answer in spite of it.
    pub const fn is_harmless(self) -> bool {
        HARMLESS.contains(self)
    }

    /// Whether it is no fault, but something that the config says or clients do.
    pub const fn is_setting(self) -> bool {
        SETTINGS.contains(self)
    }
}

/// Some of the faults.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FaultSet(u64);

impl FaultSet {
    /// All of them.
    pub const ALL: FaultSet = FaultSet(u64::MAX);
    /// None of them.
    pub const NONE: FaultSet = FaultSet(0);

    /// Whether `fault` is one of them.
    pub const fn contains(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u64) != 0
    }

    /// What they are called.
    pub fn names(self) -> Vec<&'static str> {
        let faults = Fault::ALL.iter().filter(|&&fault| self.contains(fault));
        faults.map(|fault| fault.name()).collect()
    }

    /// These and `fault`.
    #[must_use]
    pub const fn with(self, fault: Fault) -> FaultSet {
        FaultSet(self.0 | (1 << fault as u64))
    }

    /// These without `fault`.
    #[must_use]
    pub const fn without(self, fault: Fault) -> FaultSet {
        FaultSet(self.0 & !(1 << fault as u64))
    }
}

/// The faults of one run: which are enabled, how often they strike, how often they did.
#[derive(Clone, Debug)]
pub struct Faults {
    enabled: FaultSet,
    /// A fault strikes once in so many chances.
    rates: Vec<u64>,
    /// How often each has struck.
    injected: Vec<u64>,
}

impl Faults {
    /// Draws which faults this run has, beside those that are `certain`. Those outside `allowed`
    /// never strike, and everything else is as it would be with them.
    pub fn draw(rng: &mut Rng, allowed: FaultSet, certain: FaultSet) -> Faults {
        // One run in eight has none, and one only such as do no harm, so that what must work is
        // seen to work.
        let (share, allowed) = match rng.below(8) {
            0 => (0, FaultSet(allowed.0 & HARMLESS.0)),
            1 => (5, FaultSet(allowed.0 & HARMLESS.0)),
            _ => (rng.below(10), allowed),
        };
        let mut enabled = certain;
        let mut rates = Vec::with_capacity(Fault::ALL.len());
        for &fault in Fault::ALL {
            let is_drawn = match fault.is_setting() {
                true => rng.chance(1, SETTING_RARITY),
                false => rng.chance(share, 10),
            };
            rates.push([2, 4, 16, 40][rng.below(4) as usize]);
            if is_drawn && allowed.contains(fault) {
                enabled = enabled.with(fault);
            }
        }
        Faults {
            enabled,
            rates,
            injected: vec![0; Fault::ALL.len()],
        }
    }

    /// No fault at all.
    pub fn none() -> Faults {
        Faults::draw(
            &mut Rng::new(tollgate_core::base::Seed(0)),
            FaultSet::NONE,
            FaultSet::NONE,
        )
    }

    /// Whether `fault` strikes now. The draw is made in any case, so that disabling a fault leaves
    /// the rest of a run as it is as far as possible.
    pub fn strikes(&mut self, fault: Fault, rng: &mut Rng) -> bool {
        let index = fault as usize;
        let strikes = rng.chance(1, self.rates[index]) && self.enabled.contains(fault);
        self.injected[index] += u64::from(strikes);
        strikes
    }

    /// Those of these that do no harm.
    #[must_use]
    pub fn harmless(&self) -> Faults {
        Faults {
            enabled: FaultSet(self.enabled.0 & HARMLESS.0),
            ..self.clone()
        }
    }

    /// Counts a fault that was injected by other means.
    pub fn count(&mut self, fault: Fault) {
        self.injected[fault as usize] += 1;
    }

    /// Which are enabled.
    pub const fn enabled(&self) -> FaultSet {
        self.enabled
    }

    /// Whether none is enabled that could cost a client its answer.
    pub const fn is_calm(&self) -> bool {
        self.enabled.0 & !HARMLESS.0 == 0
    }

    /// Whether one of these is enabled.
    pub fn has(&self, faults: &[Fault]) -> bool {
        faults.iter().any(|&fault| self.enabled.contains(fault))
    }

    /// How often each has struck, in the order of [`Fault::ALL`].
    pub fn injected(&self) -> &[u64] {
        &self.injected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::base::Seed;

    #[test]
    fn a_disabled_fault_never_strikes_and_changes_no_other_draw() {
        let all = Faults::draw(&mut Rng::new(Seed(7)), FaultSet::ALL, FaultSet::NONE);
        let fewer = Faults::draw(
            &mut Rng::new(Seed(7)),
            FaultSet::ALL.without(Fault::Split),
            FaultSet::NONE,
        );
        assert_eq!(all.enabled().without(Fault::Split), fewer.enabled());
        assert!(Fault::ALL.len() <= 64);
        let mut none = Faults::none();
        let mut rng = Rng::new(Seed(1));
        assert!((0..1000).all(|_| !none.strikes(Fault::Reset, &mut rng)));
    }
}
