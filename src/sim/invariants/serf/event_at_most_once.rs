//! A user event is delivered at most once in a node's life.
//!
//! Source: serf/serf.go: handleUserEvent (the ring of recent events).

use std::collections::BTreeSet;

use super::{SerfInvariant, SerfTruth, violation};
use crate::{
    serf::Event,
    sim::{Cluster, invariants::Violation},
};

/// Implements the rule in the module documentation.
pub struct EventAtMostOnce;

impl SerfInvariant for EventAtMostOnce {
    fn check(&mut self, cluster: &Cluster, _: &SerfTruth) -> Vec<Violation> {
        let mut found = Vec::new();
        for node in cluster.running() {
            let mut seen = BTreeSet::new();
            for (_, event) in cluster.events(node) {
                if let Event::User(event) = event
                    && !seen.insert(event.name.clone())
                {
                    let detail = format!("{} was delivered again", event.name);
                    found.push(violation(cluster, "event_at_most_once", node, node, detail));
                }
            }
        }
        found
    }
}
