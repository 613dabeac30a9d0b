//! Counters of the Serf layer.

use crate::swim::Times;

/// Plain counters since the start; the driver exports them under Go's metric names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// `serf.member.join`
    pub member_join: u64,
    /// `serf.member.failed`
    pub member_failed: u64,
    /// `serf.member.left`
    pub member_left: u64,
    /// `serf.member.update`
    pub member_update: u64,
    /// `serf.member.flap`
    pub member_flap: u64,
    /// `serf.events`
    pub events: u64,
    /// `serf.queries`
    pub queries: u64,
    /// `serf.query_acks`
    pub query_acks: u64,
    /// `serf.query_duplicate_acks`
    pub query_duplicate_acks: u64,
    /// `serf.query_responses`
    pub query_responses: u64,
    /// `serf.query_duplicate_responses`
    pub query_duplicate_responses: u64,
    /// `serf.coordinate.rejected`
    pub coordinate_rejected: u64,
    /// `serf.coordinate.zero-rtt`
    pub coordinate_zero_rtt: u64,
    /// `serf.coordinate.adjustment-ms`: how far probes moved our coordinate.
    pub coordinate_adjustment: Times,
    /// `serf.msgs.received`: messages received.
    pub msgs_received: Sizes,
    /// `serf.msgs.sent`: messages sent.
    pub msgs_sent: Sizes,
    /// Messages that could not be decoded.
    pub dropped_malformed: u64,
    /// Messages refused because they exceed a size limit.
    pub refused_sizes: u64,
    /// Messages refused because of an invalid node name.
    pub refused_names: u64,
    /// Messages refused because of a malformed address.
    pub refused_addresses: u64,
    /// Queries refused because of too many filters or too costly ones.
    pub refused_filters: u64,
    /// Messages dropped because their Lamport time is too far ahead.
    pub dropped_implausible: u64,
    /// Key queries refused because they came in plaintext although there are keys.
    pub refused_key_queries: u64,
    /// Votes and answers to key queries ignored because the sender is not a member.
    pub ignored_responses: u64,
    /// User events dropped because the ring had no room to record them.
    pub dropped_events: u64,
    /// Queries dropped because the ring had no room to record them.
    pub dropped_queries: u64,
    /// Queued messages dropped before they were gossiped as often as intended.
    pub dropped_broadcasts: u64,
}

/// Number and total size of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// Number of messages.
    pub count: u64,
    /// Total size in bytes.
    pub bytes: u64,
}

impl Sizes {
    pub(crate) fn count(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}
