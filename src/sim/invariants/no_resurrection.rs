//! A node that is down and that no node sees as alive any more is not revived by old messages.
//!
//! A stopped node keeps earlier packets, incoming and outgoing: when it continues they are in
//! flight again and may revive a node that was forgotten meanwhile, as in Go.
//!
//! Source: memberlist/state.go: aliveNode (an alive message with a known incarnation never revives
//! a dead node); al8n/memberlist#197 (stale alive after late evidence of death).

use super::{Invariant, Oracle, View, Violation};
use crate::{
    sim::{SwimNode, World},
    swim::NodeStateKind,
};

/// Implements the rule in the module documentation.
#[derive(Default)]
pub struct NoResurrection {
    /// Scan at which a node was first seen as alive by no node.
    extinct: Vec<Option<u64>>,
}

impl Invariant for NoResurrection {
    fn check(&mut self, view: &View, oracle: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        let is_stopped = |node| world.node(node).is_some() && !world.is_running(node);
        let news_under_way = (0..world.len()).any(is_stopped);
        self.extinct.resize(view.len() as usize, None);
        let mut believer = vec![None; view.len() as usize];
        for (observer, subject, row) in view.rows() {
            if matches!(row.state, NodeStateKind::Alive | NodeStateKind::Suspect)
                && observer != subject
            {
                believer[subject as usize] = Some(observer);
            }
        }
        let mut found = Vec::new();
        for (subject, believer) in (0..).zip(believer) {
            let extinct = &mut self.extinct[subject as usize];
            let Some(truth) = oracle.truth(subject) else { continue };
            // Messages of an adversary are not old ones.
            if oracle.is_up(subject) || oracle.forged_bytes() > 0 {
                *extinct = None;
                continue;
            }
            // Messages of a life that began and ended between two scans are not old ones.
            if extinct.is_some_and(|at| at < truth.since) {
                *extinct = None;
            }
            match (believer, *extinct) {
                (Some(observer), Some(since)) => {
                    let seconds = (view.at - since) / 1_000_000_000;
                    let detail = format!("is down and was extinct {seconds} s ago");
                    found.push(view.violation("no_resurrection", observer, subject, detail));
                    *extinct = None;
                }
                (None, None) if !news_under_way => *extinct = Some(view.at),
                (Some(_) | None, None) | (None, Some(_)) => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::{
        sim::{ClusterSpec, TruthState},
        swim::NodeStateKind::{Alive, Dead},
    };

    #[test]
    fn the_dead_may_linger_but_not_return() {
        let mut oracle = Oracle::new(2);
        let view =
            |at, about_1| View::from_rows(at, vec![vec![row(Alive, 1), about_1], vec![None, None]]);
        let mut rule = NoResurrection::default();
        let mut check =
            |at, about, oracle: &Oracle| rule.check(&view(at, about), oracle, &empty_world()).len();
        oracle.set(1, TruthState::Down, 0);
        assert_eq!(check(0, row(Alive, 1), &oracle), 0, "lingers");
        assert_eq!(check(1, row(Dead, 1), &oracle), 0);
        assert_eq!(check(2, row(Alive, 1), &oracle), 1, "returns");
        oracle.set(1, TruthState::Up, 3);
        assert_eq!(check(4, row(Alive, 2), &oracle), 0, "was started again");
        oracle.set(1, TruthState::Down, 5);
        assert_eq!(check(6, row(Dead, 2), &oracle), 0);
        oracle.set(1, TruthState::Up, 7);
        oracle.set(1, TruthState::Down, 8);
        assert_eq!(check(9, row(Alive, 3), &oracle), 0, "lived between two scans");
        assert_eq!(check(10, row(Dead, 3), &oracle), 0);
        assert_eq!(check(11, row(Alive, 3), &oracle), 1, "returns from that life");
    }

    #[test]
    fn what_a_stopped_node_keeps_may_revive() {
        let mut oracle = Oracle::new(2);
        let view =
            |at, about_1| View::from_rows(at, vec![vec![row(Alive, 1), about_1], vec![None, None]]);
        let mut world = ClusterSpec::lan(2, 1).build();
        let mut rule = NoResurrection::default();
        oracle.set(1, TruthState::Down, 0);
        world.pause(0);
        assert!(rule.check(&view(1, row(Dead, 1)), &oracle, &world).is_empty());
        world.resume(0);
        assert!(rule.check(&view(2, row(Alive, 1)), &oracle, &world).is_empty());
        assert!(rule.check(&view(3, row(Dead, 1)), &oracle, &world).is_empty());
        assert_eq!(rule.check(&view(4, row(Alive, 1)), &oracle, &world).len(), 1);
    }
}
