//! Seeds: texts that name addresses to join, looked up anew at each attempt.

mod dns;
mod find;
mod seed;

pub use find::find;
pub(super) use seed::Source;
pub use seed::Trust;
