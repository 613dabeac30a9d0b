//! The engine's clock: time since the start of the process.

use std::{sync::OnceLock, time::Instant as StdInstant};

use crate::base::Instant;

/// The present on the clock of every engine in this process; deadlines in events are on it.
pub fn now() -> Instant {
    Instant::ZERO + start().elapsed()
}

/// The same moment on the system's clock. One too far away becomes a month from now.
pub(super) fn to_system(at: Instant) -> StdInstant {
    start() + at.since(Instant::ZERO).min(start().elapsed() + FAR)
}

fn start() -> StdInstant {
    static START: OnceLock<StdInstant> = OnceLock::new();
    *START.get_or_init(StdInstant::now)
}

const FAR: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);
