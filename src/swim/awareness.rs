//! Lifeguard's local health: a node that misses acks suspects its own network before others.

use std::time::Duration;

/// Score of 0 (healthy) to a maximum. Go: `awareness.go`; Lifeguard, local health aware probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awareness {
    score: u32,
    max: u32,
}

impl Awareness {
    /// `multiplier` is the exclusive bound of the score, at least 1.
    pub(super) fn new(multiplier: u32) -> Self {
        Self { score: 0, max: multiplier.saturating_sub(1) }
    }

    pub(super) fn apply(&mut self, delta: i64) {
        let score = i64::from(self.score).saturating_add(delta).clamp(0, i64::from(self.max));
        self.score = u32::try_from(score).unwrap_or(self.max);
    }

    pub(super) fn score(self) -> u32 {
        self.score
    }

    /// `timeout × (score + 1)`.
    pub(super) fn scale(self, timeout: Duration) -> Duration {
        timeout.saturating_mul(self.score.saturating_add(1))
    }
}
