//! A user event reaches every node that stays up within one push/pull interval, even a node that
//! was isolated while the event was gossiped.
//!
//! Source: serf/delegate.go: LocalState, MergeRemoteState (recent events go with every push/pull).

use std::{collections::BTreeSet, time::Duration};

use super::{SerfInvariant, SerfTruth, violation};
use crate::{
    serf::Event,
    sim::{Cluster, invariants::Violation},
};

/// Implements the rule in the module documentation.
#[derive(Default)]
pub struct EventAtLeastOnce {
    /// Number of events whose time limit has passed.
    checked: usize,
}

impl SerfInvariant for EventAtLeastOnce {
    fn check(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation> {
        let now = cluster.now().as_nanos();
        let limit = LIMIT.as_nanos() as u64;
        let mut found = Vec::new();
        while let Some(sent) = truth.sent.get(self.checked).filter(|it| now > it.at + limit) {
            self.checked += 1;
            for node in cluster.running().filter(|_| sent.counts) {
                // For a node that was away when the event was sent, the time starts at its return.
                let quiet = truth.quiet_since(node);
                let away =
                    truth.born_at(node) > sent.at || now < quiet.max(sent.at) + limit - SLACK;
                if away || !truth.is_up(node) {
                    continue;
                }
                let names: BTreeSet<_> = cluster
                    .events(node)
                    .iter()
                    .filter_map(|(_, event)| match event {
                        Event::User(event) => Some(&*event.name),
                        Event::Member(_) | Event::Query(_) => None,
                    })
                    .collect();
                if !names.contains(&*sent.name) {
                    let detail = format!("{} has not arrived after {LIMIT:?}", sent.name);
                    found.push(violation(cluster, "event_at_least_once", node, sent.node, detail));
                }
            }
        }
        found
    }
}

/// The push/pull interval plus some seconds, of which an isolation takes the first.
const LIMIT: Duration = Duration::from_secs(40);
/// How long a node may have been away within this time.
const SLACK: u64 = 5_000_000_000;
