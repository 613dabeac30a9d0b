//! Counts durations.

use std::time::Duration;

/// Number and total duration of a repeated activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Number of occurrences.
    pub count: u64,
    /// Total duration.
    pub total: Duration,
}

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(time);
    }
}
