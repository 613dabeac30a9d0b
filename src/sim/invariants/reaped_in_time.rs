//! A dead or left node is forgotten after the time in which dead nodes still receive gossip, plus
//! two rounds of probes.
//!
//! Source: memberlist/state.go: resetNodes, called when the probe list wraps.

use std::{collections::BTreeMap, time::Duration};

use super::{Invariant, Oracle, View, Violation};
use crate::{
    sim::{SwimNode, World},
    swim::{Config, NodeStateKind},
};

/// Implements the rule in the module documentation.
pub struct ReapedInTime {
    keep: Duration,
    probe_interval: Duration,
    /// Since when an observer, in its current life, has had a row as dead or left.
    gone: BTreeMap<(u32, u32), (Option<u32>, u64)>,
}

impl ReapedInTime {
    /// Creates the rule for these settings.
    pub fn new(config: &Config) -> Self {
        let keep = config.gossip_to_the_dead_time;
        Self { keep, probe_interval: config.probe_interval, gone: BTreeMap::new() }
    }
}

impl Invariant for ReapedInTime {
    fn check(&mut self, view: &View, oracle: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        let limit = self.keep + 2 * view.len().max(1) * self.probe_interval;
        let before = std::mem::take(&mut self.gone);
        let mut found = Vec::new();
        for (observer, subject, row) in view.rows() {
            if !matches!(row.state, NodeStateKind::Dead | NodeStateKind::Left)
                || observer == subject
            {
                continue;
            }
            let life = view.life(observer);
            let quiet = oracle.truth(observer).map_or(0, |truth| truth.quiet_since);
            let known = before.get(&(observer, subject)).filter(|(then, _)| *then == life);
            let since = known.map_or(view.at, |(_, since)| *since).max(quiet);
            self.gone.insert((observer, subject), (life, since));
            let passed = Duration::from_nanos(view.at.saturating_sub(since));
            if oracle.is_up(observer) && passed > limit {
                let detail = format!("gone for {passed:?} and still in the table");
                found.push(view.violation("reaped_in_time", observer, subject, detail));
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
    fn a_row_that_stays_is_found_and_one_that_lived_meanwhile_is_not() {
        let (oracle, world) = (Oracle::new(2), empty_world());
        let view = |at: u64, state| {
            let rows = vec![vec![row(Alive, 1), row(state, 1)], vec![None, None]];
            View::from_rows(at * 1_000_000_000, rows)
        };
        let mut rule = ReapedInTime::new(&Config::lan("x"));
        let mut check = |at, state| rule.check(&view(at, state), &oracle, &world).len();
        assert_eq!(check(0, Dead), 0);
        assert_eq!(check(34, Dead), 0);
        assert_eq!(check(35, Dead), 1);
        assert_eq!(check(36, Alive), 0);
        assert_eq!(check(37, Dead), 0);
        assert_eq!(check(72, Dead), 1);
    }
}
