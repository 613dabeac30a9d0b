//! Tables and queues are bounded: no table has more rows than names that ever existed, and no
//! broadcast queue more than one message about each. An adversary makes up names.
//!
//! Source: memberlist/queue.go (a message replaces the previous one about the same node).

use super::{Invariant, Oracle, View, Violation};
use crate::sim::{SwimNode, World};

/// Implements the rule in the module documentation.
pub struct Bounded;

impl Invariant for Bounded {
    fn check(&mut self, view: &View, oracle: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        let names = world.len() as usize + oracle.ghosts();
        let mut found = Vec::new();
        for observer in 0..world.len() {
            let Some(node) = world.node(observer) else { continue };
            let rows = node.engine().node_count();
            if rows > names {
                let detail = format!("{rows} rows of {names} names");
                found.push(view.violation("bounded", observer, observer, detail));
            }
        }
        let (queued, node) = oracle.queue_peak();
        if queued > names {
            let detail = format!("{queued} broadcasts queued about {names} names");
            found.push(view.violation("bounded", node, node, detail));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn more_broadcasts_than_names_are_found() {
        let (view, world) = (View::from_rows(0, vec![]), empty_world());
        let mut oracle = Oracle::new(0);
        oracle.forge(100, 3);
        oracle.note_queue(0, 3);
        assert!(Bounded.check(&view, &oracle, &world).is_empty());
        oracle.note_queue(0, 4);
        assert_eq!(Bounded.check(&view, &oracle, &world).len(), 1);
    }
}
