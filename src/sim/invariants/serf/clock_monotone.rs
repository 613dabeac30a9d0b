//! A node's three clocks never decrease, and the member clock does not even decrease over a restart
//! with a snapshot.
//!
//! Source: Lamport (1978); serf/lamport.go: Witness; serf/snapshot.go (the clock is written twice a
//! second).

use std::collections::BTreeMap;

use super::{SerfInvariant, SerfTruth, violation};
use crate::{
    serf::LamportTime,
    sim::{Cluster, NodeId, invariants::Violation},
};

/// Implements the rule in the module documentation.
#[derive(Default)]
pub struct ClockMonotone {
    /// By node: its life, its clocks at the last scan, and the member clock at the scan before.
    before: BTreeMap<NodeId, (u64, [LamportTime; 3], LamportTime)>,
}

impl SerfInvariant for ClockMonotone {
    fn check(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation> {
        let mut found = Vec::new();
        for node in cluster.running() {
            let Some(engine) = cluster.engine(node) else { continue };
            let (clocks, born) = (engine.clocks(), truth.born_at(node));
            let mut saved = LamportTime(0);
            if let Some((life, before, older)) = self.before.get(&node) {
                let same = *life == born;
                let fell = match same {
                    true => clocks.iter().zip(before).any(|(now, then)| now < then),
                    false => clocks[0] < *older,
                };
                if fell {
                    let detail = format!("clocks fell from {before:?} to {clocks:?}");
                    found.push(violation(cluster, "clock_monotone", node, node, detail));
                }
                saved = if same { before[0] } else { clocks[0] };
            }
            self.before.insert(node, (born, clocks, saved));
        }
        found
    }
}
