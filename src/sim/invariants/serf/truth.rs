//! What was done to a cluster, which the rules compare with what its nodes say.

use std::time::Duration;

use crate::{serf::QueryId, sim::NodeId};

/// What was done to a cluster.
#[derive(Clone, Debug)]
pub struct SerfTruth {
    lives: Vec<Life>,
    /// User events, in the order they were sent.
    pub sent: Vec<Sent>,
    /// Queries and who asked them.
    pub asked: Vec<(NodeId, QueryId)>,
}

/// A user event.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Who sent it.
    pub node: NodeId,
    /// When, in nanoseconds of world time.
    pub at: u64,
    /// Its name, which no other event has.
    pub name: String,
    /// The sender had time to pass it on.
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
    /// A cluster of `nodes` that all run.
    pub fn new(nodes: u32) -> Self {
        let life = Life { up: true, left: false, born: 0, quiet_since: 0 };
        Self { lives: vec![life; nodes as usize], sent: Vec::new(), asked: Vec::new() }
    }

    /// Nodes, running or not.
    pub fn nodes(&self) -> usize {
        self.lives.len()
    }

    /// Nodes that do not run.
    pub fn gone(&self) -> usize {
        self.lives.iter().filter(|life| !life.up).count()
    }

    /// Notes an event.
    pub fn send(&mut self, node: NodeId, at: u64, name: String) {
        self.sent.push(Sent { node, at, name, counts: true });
    }

    /// Notes that something was or is done to a node until `until`.
    pub fn disturb(&mut self, node: NodeId, until: u64) {
        if let Some(life) = self.lives.get_mut(node.0 as usize) {
            life.quiet_since = life.quiet_since.max(until);
        }
    }

    /// Notes a crash or a leave.
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

    /// Notes a restart.
    pub fn born(&mut self, node: NodeId, at: u64) {
        self.disturb(node, at);
        if let Some(life) = self.lives.get_mut(node.0 as usize) {
            (life.up, life.left, life.born) = (true, false, at);
        }
    }

    /// Whether a node runs and does not leave.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.lives.get(node.0 as usize).is_some_and(|life| life.up)
    }

    /// Whether a node left, or is about to, by its own word.
    pub fn has_left(&self, node: NodeId) -> bool {
        self.lives.get(node.0 as usize).is_some_and(|life| life.left)
    }

    /// When the present process of a node was started.
    pub fn born_at(&self, node: NodeId) -> u64 {
        self.lives.get(node.0 as usize).map_or(0, |life| life.born)
    }

    /// Since when nothing was done to a node.
    pub fn quiet_since(&self, node: NodeId) -> u64 {
        self.lives.get(node.0 as usize).map_or(0, |life| life.quiet_since)
    }
}

/// Time a node needs to pass on what it sent.
const PASSING_ON: Duration = Duration::from_secs(5);
