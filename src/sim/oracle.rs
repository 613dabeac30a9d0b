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
    /// When it was last disturbed, in nanoseconds of world time; zero: never.
    pub quiet_since: u64,
    /// Its last update: when, and the incarnation that carries it.
    pub news: Option<(u64, u32)>,
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
    /// Names that an adversary made up.
    ghosts: usize,
    /// Bytes that an adversary sent.
    forged_bytes: u64,
    /// Most broadcasts that a node had queued when it was looked at, and which node.
    queue_peak: (usize, u32),
}

impl Oracle {
    /// An oracle for `nodes` nodes that all run.
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
            truth.news = None;
        }
        self.disturb(node, now);
    }

    /// Notes that a node is or was not healthy.
    pub fn disturb(&mut self, node: u32, now: u64) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.disturbed = true;
            truth.quiet_since = now;
        }
    }

    /// Notes that a node was stopped for a moment: it may be late, but not be declared dead.
    pub fn delay(&mut self, node: u32, now: u64) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.quiet_since = now;
        }
    }

    /// Notes that something happened to the network that no node can be blamed for.
    pub fn disturb_all(&mut self, now: u64) {
        for node in 0..self.nodes.len() as u32 {
            self.disturb(node, now);
        }
    }

    /// Notes that a node announced a change under this incarnation.
    pub fn update(&mut self, node: u32, now: u64, incarnation: u32) {
        if let Some(truth) = self.nodes.get_mut(node as usize) {
            truth.news = Some((now, incarnation));
        }
    }

    /// Notes a forged datagram and how many names were made up so far.
    pub fn forge(&mut self, bytes: usize, ghosts: usize) {
        self.forged_bytes += bytes as u64;
        self.ghosts = self.ghosts.max(ghosts);
    }

    /// Notes how many broadcasts a node has queued.
    pub fn note_queue(&mut self, node: u32, queued: usize) {
        self.queue_peak = self.queue_peak.max((queued, node));
    }

    /// Most broadcasts that a node ever had queued, and which node.
    pub fn queue_peak(&self) -> (usize, u32) {
        self.queue_peak
    }

    /// Bytes that an adversary sent; zero: there is none.
    pub fn forged_bytes(&self) -> u64 {
        self.forged_bytes
    }

    /// Names that an adversary made up.
    pub fn ghosts(&self) -> usize {
        self.ghosts
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

    /// Whether a node runs and nothing was done to it since `at`.
    pub fn is_quiet_since(&self, node: u32, at: u64) -> bool {
        self.truth(node).is_some_and(|it| it.state == TruthState::Up && it.quiet_since <= at)
    }

    /// Whether nothing was ever done to a node.
    pub fn is_undisturbed(&self, node: u32) -> bool {
        self.truth(node).is_some_and(|truth| !truth.disturbed)
    }
}
