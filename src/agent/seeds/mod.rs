//! Seeds: texts that resolve to addresses to join, resolved again at each attempt.

mod check;
mod dns;
mod find;
mod seed;

pub(super) use check::{Checked, check};
pub use find::find;
pub(super) use seed::Source;
pub use seed::Trust;
