//! Layer 0: time, randomness and other values that every layer shares.

mod instant;
mod rng;

pub use instant::Instant;
pub use rng::Rng;
