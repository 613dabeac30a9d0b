//! Seeds: texts that resolve to addresses to join, resolved again at each attempt.

mod dns;
mod find;
mod judge;
mod seed;

pub use find::find;
pub(super) use judge::{Judged, judge};
pub(super) use seed::Source;
pub use seed::Trust;
