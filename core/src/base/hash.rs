//! Hash tables without per-process randomness: two runs with the same inputs iterate alike.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::{HashMap, HashSet};

/// A map with the deterministic hasher. For keys that are ours (ids, configured names); keys chosen
/// by strangers belong in a `BTreeMap`, since they could be made to collide.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fnv>>;
/// A set with the deterministic hasher; see [`Map`].
pub type Set<K> = HashSet<K, BuildHasherDefault<Fnv>>;

/// FNV-1a with 64 bits, and a final mix so that the high bits are as good as the low ones.
#[derive(Clone, Debug)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        let z = self.0;
        (z ^ (z >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}
