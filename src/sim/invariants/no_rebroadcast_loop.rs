//! After the recovery gossip ends: no message is sent for ever.
//!
//! Source: memberlist/queue.go (a message is sent `retransmitLimit` times); hashicorp/serf#606 (two
//! leave messages that rebroadcast each other endlessly).

use super::{Invariant, Oracle, View, Violation};
use crate::sim::{SwimNode, World};

/// Implements the rule in the module documentation.
#[derive(Default)]
pub struct NoRebroadcastLoop {
    /// Times of the last two scans, and the number of gossip datagrams each node had sent by then.
    scans: [(u64, Vec<u64>); 2],
}

impl Invariant for NoRebroadcastLoop {
    fn check(&mut self, view: &View, _: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        if view.at > self.scans[1].0 {
            self.scans.swap(0, 1);
            let sent = (0..world.len()).map(|node| world.counters(node).gossip_sent).collect();
            self.scans[1] = (view.at, sent);
        }
        Vec::new()
    }

    fn check_end(&mut self, view: &View, _: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        // A scan at this same time does not cover any period.
        let before = self.scans.iter().rev().find(|(at, _)| *at < view.at);
        let Some((_, before)) = before else { return Vec::new() };
        let mut found = Vec::new();
        for (node, before) in (0..world.len()).zip(before) {
            let sent = world.counters(node).gossip_sent - before;
            if sent > 0 {
                let detail = format!("still sent {sent} gossip packets since the last scan");
                found.push(view.violation("no_rebroadcast_loop", node, node, detail));
            }
        }
        found
    }
}
