//! Most nodes know of a crash within the theoretical time plus ten probe intervals: the time one
//! node alone would need if others confirmed its suspicion.
//!
//! Source: SWIM §3.3 (time-bounded completeness); Lifeguard §IV-B (confirmations shorten the
//! suspicion to its least time).

use std::time::Duration;

use super::{Invariant, Oracle, View, Violation, many_late};
use crate::{
    sim::{SwimNode, TruthState, World, theory},
    swim::{Config, NodeStateKind},
};

/// Implements the rule in the module documentation.
pub struct DetectedInTime {
    limit: Duration,
}

impl DetectedInTime {
    /// Creates the rule for a cluster of `nodes` nodes.
    pub fn new(config: &Config, nodes: u32) -> Self {
        let limit = theory::detection(config, nodes as usize) + 10 * config.probe_interval;
        Self { limit }
    }
}

impl Invariant for DetectedInTime {
    fn check(&mut self, view: &View, oracle: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        let mut found = Vec::new();
        for (subject, truth) in (0..).zip(oracle.nodes()) {
            let passed = Duration::from_nanos(view.at.saturating_sub(truth.since));
            if truth.state != TruthState::Down || passed < self.limit {
                continue;
            }
            let alive = |row: super::Row| {
                matches!(row.state, NodeStateKind::Alive | NodeStateKind::Suspect)
            };
            if let Some((late, of, one)) = many_late(view, oracle, subject, truth.since, alive) {
                let detail = format!("down for {passed:?}, unknown to {late} of {of}");
                found.push(view.violation("detected_in_time", one, subject, detail));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::swim::NodeStateKind::{Alive, Dead};

    #[test]
    fn one_may_be_late_and_half_may_not() {
        let mut oracle = Oracle::new(6);
        oracle.set(5, TruthState::Down, 0);
        let view = |at: u64, late: usize| {
            let about = |node| if node < late { row(Alive, 1) } else { row(Dead, 1) };
            let mut rows = vec![vec![None; 6]; 6];
            (0..5).for_each(|node| rows[node][5] = about(node));
            View::from_rows(at * 1_000_000_000, rows)
        };
        let mut rule = DetectedInTime::new(&Config::lan("x"), 6);
        let mut check = |at, late| rule.check(&view(at, late), &oracle, &empty_world()).len();
        assert_eq!(check(10, 5), 0, "not yet");
        assert_eq!(check(30, 1), 0);
        assert_eq!(check(30, 2), 1);
    }
}
