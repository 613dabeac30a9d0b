//! Lamport clocks that neither wrap nor follow implausible jumps.

use super::LamportTime;

/// One of the three clocks: member, event, query. Go: `serf/lamport.go`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LamportClock {
    time: u64,
}

impl LamportClock {
    /// Creates a clock at 1 that has seen `restored` (the last time in a snapshot, zero for none).
    pub(crate) fn restore(restored: LamportTime) -> Self {
        let mut clock = Self { time: 1 };
        clock.witness(restored);
        clock
    }

    pub(crate) fn time(&self) -> LamportTime {
        LamportTime(self.time)
    }

    /// Adds one.
    pub(crate) fn increment(&mut self) {
        self.time = self.time.saturating_add(1);
    }

    /// Moves past `seen`, unless already past it.
    pub(crate) fn witness(&mut self, seen: LamportTime) {
        if seen.0 >= self.time {
            self.time = seen.0.saturating_add(1);
        }
    }

    /// Whether a message stamped `time` is plausible: not more than `jump_max` ahead.
    pub(crate) fn is_plausible(&self, time: LamportTime, jump_max: u64) -> bool {
        time.0 <= self.time.saturating_add(jump_max)
    }

    /// Adopts the clock `remote` of a peer's push/pull, if it is at most `jump_max` ahead or at
    /// most `follow_max`: ours becomes at least `remote`. Returns whether it did; a refused clock
    /// has no effect.
    pub(crate) fn adopt(&mut self, remote: LamportTime, jump_max: u64, follow_max: u64) -> bool {
        let believed = self.is_plausible(remote, jump_max) || remote.0 <= follow_max;
        // serf/delegate.go: MergeRemoteState witnesses the value minus one.
        if let (true, Some(seen)) = (believed, remote.0.checked_sub(1)) {
            self.witness(LamportTime(seen));
        }
        believed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clock_starts_at_one_and_witnesses_equal_values() {
        let mut clock = LamportClock::restore(LamportTime(0));
        assert_eq!(clock.time(), LamportTime(1));
        clock.witness(LamportTime(0));
        assert_eq!(clock.time(), LamportTime(1));
        clock.witness(LamportTime(1));
        assert_eq!(clock.time(), LamportTime(2));
        clock.witness(LamportTime(41));
        assert_eq!(clock.time(), LamportTime(42));
    }

    #[test]
    fn largest_time_does_not_wrap_the_clock() {
        let mut clock = LamportClock::restore(LamportTime(0));
        clock.witness(LamportTime(u64::MAX));
        assert_eq!(clock.time(), LamportTime(u64::MAX));
        clock.increment();
        assert_eq!(clock.time(), LamportTime(u64::MAX));
    }

    #[test]
    fn clock_follows_as_far_as_it_may() {
        let mut clock = LamportClock::restore(LamportTime(0));
        assert!(!clock.adopt(LamportTime(1_000_000), 100, 0));
        assert!(!clock.adopt(LamportTime(1_000_000), 100, 999_999));
        assert_eq!(clock.time(), LamportTime(1));
        assert!(clock.adopt(LamportTime(1_000_000), 100, 1_000_000));
        assert_eq!(clock.time(), LamportTime(1_000_000));
        assert!(clock.adopt(LamportTime(1_000_100), 100, 0));
        assert!(clock.adopt(LamportTime(5), 100, 0), "a clock behind ours is no news");
        assert_eq!(clock.time(), LamportTime(1_000_100));
    }

    #[test]
    fn push_pull_makes_the_clock_equal_not_greater() {
        let mut clock = LamportClock::restore(LamportTime(0));
        assert!(clock.adopt(LamportTime(0), 100, 0));
        assert_eq!(clock.time(), LamportTime(1));
        assert!(clock.adopt(LamportTime(5), 100, 0));
        assert_eq!(clock.time(), LamportTime(5));
    }

    proptest! {
        #[test]
        fn clock_is_monotone_and_past_what_it_saw(
            seen in proptest::collection::vec(any::<u64>(), 0..50),
        ) {
            let mut clock = LamportClock::restore(LamportTime(0));
            for time in seen {
                let before = clock.time();
                clock.witness(LamportTime(time));
                prop_assert!(clock.time() >= before);
                prop_assert!(clock.time().0 > time || time == u64::MAX);
            }
        }

        #[test]
        fn witnessing_is_order_independent(
            mut seen in proptest::collection::vec(0..u64::MAX, 1..20),
        ) {
            let run = |times: &[u64]| {
                let mut clock = LamportClock::restore(LamportTime(0));
                times.iter().for_each(|time| clock.witness(LamportTime(*time)));
                clock.time()
            };
            let forward = run(&seen);
            let largest = *seen.iter().max().unwrap();
            prop_assert_eq!(forward, LamportTime((largest + 1).max(1)));
            seen.reverse();
            prop_assert_eq!(run(&seen), forward);
        }
    }
}
