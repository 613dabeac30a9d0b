//! A node's answer to a query and its ack reach the asker once, although relays and the network
//! duplicate them.
//!
//! Source: serf/query.go: handleQueryResponse (duplicates are counted and dropped).

use std::collections::BTreeSet;

use super::{SerfInvariant, SerfTruth, violation};
use crate::{
    serf::QueryUpdate,
    sim::{Cluster, invariants::Violation},
};

/// Implements the rule in the module documentation.
pub struct AnswersOnce;

impl SerfInvariant for AnswersOnce {
    fn check(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation> {
        let mut found = Vec::new();
        for (node, id) in &truth.asked {
            let mut seen = BTreeSet::new();
            for update in cluster.query_updates(*node, *id) {
                let answer = match update {
                    QueryUpdate::Ack { from } => ("ack", from.clone()),
                    QueryUpdate::Response { from, .. } => ("answer", from.clone()),
                    QueryUpdate::Finished { .. } => continue,
                };
                if !seen.insert(answer.clone()) {
                    let detail = format!("a second {} of {}", answer.0, answer.1);
                    found.push(violation(cluster, "answers_once", *node, *node, detail));
                }
            }
        }
        found
    }
}
