//! A snapshot restores what the node knew: the same member clock and, as peers, the members that
//! are alive or failed.
//!
//! Source: serf/snapshot.go: replay; failed peers are kept in addition to Go's.

use std::collections::BTreeSet;

use super::{SerfInvariant, SerfTruth, violation};
use crate::{
    base::Instant,
    serf::{Config, Engine, MemberStatus},
    sim::{Cluster, NodeId, SerfNode, invariants::Violation},
};

/// Implements the rule in the module documentation.
pub struct SnapshotReplays;

impl SerfInvariant for SnapshotReplays {
    fn check(&mut self, _: &Cluster, _: &SerfTruth) -> Vec<Violation> {
        Vec::new()
    }

    fn check_end(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation> {
        let mut found = Vec::new();
        for node in cluster.running().filter(|node| truth.is_up(*node)) {
            let Some(engine) = cluster.engine(node) else { continue };
            let file = cluster.world().node(node.0).and_then(SerfNode::snapshot).unwrap_or("");
            let name = cluster.name(node);
            let mut config = Config::lan(name);
            config.swim.advertise_addr = engine.local_member().addr.to_vec();
            let again = match Engine::build(config, Instant::ZERO, Some(file.as_bytes())) {
                Ok(again) => again,
                Err(error) => {
                    let detail = format!("the snapshot is refused: {error}");
                    found.push(violation(cluster, "snapshot_replays", node, node, detail));
                    continue;
                }
            };
            let peers: BTreeSet<_> =
                again.previous_peers().map(|(name, addr)| (name.to_owned(), addr)).collect();
            let members: BTreeSet<_> = engine
                .members()
                .filter(|it| matches!(it.status, MemberStatus::Alive | MemberStatus::Failed))
                .filter(|it| *it.name != *name)
                .filter_map(|it| Some((it.name.to_string(), it.addr()?)))
                .collect();
            let missing: Vec<_> = members.difference(&peers).collect();
            // Failed peers are remembered longer than members; left ones are not.
            let left_since_start = |name: &str| {
                (0..truth.nodes() as u32).map(NodeId).any(|it| {
                    cluster.name(it) == name
                        && truth.has_left(it)
                        && truth.quiet_since(it) > truth.born_at(node)
                })
            };
            let extra: Vec<_> = peers
                .difference(&members)
                .filter(|(name, _)| engine.member(name).is_some() || left_since_start(name))
                .collect();
            let clocks = (again.clocks()[0], engine.clocks()[0]);
            if !missing.is_empty() || !extra.is_empty() || clocks.0 != clocks.1 {
                let detail = format!(
                    "lacks {missing:?}, has {extra:?} too, clock {:?} of {:?}",
                    clocks.0, clocks.1
                );
                found.push(violation(cluster, "snapshot_replays", node, node, detail));
            }
        }
        found
    }
}
