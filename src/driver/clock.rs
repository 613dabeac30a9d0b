//! The engine's clock: time since the start of the process.

use std::{sync::OnceLock, time::Instant as StdInstant};

use crate::base::Instant;

/// The present on the clock of every engine in this process; deadlines in events are on it.
pub fn now() -> Instant {
    Instant::ZERO + start().elapsed()
}

/// The same moment on tokio's clock. One too far away becomes a month from now.
pub(super) fn to_tokio(at: Instant) -> tokio::time::Instant {
    let since_start = at.since(Instant::ZERO).min(start().elapsed() + FAR);
    tokio::time::Instant::from_std(start() + since_start)
}

fn start() -> StdInstant {
    static START: OnceLock<StdInstant> = OnceLock::new();
    *START.get_or_init(StdInstant::now)
}

const FAR: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);
