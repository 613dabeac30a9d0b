//! In the minute after the recovery nothing changes: no node dies, returns or leaves.
//!
//! Source: a run that ends at the first quiet moment does not detect later flapping.

use super::{Invariant, Oracle, View, Violation};
use crate::sim::{ObservationKind, SwimNode, World};

/// Implements the rule in the module documentation.
pub struct Steady;

impl Invariant for Steady {
    fn check(&mut self, _: &View, _: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        Vec::new()
    }

    fn check_after(&mut self, view: &View, _: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        use ObservationKind::{Failed, Joined, Left};
        view.seen
            .iter()
            .filter(|seen| matches!(seen.kind, Joined | Left | Failed))
            .map(|seen| {
                let detail = format!("seen as {:?} after all agreed", seen.kind);
                view.violation("steady", seen.observer, seen.subject, detail)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::sim::Observation;

    #[test]
    fn a_change_is_found_only_after_the_recovery() {
        let mut view = View::from_rows(0, vec![vec![None; 2]; 2]);
        let kind = ObservationKind::Failed;
        view.seen = vec![Observation { at: 0, observer: 0, subject: 1, kind, incarnation: 1 }];
        let (oracle, world) = (Oracle::new(2), empty_world());
        assert!(Steady.check_end(&view, &oracle, &world).is_empty());
        assert_eq!(Steady.check_after(&view, &oracle, &world).len(), 1);
    }
}
