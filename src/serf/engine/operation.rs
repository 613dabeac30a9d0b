//! Pending operations.

use crate::base::Instant;

/// An operation that waits for a step, at most until its deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) step: Step,
    pub(super) deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The leave intent is being gossiped.
    LeaveIntent,
    /// The layer below is announcing the leave.
    LeaveSwim,
    /// The pause at the end of a leave.
    LeavePause,
    ForceLeave,
    SetTags,
}
