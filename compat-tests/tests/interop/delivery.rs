//! What share of user events gossip delivers with the few copies of the local profile: Go nodes
//! among themselves, ours among themselves, and both kinds together. A measurement, run by hand:
//! `cargo test -p compat-tests --test interop delivery:: -- --ignored --nocapture`.

use std::{
    thread,
    time::{Duration, Instant},
};

use compat_tests::{
    node::{Node, Start, all_see, runtime},
    process::{BOTH, Kind},
    wait::eventually,
};
use ruserf::UserEventSpec;

const EVENTS: usize = 300;
const NODES: usize = 6;

#[test]
#[ignore = "a measurement of a minute; a busy machine would make it worthless"]
fn share_of_events_that_arrive_with_the_local_profile() {
    let clusters = [
        ("Go", [Kind::Go; NODES]),
        ("Rust", [Kind::Ours; NODES]),
        ("mixed", std::array::from_fn(|at| BOTH[at % 2])),
    ];
    let threads: Vec<_> = clusters
        .into_iter()
        .map(|(what, kinds)| thread::spawn(move || (what, share(what, kinds))))
        .collect();
    for thread in threads {
        let (what, (delivered, duplicates)) = thread.join().expect("no panic");
        let expected = EVENTS * (NODES - 1);
        let lost = 100.0 * (1.0 - delivered as f64 / expected as f64);
        println!("{what}: {delivered} of {expected} delivered, {lost:.2} % lost");
        assert_eq!(duplicates, 0, "{what}: nothing arrives twice");
        assert!(delivered * 10 > expected * 8, "{what}: far too many are lost");
    }
}

/// How many events reached others, and how many of them twice.
fn share(label: &str, kinds: [Kind; NODES]) -> (usize, usize) {
    let nodes: Vec<Node> = kinds
        .into_iter()
        .enumerate()
        .map(|(n, kind)| {
            let name = format!("n{n}");
            let label = format!("delivery-{label}");
            Node::start(kind, &Start { name, label, retransmit_mult: Some(2), ..Start::default() })
        })
        .collect();
    for other in &nodes[1..] {
        other.join(nodes[0].addr());
    }
    for node in &nodes {
        all_see(&nodes, &node.name(), "alive");
    }
    thread::sleep(Duration::from_secs(3));
    for n in 0..EVENTS {
        nodes[n % NODES].event(&format!("event-{n}"), "payload", false);
        thread::sleep(Duration::from_millis(200));
    }
    thread::sleep(Duration::from_secs(3));
    let (mut delivered, mut duplicates) = (0, 0);
    for (index, node) in nodes.iter().enumerate() {
        let mut names: Vec<String> =
            node.user_events().into_iter().map(|event| event.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        duplicates += all - names.len();
        let own = |name: &String| {
            let n: usize = name.trim_start_matches("event-").parse().expect("a number");
            n % NODES == index
        };
        delivered += names.iter().filter(|name| !own(name)).count();
    }
    (delivered, duplicates)
}

/// Goal: what is sent in one go arrives, at Go's nodes too. One after the other in time they would
/// be more than a receiver remembers, and the first ones too old.
#[test]
fn a_burst_of_events_arrives_at_both_kinds() {
    let nodes = trio("burst");
    send(&nodes[0], 3_000);
    eventually("events of the burst are missing", || {
        let counts = nodes[1..].iter().map(|node| (node.name(), node.user_events().len()));
        let short = counts.filter(|(_, count)| count * 100 < 3_000 * 99);
        short.map(|(name, count)| format!("{name} has {count}")).collect::<Vec<_>>()
    });
    for node in &nodes {
        distinct(node);
    }
}

#[test]
#[ignore = "a measurement; a busy machine would make it worthless"]
fn share_of_a_large_burst_that_arrives() {
    let nodes = trio("large-burst");
    let began = Instant::now();
    send(&nodes[0], 20_000);
    println!("accepted after {:?}", began.elapsed());
    while began.elapsed() < Duration::from_secs(15) {
        thread::sleep(Duration::from_secs(1));
        let counts: Vec<_> = nodes.iter().map(|node| node.user_events().len()).collect();
        println!("{:?}: {counts:?}", began.elapsed());
    }
    for node in &nodes {
        println!("{}: {} of 20000{}", node.name(), distinct(node), drops(node));
    }
}

/// A Rust node that sends, and one of each kind that receive.
fn trio(label: &str) -> [Node; 3] {
    let kinds = [("sender", Kind::Ours), ("ours", Kind::Ours), ("go", Kind::Go)];
    let nodes = kinds.map(|(name, kind)| {
        let (name, label) = (name.to_owned(), format!("delivery-{label}"));
        Node::start(kind, &Start { name, label, retransmit_mult: Some(4), ..Start::default() })
    });
    for other in &nodes[1..] {
        other.join(nodes[0].addr());
    }
    for node in &nodes {
        all_see(&nodes, &node.name(), "alive");
    }
    nodes
}

/// Events of 100 bytes, sent in one go.
fn send(node: &Node, count: usize) {
    let Node::Rust(node) = node else { panic!("is ours") };
    let events = (0..count).map(|n| UserEventSpec::new("deploy", format!("{n:0>94}")));
    let sent = runtime().block_on(node.serf.user_events(events)).expect("the node runs");
    assert!(sent.iter().all(Result::is_ok));
}

/// What a node of ours counted as dropped.
fn drops(node: &Node) -> String {
    let Node::Rust(node) = node else { return String::new() };
    let counters = runtime().block_on(node.serf.counters()).expect("the node runs");
    let dropped = counters.iter().filter(|(name, count)| name.contains("dropped") && *count > 0);
    dropped.map(|(name, count)| format!(", {name} {count}")).collect()
}

/// Events that were delivered; none twice.
fn distinct(node: &Node) -> usize {
    let mut payloads: Vec<_> = node.user_events().into_iter().map(|event| event.payload).collect();
    let all = payloads.len();
    payloads.sort();
    payloads.dedup();
    assert_eq!(payloads.len(), all, "{}: nothing arrives twice", node.name());
    all
}
