//! How many log lines peers can cause.

use crate::base::log_limits;

log_limits! {
    /// A limit for each cause.
    pub(super) struct Logs for "memberlist" {
        /// Packets, or parts of them, that are not handled.
        packets: "packets that are not handled";
        /// Messages for which a hand-off queue has no room.
        handoff: "full hand-off queues";
        /// Streams that are not understood.
        streams: "streams that are not understood";
        /// Push/pulls that are refused or fail.
        push_pulls: "failed push/pulls";
        /// Alive messages that are refused.
        alive: "alive messages that are ignored";
        /// Messages that claim the name of another node.
        conflicts: "conflicting addresses";
        /// Accusations that we refute.
        refutes: "refutations";
    }
}
