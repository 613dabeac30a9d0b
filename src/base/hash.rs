//! Hashing that peers cannot predict, and that is the same in each run of one seed.

use std::hash::{BuildHasher, DefaultHasher, Hasher as _};

/// SipHash with a seed. Its order must not show: see rule 1 of ARCHITECTURE.md.
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
