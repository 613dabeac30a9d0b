//! What a node saw.

/// A change that a node saw in its view of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When, in nanoseconds of world time.
    pub at: u64,
    /// Who saw it.
    pub observer: u32,
    /// The node; [`Observation::FOREIGN`] if the name is not one of the simulator's.
    pub subject: u32,
    /// What.
    pub kind: ObservationKind,
    /// Incarnation of the subject's row.
    pub incarnation: u32,
}

impl Observation {
    /// Subject of a name that [`SwimNode::name_of`](super::SwimNode::name_of) does not make.
    pub const FOREIGN: u32 = u32::MAX;
}

/// Which change an [`Observation`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObservationKind {
    /// Alive, from unknown, dead or left.
    Joined,
    /// Left by its own word.
    Left,
    /// Declared dead.
    Failed,
    /// Changed its meta.
    Updated,
    /// Its name is claimed from another address.
    Conflict,
}
