//! A user event reaches every node that stays up, within one push/pull interval; also one that was
//! cut off while it was gossiped.
//!
//! Source: serf/delegate.go: LocalState, MergeRemoteState (recent events go with every push/pull).

use std::{collections::BTreeSet, time::Duration};

use super::{SerfInvariant, SerfTruth, violation};
use crate::{
    serf::Event,
    sim::{Cluster, invariants::Violation},
};

/// See the module.
#[derive(Default)]
pub struct EventAtLeastOnce {
    /// Events whose time is over.
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
                // Who was away when it was sent has the time from when it was back.
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

/// The push/pull interval and some seconds, of which an isolation takes the first.
const LIMIT: Duration = Duration::from_secs(40);
/// How much of the time a node may have been away.
const SLACK: u64 = 5_000_000_000;
