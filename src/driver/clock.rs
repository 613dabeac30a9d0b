//! The engine's clock: time since the start of the process.

use std::{
    sync::OnceLock,
    time::{Duration, Instant as StdInstant},
};

use crate::{base::Instant, runtime};

/// The current time on the clock of all engines in this process, which the deadlines in events use.
pub fn now() -> Instant {
    Instant::ZERO + since_start()
}

/// Converts an instant to the system's clock. One that is too far ahead becomes a month from now.
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
