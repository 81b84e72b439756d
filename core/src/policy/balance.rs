//! Who gets a request: among several that could, the one that had the session's earlier requests.
//! By rendezvous hashing (Thaler, Ravishankar 1996), so that nothing has to be remembered and a
//! member that comes or goes moves no session but its own; or, for sessions that are new, by how
//! busy and how fast the members are ([`arrange`]).

use core::cmp::Reverse;
use core::time::Duration;

/// How a step's requests are shared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Strategy {
    /// By the session's hash, in proportion to weights.
    #[default]
    Sessions,
    /// A new session to the member with the fewest requests in flight for its weight.
    LeastInFlight,
    /// A new session to the better of two members that its hash picks, by their time to first
    /// content and the requests in flight ("power of two choices": nobody is fastest for all at
    /// once).
    Latency,
}

impl Strategy {
    /// All, by the names that the config has for them.
    pub const NAMES: [(&'static str, Strategy); 3] = [
        ("sessions", Strategy::Sessions),
        ("least-in-flight", Strategy::LeastInFlight),
        ("latency", Strategy::Latency),
    ];
}

/// What counts for a member when a session is placed.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Its [`rank`] for the session.
    pub rank: u64,
    /// Its share, at least 1.
    pub weight: u32,
    /// Requests that it is asked.
    pub in_flight: u32,
    /// How long it takes to first content; zero where that is not known, or no longer.
    pub latency: Duration,
}

/// A member of which nothing is known counts as this fast while it has requests in flight, so that
/// not all new sessions go to it before its first answer.
const LATENCY_UNKNOWN: Duration = Duration::from_secs(1);
/// Differences below this are noise.
const LATENCY_MIN: Duration = Duration::from_millis(1);

impl Load {
    /// The load that a further request would make, for the weight.
    fn share(&self) -> u64 {
        ((u64::from(self.in_flight) + 1) << 24) / u64::from(self.weight.max(1))
    }

    fn cost(&self) -> Duration {
        let known = match self.latency.is_zero() && self.in_flight > 0 {
            true => LATENCY_UNKNOWN,
            false => self.latency.max(LATENCY_MIN),
        };
        known.saturating_mul(self.in_flight.saturating_add(1))
    }
}

/// Puts the members into the order in which a new session asks them.
pub fn arrange<T>(strategy: Strategy, members: &mut [(Load, T)]) {
    members.sort_by_key(|(load, _)| Reverse(load.rank));
    match strategy {
        Strategy::Sessions => {}
        // Stable: those that are as busy stay as their ranks say.
        Strategy::LeastInFlight => members.sort_by_key(|(load, _)| load.share()),
        Strategy::Latency => {
            if let [(one, _), (other, _), ..] = members
                && other.cost() < one.cost()
            {
                members.swap(0, 1);
            }
        }
    }
}

/// What requests of one conversation have in common, as a hash.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Session(pub u64);

impl Session {
    /// The session called `name` by the client, or whose prompts begin with these bytes.
    pub fn of(name: &[u8]) -> Session {
        Session(hash(name))
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Session) -> Session {
        Session(mix(self.0.rotate_left(32) ^ other.0))
    }
}

/// A hash of some bytes, the same in every process. Not for what others could choose to collide.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    let mut add =
        |word: u64| hash = (hash.rotate_left(25) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        // Eight bytes each: `chunks_exact` says so.
        add(u64::from_le_bytes(word.try_into().unwrap_or_default()));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    add(u64::from_le_bytes(last));
    mix(hash)
}

/// How much `session` belongs to a member: it goes to the one with the highest rank. A member of
/// weight two gets twice as many sessions as one of weight one; of weight zero, none.
pub fn rank(session: Session, member: u64, weight: u32) -> u64 {
    // The greatest of as many draws: exact for whole weights.
    (0..u64::from(weight))
        .map(|draw| mix(session.0 ^ mix(member.wrapping_mul(0x9E37_79B9) ^ (draw << 40))))
        .max()
        .unwrap_or(0)
}

/// The finaliser of SplitMix64.
const fn mix(word: u64) -> u64 {
    let mut word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares() {
        let weights = [1, 2, 5, 0];
        let mut counts = [0u32; 4];
        for session in 0..16_000u64 {
            let session = Session::of(&session.to_le_bytes());
            let best = (0..4).max_by_key(|&it| rank(session, it as u64, weights[it]));
            counts[best.unwrap()] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!(count.abs_diff(weight * 2_000) < 250, "{counts:?}");
        }
    }

    /// The member that comes first, of loads given by weight, requests in flight and milliseconds.
    fn first(strategy: Strategy, session: u64, loads: &[(u32, u32, u64)]) -> usize {
        let load = |(at, &(weight, in_flight, millis)): (usize, &(u32, u32, u64))| {
            let load = Load {
                rank: rank(Session(session), at as u64, weight),
                weight,
                in_flight,
                latency: Duration::from_millis(millis),
            };
            (load, at)
        };
        let mut members: Vec<_> = loads.iter().enumerate().map(load).collect();
        arrange(strategy, &mut members);
        assert_eq!(members.len(), loads.len());
        members[0].1
    }

    #[test]
    fn the_least_busy_gets_a_new_session() {
        let busy = Strategy::LeastInFlight;
        for session in 0..100 {
            assert_eq!(first(busy, session, &[(1, 2, 0), (1, 1, 0), (1, 3, 0)]), 1);
            assert_eq!(first(busy, session, &[(3, 4, 0), (1, 1, 0)]), 0);
            assert_eq!(first(busy, session, &[(3, 6, 0), (1, 1, 0)]), 1);
        }
        let ties = (0..1_000).filter(|&it| first(busy, it, &[(1, 0, 0), (1, 0, 0)]) == 0);
        assert!((400..600).contains(&ties.count()));
    }

    #[test]
    fn the_faster_of_two_gets_a_new_session() {
        let fast = Strategy::Latency;
        let mut counts = [0; 3];
        for session in 0..3_000 {
            assert_eq!(first(fast, session, &[(1, 0, 900), (1, 0, 100)]), 1);
            // Ten in flight make it slow.
            assert_eq!(first(fast, session, &[(1, 0, 900), (1, 10, 100)]), 0);
            // Nothing is known: one finds out, and not all.
            assert_eq!(first(fast, session, &[(1, 0, 900), (1, 0, 0)]), 1);
            assert_eq!(first(fast, session, &[(1, 0, 900), (1, 1, 0)]), 0);
            counts[first(fast, session, &[(1, 0, 300), (1, 0, 200), (1, 0, 100)])] += 1;
        }
        // The slowest is never the better one, and the fastest is in two pairs of three.
        assert_eq!(counts[0], 0);
        assert!(counts[2] > 1_850 && counts[1] > 850, "{counts:?}");
        let by_hash = first(Strategy::Sessions, 5, &[(1, 9, 900), (1, 0, 1)]);
        assert_eq!(
            first(Strategy::Sessions, 5, &[(1, 0, 1), (1, 9, 900)]),
            by_hash
        );
    }

    #[test]
    fn sessions_differ_in_every_byte() {
        let name = b"0123456789abcdef-0123".to_vec();
        for at in 0..name.len() {
            let mut other = name.clone();
            other[at] ^= 1;
            assert_ne!(Session::of(&name), Session::of(&other));
        }
        assert_ne!(Session::of(b""), Session::of(b"\0"));
    }
}
