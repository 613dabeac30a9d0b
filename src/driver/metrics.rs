//! The engines' counters, under Go's metric names.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    base::Instant,
    serf::{self, Engine, Sizes},
    swim::{self, Times},
};

/// Tells the `metrics` recorder what has changed since the last time.
pub(super) struct Exporter {
    next: Instant,
    queues: Instant,
    serf: serf::Stats,
    swim: swim::Stats,
    /// Names of events and queries that have a counter of their own.
    names: BTreeSet<Arc<str>>,
}

impl Exporter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: now,
            queues: now + QUEUE_INTERVAL,
            serf: serf::Stats::default(),
            swim: swim::Stats::default(),
            names: BTreeSet::new(),
        }
    }

    /// When [`Exporter::export`] has something to do.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn export(&mut self, now: Instant, engine: &mut Engine) {
        if now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        self.export_counters(engine);
        recorder::gauge("memberlist.health.score", f64::from(engine.health_score()));
        recorder::gauge("memberlist.size.local", self.swim.local_state_bytes as f64);
        for (state, count) in NODE_STATES.into_iter().zip(engine.node_states()) {
            recorder::gauge_of("memberlist.node.instances", ("node_state", state), count as f64);
        }
        if now < self.queues {
            return;
        }
        self.queues = now + QUEUE_INTERVAL;
        for (name, depth) in QUEUES.into_iter().zip(engine.queue_depths()) {
            histogram(name, depth as f64);
        }
        histogram("memberlist.queue.broadcasts", engine.queued_broadcasts() as f64);
    }

    /// Tells the counters, whatever the time.
    pub(super) fn export_counters(&mut self, engine: &mut Engine) {
        let (new, old) = (engine.counters(), std::mem::replace(&mut self.serf, engine.counters()));
        for (name, new, old) in [
            ("serf.member.join", new.member_join, old.member_join),
            ("serf.member.failed", new.member_failed, old.member_failed),
            ("serf.member.left", new.member_left, old.member_left),
            ("serf.member.update", new.member_update, old.member_update),
            ("serf.member.flap", new.member_flap, old.member_flap),
            ("serf.events", new.events, old.events),
            ("serf.queries", new.queries, old.queries),
            ("serf.query_acks", new.query_acks, old.query_acks),
            ("serf.query_duplicate_acks", new.query_duplicate_acks, old.query_duplicate_acks),
            ("serf.query_responses", new.query_responses, old.query_responses),
            (
                "serf.query_duplicate_responses",
                new.query_duplicate_responses,
                old.query_duplicate_responses,
            ),
            ("serf.coordinate.rejected", new.coordinate_rejected, old.coordinate_rejected),
            ("serf.coordinate.zero-rtt", new.coordinate_zero_rtt, old.coordinate_zero_rtt),
            ("serf.dropped.malformed", new.dropped_malformed, old.dropped_malformed),
            ("serf.dropped.implausible", new.dropped_implausible, old.dropped_implausible),
            ("serf.refused.sizes", new.refused_sizes, old.refused_sizes),
            ("serf.refused.names", new.refused_names, old.refused_names),
            ("serf.refused.addresses", new.refused_addresses, old.refused_addresses),
            ("serf.refused.filters", new.refused_filters, old.refused_filters),
            ("serf.refused.key_queries", new.refused_key_queries, old.refused_key_queries),
            ("serf.ignored.responses", new.ignored_responses, old.ignored_responses),
            ("serf.dropped.queries", new.dropped_queries, old.dropped_queries),
            ("serf.dropped.events", new.dropped_events, old.dropped_events),
            ("serf.dropped.broadcasts", new.dropped_broadcasts, old.dropped_broadcasts),
        ] {
            count(name, new, old);
        }
        sizes("serf.msgs.received", new.msgs_received, old.msgs_received);
        sizes("serf.msgs.sent", new.msgs_sent, old.msgs_sent);
        times(
            "serf.coordinate.adjustment-ms",
            new.coordinate_adjustment,
            old.coordinate_adjustment,
        );
        self.count_names(engine);
        let new = engine.swim_counters();
        let old = std::mem::replace(&mut self.swim, new);
        for (name, new, old) in [
            ("memberlist.udp.sent", new.udp_sent, old.udp_sent),
            ("memberlist.udp.received", new.udp_received, old.udp_received),
            ("memberlist.tcp.accept", new.tcp_accept, old.tcp_accept),
            ("memberlist.tcp.connect", new.tcp_connect, old.tcp_connect),
            ("memberlist.tcp.sent", new.tcp_sent, old.tcp_sent),
            ("memberlist.msg.alive", new.msg_alive, old.msg_alive),
            ("memberlist.msg.suspect", new.msg_suspect, old.msg_suspect),
            ("memberlist.msg.dead", new.msg_dead, old.msg_dead),
            ("memberlist.degraded.probe", new.degraded_probe, old.degraded_probe),
            ("memberlist.degraded.timeout", new.degraded_timeout, old.degraded_timeout),
            ("memberlist.probe.tcp_only", new.tcp_only_probes, old.tcp_only_probes),
            ("memberlist.probe.failed", new.failed_probes, old.failed_probes),
            ("memberlist.refute", new.refutes, old.refutes),
            ("memberlist.dropped.malformed", new.dropped_malformed, old.dropped_malformed),
            ("memberlist.dropped.inadmissible", new.dropped_inadmissible, old.dropped_inadmissible),
            ("memberlist.dropped.queue_full", new.dropped_queue_full, old.dropped_queue_full),
            ("memberlist.dropped.relays", new.dropped_relays, old.dropped_relays),
            ("memberlist.dropped.answers", new.dropped_answers, old.dropped_answers),
            ("memberlist.dropped.replays", new.dropped_replays, old.dropped_replays),
        ] {
            count(name, new, old);
        }
        times("memberlist.probeNode", new.probe_time, old.probe_time);
        times("memberlist.pushPullNode", new.push_pull_time, old.push_pull_time);
    }

    /// Go counts each name of an event; names come from the network, so that their number is
    /// bounded here.
    fn count_names(&mut self, engine: &mut Engine) {
        for (name, counts) in engine.take_name_counts() {
            if !self.names.contains(&name) {
                if self.names.len() >= NAMES_MAX {
                    continue;
                }
                self.names.insert(Arc::clone(&name));
            }
            for (kind, count) in [("serf.events", counts.events), ("serf.queries", counts.queries)]
            {
                if count > 0 {
                    recorder::counter(format!("{kind}.{name}").into(), count);
                }
            }
        }
    }
}

