//! Observations of nodes.

/// A change that a node observed in its view of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Time in nanoseconds of world time.
    pub at: u64,
    /// The observing node.
    pub observer: u32,
    /// The observed node; [`Observation::FOREIGN`] if the name is not one of the simulator's.
    pub subject: u32,
    /// The change.
    pub kind: ObservationKind,
    /// Incarnation of the subject's row.
    pub incarnation: u32,
}

impl Observation {
    /// Subject of names that [`SwimNode::name_of`](super::SwimNode::name_of) does not create.
    pub const FOREIGN: u32 = u32::MAX;
}

/// The change that an [`Observation`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObservationKind {
    /// Alive, from unknown, dead or left.
    Joined,
    /// Left gracefully.
    Left,
    /// Declared dead.
    Failed,
    /// Changed its meta.
    Updated,
    /// Its name is claimed from another address.
    Conflict,
}
