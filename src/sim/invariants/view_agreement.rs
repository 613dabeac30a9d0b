//! After the recovery all views agree: dead and left nodes are alive in no table, and each live
//! node has the same incarnation, address, meta and versions in all of them and is suspected in
//! none, as a suspicion that is no longer gossiped must still be resolved.
//!
//! Source: SWIM §3.3 strong completeness; memberlist/state.go: mergeState (push/pull repairs what
//! gossip lost).

use super::{Invariant, Oracle, View, Violation};
use crate::{
    sim::{SwimNode, World},
    swim::NodeStateKind,
};

/// Implements the rule in the module documentation.
pub struct ViewAgreement;

impl Invariant for ViewAgreement {
    fn check(&mut self, _: &View, _: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        Vec::new()
    }

    fn check_end(&mut self, view: &View, oracle: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        let mut found = Vec::new();
        for (observer, subject, row) in view.rows() {
            if !oracle.is_up(observer) {
                continue;
            }
            let gone = matches!(row.state, NodeStateKind::Dead | NodeStateKind::Left);
            if !oracle.is_up(subject) {
                if !gone {
                    let detail = format!("is gone, but seen as {:?}", row.state);
                    found.push(view.violation("view_agreement", observer, subject, detail));
                }
            } else if row.state == NodeStateKind::Suspect {
                let detail = "is up, but suspected".to_owned();
                found.push(view.violation("view_agreement", observer, subject, detail));
            } else if let Some(own) = view.row(subject, subject)
                && !gone
                && (own.incarnation, own.digest) != (row.incarnation, row.digest)
            {
                let detail = format!(
                    "holds incarnation {} of {}{}",
                    row.incarnation,
                    own.incarnation,
                    if own.digest == row.digest { "" } else { ", and other data" }
                );
                found.push(view.violation("view_agreement", observer, subject, detail));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::{
        sim::oracle::TruthState,
        swim::NodeStateKind::{Alive, Dead, Suspect},
    };

    #[test]
    fn zombies_stale_rows_and_suspicions_are_found() {
        let mut oracle = Oracle::new(2);
        let view = |about_1| {
            View::from_rows(
                0,
                vec![vec![row(Alive, 1), about_1], vec![row(Alive, 1), row(Alive, 4)]],
            )
        };
        let check = |about, oracle: &Oracle| {
            ViewAgreement.check_end(&view(about), oracle, &empty_world()).len()
        };
        assert_eq!(check(row(Alive, 4), &oracle), 0);
        assert_eq!(check(row(Alive, 3), &oracle), 1);
        assert_eq!(check(row(Suspect, 4), &oracle), 1);
        oracle.set(1, TruthState::Down, 0);
        assert_eq!(check(row(Alive, 4), &oracle), 1);
        assert_eq!(check(row(Dead, 4), &oracle), 0);
        assert_eq!(check(None, &oracle), 0);
    }
}
