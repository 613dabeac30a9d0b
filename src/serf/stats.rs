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
    /// `serf.coordinate.adjustment-ms`: how far probes moved our own coordinate.
    pub coordinate_adjustment: Times,
    /// `serf.msgs.received`
    pub msgs_received: Sizes,
    /// `serf.msgs.sent`
    pub msgs_sent: Sizes,
    /// Messages that could not be decoded.
    pub dropped_malformed: u64,
    /// Messages larger than any sender makes them.
    pub refused_sizes: u64,
    /// Messages that name a node which cannot exist.
    pub refused_names: u64,
    /// Messages with a malformed address.
    pub refused_addresses: u64,
    /// Queries with too many filters, and filters too expensive to match.
    pub refused_filters: u64,
    /// Messages with times too far in the future.
    pub dropped_implausible: u64,
    /// Key queries that came in clear although there are keys.
    pub refused_key_queries: u64,
    /// Votes and answers to key queries of others than members.
    pub ignored_responses: u64,
    /// User events that there was no room to remember.
    pub dropped_events: u64,
    /// Queries that there was no room to remember.
    pub dropped_queries: u64,
    /// Messages that were not gossiped as often as they should be, because too many waited.
    pub dropped_broadcasts: u64,
}

/// Number and total size of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// Messages.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Sizes {
    pub(crate) fn count(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}
