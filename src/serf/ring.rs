//! Shared by the rings of recent events and queries.

use super::LamportTime;

/// Classification of an event or query by a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    New,
    Duplicate,
    /// No room to remember it, so that its duplicates could not be detected.
    Full,
}

/// Whether `ltime` is too old for a ring of `len` times.
pub(crate) fn is_too_old(clock: LamportTime, ltime: LamportTime, len: usize) -> bool {
    // Equal to Go's `cur > N && ltime < cur - N`.
    clock.0.checked_sub(len as u64).is_some_and(|oldest| ltime.0 < oldest)
}
