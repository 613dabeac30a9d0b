//! No healthy node stays failed: after the recovery every running node sees every other running
//! node as alive.
//!
//! Source: SWIM §3 (strong completeness for dead nodes, accuracy for live ones);
//! memberlist/state.go: a node refutes false claims about itself.

use super::{Invariant, Oracle, View, Violation};
use crate::{
    sim::{SwimNode, World},
    swim::NodeStateKind,
};

/// Implements the rule in the module documentation.
pub struct NoFalseFailure;

impl Invariant for NoFalseFailure {
    fn check(&mut self, _: &View, _: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        // During the faults a healthy node may be failed temporarily.
        Vec::new()
    }

    fn check_end(&mut self, view: &View, oracle: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        let up: Vec<u32> = (0..view.len()).filter(|node| oracle.is_up(*node)).collect();
        let mut found = Vec::new();
        for &observer in &up {
            for &subject in &up {
                let state = view.row(observer, subject).map(|row| row.state);
                if state != Some(NodeStateKind::Alive) {
                    let detail = format!("is up, but seen as {state:?}");
                    found.push(view.violation("no_false_failure", observer, subject, detail));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::swim::NodeStateKind::{Alive, Dead, Suspect};

    #[test]
    fn a_living_node_that_is_not_seen_alive_is_found_at_the_end_only() {
        let oracle = Oracle::new(2);
        for wrong in [row(Dead, 1), row(Suspect, 1), None] {
            let rows = vec![vec![row(Alive, 1), wrong], vec![row(Alive, 1), row(Alive, 1)]];
            let view = View::from_rows(0, rows);
            assert!(NoFalseFailure.check(&view, &oracle, &empty_world()).is_empty());
            assert_eq!(NoFalseFailure.check_end(&view, &oracle, &empty_world()).len(), 1);
        }
    }
}
