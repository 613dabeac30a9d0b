//! Counters of the engine.

use super::Times;

/// Plain counters; the driver exports them under Go's metric names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// `memberlist.udp.sent`, bytes without the label.
    pub udp_sent: u64,
    /// `memberlist.udp.received`, bytes.
    pub udp_received: u64,
    /// `memberlist.tcp.accept`: accepted streams.
    pub tcp_accept: u64,
    /// `memberlist.tcp.connect`: push/pulls dialled.
    pub tcp_connect: u64,
    /// `memberlist.probeNode`: from the ping to the ack or the deadline.
    pub probe_time: Times,
    /// `memberlist.pushPullNode`: exchanges that we initiated.
    pub push_pull_time: Times,
    /// Gossip rounds; the driver measures `memberlist.gossip`.
    pub gossip_rounds: u64,
    /// `memberlist.size.local`: bytes of the last state we sent.
    pub local_state_bytes: u64,
    /// `memberlist.tcp.sent`, bytes before compression and encryption.
    pub tcp_sent: u64,
    /// `memberlist.msg.alive`: alive messages received.
    pub msg_alive: u64,
    /// `memberlist.msg.suspect`: suspect messages received.
    pub msg_suspect: u64,
    /// `memberlist.msg.dead`: dead messages received.
    pub msg_dead: u64,
    /// `memberlist.degraded.probe`: probes started with a stretched interval.
    pub degraded_probe: u64,
    /// `memberlist.degraded.timeout`: suspicions that expired without enough confirmations.
    pub degraded_timeout: u64,
    /// Round trips of probes that were acked directly and in time.
    pub round_trip: Times,
    /// Probes that were acked by packet, directly or through a helper.
    pub acked_probes: u64,
    /// Probes answered over TCP only, which indicates that UDP is blocked.
    pub tcp_only_probes: u64,
    /// Probes that failed.
    pub failed_probes: u64,
    /// Number of refutations.
    pub refutes: u64,
    /// Malformed packets and messages dropped.
    pub dropped_malformed: u64,
    /// Messages dropped because they contain an invalid or disallowed name or address.
    pub dropped_inadmissible: u64,
    /// Messages dropped because a hand-off queue was full.
    pub dropped_queue_full: u64,
    /// Indirect pings dropped because too many were in flight.
    pub dropped_relays: u64,
    /// Pings and indirect pings not answered: too many in one packet, or the answer to a non-member
    /// would be larger than the packet.
    pub dropped_answers: u64,
    /// Encrypted packets dropped as exact copies.
    pub dropped_replays: u64,
}
