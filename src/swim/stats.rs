//! Counters of the engine.

use super::Times;

/// Plain counters; the driver exports them under Go's metric names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// `memberlist.udp.sent`, bytes without the label.
    pub udp_sent: u64,
    /// `memberlist.udp.received`, bytes.
    pub udp_received: u64,
    /// `memberlist.tcp.accept`.
    pub tcp_accept: u64,
    /// `memberlist.tcp.connect`: push/pulls dialled.
    pub tcp_connect: u64,
    /// `memberlist.probeNode`: from the ping to the ack or the end of the wait.
    pub probe_time: Times,
    /// `memberlist.pushPullNode`: exchanges that we began.
    pub push_pull_time: Times,
    /// Gossip rounds; the driver measures `memberlist.gossip`.
    pub gossip_rounds: u64,
    /// `memberlist.size.local`: bytes of the last state we sent.
    pub local_state_bytes: u64,
    /// `memberlist.tcp.sent`, bytes before compression and encryption.
    pub tcp_sent: u64,
    /// `memberlist.msg.alive`.
    pub msg_alive: u64,
    /// `memberlist.msg.suspect`.
    pub msg_suspect: u64,
    /// `memberlist.msg.dead`.
    pub msg_dead: u64,
    /// `memberlist.degraded.probe`: probes started with a stretched interval.
    pub degraded_probe: u64,
    /// `memberlist.degraded.timeout`: suspicions that ran out without enough confirmations.
    pub degraded_timeout: u64,
    /// Round trips of probes that were acked directly, in time.
    pub round_trip: Times,
    /// Probes that were acked by packet, directly or through a helper.
    pub acked_probes: u64,
    /// Probes answered over TCP only: UDP seems blocked.
    pub tcp_only_probes: u64,
    /// Probes that failed.
    pub failed_probes: u64,
    /// Times we had to refute.
    pub refutes: u64,
    /// Packets and messages dropped because they made no sense.
    pub dropped_malformed: u64,
    /// Messages about names or addresses that are not admitted.
    pub dropped_inadmissible: u64,
    /// Messages dropped because a hand-off queue was full.
    pub dropped_queue_full: u64,
    /// Indirect pings dropped because too many were under way.
    pub dropped_relays: u64,
    /// Pings and indirect pings that were not answered: too many in one packet, or the answer to
    /// an address that is not a member's would be larger than the packet.
    pub dropped_answers: u64,
    /// Encrypted packets dropped because they were exact copies.
    pub dropped_replays: u64,
}
