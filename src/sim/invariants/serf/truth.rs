//! The faults and calls of a cluster, with which the rules compare the nodes' state.

use std::time::Duration;

use crate::{serf::QueryId, sim::NodeId};

/// The faults and calls of a cluster so far.
#[derive(Clone, Debug)]
pub struct SerfTruth {
    lives: Vec<Life>,
    /// User events, in the order they were sent.
    pub sent: Vec<Sent>,
    /// Queries with the asking node.
    pub asked: Vec<(NodeId, QueryId)>,
}

/// A user event.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The sending node.
    pub node: NodeId,
    /// Time in nanoseconds of world time.
    pub at: u64,
    /// Name, unique in the run.
    pub name: String,
    /// Whether the sender had time to pass it on.
    pub counts: bool,
}

#[derive(Clone, Debug)]
struct Life {
    up: bool,
    left: bool,
    born: u64,
    quiet_since: u64,
}

impl SerfTruth {
    /// Creates the record of a cluster of `nodes` running nodes.
    pub fn new(nodes: u32) -> Self {
        let life = Life { up: true, left: false, born: 0, quiet_since: 0 };
        Self { lives: vec![life; nodes as usize], sent: Vec::new(), asked: Vec::new() }
    }

    /// Number of nodes, running or not.
    pub fn nodes(&self) -> usize {
        self.lives.len()
    }

    /// Number of nodes that are not running.
    pub fn gone(&self) -> usize {
        self.lives.iter().filter(|life| !life.up).count()
    }

    /// Records an event.
    pub fn send(&mut self, node: NodeId, at: u64, name: String) {
        self.sent.push(Sent { node, at, name, counts: true });
    }

    /// Records that a node is disturbed until `until`.
    pub fn disturb(&mut self, node: NodeId, until: u64) {
        if let Some(life) = self.lives.get_mut(node.0 as usize) {
            life.quiet_since = life.quiet_since.max(until);
        }
    }

    /// Records a crash or a leave.
    pub fn die(&mut self, node: NodeId, at: u64, left: bool) {
        self.disturb(node, at);
        if let Some(life) = self.lives.get_mut(node.0 as usize) {
            (life.up, life.left) = (false, left);
        }
        let lately = at.saturating_sub(PASSING_ON.as_nanos() as u64);
        for sent in self.sent.iter_mut().filter(|sent| sent.node == node && sent.at > lately) {
            sent.counts = false;
        }
    }

    /// Records a restart.
    pub fn born(&mut self, node: NodeId, at: u64) {
        self.disturb(node, at);
        if let Some(life) = self.lives.get_mut(node.0 as usize) {
            (life.up, life.left, life.born) = (true, false, at);
        }
    }

    /// Whether a node is running and not leaving.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.lives.get(node.0 as usize).is_some_and(|life| life.up)
    }

    /// Whether a node left gracefully or is leaving.
    pub fn has_left(&self, node: NodeId) -> bool {
        self.lives.get(node.0 as usize).is_some_and(|life| life.left)
    }

    /// Start time of a node's current process.
    pub fn born_at(&self, node: NodeId) -> u64 {
        self.lives.get(node.0 as usize).map_or(0, |life| life.born)
    }

    /// Time since which a node has been undisturbed.
    pub fn quiet_since(&self, node: NodeId) -> u64 {
        self.lives.get(node.0 as usize).map_or(0, |life| life.quiet_since)
    }
}

/// Time that a node needs to pass on what it sent.
const PASSING_ON: Duration = Duration::from_secs(5);
