//! Reports events that are lost because event handlers are slow.

use std::time::{Duration, Instant};

use tracing::warn;

/// What was reported of the events that slow handlers lost.
#[derive(Default)]
pub(super) struct Losses {
    /// How many were reported, and when.
    reported: u64,
    at: Option<Instant>,
}

impl Losses {
    /// Logs and counts the events lost since the last report; `lost` is their number in all.
    pub(super) fn report(&mut self, lost: u64) {
        let new = lost.saturating_sub(self.reported);
        if new > 0 {
            (self.reported, self.at) = (lost, Some(Instant::now()));
            count_lost(new);
            warn!(target: "agent", "Event handlers too slow, {new} events dropped");
        }
    }

    /// [`Losses::report`], at most once in [`LOSS_PERIOD`].
    pub(super) fn report_sometimes(&mut self, lost: u64) {
        if self.at.is_none_or(|at| at.elapsed() >= LOSS_PERIOD) {
            self.report(lost);
        }
    }
}

/// Adds to the metric of events that handlers lost.
pub(super) fn count_lost(lost: u64) {
    metrics::counter!("agent.events.dropped", "subscriber" => "handlers").increment(lost);
}

/// How often lost events are reported while scripts run.
pub(super) const LOSS_PERIOD: Duration = Duration::from_secs(1);
