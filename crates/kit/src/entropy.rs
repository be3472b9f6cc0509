//! Randomness as an argument, so that a drill replays from its seed.

use std::sync::Mutex;

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills `out`. Aborts the process where the operating system has no randomness to give: going on without
    /// would make keys that can be guessed.
    fn fill(&self, out: &mut [u8]);

    /// Sixteen random bytes: an id that nobody can guess.
    fn id(&self) -> [u8; 16] {
        let mut out = [0; 16];
        self.fill(&mut out);
        out
    }
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[allow(clippy::disallowed_methods)] // the one place that asks the machine
    fn fill(&self, out: &mut [u8]) {
        if getrandom::fill(out).is_err() {
            std::process::abort();
        }
    }
}

/// Bytes that follow from a seed (BLAKE3 in XOF mode): for drills and tests only, never for a centre's keys.
pub struct SeededEntropy(Mutex<blake3::OutputReader>);

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("holdfast 2026 seeded entropy for drills");
        hasher.update(&seed.to_le_bytes());
        Self(Mutex::new(hasher.finalize_xof()))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).fill(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays() {
        let (a, b, c) = (SeededEntropy::new(7), SeededEntropy::new(7), SeededEntropy::new(8));
        let (x, y, z) = (a.id(), b.id(), c.id());
        assert_eq!(x, y);
        assert_ne!(x, z);
        assert_ne!(x, a.id());
    }
}
