//! Nothing is gossiped for ever: few intents are queued, and after a quiet minute all queues are
//! empty and no node sends gossip.
//!
//! Source: hashicorp/serf#606 (two leave intents that rebroadcast each other endlessly).

use std::collections::BTreeMap;

use super::{SerfInvariant, SerfTruth, violation};
use crate::sim::{Cluster, NodeId, invariants::Violation};

/// Implements the rule in the module documentation.
#[derive(Default)]
pub struct IntentsEnd {
    /// Gossip packets sent by each node at the last scan and the one before.
    sent: [BTreeMap<NodeId, u64>; 2],
}

impl SerfInvariant for IntentsEnd {
    fn check(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation> {
        self.sent.swap(0, 1);
        let sent = |node: NodeId| (node, cluster.world().counters(node.0).gossip_sent);
        self.sent[1] = cluster.running().map(sent).collect();
        let mut found = Vec::new();
        for node in cluster.running() {
            let intents = cluster.engine(node).map_or(0, |engine| engine.queue_depths()[0]);
            if intents > INTENTS_A_NODE * truth.nodes() {
                let detail = format!("{intents} intents queued about {} nodes", truth.nodes());
                found.push(violation(cluster, "intents_end", node, node, detail));
            }
        }
        found
    }

    fn check_end(&mut self, cluster: &Cluster, _: &SerfTruth) -> Vec<Violation> {
        let mut found = Vec::new();
        for node in cluster.running() {
            let depths = cluster.engine(node).map(|engine| engine.queue_depths());
            let sent = self.sent.each_ref().map(|sent| sent.get(&node).copied());
            if depths != Some([0; 3]) || sent[0] != sent[1] {
                let detail = format!("queues {depths:?}, gossip packets sent {sent:?}");
                found.push(violation(cluster, "intents_end", node, node, detail));
            }
        }
        found
    }
}

/// Intents about one node that may be queued: joins and leaves of some seconds.
const INTENTS_A_NODE: usize = 4;
