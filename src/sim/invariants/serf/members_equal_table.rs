//! Serf's members match the nodes of the layer below: a node that is alive or suspect there is
//! alive or leaving here, with the tags that it announced, and no other node is.
//!
//! Source: serf/serf.go: handleNodeJoin, handleNodeLeave, handleNodeUpdate.

use super::{SerfInvariant, SerfTruth, violation};
use crate::{
    serf::{MemberStatus, MsgpackTransform, TransformDelegate},
    sim::{Cluster, invariants::Violation},
    swim::NodeStateKind,
};

/// Implements the rule in the module documentation.
pub struct MembersEqualTable;

impl SerfInvariant for MembersEqualTable {
    fn check(&mut self, cluster: &Cluster, _: &SerfTruth) -> Vec<Violation> {
        let mut found = Vec::new();
        for node in cluster.running() {
            let Some(engine) = cluster.engine(node) else { continue };
            let mut live = 0;
            for row in engine.nodes() {
                let member = engine.member(row.name);
                let status = member.map(|member| member.status);
                let here = matches!(status, Some(MemberStatus::Alive | MemberStatus::Leaving));
                let there = matches!(row.state, NodeStateKind::Alive | NodeStateKind::Suspect);
                live += usize::from(there);
                let tags = MsgpackTransform.decode_tags(row.meta).0;
                let known = member.is_none_or(|member| member.tags == tags);
                if here != there || there && !known {
                    let detail = format!(
                        "{} is {status:?} and {:?} below{}",
                        row.name,
                        row.state,
                        if known { "" } else { ", and has other tags" }
                    );
                    found.push(violation(cluster, "members_equal_table", node, node, detail));
                }
            }
            let members = engine
                .members()
                .filter(|it| matches!(it.status, MemberStatus::Alive | MemberStatus::Leaving))
                .count();
            if members != live {
                let detail = format!("{members} members alive, {live} nodes below");
                found.push(violation(cluster, "members_equal_table", node, node, detail));
            }
        }
        found
    }
}
