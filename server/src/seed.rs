//! Randomness from the system: seeds for the shards' generators, and keys.

use std::fs::File;
use std::io::Read;

use tollgate_core::base::Seed;

/// Where a shard's generator starts.
///
/// # Errors
/// The system has no randomness to give.
pub(crate) fn seed() -> Result<Seed, String> {
    random().map(u64::from_ne_bytes).map(Seed)
}

/// A key that nobody guesses: 192 bits in hexadecimal.
///
/// # Errors
/// The system has no randomness to give.
pub(crate) fn key() -> Result<String, String> {
    let bytes: [u8; 24] = random()?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("tollgate-{digits}"))
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        assert_ne!(seed(), seed());
        let key = key().unwrap_or_default();
        assert_eq!(key.len(), "tollgate-".len() + 48);
    }
}
