//! An observer's incarnation of a node never decreases while the row exists.
//!
//! Source: SWIM §4.2 (Das et al., 2002): an update overrides only one with a smaller number;
//! memberlist/state.go: aliveNode, suspectNode, deadNode. Go keeps the stored number on late
//! evidence of death; here it may only rise.
//!
//! A row of a dead node is removed eventually and may return with any number, and a name that is
//! claimed from another address starts from scratch.

use super::{Invariant, Oracle, View, Violation};
use crate::{
    sim::{SwimNode, World},
    swim::NodeStateKind,
};

/// Implements the rule in the module documentation.
#[derive(Default)]
pub struct IncarnationMonotone {
    before: Option<View>,
}

impl Invariant for IncarnationMonotone {
    fn check(&mut self, view: &View, _: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        let mut found = Vec::new();
        if let Some(before) = self.before.take().filter(|before| before.len() == view.len()) {
            for (observer, subject, row) in view.rows() {
                let Some(old) = before.row(observer, subject) else { continue };
                // A restarted observer learns from any node it contacts.
                let restarted = before.life(observer) != view.life(observer);
                let gone = matches!(old.state, NodeStateKind::Dead | NodeStateKind::Left);
                if row.incarnation < old.incarnation && !gone && !restarted {
                    let detail = format!("fell from {} to {}", old.incarnation, row.incarnation);
                    found.push(view.violation("incarnation_monotone", observer, subject, detail));
                }
            }
        }
        self.before = Some(view.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn a_fall_is_found_but_not_after_a_death() {
        use NodeStateKind::{Alive, Dead};
        let (world, oracle) = (empty_world(), Oracle::new(2));
        let scan = |at, state, incarnation| {
            View::from_rows(
                at,
                vec![vec![row(Alive, 1), row(state, incarnation)], vec![row(Alive, 1), None]],
            )
        };
        let mut rule = IncarnationMonotone::default();
        assert!(rule.check(&scan(0, Alive, 5), &oracle, &world).is_empty());
        assert_eq!(rule.check(&scan(1, Alive, 4), &oracle, &world).len(), 1);
        assert!(rule.check(&scan(2, Dead, 4), &oracle, &world).is_empty());
        assert!(rule.check(&scan(3, Alive, 1), &oracle, &world).is_empty());
    }
}
