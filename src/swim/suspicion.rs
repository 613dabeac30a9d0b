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
    /// Own failed probes in a row that helpers confirmed; at most [`EVIDENCE_WANTED`].
    evidence: u32,
    /// Own probes of the suspect that verified the suspicion.
    rounds: u32,
    /// When the next of them begins; `None` for one of those that do not verify it.
    next_round: Option<Instant>,
}

impl Suspicion {
    pub(super) fn new(now: Instant, from: &str, wanted: u32, min: Duration, max: Duration) -> Self {
        let timeout = if wanted == 0 { min } else { max };
        let accusers = vec![from.into()];
        let deadline = now + timeout;
        let (evidence, rounds, next_round) = (0, 0, None);
        Self { started: now, wanted, min, max, accusers, deadline, evidence, rounds, next_round }
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

    /// The suspect is to be probed again at this time.
    pub(super) fn verify_at(&mut self, at: Instant) {
        self.next_round = Some(at);
    }

    pub(super) fn is_verified(&self) -> bool {
        self.next_round.is_some()
    }

    /// Whether the suspect is to be probed now; an older suspicion of it may have set the timer.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_round.is_some_and(|at| now >= at) && self.rounds < ROUNDS_MAX
    }

    /// The suspect is being probed.
    pub(super) fn count_round(&mut self) {
        self.rounds += 1;
    }

    /// Time between these probes: the evidence covers all of a suspicion that it shortens.
    pub(super) fn round_gap(&self) -> Duration {
        self.min.mul_f64(SHARE_WITH_EVIDENCE) / (EVIDENCE_WANTED + 1)
    }

    /// Counts an own failed probe that helpers confirmed, or forgets the earlier ones; returns
    /// whether the deadline has changed.
    pub(super) fn add_evidence(&mut self, founded: bool) -> bool {
        let before = self.evidence;
        self.evidence = if founded { (before + 1).min(EVIDENCE_WANTED) } else { 0 };
        if self.evidence == before {
            return false;
        }
        self.deadline = self.started + self.timeout();
        true
    }

    pub(super) fn confirmations(&self) -> u32 {
        u32::try_from(self.accusers.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Whether own evidence has shortened it.
    pub(super) fn has_evidence(&self) -> bool {
        self.evidence >= EVIDENCE_WANTED
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Go: `remainingSuspicionTime`, before subtracting the elapsed time.
    fn timeout(&self) -> Duration {
        if self.has_evidence() {
            return self.min.mul_f64(SHARE_WITH_EVIDENCE);
        }
        if self.wanted == 0 {
            return self.min;
        }
        let (min, max) = (self.min.as_secs_f64(), self.max.as_secs_f64());
        let confirmations = (self.confirmations() + self.evidence).min(self.wanted);
        let share = f64::from(confirmations).ln_1p() / f64::from(self.wanted).ln_1p();
        let raw = max - share * (max - min);
        let millis = (1000.0 * raw).floor().max(0.0);
        Duration::from_millis(millis as u64).max(self.min)
    }
}

/// Own failed probes in a row, each confirmed by helpers, that shorten a suspicion below Go's least
/// time.
const EVIDENCE_WANTED: u32 = 3;
/// Part of Go's least time that a suspicion with that evidence takes.
const SHARE_WITH_EVIDENCE: f64 = 0.6;
/// Most probes that verify one suspicion.
const ROUNDS_MAX: u32 = 4;

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
    fn own_evidence_counts_as_confirmations_and_three_in_a_row_for_more() {
        let second = Duration::from_secs(1);
        let (min, max) = (10 * second, 30 * second);
        let mut suspicion = Suspicion::new(Instant::ZERO, "me", 2, min, max);
        assert!(suspicion.add_evidence(true));
        assert!(suspicion.deadline() > Instant::ZERO + min);
        assert!(suspicion.confirm("a"));
        assert_eq!(suspicion.deadline(), Instant::ZERO + min);
        assert!(suspicion.add_evidence(true));
        assert_eq!(suspicion.deadline(), Instant::ZERO + min);
        assert!(suspicion.add_evidence(true));
        assert_eq!(suspicion.deadline(), Instant::ZERO + 6 * second);
        assert!(!suspicion.add_evidence(true), "more than enough");
        assert!(suspicion.add_evidence(false));
        assert!(suspicion.deadline() > Instant::ZERO + min, "it is forgotten at once");
        let mut small = Suspicion::new(Instant::ZERO, "me", 0, min, max);
        (0..3).for_each(|_| _ = small.add_evidence(true));
        assert_eq!(small.deadline(), Instant::ZERO + 6 * second);
        small.add_evidence(false);
        assert_eq!(small.deadline(), Instant::ZERO + min);
    }

    #[test]
    fn a_suspicion_is_verified_a_few_times_and_not_by_a_timer_of_an_older_one() {
        let second = Duration::from_secs(1);
        let mut suspicion = Suspicion::new(Instant::ZERO, "me", 2, second, second);
        let at = Instant::ZERO + second;
        assert!(!suspicion.is_due(at), "nobody drew it");
        suspicion.verify_at(at);
        assert!(suspicion.is_due(at) && !suspicion.is_due(Instant::ZERO));
        (0..ROUNDS_MAX).for_each(|_| suspicion.count_round());
        assert!(!suspicion.is_due(at));
    }

    #[test]
    fn without_wanted_confirmations_the_timeout_is_the_shortest() {
        let second = Duration::from_secs(1);
        let suspicion = Suspicion::new(Instant::ZERO, "me", 0, second, 6 * second);
        assert_eq!(suspicion.deadline(), Instant::ZERO + second);
    }
}
