//! Exports the engines' counters under Go's metric names.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    base::Instant,
    engine::Counters,
    serf::{Engine, Sizes},
    swim::Times,
};

/// Reports the changes since the last report to the `metrics` recorder.
pub(super) struct Exporter {
    next: Instant,
    queues: Instant,
    counters: Counters,
    /// Names of events and queries that have their own counter.
    names: BTreeSet<Arc<str>>,
}

impl Exporter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: now,
            queues: now + QUEUE_INTERVAL,
            counters: Counters::default(),
            names: BTreeSet::new(),
        }
    }

    /// When [`Exporter::export`] is to be called next.
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
        recorder::gauge("memberlist.size.local", self.counters.swim.local_state_bytes as f64);
        if let Some((age, packets)) = engine.key_use(now) {
            recorder::gauge("serf.key.age", millis(age));
            recorder::gauge("serf.key.packets", packets as f64);
        }
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

    /// Reports the counters now.
    pub(super) fn export_counters(&mut self, engine: &mut Engine) {
        let counters = engine.counters();
        let before = std::mem::replace(&mut self.counters, counters);
        for ((name, new), (_, old)) in counters.iter().zip(before.iter()) {
            count(name, new, old);
        }
        let (new, old) = (counters.serf, before.serf);
        sizes("serf.msgs.received", new.msgs_received, old.msgs_received);
        sizes("serf.msgs.sent", new.msgs_sent, old.msgs_sent);
        times(
            "serf.coordinate.adjustment-ms",
            new.coordinate_adjustment,
            old.coordinate_adjustment,
        );
        self.count_names(engine);
        let (new, old) = (counters.swim, before.swim);
        times("memberlist.probeNode", new.probe_time, old.probe_time);
        times("memberlist.probe.rtt", new.round_trip, old.round_trip);
        times("memberlist.pushPullNode", new.push_pull_time, old.push_pull_time);
    }

    /// Go has a counter for each name of an event or query; names come from the network, so their
    /// number is limited here.
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

/// Duration of a gossip round, from its start to the last packet handed to the kernel.
pub(super) fn gossip_round(began: Instant, end: Instant) {
    histogram("memberlist.gossip", millis(end.since(began)));
}

/// Bytes of a completely received stream, before decryption.
pub(super) fn remote_size(bytes: usize) {
    histogram("memberlist.size.remote", bytes as f64);
}

/// Adds to a counter.
pub(super) fn counter(name: &'static str, by: u64) {
    recorder::counter(name.into(), by);
}

/// Records one measurement.
pub(super) fn histogram(name: &'static str, value: f64) {
    recorder::histogram(name, value, 1);
}

fn count(name: &'static str, new: u64, old: u64) {
    if new > old {
        counter(name, new - old);
    }
}

/// Go samples each message; here the mean of an interval is recorded, with the same number and sum.
fn sizes(name: &'static str, new: Sizes, old: Sizes) {
    let count = new.count.saturating_sub(old.count);
    if count > 0 {
        let mean = new.bytes.saturating_sub(old.bytes) as f64 / count as f64;
        recorder::histogram(name, mean, count);
    }
}

/// Go samples each duration; here the mean of an interval is recorded, with the same number and
/// sum.
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

/// No-op recorder (feature `metrics` is off).
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
/// Recorders aggregate over 10 s or more.
const INTERVAL: Duration = Duration::from_secs(1);
/// Go: `QueueCheckInterval`.
const QUEUE_INTERVAL: Duration = Duration::from_secs(30);