/// A gossip round from its begin to the last packet handed to the kernel.
pub(super) fn gossip_round(began: Instant, end: Instant) {
    histogram("memberlist.gossip", millis(end.since(began)));
}

/// The bytes of a sealed stream that came in whole.
pub(super) fn remote_size(bytes: usize) {
    histogram("memberlist.size.remote", bytes as f64);
}

/// Adds to a counter.
pub(super) fn counter(name: &'static str, by: u64) {
    recorder::counter(name.into(), by);
}

/// Takes one measurement.
pub(super) fn histogram(name: &'static str, value: f64) {
    recorder::histogram(name, value, 1);
}

fn count(name: &'static str, new: u64, old: u64) {
    if new > old {
        counter(name, new - old);
    }
}

/// Go samples each message; the mean of an interval keeps number and sum.
fn sizes(name: &'static str, new: Sizes, old: Sizes) {
    let count = new.count.saturating_sub(old.count);
    if count > 0 {
        let mean = new.bytes.saturating_sub(old.bytes) as f64 / count as f64;
        recorder::histogram(name, mean, count);
    }
}

/// Go measures each one; the mean of an interval keeps number and sum.
fn times(name: &'static str, new: Times, old: Times) {
    let count = new.count.saturating_sub(old.count);
    if count > 0 {
        let mean = millis(new.total.saturating_sub(old.total)) / count as f64;
        recorder::histogram(name, mean, count);
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(feature = "metrics")]
mod recorder {
    use std::borrow::Cow;

    pub(super) fn counter(name: Cow<'static, str>, by: u64) {
        metrics::counter!(name).increment(by);
    }

    pub(super) fn gauge(name: &'static str, value: f64) {
        metrics::gauge!(name).set(value);
    }

    pub(super) fn gauge_of(
        name: &'static str,
        (key, label): (&'static str, &'static str),
        value: f64,
    ) {
        metrics::gauge!(name, key => label).set(value);
    }

    pub(super) fn histogram(name: &'static str, value: f64, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        metrics::histogram!(name).record_many(value, count);
    }
}

/// Nobody wants to know.
#[cfg(not(feature = "metrics"))]
mod recorder {
    use std::borrow::Cow;

    pub(super) fn counter(_: Cow<'static, str>, _: u64) {}

    pub(super) fn gauge(_: &'static str, _: f64) {}

    pub(super) fn gauge_of(_: &'static str, _: (&'static str, &'static str), _: f64) {}

    pub(super) fn histogram(_: &'static str, _: f64, _: u64) {}
}

/// Go's names of the states, in the order of the counts.
const NODE_STATES: [&str; 4] = ["alive", "suspect", "dead", "left"];
const QUEUES: [&str; 3] = ["serf.queue.Intent", "serf.queue.Event", "serf.queue.Query"];
const NAMES_MAX: usize = 256;
/// Recorders gather for 10 s or more.
const INTERVAL: Duration = Duration::from_secs(1);
/// Go: `QueueCheckInterval`.
const QUEUE_INTERVAL: Duration = Duration::from_secs(30);
