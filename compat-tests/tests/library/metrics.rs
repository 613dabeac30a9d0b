//! Operators' dashboards: whatever Go's serf reports, ours reports under the same name and kind.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use compat_tests::{
    alone::in_own_process,
    go,
    node::{Node, Start, all_see},
    process::Kind,
    wait::eventually,
};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use ruserf::serf::{KeyOp, QueryParams};
use serde_json::json;

/// Kind and name of everything that was reported, labels behind the name.
#[derive(Default)]
struct Names(Mutex<BTreeSet<(&'static str, String)>>);

static NAMES: Names = Names(Mutex::new(BTreeSet::new()));
/// What was described, by kind and name.
static DESCRIBED: Names = Names(Mutex::new(BTreeSet::new()));

impl Names {
    fn describe(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, help: &str) {
        assert!(unit.is_some() && help.len() > 10, "{name:?}: {unit:?}, {help:?}");
        let names = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(names.insert((kind, name.as_str().to_owned())), "{name:?} twice");
    }

    fn add(&self, kind: &'static str, key: &Key) {
        let labels = key.labels().map(|label| format!(";{}={}", label.key(), label.value()));
        let name = key.name().to_owned() + &labels.collect::<String>();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((kind, name));
    }
}

struct Listening;

impl Recorder for Listening {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        DESCRIBED.describe("counters", &name, unit, &help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        DESCRIBED.describe("gauges", &name, unit, &help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        DESCRIBED.describe("samples", &name, unit, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        NAMES.add("counters", key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        NAMES.add("gauges", key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        NAMES.add("samples", key);
        Histogram::noop()
    }
}

/// Goal: nothing that Go reports is missing. Method: the same life of a small cluster of each
/// kind, then the names.
#[test]
fn all_metrics_of_go_have_their_counterpart() {
    in_own_process(module_path!(), "all_metrics_of_go_have_their_counterpart", compare_names);
}

fn compare_names() {
    metrics::set_global_recorder(Listening).expect("the first recorder");
    ruserf::describe_metrics();
    let dir = tempfile::tempdir().unwrap();
    let go = live(Kind::Go, &dir.path().join("go"));
    let Node::Go(peer) = &go[0] else { panic!("a Go peer") };
    let listed = peer.call(json!({"cmd": "metrics"}));
    let mut theirs = BTreeSet::new();
    for kind in ["counters", "gauges", "samples"] {
        for name in listed[kind].as_object().into_iter().flatten().map(|(name, _)| name) {
            theirs.insert((kind, name.clone()));
        }
    }
    // Neither the Go process's own nor what only a busy machine brings.
    theirs.retain(|(_, name)| name.starts_with("serf.") || name.starts_with("memberlist."));
    theirs.retain(|(_, name)| !BY_CHANCE.iter().any(|part| name.contains(part)));
    assert!(theirs.len() > 25, "{theirs:?}");
    let _ours = live(Kind::Ours, &dir.path().join("ours"));
    eventually("metrics are missing", || {
        let ours = NAMES.0.lock().unwrap_or_else(PoisonError::into_inner);
        theirs.difference(&ours).map(|missing| format!("{missing:?}")).collect::<Vec<_>>()
    });
    // Each has its description, except for those of single events and queries.
    let ours = NAMES.0.lock().unwrap_or_else(PoisonError::into_inner);
    let described = DESCRIBED.0.lock().unwrap_or_else(PoisonError::into_inner);
    for (kind, name) in ours.iter() {
        let name = name.split(';').next().unwrap_or_default();
        let is_single = name.starts_with("serf.events.") || name.starts_with("serf.queries.");
        let is_described = described.contains(&(*kind, name.to_owned()));
        assert!(is_single || is_described, "{kind} {name} is not described");
    }
}

const BY_CHANCE: [&str; 5] = ["degraded", "duplicate", "flap", "rejected", "zero-rtt"];

/// What happens in a cluster of three that shrinks to two.
fn live(kind: Kind, snapshot: &std::path::Path) -> Vec<Node> {
    let start = |name: &str| {
        let start = Start {
            name: name.into(),
            label: format!("metrics-{kind:?}"),
            keys: vec![vec![7; 16]],
            snapshot: (name == "a").then(|| snapshot.to_owned()),
            ..Start::default()
        };
        Node::start(kind, &start)
    };
    let mut nodes = vec![start("a"), start("b"), start("c")];
    nodes[1].join(nodes[0].addr());
    nodes[0].join(nodes[2].addr());
    all_see(&nodes, "a", "alive");
    all_see(&nodes, "b", "alive");
    all_see(&nodes, "c", "alive");
    nodes[0].event("deploy", "x", false);
    let params = QueryParams::default().request_ack(true).timeout(Duration::from_millis(500));
    nodes[0].query("load", "x", &params);
    nodes[0].key(&KeyOp::Install(go::base64([8; 16])), 0).unwrap();
    nodes[1].set_tags(&[("role".to_owned(), "db".to_owned())].into());
    eventually("the tags did not come", || {
        let members = nodes[0].members();
        let came = members["b"].tags.contains_key("role");
        if came { vec![] } else { vec!["b".to_owned()] }
    });
    nodes[1].leave();
    all_see(&nodes[..1], "b", "left");
    let lost = nodes.pop().expect("three nodes");
    lost.stop();
    all_see(&nodes[..1], "c", "failed");
    nodes
}
