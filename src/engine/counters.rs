//! Counters of both engines, under Go's metric names.

use crate::{serf, swim};

/// Implements names and values of a struct of counters. Does not compile if a field is missing.
macro_rules! counts {
    (
        $stats:path, $from:expr,
        { $($field:ident: $name:literal,)+ } elsewhere { $($other:ident),+ }
    ) => {{
        let $stats { $($field,)+ $($other: _,)+ } = $from;
        [$(($name, $field),)+]
    }};
}

/// Counters of a node since its start, by Go's metric names.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Counters of the Serf engine.
    #[doc(hidden)]
    pub serf: serf::Stats,
    /// Counters of the membership engine.
    #[doc(hidden)]
    pub swim: swim::Stats,
}

impl Counters {
    /// The counter with this name, such as `memberlist.udp.sent`; `None` if there is none.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.iter().find(|(known, _)| *known == name).map(|(_, count)| count)
    }

    /// All names and counters, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let serf = counts!(serf::Stats, self.serf, {
            member_join: "serf.member.join",
            member_failed: "serf.member.failed",
            member_left: "serf.member.left",
            member_update: "serf.member.update",
            member_flap: "serf.member.flap",
            events: "serf.events",
            queries: "serf.queries",
            query_acks: "serf.query_acks",
            query_duplicate_acks: "serf.query_duplicate_acks",
            query_responses: "serf.query_responses",
            query_duplicate_responses: "serf.query_duplicate_responses",
            coordinate_rejected: "serf.coordinate.rejected",
            coordinate_zero_rtt: "serf.coordinate.zero-rtt",
            dropped_malformed: "serf.dropped.malformed",
            dropped_implausible: "serf.dropped.implausible",
            refused_sizes: "serf.refused.sizes",
            refused_names: "serf.refused.names",
            refused_addresses: "serf.refused.addresses",
            refused_filters: "serf.refused.filters",
            refused_key_queries: "serf.refused.key_queries",
            ignored_responses: "serf.ignored.responses",
            dropped_queries: "serf.dropped.queries",
            dropped_events: "serf.dropped.events",
            dropped_broadcasts: "serf.dropped.broadcasts",
        } elsewhere { coordinate_adjustment, msgs_received, msgs_sent });
        let swim = counts!(swim::Stats, self.swim, {
            udp_sent: "memberlist.udp.sent",
            udp_received: "memberlist.udp.received",
            tcp_accept: "memberlist.tcp.accept",
            tcp_connect: "memberlist.tcp.connect",
            tcp_sent: "memberlist.tcp.sent",
            msg_alive: "memberlist.msg.alive",
            msg_suspect: "memberlist.msg.suspect",
            msg_dead: "memberlist.msg.dead",
            degraded_probe: "memberlist.degraded.probe",
            degraded_timeout: "memberlist.degraded.timeout",
            acked_probes: "memberlist.probe.acked",
            tcp_only_probes: "memberlist.probe.tcp_only",
            failed_probes: "memberlist.probe.failed",
            refutes: "memberlist.refute",
            dropped_malformed: "memberlist.dropped.malformed",
            dropped_inadmissible: "memberlist.dropped.inadmissible",
            dropped_queue_full: "memberlist.dropped.queue_full",
            dropped_relays: "memberlist.dropped.relays",
            dropped_answers: "memberlist.dropped.answers",
            dropped_replays: "memberlist.dropped.replays",
        } elsewhere { probe_time, round_trip, push_pull_time, local_state_bytes, gossip_rounds });
        serf.into_iter().chain(swim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name() {
        let mut counters = Counters::default();
        counters.swim.udp_sent = 7;
        assert_eq!(counters.get("memberlist.udp.sent"), Some(7));
        assert_eq!(counters.get("memberlist.udp"), None);
        let mut names: Vec<_> = counters.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), counters.iter().count(), "each name once");
    }
}
