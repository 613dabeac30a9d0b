//! Only a node raises its own incarnation: no table has a number that the node never had.
//!
//! Source: SWIM §4.2: "incarnation numbers are incremented only by the member itself";
//! memberlist/state.go: refute. Also detects a number that wrapped.

use super::{Invariant, Oracle, View, Violation};
use crate::sim::{SwimNode, World};

/// Implements the rule in the module documentation.
pub struct OwnIncarnation;

impl Invariant for OwnIncarnation {
    fn check(&mut self, view: &View, oracle: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        // An adversary's claim persists until the node has refuted it.
        if oracle.forged_bytes() > 0 {
            return Vec::new();
        }
        self.check_end(view, oracle, world)
    }

    fn check_end(&mut self, view: &View, oracle: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        view.rows()
            .filter(|(_, subject, _)| oracle.forged_bytes() == 0 || oracle.is_up(*subject))
            .filter_map(|(observer, subject, row)| {
                let max = oracle.truth(subject)?.incarnation_max;
                (row.incarnation > max).then(|| {
                    let detail =
                        format!("holds {}, the node never had more than {max}", row.incarnation);
                    view.violation("own_incarnation", observer, subject, detail)
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::swim::NodeStateKind::Alive;

    #[test]
    fn a_number_the_node_never_had_is_found() {
        let mut oracle = Oracle::new(2);
        oracle.witness(0, 1);
        oracle.witness(1, 3);
        let view = |number| {
            View::from_rows(0, vec![vec![row(Alive, 1), row(Alive, number)], vec![None, None]])
        };
        assert!(OwnIncarnation.check(&view(3), &oracle, &empty_world()).is_empty());
        assert_eq!(OwnIncarnation.check(&view(4), &oracle, &empty_world()).len(), 1);
    }
}
