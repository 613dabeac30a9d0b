//! A node that leaves gracefully is never reported as failed.
//!
//! Source: serf/serf.go: Leave, handleNodeLeaveIntent (the intent comes before the leave of the
//! layer below).

use super::{SerfInvariant, SerfTruth, violation};
use crate::{
    serf::{Event, MemberEventKind},
    sim::{Cluster, NodeId, invariants::Violation},
};

/// Implements the rule in the module documentation.
pub struct LeftIsNoFailure;

impl SerfInvariant for LeftIsNoFailure {
    fn check(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation> {
        let left: Vec<_> =
            (0..truth.nodes() as u32).map(NodeId).filter(|node| truth.has_left(*node)).collect();
        let mut found = Vec::new();
        for subject in left {
            let since = truth.quiet_since(subject);
            for observer in cluster.running().filter(|it| truth.quiet_since(*it) < since) {
                let failed = cluster.events(observer).iter().any(|(at, event)| match event {
                    Event::Member(event) => {
                        event.kind == MemberEventKind::Failed
                            && at.as_nanos() >= since
                            && event.members.iter().any(|m| *m.name == *cluster.name(subject))
                    }
                    Event::User(_) | Event::Query(_) => false,
                });
                if failed {
                    let detail = "left, but was reported as failed".to_owned();
                    found.push(violation(cluster, "left_is_no_failure", observer, subject, detail));
                }
            }
        }
        found
    }
}
