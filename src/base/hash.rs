//! Hashing that peers cannot predict but that is reproducible for a given seed.

use std::hash::{BuildHasher, DefaultHasher, Hasher as _};

/// SipHash with a seed. Iteration order must not be observable: see rule 1 of ARCHITECTURE.md.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededHash(pub(crate) u64);

impl BuildHasher for SeededHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
