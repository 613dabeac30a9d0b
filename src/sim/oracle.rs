//! The truth about the nodes, kept beside the world.

/// What is true of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Whether its process exists and it has not left.
    pub state: TruthState,
    /// Since when, in nanoseconds of world time.
    pub since: u64,
    /// Highest incarnation it ever had of itself.
    pub incarnation_max: u32,
    /// Whether it was ever disturbed: paused, blocked, cut off or crashed.
    pub disturbed: bool,
}

/// Life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruthState {
    /// Runs, or is paused.
    Up,
    /// Crashed.
    Down,
    /// Left by its own word.
    Left,
}

/// What is true of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    nodes: Vec<Truth>,
}

impl Oracle {
    /// An oracle for `nodes` nodes that all run.
    pub fn new(nodes: u32) -> Self {
        let truth = Truth { state: TruthState::Up, since: 0, incarnation_max: 0, disturbed: false };
        Self { nodes: vec![truth; nodes as usize] }
    }

    /// What is true of a node.
    pub fn truth(&self, node: u32) -> Option<&Truth> {
        self.nodes.get(node as usize)
    }

    /// All nodes, in order.
    pub fn nodes(&self) -> &[Truth] {
        &self.nodes
    }

    /// Notes a change of life.
    pub fn set(&mut self, node: u32, state: TruthState, now: u64) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.state = state;
            truth.since = now;
            truth.disturbed = true;
        }
    }

    /// Notes that a node is or was not healthy.
    pub fn disturb(&mut self, node: u32) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.disturbed = true;
        }
    }

    /// Notes what a node says of itself.
    pub fn witness(&mut self, node: u32, incarnation: u32) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.incarnation_max = truth.incarnation_max.max(incarnation);
        }
    }

    /// Whether a node's process runs and it has not left.
    pub fn is_up(&self, node: u32) -> bool {
        self.truth(node).is_some_and(|truth| truth.state == TruthState::Up)
    }

    /// Whether nothing was ever done to a node.
    pub fn is_undisturbed(&self, node: u32) -> bool {
        self.truth(node).is_some_and(|truth| !truth.disturbed)
    }
}
