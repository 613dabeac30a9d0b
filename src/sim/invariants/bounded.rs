//! Tables and queues are bounded: no table holds more rows than there were ever names, and no
//! broadcast queue more than two messages about each.
//!
//! Source: memberlist/queue.go (a message replaces the one before it about the same node; two,
//! because Go names a refutation by its address).

use super::{Invariant, Oracle, View, Violation};
use crate::sim::{SwimNode, World};

/// See the module.
pub struct Bounded;

impl Invariant for Bounded {
    fn check(&mut self, view: &View, _: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        let mut found = Vec::new();
        for observer in 0..world.len() {
            let Some(node) = world.node(observer) else { continue };
            let (rows, queued) = (node.engine().node_count(), node.engine().queued_broadcasts());
            if rows > world.len() as usize || queued > 2 * world.len() as usize {
                let detail = format!("{rows} rows and {queued} queued of {} names", world.len());
                found.push(view.violation("bounded", observer, observer, detail));
            }
        }
        found
    }
}
