//! What must hold of Serf engines, each rule in its own file with its source.

mod answers_once;
mod clock_monotone;
mod event_at_least_once;
mod event_at_most_once;
mod intents_end;
mod left_is_no_failure;
mod members_equal_table;
mod snapshot_replays;
mod tombstones_end;

use std::time::Duration;

pub use answers_once::AnswersOnce;
pub use clock_monotone::ClockMonotone;
pub use event_at_least_once::EventAtLeastOnce;
pub use event_at_most_once::EventAtMostOnce;
pub use intents_end::IntentsEnd;
pub use left_is_no_failure::LeftIsNoFailure;
pub use members_equal_table::MembersEqualTable;
pub use snapshot_replays::SnapshotReplays;
pub use tombstones_end::TombstonesEnd;

use super::Violation;
use crate::{
    serf::QueryId,
    sim::{Cluster, NodeId},
};

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

/// A rule.
pub trait SerfInvariant {
    /// Looks at the cluster, every second.
    fn check(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation>;

    /// Looks at it once after the quiet minute.
    fn check_end(&mut self, cluster: &Cluster, truth: &SerfTruth) -> Vec<Violation> {
        self.check(cluster, truth)
    }
}

/// Every rule for the Serf engine; failed and left members are kept `gone_max` at most.
pub fn all(gone_max: Duration) -> Vec<Box<dyn SerfInvariant>> {
    vec![
        Box::new(ClockMonotone::default()),
        Box::new(EventAtMostOnce),
        Box::new(EventAtLeastOnce::default()),
        Box::new(MembersEqualTable),
        Box::new(IntentsEnd::default()),
        Box::new(LeftIsNoFailure),
        Box::new(SnapshotReplays),
        Box::new(TombstonesEnd::new(gone_max)),
        Box::new(AnswersOnce),
    ]
}

fn violation(
    cluster: &Cluster,
    rule: &'static str,
    observer: NodeId,
    subject: NodeId,
    detail: String,
) -> Violation {
    let at = cluster.now().as_nanos();
    Violation { rule, at, observer: observer.0, subject: subject.0, detail }
}

/// Time a node needs to pass on what it sent.
const PASSING_ON: Duration = Duration::from_secs(5);
