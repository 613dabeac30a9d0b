//! How many log lines peers can cause.

use tracing::warn;

use crate::base::{Instant, LogLimit};

/// A limit for each cause.
#[derive(Debug)]
pub(super) struct Logs {
    /// Packets, or parts of them, that are not handled.
    pub(super) packets: LogLimit,
    /// Messages for which a hand-off queue has no room.
    pub(super) handoff: LogLimit,
    /// Streams that are not understood.
    pub(super) streams: LogLimit,
    /// Push/pulls that are refused or fail.
    pub(super) push_pulls: LogLimit,
    /// Alive messages that are refused.
    pub(super) alive: LogLimit,
    /// Messages that claim the name of another node.
    pub(super) conflicts: LogLimit,
    /// Accusations that we refute.
    pub(super) refutes: LogLimit,
    /// Lines for debugging; what is left out of them is not reported.
    pub(super) details: LogLimit,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            packets: LogLimit::new("packets that are not handled"),
            handoff: LogLimit::new("full hand-off queues"),
            streams: LogLimit::new("streams that are not understood"),
            push_pulls: LogLimit::new("failed push/pulls"),
            alive: LogLimit::new("alive messages that are ignored"),
            conflicts: LogLimit::new("conflicting addresses"),
            refutes: LogLimit::new("refutations"),
            details: LogLimit::new("details"),
        }
    }
}

impl Logs {
    /// Logs how many lines were left out, in one line a second for each cause.
    pub(super) fn report(&mut self, now: Instant) {
        let Self { packets, handoff, streams, push_pulls, alive, conflicts, refutes, .. } = self;
        for limit in [packets, handoff, streams, push_pulls, alive, conflicts, refutes] {
            if let Some(count) = limit.take_suppressed(now) {
                let about = limit.about;
                warn!(target: "memberlist", "suppressed {count} more log lines about {about}");
            }
        }
    }
}
