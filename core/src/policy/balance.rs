//! Who gets a request: among several that could, the one that had the session's earlier requests.
//! All by rendezvous hashing (Thaler, Ravishankar 1996), so that nothing has to be remembered and
//! a member that comes or goes moves no session but its own.

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
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        // Eight bytes each: `chunks_exact` says so.
        hash = mix(hash ^ u64::from_le_bytes(word.try_into().unwrap_or_default()));
    }
    for &byte in words.remainder() {
        hash = mix(hash ^ u64::from(byte));
    }
    hash
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
