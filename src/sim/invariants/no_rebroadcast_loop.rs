//! After the recovery the gossip dies down: nothing is news for ever.
//!
//! Source: memberlist/queue.go (a message is sent `retransmitLimit` times); hashicorp/serf#606 (two
//! leave messages that rebroadcast each other endlessly).

use super::{Invariant, Oracle, View, Violation};
use crate::sim::{SwimNode, World};

/// See the module.
#[derive(Default)]
pub struct NoRebroadcastLoop {
    /// Gossip datagrams each node had sent at the scan before.
    before: Vec<u64>,
}

impl Invariant for NoRebroadcastLoop {
    fn check(&mut self, _: &View, _: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        self.before = (0..world.len()).map(|node| world.counters(node).gossip_sent).collect();
        Vec::new()
    }

    fn check_end(&mut self, view: &View, _: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        let mut found = Vec::new();
        for (node, before) in (0..world.len()).zip(&self.before) {
            let sent = world.counters(node).gossip_sent - before;
            if sent > 0 {
                let detail = format!("still sent {sent} gossip packets since the last scan");
                found.push(view.violation("no_rebroadcast_loop", node, node, detail));
            }
        }
        found
    }
}
