//! What the engine's deadlines are for.

use super::StreamId;
use crate::wire::SeqNo;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Start the next probe.
    ProbeTick,
    /// The direct ack of the running probe is late: ask helpers.
    ProbeAck(SeqNo),
    /// The running probe is over.
    ProbeEnd(SeqNo),
    /// A relayed ping got no answer.
    Relay(SeqNo),
    /// A gossip round.
    Gossip,
    /// A push/pull with a random node.
    PushPull,
    /// The suspicion of the node in this slot runs out.
    Suspicion(u32),
    /// A node is asked about a claim that is too far ahead to be accepted.
    Check,
    /// The reply on an accepted stream is overdue: its place is freed.
    Reply(StreamId),
    /// The next rows of a peer's state are due.
    Merge,
    /// The next rows of our own state are due.
    Encode,
}
