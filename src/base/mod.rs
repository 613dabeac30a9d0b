//! Layer 0: time, randomness and other values that every layer shares.

mod error_texts;
pub mod go_base64;
pub mod go_duration;
pub mod go_json;
pub mod go_net;
pub mod go_number;
mod hash;
mod instant;
#[cfg(test)]
mod lines;
mod log_limit;
mod mutation;
mod names;
mod printable;
mod rng;
mod secret;
mod timers;

pub(crate) use error_texts::error_texts;
pub(crate) use hash::SeededHash;
pub use instant::Instant;
#[cfg(test)]
pub(crate) use lines::lines_of;
pub(crate) use log_limit::{LogLimit, log_limits};
#[cfg(feature = "sim")]
pub use mutation::Mutation;
pub(crate) use mutation::mutated;
pub(crate) use names::Names;
#[cfg(feature = "agent")]
pub(crate) use printable::repaints;
pub(crate) use printable::{PRINTABLE_BYTES_MAX, printable, printable_text, short_list};
pub use rng::Rng;
pub use secret::Secret;
pub(crate) use timers::Timers;
