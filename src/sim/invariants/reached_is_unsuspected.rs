//! A node that a helper reaches is not suspected, even by a node that does not reach it directly.
//!
//! Source: SWIM §3.1: the prober asks k others; memberlist/state.go: probeNode, which also asks
//! the node over a stream.

use super::{Invariant, Oracle, View, Violation};
use crate::{
    sim::{SwimNode, World},
    swim::NodeStateKind,
};

/// Implements the rule in the module documentation.
pub struct ReachedIsUnsuspected;

impl Invariant for ReachedIsUnsuspected {
    fn check(&mut self, view: &View, oracle: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        view.rows()
            .filter(|(observer, subject, row)| {
                row.state == NodeStateKind::Suspect
                    && [*observer, *subject].iter().all(|node| oracle.is_quiet_since(*node, 0))
            })
            .map(|(observer, subject, _)| {
                let detail = "suspected though others reach it".to_owned();
                view.violation("reached_is_unsuspected", observer, subject, detail)
            })
            .collect()
    }

    fn check_end(&mut self, _: &View, _: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::swim::NodeStateKind::Suspect;

    #[test]
    fn a_suspicion_between_undisturbed_nodes_is_found() {
        let view = View::from_rows(0, vec![vec![None, row(Suspect, 1)], vec![None, None]]);
        let mut oracle = Oracle::new(2);
        assert_eq!(ReachedIsUnsuspected.check(&view, &oracle, &empty_world()).len(), 1);
        oracle.disturb(0, 1);
        assert!(ReachedIsUnsuspected.check(&view, &oracle, &empty_world()).is_empty());
    }
}
