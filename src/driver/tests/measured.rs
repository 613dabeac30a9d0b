//! Values passed to the `metrics` recorder.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use super::{super::metrics::Exporter, *};
use crate::{
    base::Instant,
    serf::{Engine, UserEventSpec},
};

/// Records the values. The nodes of a test run on the test's thread, and so do their reports.
#[derive(Default)]
pub(super) struct Recorded {
    /// Counters, and the bits of gauges.
    values: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    samples: Mutex<BTreeMap<String, Arc<Samples>>>,
}

#[derive(Default)]
struct Samples(Mutex<Vec<f64>>);

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(value);
    }
}

impl Recorded {
    fn value(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = key.name().to_owned() + &labels.collect::<String>();
        Arc::clone(self.values.lock().unwrap().entry(name).or_default())
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        let values = self.values.lock().unwrap();
        values.get(name).map_or(0, |value| value.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.count(name))
    }

    fn samples(&self, name: &str) -> Vec<f64> {
        let samples = self.samples.lock().unwrap().get(name).cloned();
        samples.map(|samples| samples.0.lock().unwrap().clone()).unwrap_or_default()
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut samples = self.samples.lock().unwrap();
        Histogram::from_arc(Arc::clone(samples.entry(key.name().to_owned()).or_default()))
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn what_happens_is_measured_under_go_s_names() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let keyed = async |name: &str| {
        let mut builder = builder(name);
        builder.config.keyring = Keyring::build(&[], &[9; 16]).unwrap();
        let timing = &mut builder.config.timing;
        // A busy machine must not look like a failure, and no event occurs twice.
        timing.suspicion_mult = 1_000;
        timing.push_pull_interval = Duration::from_secs(3600);
        builder.start().await.unwrap()
    };
    let (a, b) = (keyed("a").await, keyed("b").await);
    join(&a, &b).await;
    has_status(&a, "b", MemberStatus::Alive).await;
    a.user_event("deploy", "v1").await.unwrap();
    let listed = a.key_manager().list().await.unwrap();
    assert_eq!(listed.num_resp, 2);
    // The filter matches no node, but all nodes count the query.
    let filter_nodes = vec!["nobody".to_owned()];
    let params = QueryParams { filter_nodes, ..QueryParams::default() };
    drop(a.query("who", "", params).await.unwrap());

    // Both nodes report to the same recorder.
    for (name, count) in [
        ("serf.member.join", 4),
        ("serf.events", 2),
        ("serf.events.deploy", 2),
        ("serf.queries", 4),
        ("serf.queries._serf_list-keys", 2),
        ("serf.queries.who", 2),
        ("serf.query_responses", 2),
        ("memberlist.tcp.connect", 1),
        ("memberlist.tcp.accept", 1),
    ] {
        until(name, || recorded.count(name) >= count).await;
        assert_eq!(recorded.count(name), count, "{name}");
    }
    for name in [
        "memberlist.probeNode",
        "memberlist.gossip",
        "memberlist.pushPullNode",
        "memberlist.size.remote",
        "serf.msgs.sent",
        "serf.msgs.received",
        "serf.coordinate.adjustment-ms",
    ] {
        until(name, || !recorded.samples(name).is_empty()).await;
        let samples = recorded.samples(name);
        assert!(
            samples.iter().all(|sample| (0.0..100_000.0).contains(sample)),
            "{name}: {samples:?}"
        );
    }
    assert!(recorded.count("memberlist.udp.sent") > 100);
    assert!(recorded.count("memberlist.udp.received") > 100);
    until("both are alive", || recorded.gauge("memberlist.node.instances node_state=alive") == 2.0)
        .await;
    assert!(recorded.gauge("memberlist.size.local") > 100.0);
    b.leave().await.unwrap();
    b.shutdown().await;
    let left = "memberlist.node.instances node_state=left";
    let alive = "memberlist.node.instances node_state=alive";
    until("one left", || recorded.gauge(left) == 1.0 && recorded.gauge(alive) == 1.0).await;
    until("it is counted", || recorded.count("serf.member.left") == 2).await;
    assert_eq!(recorded.count("serf.member.failed"), 0);
}

#[test]
fn queue_depths_are_sampled_each_half_minute() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let mut config = Config::local("a").into_engine();
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    let mut now = Instant::ZERO;
    let mut engine = Engine::build(config, now, None).unwrap();
    let mut exporter = Exporter::new(now);
    for n in 0..3_u8 {
        engine.user_event(now, &UserEventSpec::new("e", vec![n])).unwrap();
    }
    for _ in 0..61 {
        now += Duration::from_secs(1);
        exporter.export(now, &mut engine);
    }
    assert_eq!(recorded.samples("serf.queue.Event"), [3.0, 3.0]);
    assert_eq!(recorded.samples("serf.queue.Intent"), [0.0, 0.0]);
    assert_eq!(recorded.samples("serf.queue.Query"), [0.0, 0.0]);
    assert_eq!(recorded.samples("memberlist.queue.broadcasts").len(), 2);
    assert_eq!(recorded.count("serf.events.e"), 3);
}

#[test]
fn names_from_the_network_do_not_make_counters_without_end() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let mut config = Config::local("a").into_engine();
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    let mut engine = Engine::build(config, Instant::ZERO, None).unwrap();
    let mut exporter = Exporter::new(Instant::ZERO);
    for n in 0..2_000 {
        engine.user_event(Instant::ZERO, &UserEventSpec::new(format!("e{n}"), "")).unwrap();
        if n % 100 == 0 {
            exporter.export_counters(&mut engine);
        }
    }
    exporter.export_counters(&mut engine);
    assert_eq!(recorded.count("serf.events"), 2_000);
    let named = recorded.values.lock().unwrap();
    assert_eq!(named.keys().filter(|name| name.starts_with("serf.events.")).count(), 256);
}
