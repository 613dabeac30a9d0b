//! The timers of the engine.

use super::StreamId;
use crate::wire::SeqNo;

/// What happens at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Start the next probe.
    ProbeTick,
    /// The direct ack of the running probe is overdue: ask helpers.
    ProbeAck(SeqNo),
    /// The running probe ends.
    ProbeEnd(SeqNo),
    /// A relayed ping was not acked in time.
    Relay(SeqNo),
    /// Run a gossip round.
    Gossip,
    /// Start a push/pull with a random node.
    PushPull,
    /// The suspicion of the node in this slot expires.
    Suspicion(u32),
    /// Probe the suspect in this slot once more.
    Verify(u32),
    /// Ask the next node about a claim that is too far ahead to be accepted.
    Check,
    /// The reply on an accepted stream is overdue: free its place.
    Reply(StreamId),
    /// Merge the next rows of a peer's state.
    Merge,
    /// Encode the next rows of our own state.
    Encode,
}
