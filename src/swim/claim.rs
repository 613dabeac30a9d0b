//! Claims about a node: their source, whether they are accepted, and how far claims of others may
//! raise our own incarnation.

use std::net::SocketAddr;

use crate::base::Instant;

/// Source of a claim about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This node: an announcement, or the result of a probe.
    Own,
    /// A message or state that any sender may have forged.
    Anybody,
    /// The answer from this address to a push/pull that we initiated.
    Answer(SocketAddr),
}

impl Source {
    /// Whether the claim comes from the node at this address itself.
    pub(super) fn is_first_hand(self, at: Option<SocketAddr>) -> bool {
        matches!(self, Self::Answer(peer) if at == Some(peer))
    }
}

/// How far messages of other nodes may still raise our incarnation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    left: u32,
    at: Instant,
}

impl Growth {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: JUMP_MAX, at: now }
    }

    pub(super) fn take(&mut self, now: Instant, growth: u32) -> bool {
        let refilled = now.since(self.at).as_secs().saturating_mul(GROWTH_PER_SECOND.into());
        if refilled > 0 {
            self.at = now;
            self.left = u64::from(self.left).saturating_add(refilled).min(JUMP_MAX.into()) as u32;
        }
        let left = self.left.checked_sub(growth);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

/// Classification of an alive message about a known node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// Already known, or outdated.
    Old,
    News,
    /// Accepted only if the node itself confirms it.
    Doubtful,
}

/// A larger jump is treated as an attempt to outbid a node for good.
pub(super) const JUMP_MAX: u32 = 1 << 24;
/// Long-term rate at which others may raise our incarnation: the range lasts half a year.
const GROWTH_PER_SECOND: u32 = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn growth_by_others_is_bounded_at_once_and_in_the_long_run() {
        let mut growth = Growth::new(Instant::ZERO);
        assert!(!growth.take(Instant::ZERO, JUMP_MAX + 1));
        assert!(growth.take(Instant::ZERO, JUMP_MAX));
        assert!(!growth.take(Instant::ZERO, 1));
        let later = Instant::ZERO + Duration::from_millis(2_500);
        assert!(!growth.take(later, 2 * GROWTH_PER_SECOND + 1));
        assert!(growth.take(later, 2 * GROWTH_PER_SECOND));
        assert!(!growth.take(later, 1));
    }
}
