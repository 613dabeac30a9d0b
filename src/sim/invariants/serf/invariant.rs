//! The interface of a rule for Serf engines.

use super::SerfTruth;
use crate::sim::{Cluster, NodeId, invariants::Violation};

/// A rule that is checked on a whole cluster.
pub trait SerfInvariant {
    /// Checks the cluster, every second.
    fn check(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation>;

    /// Checks it once after the quiet minute.
    fn check_end(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation> {
        self.check(cluster, truth)
    }
}

pub(super) fn violation(
    cluster: &Cluster,
    rule: &'static str,
    observer: NodeId,
    subject: NodeId,
    detail: String,
) -> Violation {
    let at = cluster.now().as_nanos();
    Violation { rule, at, observer: observer.0, subject: subject.0, detail }
}
