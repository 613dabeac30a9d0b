//! Even during the faults, an undisturbed node does not declare another undisturbed node dead. A
//! network that loses more than a twentieth of its datagrams, a partition and an adversary disturb
//! every node; smaller losses disturb none, nor does a stop shorter than the least suspicion.
//!
//! Source: SWIM §3.1 and §4.1 (indirect probes and suspicion prevent false positives in a lossy
//! network); Lifeguard (Dadgar et al., 2018).

use super::{Invariant, Oracle, View, Violation};
use crate::sim::{ObservationKind, SwimNode, World};

/// Implements the rule in the module documentation.
pub struct UndisturbedAlive;

impl Invariant for UndisturbedAlive {
    fn check(&mut self, view: &View, oracle: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        view.seen
            .iter()
            .filter(|seen| seen.kind == ObservationKind::Failed)
            .filter(|seen| [seen.observer, seen.subject].iter().all(|n| oracle.is_undisturbed(*n)))
            .map(|seen| {
                let detail = "declared dead though nothing was done to either".to_owned();
                view.violation("undisturbed_alive", seen.observer, seen.subject, detail)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::sim::Observation;

    #[test]
    fn a_failure_is_found_only_between_undisturbed_nodes() {
        let mut view = View::from_rows(0, vec![vec![None; 2]; 2]);
        let kind = ObservationKind::Failed;
        view.seen = vec![Observation { at: 0, observer: 0, subject: 1, kind, incarnation: 1 }];
        let mut oracle = Oracle::new(2);
        assert_eq!(UndisturbedAlive.check(&view, &oracle, &empty_world()).len(), 1);
        oracle.disturb(1, 0);
        assert!(UndisturbedAlive.check(&view, &oracle, &empty_world()).is_empty());
    }
}
