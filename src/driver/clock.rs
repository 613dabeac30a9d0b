//! The engine's clock: time since the start of the process.

use std::{
    sync::OnceLock,
    time::{Duration, Instant as StdInstant},
};

use crate::{base::Instant, runtime};

/// The present on the clock of every engine in this process; deadlines in events are on it.
pub fn now() -> Instant {
    Instant::ZERO + since_start()
}

/// The same moment on the system's clock. One too far away becomes a month from now.
pub(super) fn to_system(at: Instant) -> StdInstant {
    start() + at.since(Instant::ZERO).min(since_start() + FAR)
}

fn since_start() -> Duration {
    runtime::now().saturating_duration_since(start())
}

fn start() -> StdInstant {
    static START: OnceLock<StdInstant> = OnceLock::new();
    *START.get_or_init(StdInstant::now)
}

const FAR: Duration = Duration::from_secs(30 * 24 * 3600);
