//! Limits on the log lines that peers can cause.

use crate::base::log_limits;

log_limits! {
    /// One limit for each cause.
    pub(super) struct Logs for "memberlist" {
        /// Dropped packets and parts of packets.
        packets: "packets that are not handled";
        /// Messages dropped because a hand-off queue is full.
        handoff: "full hand-off queues";
        /// Streams that cannot be decoded.
        streams: "streams that are not understood";
        /// Probes whose ping by stream failed.
        probes: "failed fallback pings";
        /// Push/pulls that were refused or failed.
        push_pulls: "failed push/pulls";
        /// Refused alive messages.
        alive: "alive messages that are ignored";
        /// Messages that claim the name of another node.
        conflicts: "conflicting addresses";
        /// Accusations that this node refutes.
        refutes: "refutations";
    }
}
