//! Failed and left members are forgotten after their timeout plus two reap intervals.
//!
//! Source: serf/serf.go: handleReap.

use std::{collections::BTreeMap, time::Duration};

use super::{SerfInvariant, SerfTruth, violation};
use crate::{
    serf::MemberStatus,
    sim::{Cluster, NodeId, invariants::Violation},
};

/// Implements the rule in the module documentation.
pub struct TombstonesEnd {
    gone_max: Duration,
    /// Since when an observer, in its current life, has had a member as failed or left.
    gone: BTreeMap<(NodeId, String), (u64, u64)>,
}

impl TombstonesEnd {
    /// Creates the rule for members that are kept for at most `gone_max`.
    pub fn new(gone_max: Duration) -> Self {
        Self { gone_max, gone: BTreeMap::new() }
    }
}

impl SerfInvariant for TombstonesEnd {
    fn check(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation> {
        let now = cluster.now().as_nanos();
        let before = std::mem::take(&mut self.gone);
        let mut found = Vec::new();
        for node in cluster.running() {
            let born = truth.born_at(node);
            for member in cluster.engine(node).into_iter().flat_map(|engine| engine.members()) {
                if !matches!(member.status, MemberStatus::Failed | MemberStatus::Left) {
                    continue;
                }
                let key = (node, member.name.to_string());
                let known = before.get(&key).filter(|(life, _)| *life == born);
                let since = known.map_or(now, |(_, since)| *since);
                let passed = Duration::from_nanos(now - since);
                if passed > self.gone_max {
                    let detail = format!("{} is gone for {passed:?} and still listed", key.1);
                    found.push(violation(cluster, "tombstones_end", node, node, detail));
                }
                self.gone.insert(key, (born, since));
            }
        }
        found
    }
}
