//! Most nodes know of an update or a leave within about a second, by gossip alone: these runs have
//! no push/pull, and piggybacking on probes is too slow.
//!
//! Source: SWIM §4 (infection-style dissemination, logarithmic in the number of nodes);
//! memberlist/state.go: gossip. The limit is three times the logistic model's time.

use std::time::Duration;

use super::{Invariant, Oracle, Row, View, Violation, many_late};
use crate::{
    sim::{SwimNode, TruthState, World, theory},
    swim::{Config, NodeStateKind},
};

/// Implements the rule in the module documentation.
pub struct NewsInTime {
    limit: Duration,
}

impl NewsInTime {
    /// Creates the rule for a cluster of `nodes` nodes.
    pub fn new(config: &Config, nodes: u32) -> Self {
        let spread = theory::spread_time(config, nodes as usize, 0.99);
        Self { limit: config.gossip_interval + 3 * spread }
    }
}

impl Invariant for NewsInTime {
    fn check(&mut self, view: &View, oracle: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        let mut found = Vec::new();
        for (subject, truth) in (0..).zip(oracle.nodes()) {
            let (at, incarnation) = match (truth.state, truth.news) {
                (TruthState::Up, Some(news)) => news,
                (TruthState::Left, _) => (truth.since, 0),
                (TruthState::Up | TruthState::Down, _) => continue,
            };
            let passed = Duration::from_nanos(view.at.saturating_sub(at));
            if passed < self.limit {
                continue;
            }
            let behind = |row: Row| match truth.state {
                TruthState::Left => {
                    matches!(row.state, NodeStateKind::Alive | NodeStateKind::Suspect)
                }
                TruthState::Up | TruthState::Down => row.incarnation < incarnation,
            };
            if let Some((late, of, one)) = many_late(view, oracle, subject, at, behind) {
                let detail = format!("news of {passed:?} ago, unknown to {late} of {of}");
                found.push(view.violation("news_in_time", one, subject, detail));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::swim::NodeStateKind::Alive;

    #[test]
    fn news_that_most_do_not_know_is_found() {
        let mut oracle = Oracle::new(3);
        oracle.update(2, 0, 7);
        let view = |at: u64, incarnation| {
            let mut rows = vec![vec![None; 3]; 3];
            (0..2).for_each(|node| rows[node][2] = row(Alive, incarnation));
            View::from_rows(at * 1_000_000_000, rows)
        };
        let mut rule = NewsInTime::new(&Config::lan("x"), 3);
        let mut check = |at, known| rule.check(&view(at, known), &oracle, &empty_world()).len();
        assert_eq!(check(0, 6), 0, "not yet");
        assert_eq!(check(5, 7), 0);
        assert_eq!(check(5, 6), 1);
    }
}
