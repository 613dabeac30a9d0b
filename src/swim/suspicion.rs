//! Timeout of a suspicion. Go: `suspicion.go`; Lifeguard, dynamic suspicion.

use std::{sync::Arc, time::Duration};

use crate::base::Instant;

/// `mult × max(1, log10 n) × interval`, in Go's integer arithmetic (three decimals of the log).
/// Go: `util.go`, `suspicionTimeout`.
pub fn suspicion_timeout(mult: u32, n: usize, interval: Duration) -> Duration {
    let scale = (n.max(1) as f64).log10().max(1.0);
    let thousandths = (scale * 1000.0) as u128;
    let nanos =
        interval.as_nanos().saturating_mul(u128::from(mult)).saturating_mul(thousandths) / 1000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A running suspicion: starts with the longest timeout, which each confirmation shortens.
#[derive(Debug)]
pub(super) struct Suspicion {
    /// When the node became suspect; compared with its row when the timer fires.
    pub(super) started: Instant,
    /// Number of confirmations that reduce the timeout to its minimum.
    wanted: u32,
    min: Duration,
    max: Duration,
    /// The accuser and the confirming nodes; at most `wanted + 1`.
    accusers: Vec<Arc<str>>,
    deadline: Instant,
}

impl Suspicion {
    pub(super) fn new(now: Instant, from: &str, wanted: u32, min: Duration, max: Duration) -> Self {
        let timeout = if wanted == 0 { min } else { max };
        let accusers = vec![from.into()];
        Self { started: now, wanted, min, max, accusers, deadline: now + timeout }
    }

    /// Counts an independent accuser; returns whether it was new (then the message is gossiped).
    pub(super) fn confirm(&mut self, from: &str) -> bool {
        if self.confirmations() >= self.wanted || self.accusers.iter().any(|name| &**name == from) {
            return false;
        }
        self.accusers.push(from.into());
        self.deadline = self.started + self.timeout();
        true
    }

    pub(super) fn confirmations(&self) -> u32 {
        u32::try_from(self.accusers.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn wanted(&self) -> u32 {
        self.wanted
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Go: `remainingSuspicionTime`, before subtracting the elapsed time.
    fn timeout(&self) -> Duration {
        let (min, max) = (self.min.as_secs_f64(), self.max.as_secs_f64());
        let share = f64::from(self.confirmations()).ln_1p() / f64::from(self.wanted).ln_1p();
        let raw = max - share * (max - min);
        let millis = (1000.0 * raw).floor().max(0.0);
        Duration::from_millis(millis as u64).max(self.min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_grows_with_the_logarithm_of_the_cluster() {
        // Values printed by Go for multiplier 4 and one second.
        let table = [
            (5, 4_000),
            (10, 4_000),
            (11, 4_164),
            (20, 5_204),
            (50, 6_792),
            (100, 8_000),
            (500, 10_792),
            (1000, 12_000),
            (10_000, 16_000),
        ];
        for (n, millis) in table {
            let timeout = suspicion_timeout(4, n, Duration::from_secs(1));
            assert_eq!(timeout, Duration::from_millis(millis), "n = {n}");
        }
    }

    #[test]
    fn confirmations_shrink_the_timeout_as_go_does() {
        let start = Instant::from_nanos(1_000_000_000);
        let (min, max) = (Duration::from_secs(2), Duration::from_secs(30));
        let mut suspicion = Suspicion::new(start, "me", 3, min, max);
        assert_eq!(suspicion.deadline() - start, Duration::from_secs(30));
        assert!(suspicion.confirm("a"));
        assert_eq!(suspicion.deadline() - start, Duration::from_secs(16));
        assert!(suspicion.confirm("b"));
        assert_eq!(suspicion.deadline() - start, Duration::from_millis(7_810));
        assert!(suspicion.confirm("c"));
        assert_eq!(suspicion.deadline() - start, min);
        assert!(!suspicion.confirm("d"), "enough have confirmed");
    }

    #[test]
    fn the_accuser_and_repeated_names_confirm_nothing() {
        let second = Duration::from_secs(1);
        let mut suspicion = Suspicion::new(Instant::ZERO, "me", 2, second, 6 * second);
        assert!(!suspicion.confirm("me"));
        assert!(suspicion.confirm("a"));
        assert!(!suspicion.confirm("a"));
        assert_eq!(suspicion.confirmations(), 1);
    }

    #[test]
    fn without_wanted_confirmations_the_timeout_is_the_shortest() {
        let second = Duration::from_secs(1);
        let suspicion = Suspicion::new(Instant::ZERO, "me", 0, second, 6 * second);
        assert_eq!(suspicion.deadline(), Instant::ZERO + second);
    }
}
