//! The engines' counters, under Go's metric names.

use std::time::Duration;

use crate::{
    base::Instant,
    serf::{self, Engine, Sizes},
    swim,
};

/// Tells the `metrics` recorder what has changed since the last time.
pub(super) struct Exporter {
    next: Instant,
    queues: Instant,
    serf: serf::Stats,
    swim: swim::Stats,
}

impl Exporter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: now,
            queues: now + QUEUE_INTERVAL,
            serf: serf::Stats::default(),
            swim: swim::Stats::default(),
        }
    }

    /// When [`Exporter::export`] has something to do.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn export(&mut self, now: Instant, engine: &Engine) {
        if now < self.next {
            return;
        }
        self.next = now + INTERVAL;
        self.finish(engine);
        let stats = engine.stats();
        let number = |key: &str| stats.get(key).and_then(|text| text.parse::<f64>().ok());
        if let Some(score) = number("health_score") {
            metrics::gauge!("memberlist.health.score").set(score);
        }
        if now < self.queues {
            return;
        }
        self.queues = now + QUEUE_INTERVAL;
        let names = [
            ("intent_queue", "serf.queue.Intent"),
            ("event_queue", "serf.queue.Event"),
            ("query_queue", "serf.queue.Query"),
        ];
        for (key, name) in names {
            if let Some(depth) = number(key) {
                metrics::histogram!(name).record(depth);
            }
        }
    }

    /// Tells the counters, whatever the time.
    pub(super) fn finish(&mut self, engine: &Engine) {
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
            ("serf.dropped.events", new.dropped_events, old.dropped_events),
        ] {
            count(name, new, old);
        }
        sizes("serf.msgs.received", new.msgs_received, old.msgs_received);
        sizes("serf.msgs.sent", new.msgs_sent, old.msgs_sent);
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
        ] {
            count(name, new, old);
        }
    }
}

fn count(name: &'static str, new: u64, old: u64) {
    if new > old {
        metrics::counter!(name).increment(new - old);
    }
}

/// Go samples each message; the mean of an interval keeps number and sum.
fn sizes(name: &'static str, new: Sizes, old: Sizes) {
    let count = new.count.saturating_sub(old.count);
    if count > 0 {
        let mean = new.bytes.saturating_sub(old.bytes) as f64 / count as f64;
        metrics::histogram!(name).record_many(mean, usize::try_from(count).unwrap_or(usize::MAX));
    }
}

/// Recorders gather for 10 s or more.
const INTERVAL: Duration = Duration::from_secs(1);
/// Go: `QueueCheckInterval`.
const QUEUE_INTERVAL: Duration = Duration::from_secs(30);
