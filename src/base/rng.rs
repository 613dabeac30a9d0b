//! The engine's only source of randomness.

use rand::{Rng as _, RngExt as _, SeedableRng, rngs::ChaCha12Rng};

/// A seeded, cryptographically strong generator: the same seed gives the same run.
///
/// It also draws the nonces of AES-GCM, so the driver must seed it from the system's entropy
/// (the simulator and tests seed it with a constant).
#[derive(Debug)]
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// Creates a generator from 32 bytes of seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Creates a generator from a small seed, for the simulator and tests.
    pub fn from_u64(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// A uniform number in `0..bound`; zero when `bound` is zero.
    #[doc(hidden)]
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.0.random_range(0..bound) }
    }

    /// A uniform 32-bit number.
    #[doc(hidden)]
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A uniform 64-bit number.
    #[doc(hidden)]
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number in `[0, 1)`.
    #[doc(hidden)]
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// Fills `buf` with random bytes.
    pub fn fill(&mut self, buf: &mut [u8]) {
        self.0.fill_bytes(buf);
    }

    /// Puts `items` in a uniformly random order (Fisher–Yates).
    #[doc(hidden)]
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
