//! The true state of the nodes, kept outside the world.

/// The true state of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Whether its process exists and it has not left.
    pub state: TruthState,
    /// Since when, in nanoseconds of world time.
    pub since: u64,
    /// The highest incarnation it has had in its own view.
    pub incarnation_max: u32,
    /// Whether it was ever disturbed: paused, blocked, cut off or crashed.
    pub disturbed: bool,
    /// When it was last disturbed, in nanoseconds of world time; zero: never.
    pub quiet_since: u64,
    /// Its last update: when, and the incarnation that carries it.
    pub news: Option<(u64, u32)>,
}

/// State of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruthState {
    /// Runs, or is paused.
    Up,
    /// Crashed.
    Down,
    /// Left gracefully.
    Left,
}

/// The true state of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    nodes: Vec<Truth>,
    /// Number of names that an adversary made up.
    ghosts: usize,
    /// Number of bytes that an adversary sent.
    forged_bytes: u64,
    /// Most broadcasts queued by a node at a check, and that node.
    queue_peak: (usize, u32),
}

impl Oracle {
    /// Creates an oracle for `nodes` running nodes.
    pub fn new(nodes: u32) -> Self {
        let truth = Truth {
            state: TruthState::Up,
            since: 0,
            incarnation_max: 0,
            disturbed: false,
            quiet_since: 0,
            news: None,
        };
        Self { nodes: vec![truth; nodes as usize], ghosts: 0, forged_bytes: 0, queue_peak: (0, 0) }
    }

    /// The true state of a node.
    pub fn truth(&self, node: u32) -> Option<&Truth> {
        self.nodes.get(node as usize)
    }

    /// The true states of all nodes, in order.
    pub fn nodes(&self) -> &[Truth] {
        &self.nodes
    }

    /// Records a new state of a node.
    pub fn set(&mut self, node: u32, state: TruthState, now: u64) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.state = state;
            truth.since = now;
            truth.news = None;
        }
        self.disturb(node, now);
    }

    /// Records that a node is or was not healthy.
    pub fn disturb(&mut self, node: u32, now: u64) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.disturbed = true;
            truth.quiet_since = now;
        }
    }

    /// Records that a node was stopped briefly: it may be late, but must not be declared dead.
    pub fn delay(&mut self, node: u32, now: u64) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.quiet_since = now;
        }
    }

    /// Records a fault of the network that excuses all nodes.
    pub fn disturb_all(&mut self, now: u64) {
        for node in 0..self.nodes.len() as u32 {
            self.disturb(node, now);
        }
    }

    /// Records that a node announced a change with this incarnation.
    pub fn update(&mut self, node: u32, now: u64, incarnation: u32) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.news = Some((now, incarnation));
        }
    }

    /// Records a forged datagram and the number of names made up so far.
    pub fn forge(&mut self, bytes: usize, ghosts: usize) {
        self.forged_bytes += bytes as u64;
        self.ghosts = self.ghosts.max(ghosts);
    }

    /// Records the number of broadcasts queued by a node.
    pub fn note_queue(&mut self, node: u32, queued: usize) {
        self.queue_peak = self.queue_peak.max((queued, node));
    }

    /// Most broadcasts ever queued by a node, and that node.
    pub fn queue_peak(&self) -> (usize, u32) {
        self.queue_peak
    }

    /// Number of bytes sent by an adversary; zero: there is none.
    pub fn forged_bytes(&self) -> u64 {
        self.forged_bytes
    }

    /// Number of names made up by an adversary.
    pub fn ghosts(&self) -> usize {
        self.ghosts
    }

    /// Records a node's own incarnation.
    pub fn witness(&mut self, node: u32, incarnation: u32) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.incarnation_max = truth.incarnation_max.max(incarnation);
        }
    }

    /// Whether a node's process exists and it has not left.
    pub fn is_up(&self, node: u32) -> bool {
        self.truth(node).is_some_and(|truth| truth.state == TruthState::Up)
    }

    /// Whether a node is running and undisturbed since `at`.
    pub fn is_quiet_since(&self, node: u32, at: u64) -> bool {
        self.truth(node).is_some_and(|it| it.state == TruthState::Up && it.quiet_since <= at)
    }

    /// Whether a node was never disturbed.
    pub fn is_undisturbed(&self, node: u32) -> bool {
        self.truth(node).is_some_and(|truth| !truth.disturbed)
    }
}
