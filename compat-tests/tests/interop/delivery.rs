//! What share of user events gossip delivers with the few copies of the local profile: Go nodes
//! among themselves, ours among themselves, and both kinds together. A measurement, run by hand:
//! `cargo test -p compat-tests --test interop delivery:: -- --ignored --nocapture`.

use std::{thread, time::Duration};

use compat_tests::{
    node::{Node, Start, all_see},
    process::{BOTH, Kind},
};

const EVENTS: usize = 300;
const NODES: usize = 6;

#[test]
#[ignore = "a measurement of a minute; nothing that a busy machine should judge"]
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
